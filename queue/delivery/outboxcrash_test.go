package delivery

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// TestOutboxCrash has crashes of all kinds before each write while mail and its events are delivered: after each of
// them, a message is in the queue without an event, or it has left and its event is there or was posted.
func TestOutboxCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[spool.File](nil)
		q, err := (&spool.Options{FS: disk}).Open("memory")
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		for i := range 8 {
			enqueue(t, q, mail(fmt.Sprintf("to@x%d.test", i)))
		}
		ids := make(map[queue.ID]bool)
		for _, task := range held(t, q) {
			ids[task.ID] = true
		}

		type crash struct {
			name   string
			disk   *crashfs.FS[spool.File]
			posted map[queue.ID]bool
		}
		var mu sync.Mutex
		var crashes []crash
		posted := make(map[queue.ID]bool) // by the message that the event is about
		rnd := rand.New(rand.NewPCG(1, 2))
		disk.Before = func(op string, names ...string) error {
			mu.Lock()
			defer mu.Unlock()
			for _, kind := range append(slices.Clone(crashfs.Kinds), "random", "random", "random") {
				name := fmt.Sprintf("%s before write %d, %s %q", kind, len(crashes), op, names)
				crashes = append(crashes, crash{name, disk.After(kind, rnd), maps.Clone(posted)})
			}
			return nil
		}
		stop := start(t, &Runner{Queue: q,
			Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
				if job, _ := smtp.JobOf(ctx); env.From == "" {
					mu.Lock()
					defer mu.Unlock()
					posted[queue.ID(job.Ref)] = true
				}
				return answer(env, smtp.Delivered, 250)
			}),
			Outbox: func(_ context.Context, events []Event) ([]queue.Message, error) {
				m := eventMail("delivered")
				m.Ref = string(events[0].Task.ID)
				return []queue.Message{m}, nil
			},
		})
		sleep(time.Minute)
		stop()
		disk.Before = nil
		wantEmpty(t, q)
		between := 0 // crashes at which an event waits
		for _, c := range crashes {
			q, err := (&spool.Options{FS: c.disk}).Open("memory")
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
				continue
			}
			there, event := make(map[queue.ID]bool), make(map[queue.ID]bool)
			for _, task := range held(t, q) {
				if task.About != "" {
					event[task.About] = true
				} else {
					there[task.ID] = true
				}
			}
			q.Close()
			between += min(len(event), 1)
			for id := range ids {
				switch {
				case there[id] && event[id]:
					t.Errorf("%s: message %s isn't settled, and has an event", c.name, id)
				case there[id] && c.posted[id]:
					t.Errorf("%s: message %s isn't settled, and its event was posted", c.name, id)
				case !there[id] && !event[id] && !c.posted[id]:
					t.Errorf("%s: message %s has left, and its event is lost", c.name, id)
				}
			}
		}
		if len(crashes) < 50 || between < 5 {
			t.Errorf("got %d crashes, an event waits at %d of them: too few", len(crashes), between)
		}
		t.Logf("%d crashes, an event waits at %d of them", len(crashes), between)
	})
}
