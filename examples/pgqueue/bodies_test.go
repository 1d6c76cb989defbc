package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// TestOpenTogether opens many messages while the server can't read them. Two queries wait at most, and each call gets
// its own body.
func TestOpenTogether(t *testing.T) {
	s := theServer(t)
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) { testOpenTogether(t, s, driver) })
	}
}

func testOpenTogether(t *testing.T, s *pgtest.Server, driver string) {
	other, schema := newSchema(t, s)
	db := (&line{Connector: connector(t, driver, s.DSN())}).open(t)
	q := open(t, db, pgqueue.Options{Schema: schema, Poll: time.Hour})
	const n = 150
	var ids []queue.ID
	body := func(i int) string {
		if i%50 == 0 {
			return strings.Repeat("large ", 50_000) + fmt.Sprint(i)
		}
		return strings.Repeat("x", i)
	}
	for i := range n {
		id, err := q.Enqueue(t.Context(), mail(i, body(i)))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	tx, err := other.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec(named(`LOCK TABLE "postrider".msg IN ACCESS EXCLUSIVE MODE`, schema)); err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	opened := func(ctx context.Context, id queue.ID, want string, wantErr error) {
		b, err := q.Open(ctx, id)
		if err != nil || wantErr != nil {
			if !errors.Is(err, wantErr) {
				err = fmt.Errorf("open %s: got %v, want %v", id, err, wantErr)
			} else {
				err = nil
			}
			result <- err
			return
		}
		defer b.Close()
		got, err := io.ReadAll(smtp.NewReader(b))
		if string(got) != want {
			err = fmt.Errorf("open %s: got %d octets and %v, want %d", id, len(got), err, len(want))
		}
		result <- err
	}
	calls := 0
	for i, id := range ids {
		go opened(t.Context(), id, body(i), nil)
		go opened(t.Context(), id, body(i), nil)
		calls += 2
	}
	go opened(t.Context(), "ffffffff", "", queue.ErrNotFound)
	go opened(ended, ids[0], "", context.Canceled)
	const waitingSQL = `SELECT count(*) FROM pg_stat_activity
		WHERE wait_event_type = 'Lock' AND query LIKE '%size, body%'`
	for most := 0; most < 2; time.Sleep(5 * time.Millisecond) {
		if err := other.QueryRow(waitingSQL).Scan(&most); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-result; err != nil { // nothing else can end
		t.Error(err)
	}
	var waiting int
	if err := other.QueryRow(waitingSQL).Scan(&waiting); err != nil || waiting > 2 {
		t.Errorf("got %d queries and %v, want 2", waiting, err)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	for range calls + 1 {
		if err := <-result; err != nil {
			t.Error(err)
		}
	}
}
