package delivery

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestWatchdog: while outcomes can't be recorded, nothing more is sent, and Activity says why. When they can, sending goes
// on by itself. A single task that can't be settled stops nothing.
func TestWatchdog(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fails func(settle int64) bool
		halts bool
	}{
		{"all", func(int64) bool { return true }, true},
		{"every second one", func(n int64) bool { return n%2 == 0 }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &faultyQueue{Queue: mem.New()}
				var broken atomic.Bool
				broken.Store(true)
				q.fail = func(op string) error {
					if op == "settle" && broken.Load() && tt.fails(q.settles.Load()) {
						return errFault
					}
					return nil
				}
				var sent atomic.Int64
				r := &Runner{Queue: q, Site: all20}
				r.Sender = countSends(&sent)
				for i := range 500 { // at more destinations than the tasks in flight can fill
					enqueue(t, q, mail(fmt.Sprintf("to@%d.test", i)))
				}
				start(t, r)
				sleep(10 * time.Second)
				before := sent.Load()
				a := r.Activity()
				if halted := a.Halted != nil; halted != tt.halts || tt.halts && (before > 150 || a.Unrecorded == 0) {
					t.Errorf("got it halted by %v after %d attempts, with %d unrecorded; want it halted: %v", a.Halted, before,
						a.Unrecorded, tt.halts)
				}
				claims := q.claims.Load()
				sleep(30 * time.Minute)
				if n := sent.Load() - before; tt.halts && n > 0 {
					t.Errorf("got %d attempts while halted, want none", n)
				}
				if n := q.claims.Load() - claims; tt.halts && n > 2*30 {
					t.Errorf("got %d claims in half an hour while halted, want one a minute", n)
				}
				broken.Store(false)
				sleep(5 * time.Minute)
				wantEmpty(t, q)
				if a := r.Activity(); a.Halted != nil || a.Unrecorded != 0 || sent.Load() != 500 {
					t.Errorf("in the end: got %v, %d unrecorded and %d sent; want nil, 0 and 500", a.Halted, a.Unrecorded, sent.Load())
				}
			})
		})
	}
}

// TestStuck: a task that is in flight for over an hour is counted.
func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		enqueue(t, q, mail("to@a.test"))
		r := &Runner{Queue: q, Sender: take(3 * time.Hour)}
		start(t, r)
		for _, want := range []int{0, 1} {
			sleep(59 * time.Minute)
			if got := r.Activity().Stuck; got != want {
				t.Errorf("got %d stuck, want %d", got, want)
			}
		}
	})
}

// countSends has all mail taken, and counts it.
func countSends(n *atomic.Int64) senderFunc {
	return func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
		n.Add(1)
		return answer(env, smtp.Delivered, 250)
	}
}
