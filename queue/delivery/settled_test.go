package delivery

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// unsureQueue is a Mem whose Settle returns an error a number of times: on the try with this number, from 0, it has succeeded.
type unsureQueue struct {
	*mem.Queue
	succeeds, fails int
	tries           int
}

func (q *unsureQueue) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	n := q.tries
	q.tries++
	if n == q.succeeds || n >= q.fails {
		if err := q.Queue.Settle(ctx, l, s); err != nil {
			return err
		}
	}
	if n < q.fails {
		return errFault
	}
	return nil
}

// TestSettledUnknown has a Settle return an error though it has succeeded: what happened is told, once, and so is its report.
func TestSettledUnknown(t *testing.T) {
	tests := []struct {
		name            string
		reports         bool
		succeeds, fails int
		want            string
	}{
		{"at once", false, 0, 1, "rejected to@x.test 550"},
		{"after a failure", false, 1, 2, "rejected to@x.test 550"},
		{"with a report", true, 0, 1, "rejected to@x.test 550\nreported failed"},
		{"with a report that is doubted", true, reportTries, reportTries + 1, "rejected to@x.test 550\nreported failed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &unsureQueue{Queue: mem.New(), succeeds: tt.succeeds, fails: tt.fails}
				enqueue(t, q, mail("to@x.test"))
				j := new(journal)
				r := &Runner{Queue: q, Events: j.events(), Sender: senderFunc(
					func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
						return answer(env, smtp.Rejected, 550)
					})}
				r.Events.Reported = func(e Event) { j.add("reported %s", e.Kind) }
				var log strings.Builder
				r.Logger = textLogger(&log)
				if tt.reports {
					r.Report = func(context.Context, Occasion) ([]queue.Message, error) {
						report := mail("from@sender.test")
						report.Envelope.From, report.NotBefore = "", time.Now().Add(time.Hour)
						return []queue.Message{report}, nil
					}
				}
				stop := start(t, r)
				sleep(10 * time.Minute)
				if got := j.all(); got != tt.want {
					t.Errorf("got events %q, want %q", got, tt.want)
				}
				reports := 0
				if tt.reports {
					reports = 1
				}
				if tasks := held(t, q.Queue); len(tasks) != reports {
					t.Errorf("got %d tasks in the queue, want %d", len(tasks), reports)
				}
				stop()
				for _, wrong := range []string{"isn't settled", "isn't recorded", "report fails"} {
					if strings.Contains(log.String(), wrong) {
						t.Errorf("got %q logged:\n%s", wrong, log.String())
					}
				}
			})
		})
	}
}
