package pgqueue

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// inNode is set in a process that is a node.
const inNode = "POSTRIDER_PG_NODE"

// often returns the number of repetitions that an environment variable sets.
func often(name string, usually int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return usually
}

func mail(n int, body string) queue.Message {
	from := fmt.Sprintf("sender%d@example.com", n%40) // some owners, so that each node has some of the mail
	to := fmt.Sprintf("d%d.example", n%7)
	return queue.Message{
		Envelope: smtp.NewEnvelope(from, "to@"+to), Destinations: []string{to}, Body: strings.NewReader(body),
	}
}

// deliver claims what is due, sends each message and settles it, until ctx ends. A message takes up to 10 ms. Some tasks
// are settled only at their second attempt. sent is called at the final dot; settled, unless it is nil, with the result
// of the Settle after that.
func deliver(ctx context.Context, q *pgqueue.Queue, sent func(queue.Task), settled func(queue.Task, error)) {
	for ctx.Err() == nil {
		var wants []queue.Want
		for d, err := range q.Lanes(ctx) {
			if err == nil && !d.Due.After(time.Now()) {
				wants = append(wants, queue.Want{Lane: d.Lane, Max: 5})
			}
		}
		tasks, err := q.Claim(ctx, wants, 10*time.Second)
		if err != nil || len(tasks) == 0 {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		var wg sync.WaitGroup
		for _, t := range tasks {
			wg.Go(func() {
				if t.ID[len(t.ID)-1]%3 == 0 && t.Attempts == 1 {
					q.Settle(context.WithoutCancel(ctx), t.Lease, queue.Settlement{Next: time.Now()})
					return
				}
				time.Sleep(rand.N(10 * time.Millisecond))
				sent(t)
				if err := q.Settle(context.WithoutCancel(ctx), t.Lease, queue.Settlement{}); settled != nil {
					settled(t, err)
				}
			})
		}
		wg.Wait()
	}
}

// node is the work of a process: it enqueues and delivers until its stdin is closed or it is killed. It prints the time
// and the ID of each message that Enqueue has stored, that it has sent, before it settles that, and that it has settled.
func node(dsn, schema string) error {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	o := pgqueue.Options{Schema: schema, Poll: 10 * time.Millisecond, NodeLease: 2 * time.Second, Timeout: 5 * time.Second}
	var q *pgqueue.Queue
	for q == nil { // the server may be down
		if q, err = o.Open(ctx, db); err != nil {
			if ctx.Err() != nil {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	defer q.Close()
	// One write is one line, whatever happens to the process.
	print := func(what string, id queue.ID) { fmt.Println(time.Now().UnixNano(), what, id) }
	var wg sync.WaitGroup
	defer wg.Wait()
	for w := range 4 {
		wg.Go(func() {
			for n := w; ctx.Err() == nil; n += 4 {
				m := mail(n, "x")
				m.Tenant = strconv.Itoa(n % 1000) // so that each lane has mail
				if id, err := q.Enqueue(ctx, m); err == nil {
					print("stored", id)
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	deliver(ctx, q, func(t queue.Task) { print("sent", t.ID) }, func(t queue.Task, err error) {
		if err == nil {
			print("settled", t.ID)
		}
	})
	return nil
}

// newSchema makes a schema with the driver pgx.
func newSchema(t *testing.T, s *pgtest.Server) (db *sql.DB, schema string) {
	t.Helper()
	db, err := sql.Open("pgx", s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	schema = fmt.Sprintf("chaos%d", schemas.Add(1))
	if err := pgqueue.Migrate(t.Context(), db, schema); err != nil {
		t.Fatal(err)
	}
	return db, schema
}

func open(t *testing.T, db *sql.DB, o pgqueue.Options) *pgqueue.Queue {
	t.Helper()
	q, err := o.Open(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// TestNodesKilled kills one of three nodes again and again, when all of them deliver. POSTRIDER_PG_KILLS sets how often.
func TestNodesKilled(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	n := newNodes(schema)
	for range 3 {
		n.start(t, s.DSN())
	}
	for range often("POSTRIDER_PG_KILLS", 2) {
		n.untilSent(t, 50, n.alive()...)
		n.kill(n.alive()[rand.IntN(3)])
		n.start(t, s.DSN())
	}
	n.untilSent(t, 50, n.alive()...)
	n.stop()
	n.check(t, open(t, db, pgqueue.Options{Schema: schema, Poll: 10 * time.Millisecond, NodeLease: 2 * time.Second}))
}

// TestServerKilled kills the server again and again, while three nodes deliver. POSTRIDER_PG_CRASHES sets how often.
func TestServerKilled(t *testing.T) {
	theServer(t)
	s, err := pgtest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Remove)
	db, schema := newSchema(t, s)
	n := newNodes(schema)
	for range 3 {
		n.start(t, s.DSN())
	}
	for range often("POSTRIDER_PG_CRASHES", 1) {
		n.untilSent(t, 50, n.alive()...)
		from := time.Now()
		restart(t, s)
		until(t, "all nodes have leases again", func() bool {
			var there, held int
			err := db.QueryRow(named(`SELECT (SELECT count(*) FROM "postrider".node),
				(SELECT count(*) FROM "postrider".lease WHERE until > clock_timestamp())`, schema)).Scan(&there, &held)
			return err == nil && there == 3 && held == 3
		})
		// See the package's doc: a crash may undo the last settlements.
		n.trouble(trouble{what: "server down", from: from, to: time.Now(), undone: 600 * time.Millisecond})
	}
	n.untilSent(t, 50, n.alive()...)
	n.stop()
	n.check(t, open(t, db, pgqueue.Options{Schema: schema, Poll: 10 * time.Millisecond, NodeLease: 2 * time.Second}))
}

// TestClockJumps has the clock of the server jump by an hour, ahead and back, while two Queues deliver. A jump ahead
// ends the leases of Queues, so that messages which are being sent then may be sent twice. None is lost or delayed.
func TestClockJumps(t *testing.T) {
	s := theServer(t)
	admin, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond, NodeLease: 400 * time.Millisecond}
	ahead := new(atomic.Int64)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := newLedger()
	var wg sync.WaitGroup
	var queues []*pgqueue.Queue
	for i := range 2 {
		way := &line{Connector: connector(t, "pgx", s.DSN()), bubble: true, jumps: true, ahead: ahead}
		q := open(t, way.open(t), o)
		queues = append(queues, q)
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if id, err := q.Enqueue(ctx, mail(n, "x")); err == nil {
					l.wasStored(id)
				}
			}
		})
		wg.Go(func() { l.deliver(ctx, i+1, q) })
	}
	// renewed waits until both Queues have leases by the clock as it is.
	renewed := func() {
		t.Helper()
		until(t, "both Queues have new leases", func() bool {
			var n int
			at := time.Now().Add(time.Duration(ahead.Load()))
			err := admin.QueryRow(named(`SELECT count(*) FROM "postrider".lease WHERE until BETWEEN $1 AND $2`, schema),
				at, at.Add(o.NodeLease)).Scan(&n)
			return err == nil && n == 2
		})
	}
	for _, jump := range []time.Duration{time.Hour, -time.Hour, -time.Hour, 2 * time.Hour, -time.Hour} {
		l.untilSent(t, 50, 1, 2)
		from := time.Now()
		ahead.Add(int64(jump))
		renewed()
		l.happened(fmt.Sprint("clock changed by ", jump), 0, from)
	}
	l.untilSent(t, 50, 1, 2)
	stop()
	wg.Wait()
	for _, q := range queues {
		q.Close()
	}
	l.check(t, open(t, admin, o))
}

// TestHandOver opens and closes Queues while another one delivers: each delivers a part, and nothing is sent twice.
func TestHandOver(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	l := newLedger()
	var wg sync.WaitGroup
	first := open(t, db, o)
	wg.Go(func() { l.deliver(ctx, 1, first) })
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			if id, err := first.Enqueue(ctx, mail(n, "x")); err == nil {
				l.wasStored(id)
			}
		}
	})
	for node := 2; node <= 4; node++ {
		q := open(t, db, o)
		during, done := context.WithCancel(ctx)
		var ended sync.WaitGroup
		ended.Go(func() { l.deliver(during, node, q) })
		l.untilSent(t, 50, 1, node)
		done()
		ended.Wait()
		q.Close()
	}
	stop()
	wg.Wait()
	if copies := l.check(t, first); copies > 0 {
		t.Errorf("got %d copies, want none", copies)
	}
}
