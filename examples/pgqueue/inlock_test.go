package pgqueue

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestCutOffInLock cuts a Queue off while it has a lock that others need for its messages: they get them all the same.
func TestCutOffInLock(t *testing.T) {
	s := theServer(t)
	admin, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond, NodeLease: 500 * time.Millisecond}
	way := newProxy(t, s)
	var armed atomic.Bool
	l := &line{Connector: connector(t, "pgx", way.dsn()), before: func(statement string) {
		// The first statement after the lock.
		if armed.Load() && strings.Contains(statement, `".lease`) && strings.HasPrefix(statement, "DELETE") {
			way.set(true, requests, replies)
		}
	}}
	a := open(t, l.open(t), o)
	id, err := a.Enqueue(t.Context(), mail(0, "x"))
	if err != nil {
		t.Fatal(err)
	}
	armed.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	b, err := o.Open(ctx, admin) // so that the first one looks at the layout
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var tasks []queue.Task
	until(t, "the other Queue has the message", func() bool {
		var wants []queue.Want
		for d := range b.Lanes(ctx) {
			wants = append(wants, queue.Want{Lane: d.Lane, Max: 1})
		}
		tasks, err = b.Claim(ctx, wants, time.Minute)
		return err == nil && len(tasks) == 1
	})
	if tasks[0].ID != id {
		t.Errorf("got message %s, want %s", tasks[0].ID, id)
	}
}
