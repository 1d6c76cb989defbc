package pgqueue

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestCutOff cuts one of three nodes off from the server while all of them deliver, for longer than its lease, and lets
// it in again. POSTRIDER_PG_CUTS sets how often.
func TestCutOff(t *testing.T) {
	s := theServer(t)
	db, schema := newSchema(t, s)
	n := newNodes(schema)
	ways := map[int]*proxy{}
	for range 3 {
		way := newProxy(t, s)
		ways[n.start(t, way.dsn())] = way
	}
	registered := func(want int) func() bool {
		return func() bool {
			var got int
			err := db.QueryRow(named(`SELECT count(*) FROM "postrider".node`, schema)).Scan(&got)
			return err == nil && got == want
		}
	}
	for i := range often("POSTRIDER_PG_CUTS", 2) {
		n.untilSent(t, 50, n.alive()...)
		number := n.numbers[rand.IntN(3)]
		way := ways[number]
		from := time.Now()
		first, second := requests, replies
		if i%2 == 0 { // some statements are executed whose results the node doesn't get for now
			first, second = replies, requests
		}
		way.set(true, first)
		time.Sleep(rand.N(20 * time.Millisecond))
		way.set(true, second)
		until(t, "the others have taken over", registered(2))
		var others []int
		for _, other := range n.numbers {
			if other != number {
				others = append(others, other)
			}
		}
		n.untilSent(t, 50, others...)
		if i%3 == 2 { // otherwise, what is on its way arrives now
			way.reset()
		}
		way.set(false, requests, replies)
		until(t, "it is let in again", registered(3))
		n.happened("cut off", number, from)
	}
	n.untilSent(t, 50, n.alive()...)
	n.stop()
	n.check(t, open(t, db, pgqueue.Options{Schema: schema, Poll: 10 * time.Millisecond, NodeLease: 2 * time.Second}))
}

// TestLeaseOver cuts a Queue off for longer than its lease: another one gets its messages, and its leases are lost.
func TestLeaseOver(t *testing.T) {
	s := theServer(t)
	admin, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond, NodeLease: 500 * time.Millisecond, Timeout: time.Second}
	l := &line{Connector: connector(t, "pgx", s.DSN())}
	a := open(t, l.open(t), o)
	id, err := a.Enqueue(t.Context(), mail(0, "x"))
	if err != nil {
		t.Fatal(err)
	}
	claim := func(q *pgqueue.Queue) (tasks []queue.Task) {
		t.Helper()
		for range 2000 {
			var wants []queue.Want
			for d := range q.Lanes(t.Context()) {
				wants = append(wants, queue.Want{Lane: d.Lane, Max: 1})
			}
			if tasks, _ = q.Claim(t.Context(), wants, time.Hour); len(tasks) > 0 {
				return tasks
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Fatal("no task can be claimed")
		return nil
	}
	first := claim(a)
	l.cut.Store(true)
	b := open(t, admin, o)
	second := claim(b)
	if second[0].ID != id || second[0].Attempts != 2 || second[0].Deaths != 1 {
		t.Errorf("got %+v, want message %s at its second attempt, after one death", second[0], id)
	}
	l.cut.Store(false)
	if err := a.Settle(t.Context(), first[0].Lease, queue.Settlement{}); !errors.Is(err, queue.ErrLeaseLost) {
		t.Errorf("Settle at the Queue that was cut off: got %v, want ErrLeaseLost", err)
	}
	if err := b.Settle(t.Context(), second[0].Lease, queue.Settlement{}); err != nil {
		t.Errorf("Settle at the Queue that took over: %v", err)
	}
	if _, err := a.Enqueue(t.Context(), mail(1, "x")); err != nil {
		t.Errorf("Enqueue at the Queue that was cut off: %v", err)
	}
}
