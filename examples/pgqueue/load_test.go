package pgqueue

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestLoad hands a lane of 100,000 messages over to a Queue that has others, and stops it between two pages of them:
// its claims, settlements and new messages go on. What happens to the lane meanwhile is taken in once, and nothing of
// it is sent before it is loaded.
func TestLoad(t *testing.T) {
	const copies, rounds = 100_000, 100
	s := theServer(t)
	db, schema := newSchema(t, s)
	ctx := t.Context()
	var pages int
	stopped, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(goOn) }) }
	defer release() // before the Queue is closed
	armed := make(chan struct{})
	l := &line{Connector: connector(t, drivers[0], s.DSN()), before: func(statement string) {
		select {
		case <-armed:
		default:
			return
		}
		if strings.Contains(statement, "msg m WHERE lane = ANY") {
			if pages++; pages == 3 {
				close(stopped)
				<-goOn
			}
		}
	}}
	o := pgqueue.Options{Schema: schema, Poll: 10 * time.Millisecond, NodeLease: time.Minute}
	q, other := open(t, l.open(t), o), open(t, db, o)
	number := func(query string, args ...any) (n int) {
		t.Helper()
		if err := db.QueryRow(named(query, schema), args...).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	const each = `SELECT count(*) FROM (SELECT FROM "postrider".lane GROUP BY node HAVING count(*) = 128) n`
	until(t, "the two have as many lanes", func() bool { return number(each) == 2 })

	// The message of sender i has Ref i. small are senders of q, and large is one of other.
	const senders = 50
	sender := func(i int) queue.Message {
		m := mail(i, "x")
		m.Tenant, m.Ref = fmt.Sprint(i), fmt.Sprint(i)
		return m
	}
	first := map[int]queue.ID{}
	for i := range senders {
		id, err := q.Enqueue(ctx, sender(i))
		if err != nil {
			t.Fatal(err)
		}
		first[i] = id
	}
	small, large := -1, -1
	const owner = `SELECT l.node FROM "postrider".msg m JOIN "postrider".lane l USING (lane)
		WHERE m.head ->> 'ref' = $1`
	me := number(`SELECT min(id) FROM "postrider".node`)
	for i := range senders {
		if number(owner, fmt.Sprint(i)) == me {
			small = i
		} else {
			large = i
		}
	}
	_, err := db.Exec(named(`INSERT INTO "postrider".msg (id, lane, node, batch, arrival, size, head, body)
		SELECT nextval('"postrider".msg_id'), m.lane, l.node, 0, arrival, size, head, body
		FROM "postrider".msg m JOIN "postrider".lane l USING (lane), generate_series(1, $2::int)
		WHERE m.head ->> 'ref' = $1`, schema), fmt.Sprint(large), copies)
	if err != nil {
		t.Fatal(err)
	}
	last := number(`SELECT last_value FROM "postrider".msg_id`)
	close(armed)
	other.Close()
	<-stopped

	// Nothing of the lane is sent yet, and the rest goes on.
	claimed := func(max int) (tasks []queue.Task) {
		t.Helper()
		var wants []queue.Want
		for d, err := range q.Lanes(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			wants = append(wants, queue.Want{Lane: d.Lane, Max: max})
		}
		tasks, err := q.Claim(ctx, wants, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return tasks
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	counts := map[string]int{}
	work := make(chan struct{})
	go func() {
		defer close(work)
		for range rounds {
			if _, err := q.Enqueue(limited, sender(small)); err != nil {
				t.Error(err)
			}
			counts["enqueued"]++
			for _, c := range claimed(10) {
				if c.Ref == fmt.Sprint(large) {
					t.Errorf("message %s is sent before its lane is loaded", c.ID)
				}
				counts["claimed"]++
				if err := q.Settle(limited, c.Lease, queue.Settlement{}); err != nil {
					t.Error(err)
				}
				counts["settled"]++
			}
		}
	}()
	select {
	case <-work:
	case <-limited.Done():
		release()
		<-work
		t.Fatal("the load of a lane keeps the Queue from its other mail")
	}
	t.Logf("while the lane was loaded: %v", counts)

	// These happen to the lane meanwhile.
	own, err := q.Enqueue(ctx, sender(large))
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	theirs, err := q.EnqueueTx(ctx, tx, sender(large))
	if err == nil {
		err = tx.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	gone := []queue.ID{first[large], queue.ID(strconv.FormatInt(int64(last), 36))} // of the first and the last page
	removed := make(chan error, 1)
	go func() { removed <- q.Remove(ctx, gone) }()
	const removals = `SELECT count(*) FROM "postrider".outcome WHERE kind = 5`
	until(t, "the messages are removed", func() bool { return number(removals) == len(gone) })
	release()
	if err := <-removed; err != nil {
		t.Fatal(err)
	}

	got := map[queue.ID]int{}
	until(t, "all are sent", func() bool {
		for _, c := range claimed(copies) {
			if c.Ref == fmt.Sprint(large) {
				got[c.ID]++
			}
		}
		return len(got) >= copies+1
	})
	if len(claimed(copies)) != 0 {
		t.Errorf("there are more tasks")
	}
	for id, n := range got {
		if n != 1 {
			t.Errorf("message %s is sent %d times", id, n)
		}
	}
	// A copy and the first were removed, and two are new.
	if want := copies + 1; len(got) != want || got[own] != 1 || got[theirs] != 1 {
		t.Errorf("got %d messages, %d and %d of the new ones, want %d and each", len(got), got[own], got[theirs], want)
	}
	for _, id := range gone {
		if got[id] != 0 {
			t.Errorf("message %s is sent although it was removed", id)
		}
	}
}

// until waits until something is so, for a minute at most.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	const most = time.Minute
	for end := time.Now().Add(most); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("after %v, it isn't so that %s", most, what)
}
