package pgqueue

import (
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/pgqueue"
)

// TestLateClaim has the result of a Claim arrive when the lease of its Queue is over, and another one has sent the
// message: it isn't sent again.
func TestLateClaim(t *testing.T) {
	s := theServer(t)
	admin, schema := newSchema(t, s)
	o := pgqueue.Options{Schema: schema, Poll: 5 * time.Millisecond, NodeLease: 500 * time.Millisecond}
	way := newProxy(t, s)
	a := open(t, (&line{Connector: connector(t, "pgx", way.dsn()+" default_query_exec_mode=exec")}).open(t), o)
	var wants []queue.Want
	enqueue := func() queue.ID {
		id, err := a.Enqueue(t.Context(), mail(0, "x"))
		if err != nil {
			t.Fatal(err)
		}
		for d := range a.Lanes(t.Context()) {
			wants = []queue.Want{{Lane: d.Lane, Max: 1}}
		}
		return id
	}
	enqueue()
	tasks, err := a.Claim(t.Context(), wants, time.Minute) // so that the connection is open that the next Claim needs
	if err != nil || len(tasks) != 1 {
		t.Fatalf("got %d tasks and %v, want 1", len(tasks), err)
	}
	if err := a.Settle(t.Context(), tasks[0].Lease, queue.Settlement{}); err != nil {
		t.Fatal(err)
	}
	id := enqueue()
	way.set(true, replies)
	late := make(chan []queue.Task, 1)
	go func() {
		tasks, err := a.Claim(t.Context(), wants, time.Minute)
		if err != nil {
			t.Error(err)
		}
		late <- tasks
	}()
	until(t, "the lease on the second message is stored", func() bool {
		var n int
		err := admin.QueryRow(named(`SELECT count(*) FROM "postrider".mark`, schema)).Scan(&n)
		return err == nil && n == 2
	})
	b := open(t, admin, o)
	until(t, "the other Queue has the message", func() bool {
		tasks, err = b.Claim(t.Context(), wants, time.Minute)
		return err == nil && len(tasks) == 1
	})
	if tasks[0].ID != id || tasks[0].Attempts != 2 || tasks[0].Deaths != 1 {
		t.Errorf("got %+v, want message %s at its second attempt, after one death", tasks[0], id)
	}
	if err := b.Settle(t.Context(), tasks[0].Lease, queue.Settlement{}); err != nil {
		t.Fatal(err)
	}
	way.set(false, replies)
	if tasks := <-late; len(tasks) > 0 {
		t.Errorf("the Queue that was cut off claims message %s, which the other one has sent", tasks[0].ID)
	}
	if _, err := a.Enqueue(t.Context(), mail(1, "x")); err != nil {
		t.Errorf("Enqueue at the Queue that was cut off: %v", err)
	}
}
