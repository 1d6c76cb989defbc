package pgqueue

import (
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
	"github.com/postrider/postrider/smtp"
)

// TestEnqueueOnly has a Queue that only enqueues beside one that delivers, opened before it or after.
func TestEnqueueOnly(t *testing.T) {
	s := theServer(t)
	for _, driver := range drivers {
		for _, first := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/other first %v", driver, first), func(t *testing.T) {
				_, schema := newSchema(t, s)
				db := sql.OpenDB(connector(t, driver, s.DSN()))
				defer db.Close()
				testEnqueueOnly(t, db, schema, first)
			})
		}
	}
}

func testEnqueueOnly(t *testing.T, db *sql.DB, schema string, otherFirst bool) {
	ctx := t.Context()
	var other *pgqueue.Queue
	openOther := func() { other = open(t, db, pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond}) }
	if otherFirst {
		openOther()
	}
	q := open(t, db, pgqueue.Options{Schema: schema, EnqueueOnly: true})
	told := new(atomic.Bool)
	defer q.Watch(func(queue.Lane, time.Time) { told.Store(true) })()

	large := strings.Repeat("x", 300_000)
	mail := func(i int, body, key string) queue.Message {
		return queue.Message{
			Envelope:     smtp.NewEnvelope(fmt.Sprintf("from%d@example.com", i), "to@example.net"),
			Destinations: []string{"example.net"}, Body: strings.NewReader(body), Key: key,
		}
	}
	want := map[queue.ID]string{}
	stored := func(body string) func(id queue.ID, err error) queue.ID {
		return func(id queue.ID, err error) queue.ID {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			want[id] = body
			return id
		}
	}
	for i := range 50 { // senders of many lanes
		stored("body")(q.Enqueue(ctx, mail(i, "body", "")))
	}
	stored(large)(q.Enqueue(ctx, mail(50, large, "")))
	id := stored("once")(q.Enqueue(ctx, mail(51, "once", "key")))
	if again, repeats, err := q.EnqueueOnce(ctx, mail(51, "once", "key")); again != id || !repeats || err != nil {
		t.Errorf("got %v, %v, %v, want %v, which repeats", again, repeats, err, id)
	}
	for _, commit := range []bool{true, false} {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		id, err := q.EnqueueTx(ctx, tx, mail(52, "in tx", ""))
		if err != nil {
			t.Fatal(err)
		}
		if commit {
			want[id], err = "in tx", tx.Commit()
		} else {
			err = tx.Rollback()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !otherFirst {
		openOther()
	}

	// An operation on a message that the other Queue has.
	if err := q.Hold(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := other.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	if got, want := listed(t, q), listed(t, other); !slices.Equal(got, want) {
		t.Errorf("lists\n%q\nwant\n%q", got, want)
	}
	tasks := claimAll(t, other, 100)
	if len(tasks) != len(want)-1 || slices.ContainsFunc(tasks, func(task queue.Task) bool { return task.ID == id }) {
		t.Errorf("got %d tasks, want %d, without the one that is held", len(tasks), len(want)-1)
	}
	if err := q.Release(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := other.Refresh(ctx); err != nil {
		t.Fatal(err)
	}
	tasks = append(tasks, claimAll(t, other, 100)...)
	for _, task := range tasks {
		body, err := q.Open(ctx, task.ID)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(smtp.NewReader(body))
		body.Close()
		if err != nil || string(got) != want[task.ID] {
			t.Errorf("%v: got %d octets, %v, want %d", task.ID, len(got), err, len(want[task.ID]))
		}
		delete(want, task.ID)
	}
	if len(want) > 0 {
		t.Errorf("%d messages weren't claimed", len(want))
	}

	// The Queue itself has had nothing.
	for l, err := range q.Lanes(ctx) {
		t.Errorf("got %v, %v, want no lane", l, err)
	}
	wants := []queue.Want{{Lane: queue.Lane{Destination: "example.net", Owner: tasks[0].Owner}, Max: 1}}
	if got, err := q.Claim(ctx, wants, time.Minute); len(got) > 0 || err != nil {
		t.Errorf("Claim: got %d tasks, %v, want none", len(got), err)
	}
	if err := q.Settle(ctx, tasks[0].Lease, queue.Settlement{}); !errors.Is(err, queue.ErrLeaseLost) {
		t.Errorf("Settle: got %v, want %v", err, queue.ErrLeaseLost)
	}
	if told.Load() {
		t.Error("Watch announced something")
	}
	var nodes int
	if err := db.QueryRow(named(`SELECT count(*) FROM "postrider".node`, schema)).Scan(&nodes); err != nil || nodes != 1 {
		t.Errorf("got %d nodes, %v, want the other Queue's alone", nodes, err)
	}
	q.Close()
	if _, err := q.Enqueue(ctx, mail(0, "", "")); err != queue.ErrClosed {
		t.Errorf("after Close, got %v, want %v", err, queue.ErrClosed)
	}
}
