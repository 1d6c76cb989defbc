package delivery

import (
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
)

const (
	// stepSize is the largest change of the wall clock, against the monotonic clock, that is no step.
	stepSize = time.Minute

	// doubtTime is how long the wall clock is doubted after a step.
	doubtTime = time.Hour

	// skew is how far the clocks of a Queue and a Runner may differ.
	skew = time.Minute
)

// clock compares the wall clock with the monotonic clock. When the wall clock steps, nobody knows yet which of the two
// times was right: for an hour nothing expires, and no delay notice goes out. After that the new time is believed.
//
// A machine that slept looks like a step forward.
type clock struct {
	mu    sync.Mutex
	ref   time.Time // a reading of both clocks, at most an hour old at the last look
	until time.Time // the end of the doubt, by the monotonic clock; zero: there never was one
	steps int       // how many there were
}

// look takes in a reading of both clocks. It returns the end of the doubt, by the wall clock, or the zero time if there
// is none, and how many steps there were until now.
func (c *clock) look(now time.Time) (doubt time.Time, steps int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ref.IsZero() {
		c.ref = now
	}
	elapsed := now.Sub(c.ref) // by the monotonic clock
	stepped := (now.Round(0).Sub(c.ref.Round(0)) - elapsed).Abs() > stepSize
	if stepped {
		c.until = now.Add(doubtTime)
		c.steps++
	}
	if stepped || elapsed > time.Hour {
		c.ref = now
	}
	if left := c.until.Sub(now); !c.until.IsZero() && left > 0 {
		return now.Round(0).Add(left), c.steps
	}
	return time.Time{}, c.steps
}

// time reads both clocks.
func (r *Runner) time() time.Time {
	if r.now != nil {
		return r.now()
	}
	return time.Now()
}

// doubt returns until when the wall clock is doubted, the zero time if it isn't.
func (r *Runner) doubt(now time.Time) time.Time {
	doubt, _ := r.clock.look(now)
	return doubt
}

// doubted returns the task as it is dealt with while the clock is doubted: neither its notice nor its deadline has
// come, and it isn't attempted before it is due.
func doubted(t queue.Task) queue.Task {
	t.NoticeAt, t.Deadline = time.Time{}, time.Time{}
	t.NotBefore = later(t.NotBefore, t.Due)
	return t
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
