package delivery

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
)

// sharer makes the transactions in which a Runner shares limits with others: see shareTurn. It has a goroutine of its
// own, since the loop may wait for the Queue for long.
type sharer struct {
	l      *runnerLoop
	q      queue.Sharer
	signal chan struct{} // has one element if a turn may be due sooner than was known
	end    context.CancelFunc
	ended  chan struct{}
	expiry *time.Timer // cuts off what isn't covered any more
}

// shareTimeout bounds a transaction.
const shareTimeout = 5 * time.Second

// startSharing starts the goroutine. ctx is for the Queue.
func (l *runnerLoop) startSharing(ctx context.Context) {
	q, ok := l.r.Queue.(queue.Sharer)
	if !ok {
		return
	}
	ctx, end := context.WithCancel(ctx)
	s := &sharer{l: l, q: q, signal: make(chan struct{}, 1), end: end, ended: make(chan struct{})}
	s.expiry = time.AfterFunc(longestSleep, s.expire)
	l.sharer = s
	go s.run(ctx)
}

// run makes turns until ctx ends.
func (s *sharer) run(ctx context.Context) {
	defer close(s.ended)
	timer := time.NewTimer(longestSleep)
	defer timer.Stop()
	for ctx.Err() == nil {
		var t *shareTurn
		at := int64(never)
		now := s.l.r.time()
		s.l.locked(func(m *machine) {
			if t = m.beginShare(now); t == nil {
				at = m.shareAt() - m.mono
			}
		})
		if t != nil {
			s.turn(ctx, t)
			continue
		}
		timer.Stop()
		if at != never {
			timer.Reset(time.Duration(max(at, 0)))
		}
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.signal:
		}
	}
}

// wake notes that a turn may be due sooner.
func (s *sharer) wake() {
	select {
	case s.signal <- struct{}{}:
	default:
	}
}

// turn makes one transaction.
func (s *sharer) turn(ctx context.Context, t *shareTurn) {
	err := s.share(ctx, t.names(), func(now time.Time, records map[string][]byte) error {
		return t.apply(now, s.mono(), records)
	})
	now := s.l.r.time()
	var cut []*flight
	failed := false
	s.l.locked(func(m *machine) {
		failed = err != nil && m.shared.failed == nil
		cut = m.endShare(t, err, now)
		s.expiry.Reset(time.Duration(m.shared.renewed + permitTime - m.mono))
	})
	cutOff(cut)
	if failed && ctx.Err() == nil {
		s.l.logger.LogAttrs(ctx, slog.LevelWarn, "limits can't be shared with other Runners", slog.Any("err", err))
	}
	s.l.inbox.ring()
}

// mono is the time on the machine's clock.
func (s *sharer) mono() int64 { return int64(s.l.r.time().Sub(s.l.machine.base)) }

// share calls the Queue.
func (s *sharer) share(ctx context.Context, names []string, f func(time.Time, map[string][]byte) error) error {
	ctx, cancel := context.WithTimeout(ctx, shareTimeout)
	defer cancel()
	last := errors.New("Queue.Share has returned nil, and hasn't called its func")
	err := s.l.r.call(ctx, "Queue.Share", nil, func() error {
		return s.q.Share(ctx, names, func(now time.Time, records map[string][]byte) error {
			last = f(now, records)
			return last
		})
	})
	return cmp.Or(err, last)
}

// expire cuts off what isn't covered any more.
func (s *sharer) expire() {
	var cut []*flight
	now := s.l.r.time()
	s.l.locked(func(m *machine) {
		m.at(now)
		cut = m.cutUncovered()
	})
	cutOff(cut)
}

// stop ends the goroutine, and gives back what this Runner has. Nothing of it may be in flight.
func (s *sharer) stop(ctx context.Context) {
	s.end()
	<-s.ended
	s.expiry.Stop()
	var sh *sharing
	s.l.locked(func(m *machine) { sh = m.shared })
	if sh.me == 0 && sh.tried == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	err := s.share(ctx, []string{membersRecord}, func(_ time.Time, records map[string][]byte) error {
		return sh.leave(records)
	})
	if err != nil && !over(err) {
		s.l.logger.LogAttrs(ctx, slog.LevelWarn, "shared limits are free for other Runners only in 30 seconds",
			slog.Any("err", err))
	}
}

// cutter ends an attempt whose permit has ended.
type cutter struct {
	mu     sync.Mutex
	is     bool
	cancel context.CancelCauseFunc // nil: it hasn't begun
}

// arm notes how to end the attempt.
func (c *cutter) arm(cancel context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel = cancel; c.is {
		cancel(nil)
	}
}

// isCut reports whether the attempt was ended.
func (c *cutter) isCut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.is
}

// cutOff ends attempts.
func cutOff(flights []*flight) {
	for _, f := range flights {
		f.cutter.mu.Lock()
		if f.cutter.is = true; f.cutter.cancel != nil {
			f.cutter.cancel(nil)
		}
		f.cutter.mu.Unlock()
	}
}
