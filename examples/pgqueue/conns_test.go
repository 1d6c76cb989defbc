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

// TestConns: a Queue that works keeps its connections, unless the *sql.DB keeps none that isn't in use. Where
// transactions of the application leave it two, its calls have them in turns.
func TestConns(t *testing.T) {
	s := theServer(t)
	for _, driver := range drivers {
		t.Run("kept/"+driver, func(t *testing.T) { testConnsKept(t, s, driver) })
		t.Run("two left/"+driver, func(t *testing.T) { testTwoConns(t, s, driver) })
	}
}

func testConnsKept(t *testing.T, s *pgtest.Server, driver string) {
	_, schema := newSchema(t, s)
	for _, test := range []struct {
		maxIdle int
		want    bool
	}{{2, true}, {0, false}} {
		db := (&line{Connector: connector(t, driver, s.DSN())}).open(t)
		db.SetMaxIdleConns(test.maxIdle)
		q := open(t, db, pgqueue.Options{Schema: schema, Poll: time.Hour, NodeLease: time.Hour})
		kept := false
		for i := 0; i < 100 && !kept; i++ { // it may be so late here that the connection has been given back
			if _, err := q.Enqueue(t.Context(), mail(i, "x")); err != nil {
				t.Fatal(err)
			}
			kept = db.Stats().InUse > 0
		}
		if kept != test.want {
			t.Errorf("with %d idle connections, after Enqueue, one is kept: %v, want %v", test.maxIdle, kept, test.want)
		}
	}
}

// testTwoConns stores and delivers messages while all connections but two are in transactions of the application.
func testTwoConns(t *testing.T, s *pgtest.Server, driver string) {
	const n, producers, transactions = 3000, 30, 3
	_, schema := newSchema(t, s)
	db := (&line{Connector: connector(t, driver, s.DSN())}).open(t)
	db.SetMaxOpenConns(transactions + 2)
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
	var stored, sent atomic.Int32
	early := 0 // messages that were settled before the last one was stored
	wg.Go(func() {
		deliver(ctx, q, func(queue.Task) {}, func(_ queue.Task, err error) {
			if err != nil {
				t.Error(err)
				stop()
			}
			if sent.Add(1) == n {
				stop()
			}
		})
	})
	for p := range producers {
		wg.Go(func() {
			for i := p; i < n && ctx.Err() == nil; i += producers {
				if _, err := q.Enqueue(t.Context(), mail(i, "x")); err != nil {
					t.Error(err)
					stop()
				}
				if stored.Add(1) == n {
					early = int(sent.Load())
				}
			}
		})
	}
	wg.Wait()
	if early < n/10 {
		t.Errorf("%d of %d messages were settled before the last one was stored", early, n)
	}
}
