package delivery

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

func TestRunnerStop(t *testing.T) {
	// Sends that have begun when Run is told to stop. Two seconds of them are over by then.
	tests := []struct {
		name     string
		grace    time.Duration
		send     senderFunc
		took     time.Duration // of the stop
		left     int           // recipients
		attempts int           // that count
		at       time.Duration // when it's due, from the stop
		events   string
	}{
		{"quick", 0, take(5 * time.Second), 3 * time.Second, 0, 0, 0, "delivered a@x.test 250\ndelivered b@x.test 250"},
		{"slow", 0, take(time.Hour), 10 * time.Second, 2, 0, 0, ""},
		{"grace of its own", time.Minute, take(time.Hour), time.Minute, 2, 0, 0, ""},
		{"no grace", -1, take(5 * time.Second), 0, 2, 0, 0, ""},
		{"late to notice", 0, func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			time.Sleep(15 * time.Second)
			return cutShort(env)
		}, 13 * time.Second, 2, 0, 0, ""},
		{"late, but delivered", 0, func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			time.Sleep(15 * time.Second)
			return answer(env, smtp.Delivered, 250)
		}, 13 * time.Second, 0, 0, 0, "delivered a@x.test 250\ndelivered b@x.test 250"},
		{"deaf, but delivered", 0, func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			time.Sleep(time.Minute)
			return answer(env, smtp.Delivered, 250)
		}, 58 * time.Second, 0, 0, 0, "delivered a@x.test 250\ndelivered b@x.test 250"},
		{"half delivered", 0, func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			<-ctx.Done()
			return append(answer(env, smtp.Delivered, 250)[:1], cutShort(env)[1:]...)
		}, 10 * time.Second, 1, 1, 0, "delivered a@x.test 250\ndeferred b@x.test 451"},
		{"may be delivered", 0, func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			<-ctx.Done()
			return append(answer(env, smtp.Unknown, 451)[:1], cutShort(env)[1:]...)
		}, 10 * time.Second, 2, 1, 0, "unknown a@x.test 451\ndeferred b@x.test 451"},
		{"deferred by the host", -1, func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			<-ctx.Done()
			return answer(env, smtp.Deferred, 450)
		}, 0, 2, 1, time.Hour, "deferred a@x.test 450\ndeferred b@x.test 450"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // it fails if a goroutine is left
				q := mem.New()
				enqueue(t, q, mail("a@x.test", "b@x.test"))
				j := new(journal)
				stop := start(t, &Runner{
					Queue: q, Sender: tt.send, Grace: tt.grace, Events: j.events(), Retry: []time.Duration{time.Hour},
				})
				sleep(2 * time.Second)
				begun := time.Now()
				stop()
				if got := time.Since(begun); got != tt.took {
					t.Errorf("got a stop in %v, want %v", got, tt.took)
				}
				if got := j.all(); got != tt.events {
					t.Errorf("got events\n%s\nwant\n%s", got, tt.events)
				}
				left := held(t, q)
				if tt.left == 0 {
					wantEmpty(t, q)
					return
				}
				if len(left) != 1 || len(left[0].Envelope.Recipients) != tt.left || left[0].Attempts != tt.attempts {
					t.Fatalf("got %+v left, want one task of %d recipients with %d attempts", left, tt.left, tt.attempts)
				}
				due, want := left[0].Due.Sub(begun), tt.at
				if atOnce := left[0].Due.Equal(left[0].Arrival); atOnce != (want == 0) || want > 0 && (due < want*9/10 || due > want*11/10) {
					t.Errorf("got it due %v after the stop, at once: %v; want %v, 0 is at once", due, atOnce, want)
				}
				// Another Run finds it.
				start(t, &Runner{Queue: q, Sender: take(0)})
				sleep(2 * time.Hour)
				wantEmpty(t, q)
			})
		})
	}
}

