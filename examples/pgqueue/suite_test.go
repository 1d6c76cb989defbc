package pgqueue

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/queue/queuetest"
)

// The suite runs in synctest bubbles, where days pass at once, and the server is outside. So:
//
//   - The statement that asks the server for the time gets that of the bubble: see lineConn.statement.
//   - No timer of a Queue ticks. A handle makes the Queues look instead, within the lag of each call.
//
// The time in a bubble stands still while a call waits for the server.

var schemas atomic.Int32

// store is a schema of the server, with the Queues of a test.
type store struct {
	driver string
	server *pgtest.Server
	ahead  *atomic.Int64
	schema string
	admin  *sql.DB

	mu   sync.Mutex
	open []*handle
}

// newStore makes an empty schema, which goes with the test. Its name needs quotes.
func newStore(t *testing.T, driver string) *store {
	t.Helper()
	s := &store{
		driver: driver, server: theServer(t), ahead: new(atomic.Int64),
		schema: fmt.Sprintf(`Mail "%d"`, schemas.Add(1)),
	}
	s.admin = (&line{Connector: connector(t, driver, s.server.DSN())}).open(t)
	if err := pgqueue.Migrate(t.Context(), s.admin, s.schema); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.exec(t, `DROP SCHEMA "postrider" CASCADE`) })
	return s
}

func (s *store) exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	if _, err := s.admin.ExecContext(context.Background(), named(statement, s.schema), args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (s *store) number(t testing.TB, query string, args ...any) (n int) {
	t.Helper()
	if err := s.admin.QueryRowContext(context.Background(), named(query, s.schema), args...).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

const (
	lag   = 100 * time.Millisecond
	never = 10 * 365 * 24 * time.Hour
)

// handle is a Queue with the line to its database.
type handle struct {
	*pgqueue.Queue
	store *store
	line  *line
}

// handle opens a Queue over a line of its own.
func (s *store) handle(t *testing.T) *handle {
	t.Helper()
	l := &line{Connector: connector(t, s.driver, s.server.DSN()), bubble: true, ahead: s.ahead}
	o := &pgqueue.Options{Schema: s.schema, Poll: never, NodeLease: never, Timeout: 5 * time.Second, MaxKeys: maxKeys}
	q, err := o.Open(t.Context(), l.open(t))
	if err != nil {
		t.Fatal(err)
	}
	h := &handle{q, s, l}
	t.Cleanup(func() { h.Close() })
	s.mu.Lock()
	s.open = append(s.open, h)
	s.mu.Unlock()
	s.refresh() // the others give up lanes
	s.refresh() // it takes them
	return h
}

// refresh makes all Queues look.
func (s *store) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.open {
		if !h.line.cut.Load() {
			h.Refresh(context.Background())
		}
	}
}

// soon makes all Queues look within the lag.
func (h *handle) soon() {
	time.AfterFunc(lag/2, h.store.refresh)
}

func (h *handle) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	defer h.soon()
	return h.Queue.Enqueue(ctx, m)
}

func (h *handle) EnqueueOnce(ctx context.Context, m queue.Message) (queue.ID, bool, error) {
	defer h.soon()
	return h.Queue.EnqueueOnce(ctx, m)
}

func (h *handle) Import(ctx context.Context, in queue.Import) (queue.ID, bool, error) {
	defer h.soon()
	return h.Queue.Import(ctx, in)
}

func (h *handle) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	defer h.soon()
	return h.Queue.Settle(ctx, l, s)
}

func (h *handle) Hold(ctx context.Context, ids ...queue.ID) error {
	defer h.soon()
	return h.Queue.Hold(ctx, ids...)
}

func (h *handle) HoldFor(ctx context.Context, reason string, ids ...queue.ID) error {
	defer h.soon()
	return h.Queue.HoldFor(ctx, reason, ids...)
}

func (h *handle) Release(ctx context.Context, ids ...queue.ID) error {
	defer h.soon()
	return h.Queue.Release(ctx, ids...)
}

func (h *handle) Flush(ctx context.Context, destination string, after time.Duration) (int, error) {
	defer h.soon()
	return h.Queue.Flush(ctx, destination, after)
}

func (h *handle) Hasten(ctx context.Context, ids ...queue.ID) (int, error) {
	defer h.soon()
	return h.Queue.Hasten(ctx, ids...)
}

func (h *handle) Remove(ctx context.Context, ids []queue.ID, reports ...queue.Message) error {
	defer h.soon()
	return h.Queue.Remove(ctx, ids, reports...)
}

func (h *handle) Stats(ctx context.Context) (queue.Stats, error) {
	h.store.refresh() // as leases expire without a call
	return h.Queue.Stats(ctx)
}

func (h *handle) Close() error {
	defer h.soon()
	return h.Queue.Close()
}

// kill cuts the line of a Queue, and lets its lease be over.
func (s *store) kill(t *testing.T, h *handle) {
	t.Helper()
	h.line.cut.Store(true)
	s.exec(t, `UPDATE "postrider".lease SET until = statement_timestamp() - interval '1 second'`)
}

const maxKeys = 40

func harness(driver string) queuetest.Harness {
	var s *store
	return queuetest.Harness{
		Open: func(t *testing.T) queue.Queue {
			s = newStore(t, driver)
			return s.handle(t)
		},
		Reopen: func(t *testing.T, q queue.Queue) queue.Queue {
			q.(*handle).Close()
			return s.handle(t)
		},
		Kill: func(t *testing.T, q queue.Queue) queue.Queue {
			s.kill(t, q.(*handle))
			return s.handle(t)
		},
		Handle: func(t *testing.T, _ queue.Queue) queue.Queue { return s.handle(t) },
		Fail: func(t *testing.T, q queue.Queue) func() queue.Queue {
			l := q.(*handle).line
			l.cut.Store(true)
			return func() queue.Queue {
				l.cut.Store(false)
				s.refresh()
				return q
			}
		},
		Lag: lag,
		Step: func(q queue.Queue, d time.Duration) {
			s.ahead.Add(int64(d))
			s.refresh()
		},
		// The suite counts all octets that are allocated for a body, and a driver allocates each chunk anew.
		// TestLargeBody tests that they aren't in memory at a time.
		InMemory: true,
		MaxKeys:  maxKeys,
	}
}

// TestQueue runs the suite with each driver. Without POSTRIDER_INTEROP, it runs with pgx alone.
func TestQueue(t *testing.T) {
	theServer(t)
	for _, name := range drivers {
		t.Run(name, func(t *testing.T) {
			if name != drivers[0] && os.Getenv("POSTRIDER_INTEROP") == "" {
				t.Skip("set POSTRIDER_INTEROP=required to run the suite with both drivers")
			}
			queuetest.Run(t, harness(name))
		})
	}
}
