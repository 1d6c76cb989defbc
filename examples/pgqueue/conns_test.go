package pgqueue

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestConns: a Queue that works keeps its connections, also if the *sql.DB keeps only two that aren't in use, as by
// default. To open one takes much longer than a commit. Where transactions of the application leave it two, its calls
// have them in turns.
func TestConns(t *testing.T) {
	s := theServer(t)
	for _, driver := range drivers {
		t.Run("kept/"+driver, func(t *testing.T) {
			const n = 10000
			closed, _ := testConns(t, s, driver, n, 0)
			if t.Logf("%d connections were closed for %d messages", closed, n); closed > n/1000 {
				t.Errorf("that is more than %d", n/1000)
			}
		})
		t.Run("two left/"+driver, func(t *testing.T) {
			const n = 3000
			if _, early := testConns(t, s, driver, n, 3); early < n/10 {
				t.Errorf("%d of %d messages were settled before the last one was stored", early, n)
			}
		})
	}
}

// testConns stores and delivers n messages while so many transactions of the application are open, if any. It returns
// how many connections were closed, and how many messages were settled before the last one was stored.
func testConns(t *testing.T, s *pgtest.Server, driver string, n, transactions int) (closed, early int) {
	_, schema := newSchema(t, s)
	db := (&line{Connector: connector(t, driver, s.DSN())}).open(t)
	if transactions > 0 {
		db.SetMaxOpenConns(transactions + 2)
	}
	for range transactions {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tx.Rollback() })
	}
	q := open(t, db, pgqueue.Options{Schema: schema, Timeout: 5 * time.Second})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var sent atomic.Int32
	wg.Go(func() {
		deliver(ctx, q, func(queue.Task) {}, func(_ queue.Task, err error) {
			if err != nil {
				t.Error(err)
				stop()
			}
			if int(sent.Add(1)) == n {
				stop()
			}
		})
	})
	const producers = 30
	var stored atomic.Int32
	for p := range producers {
		wg.Go(func() {
			for i := p; i < n && ctx.Err() == nil; i += producers {
				if _, err := q.Enqueue(t.Context(), mail(i, "x")); err != nil {
					t.Error(err)
					stop()
				}
				if int(stored.Add(1)) == n {
					early = int(sent.Load())
				}
			}
		})
	}
	wg.Wait()
	return int(db.Stats().MaxIdleClosed), early
}
