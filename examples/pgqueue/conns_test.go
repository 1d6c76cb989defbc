package pgqueue

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestConnsKept: a Queue that works keeps its connections, also if the *sql.DB keeps only two that aren't in use, as by
// default. To open one takes much longer than a commit.
func TestConnsKept(t *testing.T) {
	s := theServer(t)
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) { testConnsKept(t, s, driver) })
	}
}

func testConnsKept(t *testing.T, s *pgtest.Server, driver string) {
	_, schema := newSchema(t, s)
	db := (&line{Connector: connector(t, driver, s.DSN())}).open(t)
	q := open(t, db, pgqueue.Options{Schema: schema})
	const n, producers = 10000, 30
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
			if sent.Add(1) == n {
				stop()
			}
		})
	})
	for p := range producers {
		wg.Go(func() {
			for i := p; i < n; i += producers {
				if _, err := q.Enqueue(t.Context(), mail(i, "x")); err != nil {
					t.Error(err)
					stop()
					return
				}
			}
		})
	}
	wg.Wait()
	closed := db.Stats().MaxIdleClosed
	if t.Logf("%d connections were closed for %d messages", closed, n); closed > n/1000 {
		t.Errorf("that is more than %d", n/1000)
	}
}
