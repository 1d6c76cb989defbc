package delivery

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
)

// leaseKeeper renews the lease of a task while it is sent and settled.
type leaseKeeper struct {
	r    *Runner
	task *queue.Task
	term time.Duration

	mu      sync.Mutex
	timer   *time.Timer
	until   time.Time     // when the lease ends unless it is renewed
	busy    chan struct{} // closed when the renewal that is being made is over; nil: none is
	stopped bool
}

// keep begins with it. lost is called, at most once, if the lease can't be kept.
func (k *leaseKeeper) keep(ctx context.Context, lost context.CancelCauseFunc) {
	k.mu.Lock() // the timer may be over at once
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(k.until.Sub(k.r.time())-k.term*2/3, func() { k.renew(ctx, lost) })
}

// expires is when the lease ends if it isn't renewed any more.
func (k *leaseKeeper) expires() time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.until
}

// stop ends the renewals and waits for one that is being made.
func (k *leaseKeeper) stop() {
	k.mu.Lock()
	k.stopped = true
	k.timer.Stop()
	busy := k.busy
	k.mu.Unlock()
	if busy != nil {
		<-busy
	}
}

func (k *leaseKeeper) renew(ctx context.Context, lost context.CancelCauseFunc) {
	k.mu.Lock()
	if k.stopped {
		k.mu.Unlock()
		return
	}
	busy, until := make(chan struct{}), k.until
	k.busy = busy
	k.mu.Unlock()
	defer close(busy)

	begun := k.r.time()
	err := k.extend(ctx, until)
	now := k.r.time()

	k.mu.Lock()
	defer k.mu.Unlock()
	k.busy = nil
	wait := begun.Add(k.term / 3).Sub(now)
	switch {
	case err == nil:
		k.until = begun.Add(k.term)
	case errors.Is(err, queue.ErrLeaseLost), over(err), !now.Before(until):
		lost(err)
		return
	default: // until the lease ends there is time for some more tries
		wait = min(k.term/12, until.Sub(now))
	}
	if !k.stopped {
		k.timer.Reset(wait)
	}
}

// extend asks the queue, at most until the lease ends.
func (k *leaseKeeper) extend(ctx context.Context, until time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, until.Sub(k.r.time()))
	defer cancel()
	err := k.r.callQueue(ctx, "Queue.Extend", k.task, func() error {
		return k.r.Queue.Extend(ctx, k.task.Lease, k.term)
	})
	if err != nil {
		k.r.logger().LogAttrs(ctx, slog.LevelWarn, "lease isn't renewed", taskAttrs(k.task, slog.Any("err", err))...)
	}
	return err
}
