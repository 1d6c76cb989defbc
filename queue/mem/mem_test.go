package mem_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/clocktest"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/queuetest"
	"github.com/postrider/postrider/smtp"
)

func TestMem(t *testing.T) {
	clocks := map[queue.Queue]*clocktest.Clock{}
	queuetest.Run(t, queuetest.Harness{
		Open: func(*testing.T) queue.Queue {
			clock := new(clocktest.Clock)
			q := mem.NewAt(clock.Now)
			q.KeyTime, q.MaxKeys = 6*time.Hour, 500
			clocks[q] = clock
			return q
		},
		Step:     func(q queue.Queue, d time.Duration) { clocks[q].Step(d) },
		InMemory: true,
		KeyTime:  6 * time.Hour,
		MaxKeys:  500,
	})
}

// TestListErrors lists after what is no ID, and with a context that ends after the first task.
func TestListErrors(t *testing.T) {
	q := mem.New()
	for range 3 {
		m := queue.Message{Envelope: smtp.NewEnvelope("a@x.test", "b@y.test"), Destinations: []string{"y.test"}, Body: strings.NewReader("")}
		if _, err := q.Enqueue(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	list := func(ctx context.Context, f queue.Filter, first func()) (tasks int, last error) {
		for _, err := range q.List(ctx, f) {
			if last = err; err == nil {
				tasks++
			}
			first()
		}
		return tasks, last
	}
	if n, err := list(t.Context(), queue.Filter{After: "no ID"}, func() {}); n != 0 || !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("after what is no ID: got %d tasks and %v, want none and ErrNotFound", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if n, err := list(ctx, queue.Filter{}, cancel); n != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ends: got %d tasks and %v, want one and the error", n, err)
	}
	if n, err := list(ctx, queue.Filter{ID: "1"}, func() {}); n != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: got %d tasks and %v, want the error", n, err)
	}
}

// TestSettledUnannounced settles a task for good: nothing is announced, as there is nothing to claim.
func TestSettledUnannounced(t *testing.T) {
	q := mem.New()
	m := queue.Message{Envelope: smtp.NewEnvelope("a@x.test", "b@y.test"), Destinations: []string{"y.test"}, Body: strings.NewReader("")}
	if _, err := q.Enqueue(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for d, err := range q.Lanes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		tasks, err := q.Claim(t.Context(), []queue.Want{{Lane: d.Lane, Max: 1}}, time.Hour)
		if err != nil || len(tasks) != 1 {
			t.Fatalf("got %v, %v, want a task", tasks, err)
		}
		told := 0
		defer q.Watch(func(queue.Lane, time.Time) { told++ })()
		if err := q.Settle(t.Context(), tasks[0].Lease, queue.Settlement{}); err != nil || told > 0 {
			t.Errorf("got %v and %d announcements, want none", err, told)
		}
	}
}