// TestRunnerStopMany stops a Runner with more mail than it has places.
func TestRunnerStopMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		for range 1000 {
			enqueue(t, q, mail("to@x.test"))
		}
		j := new(journal)
		stop := start(t, &Runner{Queue: q, Sender: take(3 * time.Second), Events: j.events(), Site: all20})
		// At first, nothing is known of the site and of the owner, which has half of four fifths of the places. There are
		// 20 of those, 40 and 60. So 8, 8 and 4 are sent, a second apart. Each that ends makes room for one: so it goes on.
		sleep(6500 * time.Millisecond)
		stop()
		if got := len(held(t, q)); got != 1000-8-8-4-8-8-4-8 {
			t.Errorf("got %d messages left, want 952", got)
		}
		for _, task := range held(t, q) {
			if task.Attempts != 0 || task.Due.After(time.Now()) {
				t.Fatalf("got a task with %d attempts, due %v; want it as it came", task.Attempts, task.Due)
			}
		}
	})
}

// TestRunnerStopQueueFails stops a Runner whose queue takes no settlement any more.
func TestRunnerStopQueueFails(t *testing.T) {
	for _, tt := range []struct{ timeout, want time.Duration }{{0, 20 * time.Second}, {time.Second, 11 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			q := &faultyQueue{Queue: mem.New(), fail: func(op string) error {
				if op == "settle" {
					return errFault
				}
				return nil
			}}
			enqueue(t, q, mail("to@x.test"))
			stop := start(t, &Runner{Queue: q, Sender: take(0), SettleTimeout: tt.timeout})
			sleep(time.Hour)
			begun := time.Now()
			stop()
			if got := time.Since(begun); got != tt.want {
				t.Errorf("SettleTimeout %v: got a stop in %v, want %v", tt.timeout, got, tt.want)
			}
			if got := len(held(t, q)); got != 1 {
				t.Errorf("got %d messages left, want 1", got)
			}
		})
	}
}

