package delivery

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestDeadLetter has mail from the null reverse-path fail: what is a report is passed on once, with its cause.
func TestDeadLetter(t *testing.T) {
	tests := []struct {
		name   string
		change func(*queue.Message)
		reject bool
		fails  int // calls of DeadLetter that return an error
		panics bool
		want   int // calls
	}{
		{name: "rejected", reject: true, want: 1},
		{name: "expired", want: 1},
		{name: "expired, never tried again", change: func(m *queue.Message) { m.Deadline = time.Now().Add(time.Millisecond) }, want: 1},
		{name: "no report", change: func(m *queue.Message) { m.About = "" }, reject: true},
		{name: "rejected, and the func fails", reject: true, fails: 2, want: 3},
		{name: "expired, and the func fails", fails: 2, want: 3},
		{name: "the func fails for ever", fails: 1e9, want: 1 + 72},
		{name: "the func panics", reject: true, fails: 1, panics: true, want: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := mem.New()
				m := mail("from@sender.test")
				m.Envelope.From, m.About, m.Deadline = "", "original", time.Now().Add(24*time.Hour)
				m.Body = strings.NewReader("a report")
				if tt.change != nil {
					tt.change(&m)
				}
				enqueue(t, q, m)
				calls := 0
				start(t, &Runner{
					Queue: q, Report: reporter,
					Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
						if tt.reject {
							return answer(env, smtp.Rejected, 550)
						}
						return answer(env, smtp.Deferred, 451)
					}),
					DeadLetter: func(_ context.Context, o Occasion) error {
						calls++
						content, err := io.ReadAll(smtp.NewReader(o.Content))
						if err != nil || string(content) != "a report" || o.Task.About != "original" || o.Results[0].Reply == nil {
							t.Errorf("got %q, %v, %+v, want the report and its cause", content, err, o)
						}
						if calls > tt.fails {
							return nil
						}
						if tt.panics {
							panic("no room")
						}
						return errors.New("no room")
					},
				})
				sleep(10 * 24 * time.Hour)
				if calls != tt.want {
					t.Errorf("got %d calls, want %d", calls, tt.want)
				}
				wantEmpty(t, q)
			})
		})
	}
}

// TestDeadLetterOnce has the queue fail at the commit: it is repeated, and the func isn't called again for that.
func TestDeadLetterOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := mem.New()
		q := &faulty{Queue: inner, left: 3}
		m := mail("from@sender.test")
		m.Envelope.From, m.About = "", "original"
		enqueue(t, inner, m)
		calls := 0
		start(t, &Runner{
			Queue: q, Report: reporter,
			Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
				return answer(env, smtp.Rejected, 550)
			}),
			DeadLetter: func(context.Context, Occasion) error { calls++; return nil },
		})
		sleep(time.Hour)
		if calls != 1 || q.left != 0 {
			t.Errorf("got %d calls and %d faults left, want 1 and none", calls, q.left)
		}
		wantEmpty(t, inner)
	})
}

// faulty is a Queue whose Settle fails some times.
type faulty struct {
	queue.Queue
	left int
}

func (f *faulty) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	if f.left > 0 {
		f.left--
		return errFault
	}
	return f.Queue.Settle(ctx, l, s)
}
