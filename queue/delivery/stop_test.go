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
		{"slow", 0, take(time.Hour), 10 * time.Second, 2, 0, 10 * time.Second, ""},
		{"grace of its own", time.Minute, take(time.Hour), time.Minute, 2, 0, time.Minute, ""},
		{"no grace", -1, take(5 * time.Second), 0, 2, 0, 0, ""},
		{"late to notice", 0, func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			time.Sleep(15 * time.Second)
			return cutShort(env)
		}, 13 * time.Second, 2, 0, 13 * time.Second, ""},
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
		}, 10 * time.Second, 1, 1, 10 * time.Second, "delivered a@x.test 250\ndeferred b@x.test 451"},
		{"may be delivered", 0, func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			<-ctx.Done()
			return append(answer(env, smtp.Unknown, 451)[:1], cutShort(env)[1:]...)
		}, 10 * time.Second, 2, 1, 10 * time.Second, "unknown a@x.test 451\ndeferred b@x.test 451"},
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
				if got := left[0].Due.Sub(begun); got < tt.at*9/10 || got > tt.at*11/10 {
					t.Errorf("got it due %v after the stop, want %v", got, tt.at)
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
		sleep(7 * time.Second) // two rounds of 20 are done and one has begun
		stop()
		if got := len(held(t, q)); got != 940 {
			t.Errorf("got %d messages left, want 940", got)
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
	synctest.Test(t, func(t *testing.T) {
		q := &faultyQueue{Queue: mem.New(), fail: func(op string) error {
			if op == "settle" {
				return errFault
			}
			return nil
		}}
		enqueue(t, q, mail("to@x.test"))
		stop := start(t, &Runner{Queue: q, Sender: take(0)})
		sleep(time.Hour)
		begun := time.Now()
		stop()
		if got, want := time.Since(begun), defaultGrace+settleTime; got != want {
			t.Errorf("got a stop in %v, want %v", got, want)
		}
		if got := len(held(t, q)); got != 1 {
			t.Errorf("got %d messages left, want 1", got)
		}
	})
}

func TestRunnerRunErrors(t *testing.T) {
	q, sender := mem.New(), take(0)
	closed := &faultyQueue{Queue: q, fail: func(string) error { return queue.ErrClosed }}
	tests := []struct {
		name   string
		runner Runner
		want   string
	}{
		{"no queue", Runner{Sender: sender}, errNoQueue.Error()},
		{"no sender", Runner{Queue: q}, "queue: runner: Sender is nil"},
		{"negative", Runner{Queue: q, Sender: sender, Concurrency: -1}, "queue: runner: Concurrency, Lease or Events.Buffer is negative"},
		{"retry at once", Runner{Queue: q, Sender: sender, Retry: []time.Duration{0}}, "queue: runner: Retry or RetryAfter has 0s: it must be positive"},
		{"closed", Runner{Queue: closed, Sender: sender}, "queue: runner: list: queue: closed"},
	}
	for i := range tests {
		tt := &tests[i]
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.runner.Run(t.Context()); err == nil || err.Error() != tt.want {
				t.Errorf("got error %v, want %s", err, tt.want)
			}
		})
	}
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
