package delivery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// settling is a Mem whose first calls of Settle fail, before or after they have stored something. It notes what the
// others store.
type settling struct {
	*mem.Queue
	mu            sync.Mutex // a message and its event may settle at a time
	before, after int
	stored        []queue.Settlement
}

func (q *settling) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.before--; q.before >= 0 {
		return errFault
	}
	err := q.Queue.Settle(ctx, l, s)
	if err != nil {
		return err
	}
	q.stored = append(q.stored, s)
	if q.after--; q.after >= 0 {
		return errFault
	}
	return nil
}

// eventMail is a message of Outbox.
func eventMail(body string) queue.Message {
	m := mail("events@hook.test")
	m.Envelope.From, m.Body = "", strings.NewReader(body)
	return m
}

// TestOutbox has an outcome and its event in one commit, whatever fails: no event is lost, and none is about what was
// not recorded, or about an event.
func TestOutbox(t *testing.T) {
	tests := []struct {
		name          string
		before, after int              // Settles that fail
		outbox        func(n int) bool // whether the n-th call fails; nil: none does
		panics        bool
		change        func(*queue.Message)
		want          string // what is recorded of the message: its outcome, and the events beside
		logged        string
	}{
		{name: "in order", want: "delivered: delivered"},
		{name: "Settle fails thrice", before: 3, want: "delivered: delivered"},
		{name: "Settle fails ten times", before: 10, want: "delivered: delivered"},
		{name: "Settle has stored it, and fails", after: 1, want: "delivered: delivered"},
		{name: "Outbox fails thrice", outbox: func(n int) bool { return n <= 3 }, want: "delivered: delivered"},
		{name: "Outbox fails for ever", outbox: func(int) bool { return true }, want: "delivered:", logged: "outbox fails"},
		{name: "Outbox panics", outbox: func(int) bool { return true }, panics: true, want: "delivered:", logged: "Outbox panics"},
		{name: "no recipient", change: func(m *queue.Message) { m.Envelope.Recipients = nil }, want: "delivered:", logged: "no recipient"},
		{name: "no destination", change: func(m *queue.Message) { m.Destinations = nil }, want: "delivered:", logged: "0 Destinations"},
		{name: "a reserved one", change: func(m *queue.Message) { m.Destinations[0] = queue.ReportDestination }, want: "delivered:", logged: "reserved"},
		{name: "no body", change: func(m *queue.Message) { m.Body = nil }, want: "delivered:", logged: "Body is nil"},
		{name: "a key", change: func(m *queue.Message) { m.Key = "k" }, want: "delivered:", logged: "leave the Key empty"},
		{name: "over at once", change: func(m *queue.Message) { m.NotBefore = m.Deadline }, want: "delivered:", logged: "later Deadline"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &settling{Queue: mem.New(), before: tt.before, after: tt.after}
				var log lockedText
				calls := 0 // by the attempt of the one message
				var posted atomic.Int64
				start(t, &Runner{
					Queue: q, Logger: textLogger(&log),
					Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
						if env.Recipients[0].Address == "events@hook.test" {
							posted.Add(1)
						}
						return answer(env, smtp.Delivered, 250)
					}),
					Outbox: func(_ context.Context, events []Event) (messages []queue.Message, err error) {
						calls++
						if tt.outbox != nil && tt.outbox(calls) {
							if tt.panics {
								panic("no")
							}
							return nil, fmt.Errorf("no: %w", queue.ErrSettled) // which isn't one of Settle
						}
						for _, e := range events {
							m := eventMail(string(e.Type))
							m.Deadline = time.Now().Add(time.Hour)
							if tt.change != nil {
								tt.change(&m)
							}
							if e.Task.About != "" || e.Time.IsZero() {
								t.Errorf("got an event %+v", e)
							}
							messages = append(messages, m)
						}
						return messages, nil
					},
				})
				enqueue(t, q, mail("a@x.test"))
				sleep(10 * time.Minute)
				wantEmpty(t, q)
				var got []string
				events := 0
				for _, s := range q.stored {
					line := ":"
					for _, res := range s.Results {
						line = res.Outcome.String() + line
						if res.Recipient == "events@hook.test" {
							events++
							line = ""
						}
					}
					for _, m := range s.Reports {
						body := make([]byte, 20)
						n, _ := m.Body.(*strings.Reader).ReadAt(body, 0)
						line += " " + string(body[:n])
					}
					if line != "" {
						got = append(got, line)
					}
				}
				if strings.Join(got, "\n") != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if want := strings.Count(tt.want, " "); posted.Load() != int64(want) || events != want {
					t.Errorf("got %d events sent, %d of them settled, want %d", posted.Load(), events, want)
				}
				if text := log.take(); !strings.Contains(text, tt.logged) {
					t.Errorf("got the log %s, want %q in it", text, tt.logged)
				}
			})
		})
	}
}

// TestOutboxRemoved: Cancel and Purge store what Outbox returns about them, and remove nothing if it fails.
func TestOutboxRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		var fail error
		r := &Runner{Queue: q, Sender: senderFunc(nil), Report: reporter,
			Outbox: func(_ context.Context, events []Event) (messages []queue.Message, err error) {
				for _, e := range events {
					messages = append(messages, eventMail(string(e.Type)))
				}
				return messages, fail
			}}
		for _, remove := range []func() (int, error){
			func() (int, error) { return r.Purge(t.Context(), queue.Filter{Sender: "from@sender.test"}) },
			func() (int, error) { return r.Cancel(t.Context(), queue.Filter{Sender: "from@sender.test"}, "no") },
		} {
			enqueue(t, q, mail("a@x.test"))
			fail = errors.New("no room")
			if n, err := remove(); n != 0 || err == nil || !strings.Contains(err.Error(), "no room") {
				t.Errorf("got %d, %v, want the error", n, err)
			}
			if fail = nil; len(held(t, q)) != 1 {
				t.Errorf("got %d tasks, want that of the message", len(held(t, q)))
			}
			if n, err := remove(); n != 1 || err != nil {
				t.Errorf("got %d, %v, want 1", n, err)
			}
			events := 0
			for _, task := range held(t, q) {
				if task.Destination == "hook.test" && task.About != "" {
					events++
				}
			}
			if events == 0 {
				t.Errorf("got no event, want one at least")
			}
			if n, err := r.Purge(t.Context(), queue.Filter{}); n == 0 || err != nil || len(held(t, q)) != 0 {
				t.Errorf("Purge of events: got %d, %v, and %d tasks", n, err, len(held(t, q)))
			}
		}
	})
}
