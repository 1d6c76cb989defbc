package delivery

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"runtime"
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

// TestDecidersPanic has each func that decides panic: its default holds, a line says so, and no lock stays locked.
func TestDecidersPanic(t *testing.T) {
	tests := []struct {
		name string
		set  func(*Runner)
	}{
		{"SiteOf", func(r *Runner) { r.SiteOf = func(context.Context, string) (Site, error) { panic("boom") } }},
		{"SiteFor", func(r *Runner) { r.SiteFor = func(string) SiteLimits { panic("boom") } }},
		{"SourceOf", func(r *Runner) { r.SourceOf = func(*queue.Task) string { panic("boom") } }},
		{"SourceFor", func(r *Runner) {
			r.SourceOf = func(*queue.Task) string { return "ip" }
			r.SourceFor = func(string) Rate { panic("boom") }
		}},
		{"TenantFor", func(r *Runner) { r.TenantFor = func(string) Rate { panic("boom") } }},
		{"Report", func(r *Runner) {
			r.ReportDelay = -1 // it isn't asked about deliveries that nobody wants to hear of otherwise
			r.Report = func(context.Context, Occasion) ([]queue.Message, error) { panic("boom") }
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := mem.New()
				m := mail("a@x.test", "b@y.test")
				m.Tenant = "shop"
				enqueue(t, q, m)
				var log strings.Builder
				r := &Runner{Queue: q, Sender: take(time.Minute), Logger: textLogger(&log)}
				tt.set(r)
				stop := start(t, r)
				sleep(time.Second)
				if got := r.Activity().InFlight; got != 2 {
					t.Errorf("got %d tasks in flight, want 2", got)
				}
				sleep(time.Minute)
				wantEmpty(t, q)
				stop()
				if want := "msg=\"" + tt.name + " panics\" panic=boom"; !strings.Contains(log.String(), want) {
					t.Errorf("got log\n%s\nwant %s", log.String(), want)
				}
			})
		})
	}
}

// TestGoexit has each func of a user end its goroutine, as t.Fatal does, the first time: nothing hangs, no lock stays
// locked, and the mail is delivered, by another Run where the first one's goroutine has ended. Tasks that such a Run had
// claimed keep their leases, and come up with further mail.
func TestGoexit(t *testing.T) {
	tests := []struct {
		name string
		set  func(r *Runner, exit func())
	}{
		{"SiteOf", func(r *Runner, exit func()) {
			r.SiteOf = func(context.Context, string) (Site, error) { exit(); return Site{}, nil }
		}},
		{"SiteFor", func(r *Runner, exit func()) { r.SiteFor = func(string) SiteLimits { exit(); return SiteLimits{} } }},
		{"SourceOf", func(r *Runner, exit func()) { r.SourceOf = func(*queue.Task) string { exit(); return "" } }},
		{"TenantFor", func(r *Runner, exit func()) { r.TenantFor = func(string) Rate { exit(); return Rate{} } }},
		{"Attempted", func(r *Runner, exit func()) { r.Events.Attempted = func(Event) { exit() } }},
		{"Delivered", func(r *Runner, exit func()) { r.Events.Delivered = func(Event) { exit() } }},
		{"Report", func(r *Runner, exit func()) {
			r.Report = func(context.Context, Occasion) ([]queue.Message, error) { exit(); return nil, nil }
		}},
		{"Logger", func(r *Runner, exit func()) { r.Logger = slog.New(badHandler{exit}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := mem.New()
				m := mail("a@x.test", "b@y.test")
				m.Tenant = "shop"
				enqueue(t, q, m)
				r := &Runner{Queue: q, Sender: take(0)}
				var exits atomic.Int64
				tt.set(r, func() {
					if exits.Add(1) == 1 {
						runtime.Goexit()
					}
				})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				run := func() (ended chan struct{}) {
					ended = make(chan struct{})
					go func() {
						defer close(ended)
						r.Run(ctx)
					}()
					return ended
				}
				ended := run()
				sleep(10 * time.Minute) // longer than a lease
				select {
				case <-ended:
					ended = run()
				default:
				}
				enqueue(t, q, mail("more@x.test"), mail("more@y.test"))
				sleep(time.Hour)
				cancel()
				<-ended
				if exits.Load() == 0 {
					t.Error("the func wasn't called")
				}
				wantEmpty(t, q)
				if r.Activity().Running {
					t.Error("got a Runner that runs, want none")
				}
			})
		})
	}
}

// badHandler is a slog.Handler that does something bad at each line.
type badHandler struct{ do func() }

func (h badHandler) Enabled(context.Context, slog.Level) bool  { h.do(); return true }
func (h badHandler) Handle(context.Context, slog.Record) error { h.do(); return nil }
func (h badHandler) WithAttrs([]slog.Attr) slog.Handler        { h.do(); return h }
func (h badHandler) WithGroup(string) slog.Handler             { h.do(); return h }

