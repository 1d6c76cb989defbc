package delivery

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// watchdog knows whether the Queue records outcomes. After haltAfter failures of Settle in a row, of whatever tasks,
// the Runner sends nothing, as a crash would have all that was sent meanwhile sent again. From then on, it claims one
// task each haltProbe and hands it back without an attempt. The first outcome that is recorded ends the halt: of such a
// task, or of one that was sent before and whose Settle is repeated.
type watchdog struct {
	mu         sync.Mutex
	unrecorded int   // tasks whose Settle failed and is repeated
	failures   int   // of Settle in a row
	err        error // the last one
}

const (
	haltAfter = 3
	haltProbe = time.Minute
)

// failed notes that a Settle failed. first is true for the first one of a task.
func (w *watchdog) failed(err error, first bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures++
	w.err = err
	if first {
		w.unrecorded++
	}
}

// recorded notes that a Settle succeeded.
func (w *watchdog) recorded() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = 0
}

// over notes that a Settle that had failed isn't repeated any more.
func (w *watchdog) over() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unrecorded--
}

// state returns how many outcomes aren't recorded, and why nothing is sent, nil if mail is sent.
func (w *watchdog) state() (unrecorded int, halted error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failures >= haltAfter {
		halted = w.err
	}
	return w.unrecorded, halted
}

// halt returns how many tasks may be claimed now.
func (l *runnerLoop) halt(ctx context.Context, now time.Time) (free int) {
	unrecorded, err := l.r.watchdog.state()
	if halted := err != nil; halted != l.halted {
		l.halted = halted
		if halted {
			l.haltAt = now.Add(haltProbe)
			l.logger.LogAttrs(ctx, slog.LevelError, "sending is halted: outcomes can't be recorded",
				slog.Any("err", err), slog.Int("unrecorded", unrecorded))
		} else {
			l.logger.LogAttrs(ctx, slog.LevelInfo, "sending goes on: outcomes are recorded again")
		}
	}
	switch {
	case !l.halted:
		return l.free
	case now.Before(l.haltAt):
		return 0
	}
	l.haltAt = now.Add(haltProbe)
	return 1
}

// stuckAfter is how long a task may be in flight that isn't stuck.
const stuckAfter = time.Hour

// stuck returns how many tasks are in flight for longer.
func (m *machine) stuck() (n int) {
	for f := m.old.first; f != nil && m.mono-f.began > int64(stuckAfter); f = f.next {
		n++
	}
	return n
}