func TestRunnerRunErrors(t *testing.T) {
	q, sender := mem.New(), take(0)
	closed := &faultyQueue{Queue: q, fail: func(string) error { return queue.ErrClosed }}
	const negative, count = "it must be positive, or zero for the default", "-1: "
	hourly := Rate{1, time.Hour}
	tests := []struct {
		name   string
		change func(r *Runner)
		want   string
	}{
		{"no queue", func(r *Runner) { r.Queue = nil }, "Queue is nil: set it, or give the Runner to a Relay"},
		{"no sender", func(r *Runner) { r.Sender = nil }, "Sender is nil: set it, or give the Runner to a Relay"},
		{"concurrency", func(r *Runner) { r.Concurrency = -1 }, "Concurrency is " + count + negative},
		{"initial", func(r *Runner) { r.Initial = -1 }, "Initial is " + count + negative},
		{"buffer", func(r *Runner) { r.Events.Buffer = -1 }, "Events.Buffer is " + count + negative},
		{"poll", func(r *Runner) { r.PollInterval = -1 }, "PollInterval is -1ns: " + negative},
		{"probe", func(r *Runner) { r.MaxProbeWait = -1 }, "MaxProbeWait is -1ns: " + negative},
		{"lease", func(r *Runner) { r.Lease = -1 }, "Lease is -1ns: " + negative},
		{"settle", func(r *Runner) { r.SettleTimeout = -1 }, "SettleTimeout is -1ns: " + negative},
		{"site concurrency", func(r *Runner) { r.Site.Concurrency = -1 }, "Site.Concurrency is " + count + negative},
		{"site initial", func(r *Runner) { r.Site.Initial = -1 }, "Site.Initial is " + count + negative},
		{"site rate", func(r *Runner) { r.Site.Rate.Per = time.Hour },
			"Site.Rate is {Messages: 0, Per: 1h0m0s}: both must be positive, or both zero for no limit"},
		{"source rate", func(r *Runner) { r.Source, r.Tenant = Rate{1, -time.Hour}, hourly },
			"Source is {Messages: 1, Per: -1h0m0s}: both must be positive, or both zero for no limit"},
		{"tenant rate", func(r *Runner) { r.Source, r.Tenant = hourly, Rate{-1, time.Hour} },
			"Tenant is {Messages: -1, Per: 1h0m0s}: both must be positive, or both zero for no limit"},
		{"retry at once", func(r *Runner) { r.Retry = []time.Duration{1, 0} }, "Retry[1] is 0s: it must be positive"},
		{"retry at once after", func(r *Runner) { r.RetryAfter = map[smtp.Reason][]time.Duration{smtp.Greylisted: {-1}} },
			"RetryAfter[greylisted][0] is -1ns: it must be positive"},
		{"no reason", func(r *Runner) { r.RetryAfter = map[smtp.Reason][]time.Duration{smtp.NoReason: {1}} },
			"RetryAfter has the key smtp.NoReason: use smtp.Other, as which it counts"},
		{"unknown reason", func(r *Runner) { r.RetryAfter = map[smtp.Reason][]time.Duration{200: {1}} },
			"RetryAfter has the key reason-200: there is no such Reason"},
		{"replies", func(r *Runner) {
			r.Replies = &replies.Classifier{Rules: []replies.Rule{{Name: "mine", Reason: smtp.Other, Codes: []int{250}}}}
		},
			`Replies: replies: rule "mine": Codes has 250: want 400 to 599, or 4 or 5 for all of a class`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &Runner{Queue: q, Sender: sender}
			tt.change(r)
			err := r.Check()
			if err == nil || err.Error() != "delivery: "+tt.want {
				t.Errorf("got error %v, want delivery: %s", err, tt.want)
			}
			if got := r.Run(t.Context()); got == nil || got.Error() != err.Error() {
				t.Errorf("Run: got error %v, want %v", got, err)
			}
		})
	}
	t.Run("all set", func(t *testing.T) {
		r := &Runner{
			Queue: q, Sender: sender, Grace: -1, Concurrency: 1, Initial: 2, PollInterval: 1, MaxProbeWait: 1, Lease: 1, SettleTimeout: 1,
			Site: SiteLimits{Concurrency: 1, Initial: 2, Rate: hourly}, Source: hourly, Tenant: hourly, Retry: []time.Duration{1},
			RetryAfter: map[smtp.Reason][]time.Duration{smtp.UserUnknown: {1}, smtp.Other: nil}, Events: Events{Buffer: 1},
		}
		if err := r.Check(); err != nil {
			t.Errorf("got error %v, want nil", err)
		}
	})
	t.Run("closed", func(t *testing.T) {
		err := (&Runner{Queue: closed, Sender: sender}).Run(t.Context())
		if want := "delivery: flush: queue: closed"; !errors.Is(err, queue.ErrClosed) || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	})
	t.Run("ended before it began", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		q := &faultyQueue{Queue: mem.New()}
		r := &Runner{Queue: q, Sender: sender}
		if err := r.Run(ctx); err != nil || q.lists.Load() != 0 {
			t.Errorf("got error %v and %d lists, want none", err, q.lists.Load())
		}
	})
	t.Run("twice", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &Runner{Queue: mem.New(), Sender: sender}
			stop := start(t, r)
			synctest.Wait()
			if err := r.Run(t.Context()); err == nil {
				t.Error("got no error from a second Run, want one")
			}
			stop()
			start(t, r) // one after the other is well
		})
	})
}

// TestRunnerClosedLater has the queue closed while mail is sent: Run ends, with the send.
func TestRunnerClosedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var closed atomic.Bool
		q := &faultyQueue{Queue: mem.New()}
		q.fail = func(op string) error {
			if closed.Load() {
				return queue.ErrClosed
			}
			return nil
		}
		enqueue(t, q, mail("to@x.test"))
		done := make(chan error)
		go func() {
			done <- (&Runner{Queue: q, Sender: take(5 * time.Second)}).Run(context.Background())
		}()
		sleep(3 * time.Second)
		closed.Store(true)
		enqueue(t, q, mail("to@x.test"))
		if err := <-done; !errors.Is(err, queue.ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}