// TestLoggerPanics has the Logger panic at every call, with every kind of line: nothing else changes.
func TestLoggerPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &faultyQueue{Queue: mem.New()}
		var faults, panics atomic.Int64
		q.fail = func(string) error {
			if faults.Add(1)%5 == 0 {
				return errFault
			}
			return nil
		}
		m := mail("ok@x.test", "gone@x.test", "later@x.test")
		m.NoticeAt, m.Deadline = time.Now().Add(time.Hour), time.Now().Add(24*time.Hour)
		enqueue(t, q, m, mail("cancel@z.test"), mail("panic@y.test"))
		j := new(journal)
		r := &Runner{
			Queue: q, Events: j.events(), Lease: time.Minute,
			Logger: slog.New(badHandler{func() { panics.Add(1); panic("no log") }}),
			Report: func(_ context.Context, o Occasion) ([]queue.Message, error) {
				if o.Task.Destination == "z.test" {
					return nil, nil
				}
				return nil, errFault
			},
			SiteOf: func(context.Context, string) (Site, error) { panic("no site") },
			Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
				results := take(2*time.Minute)(ctx, env, c)
				for i, rcpt := range env.Recipients {
					switch name, _, _ := strings.Cut(rcpt.Address, "@"); name {
					case "gone":
						results[i] = answer(env, smtp.Rejected, 550)[i]
					case "later":
						results[i] = answer(env, smtp.Deferred, 451)[i]
					case "panic":
						panic("no results")
					}
				}
				return results[:len(results)-1]
			}),
		}
		r.Suspend(time.Now().Add(time.Hour), "z.test")
		stop := start(t, r)
		sleep(30 * time.Minute)
		if n, err := r.Cancel(t.Context(), queue.Filter{Destination: "z.test"}, "no"); n != 1 || err != nil {
			t.Errorf("Cancel: got %d, %v, want 1", n, err)
		}
		sleep(48 * time.Hour)
		stop()
		if panics.Load() == 0 || !strings.Contains(j.all(), "delivered ok@x.test") || !strings.Contains(j.all(), "unknown panic@y.test") {
			t.Errorf("got %d panics and events\n%s\nwant some, ok delivered and panic unknown", panics.Load(), j.all())
		}
	})
}

// panickyQueue is a Mem whose methods panic every other time.
type panickyQueue struct {
	*mem.Queue
	mu    sync.Mutex
	calls map[string]int
}

func (q *panickyQueue) call(op string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.calls[op]++; q.calls[op]%2 == 1 {
		panic("boom at " + op)
	}
}

func (q *panickyQueue) Lanes(ctx context.Context) iter.Seq2[queue.LaneDue, error] {
	return func(yield func(queue.LaneDue, error) bool) {
		q.call("Lanes")
		q.Queue.Lanes(ctx)(yield)
	}
}

func (q *panickyQueue) Claim(ctx context.Context, w []queue.Want, lease time.Duration) ([]queue.Task, error) {
	q.call("Claim")
	return q.Queue.Claim(ctx, w, lease)
}

func (q *panickyQueue) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	q.call("Settle")
	return q.Queue.Settle(ctx, l, s)
}

func (q *panickyQueue) Extend(ctx context.Context, l queue.Lease, d time.Duration) error {
	q.call("Extend")
	return q.Queue.Extend(ctx, l, d)
}

func (q *panickyQueue) Open(ctx context.Context, id queue.ID) (queue.Body, error) {
	q.call("Open")
	body, err := q.Queue.Open(ctx, id)
	return panickyBody{body}, err
}

// panickyBody panics at its Close.
type panickyBody struct{ queue.Body }

func (panickyBody) Close() error { panic("boom at Close") }

// TestQueuePanics has every method of a Queue panic every other time: the mail is delivered once.
func TestQueuePanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &panickyQueue{Queue: mem.New(), calls: make(map[string]int)}
		enqueue(t, q, mail("a@x.test"))
		var log strings.Builder
		sent := 0
		stop := start(t, &Runner{
			Queue: q, Logger: textLogger(&log), Lease: time.Minute,
			Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
				sent++
				return take(5*time.Minute)(ctx, env, c)
			}),
		})
		sleep(time.Hour)
		stop()
		wantEmpty(t, q)
		if sent != 1 {
			t.Errorf("got %d sends, want 1", sent)
		}
		for _, op := range []string{"Queue.Lanes", "Queue.Claim", "Queue.Settle", "Queue.Extend", "Queue.Open", "delivery"} {
			if want := fmt.Sprintf("msg=%q", op+" panics"); !strings.Contains(log.String(), want) {
				t.Errorf("the log has no %s:\n%s", want, log.String())
			}
		}
	})
}
