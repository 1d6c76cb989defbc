package delivery

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestMergeCancelNothing cancels a held message whose recipients are settled, and of which only a notice is owed that
// their mail was delayed: there is nothing to report, and Report isn't called for nobody.
func TestMergeCancelNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		enqueue(t, q, mail("a@x.test", "b@y.test"))
		task := claimFrom(t, q, "x.test")
		later := queue.Settlement{Results: answer(task.Envelope, smtp.Deferred, 451), Next: time.Now()}
		later.Owed, later.ReportAt = []queue.Owed{{Result: later.Results[0], Delayed: true}}, time.Now().Add(time.Hour)
		if err := q.Settle(t.Context(), task.Lease, later); err != nil {
			t.Fatal(err)
		}
		leased := []queue.Task{claimFrom(t, q, "x.test"), claimFrom(t, q, "y.test")}
		if err := q.Hold(t.Context(), task.ID); err != nil {
			t.Fatal(err)
		}
		for _, task := range leased {
			err := q.Settle(t.Context(), task.Lease, queue.Settlement{Results: answer(task.Envelope, smtp.Delivered, 250)})
			if err != nil {
				t.Fatal(err)
			}
		}
		if left := held(t, q); len(left) != 1 || left[0].Destination != queue.ReportDestination || left[0].State != queue.Held {
			t.Fatalf("got %+v left, want the report task", left)
		}
		r := &Runner{Queue: q, Report: func(_ context.Context, o Occasion) ([]queue.Message, error) {
			t.Errorf("a report about %v is to be made", o.Task.Envelope.Recipients)
			return nil, nil
		}}
		if n, err := r.Cancel(t.Context(), queue.Filter{}, "sold out"); n != 1 || err != nil {
			t.Errorf("Cancel: got %d and %v, want 1", n, err)
		}
		wantEmpty(t, q)
	})
}
