package delivery

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// TestQuarantine has a message that ends the process with each attempt: after three it is held, told and explained, and
// released it is attempted again. The mail beside it isn't touched.
func TestQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[spool.File](nil)
		open := func() *spool.Spool {
			q, err := (&spool.Options{FS: disk}).Open("memory")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { q.Close() })
			return q
		}
		q := open()
		killer := mail("to@killer.test")
		killer.Deadline = time.Now().Add(time.Hour)
		enqueue(t, q, killer, mail("to@a.test"), mail("to@b.test"))
		var r *Runner
		var mu sync.Mutex
		var attempts []string
		var logged bytes.Buffer
		var quarantined []queue.Task
		told := 0 // Outbox, about the quarantine
		for life := range 4 {
			var killed bool
			ctx, kill := context.WithCancel(t.Context())
			r = &Runner{Queue: q, Logger: textLogger(&logged)}
			r.Events.Quarantined = func(e Event) { quarantined = append(quarantined, e.Task) }
			r.Outbox = func(_ context.Context, events []Event) ([]queue.Message, error) {
				if events[0].Type == EventQuarantined && events[0].Task.Destination == "killer.test" && len(events) == 1 {
					told++
				}
				return nil, nil
			}
			r.Sender = senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
				mu.Lock()
				defer mu.Unlock()
				to := env.Recipients[0].Address
				attempts = append(attempts, to)
				if to == "to@killer.test" && !killed {
					killed = true
					disk = disk.After("killed", nil)
					kill()
				}
				if killed {
					return cutShort(env) // what this process does has no effect any more
				}
				return answer(env, smtp.Delivered, 250)
			})
			if life == 3 { // long after the deadline
				time.Sleep(time.Hour)
			}
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			sleep(time.Second)
			if killed != (life < 3) {
				t.Fatalf("life %d: the process was ended: %v", life, killed)
			}
			if life == 3 {
				defer func() { kill(); <-done }()
				break
			}
			<-done
			q = open()
		}
		if len(quarantined) != 1 || quarantined[0].Destination != "killer.test" || quarantined[0].Deaths != 3 || quarantined[0].Attempts != 4 {
			t.Errorf("got %+v quarantined, want the killer alone, with 3 deaths", quarantined)
		}
		if told != 1 {
			t.Errorf("got %d calls of Outbox about the quarantine, want 1", told)
		}
		if got := logged.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "msg=quarantined deaths=3") {
			t.Errorf("got the log\n%s\nwant one error, that it is quarantined", got)
		}
		tasks := held(t, q)
		if len(tasks) != 1 || tasks[0].State != queue.Held || tasks[0].Deaths != 3 || tasks[0].Attempts != 3 {
			t.Fatalf("got %+v, want the killer held", tasks)
		}
		all, err := r.Explain(t.Context(), tasks[0].ID)
		if err != nil || len(all) != 1 || !strings.Contains(all[0].Why, "the process has ended 3 times") {
			t.Errorf("Explain: got %+v and %v", all, err)
		}
		before := len(attempts)
		if n, err := r.Release(t.Context(), queue.Filter{State: queue.Held}); n != 1 || err != nil {
			t.Errorf("Release: got %d and %v, want 1", n, err)
		}
		sleep(time.Second)
		if got := attempts[before:]; len(got) != 1 || got[0] != "to@killer.test" {
			t.Errorf("after Release: got %q attempted, want the killer", got)
		}
	})
}

// deadly is a Queue that can't hold, and with which the process has ended three times.
type deadly struct{ queue.Queue }

func (q deadly) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	tasks, err := q.Queue.Claim(ctx, wants, lease)
	for i := range tasks {
		tasks[i].Deaths = 3
	}
	return tasks, err
}

// TestQuarantineUnable has a Queue that can't hold a message: the message isn't attempted, and comes up every hour.
func TestQuarantineUnable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		enqueue(t, q, mail("to@killer.test"))
		var logged bytes.Buffer
		r := &Runner{Queue: deadly{q}, Logger: textLogger(&logged), Sender: senderFunc(
			func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
				t.Error("it is attempted")
				return answer(env, smtp.Delivered, 250)
			})}
		stop := start(t, r)
		sleep(150 * time.Minute)
		stop()
		if got := strings.Count(logged.String(), "message can't be quarantined"); got != 3 {
			t.Errorf("got %d lines in 150 minutes, want 3:\n%s", got, logged.String())
		}
		if tasks := held(t, q); len(tasks) != 1 || tasks[0].Attempts != 0 {
			t.Errorf("got %+v left, want the task without an attempt", tasks)
		}
	})
}
