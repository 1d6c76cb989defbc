package pgqueue

import (
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestReads works off messages in a database that knows nothing about the size of its tables yet, as at the beginning of
// a load. The outcomes of all other messages aren't read for each one.
func TestReads(t *testing.T) {
	const n = 1500
	db, schema := newSchema(t, theServer(t))
	db.SetMaxIdleConns(20) // their statements stay prepared
	q := open(t, db, pgqueue.Options{Schema: schema, NodeLease: time.Minute})
	for left := n; left > 0; left -= 20 {
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if _, err := q.Enqueue(t.Context(), mail(i, strings.Repeat("x", 1024))); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, c := range claimAll(t, q, 20) {
			wg.Go(func() {
				body, err := q.Open(t.Context(), c.ID)
				if err != nil {
					t.Error(err)
					return
				}
				if text, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size())); err != nil || len(text) != 1024 {
					t.Errorf("got %d octets and %v, want 1024", len(text), err)
				}
				body.Close()
				if err := q.Settle(t.Context(), c.Lease, queue.Settlement{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	db.SetMaxIdleConns(0) // a connection that ends reports what it has read
	var stored, read int
	for range 100 {
		err := db.QueryRow(`SELECT coalesce(sum(n_tup_ins), 0), coalesce(sum(seq_tup_read), 0) FROM pg_stat_user_tables
			WHERE schemaname = $1 AND relname = 'outcome'`, schema).Scan(&stored, &read)
		if err != nil {
			t.Fatal(err)
		}
		if stored >= n {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	// Some scans are right: of all that a Queue loads, for example. With one for each body, it would be 50 times as many.
	if stored < n || read > 5*n {
		t.Errorf("got %d outcomes stored and %d read by scans of the table, want %d and at most %d", stored, read, n, 5*n)
	}
}

// TestTakenOver has a Queue that takes messages over claim them without reading them once more: the envelopes in the
// table are no longer readable then.
func TestTakenOver(t *testing.T) {
	const n = 50
	db, schema := newSchema(t, theServer(t))
	o := pgqueue.Options{Schema: schema}
	first := open(t, db, o)
	for i := range n {
		if _, err := first.Enqueue(t.Context(), mail(i, "body")); err != nil {
			t.Fatal(err)
		}
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	next := open(t, db, o)
	if _, err := db.Exec(`UPDATE ` + schema + `.msg SET head = '{}'`); err != nil {
		t.Fatal(err)
	}
	for _, c := range claimAll(t, next, n) {
		if to := c.Envelope.Recipients; len(to) != 1 || !strings.HasSuffix(to[0].Address, "@"+c.Destination) {
			t.Errorf("got recipients %v of a task for %s", to, c.Destination)
		}
	}
}
