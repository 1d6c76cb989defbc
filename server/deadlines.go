package server

import (
	"cmp"
	"math"
	"time"
)

// slack: a deadline may come too soon by 1/slack of its wait.
const slack = 8

// arm sets the deadlines of a wait that begins now. A busy session waits thousands of times a second, and setting a
// deadline costs more than comparing times. So a deadline that is set already is kept in these cases:
//
//   - The read deadline is kept if it isn't after read, and if at least 7/8 of the wait, or of keepBuffers, are left. A
//     read that ends too soon is tried again.
//   - The write deadline is kept if it isn't after write, and if at least 7/8 of the wait are left.
func (c *conn) arm(now, read, write time.Time) {
	keeps := func(armed, want time.Time, most time.Duration) bool {
		wait := min(want.Sub(now), most)
		return !armed.After(want) && armed.Sub(now) >= wait-wait/slack
	}
	reads, writes := !keeps(c.armed.read, read, keepBuffers), !keeps(c.armed.write, write, math.MaxInt64)
	switch {
	case reads && writes && read.Equal(write):
		c.raw.SetDeadline(read)
	case writes && reads:
		c.raw.SetDeadline(write)
		c.raw.SetReadDeadline(read)
	case reads:
		c.raw.SetReadDeadline(read)
	case writes:
		c.raw.SetWriteDeadline(write)
	}
	if reads {
		c.armed.read = read
	}
	if writes {
		c.armed.write = write
	}
}

// shorten shortens a wait for a command that began before the server became crowded.
func (c *conn) shorten() {
	if c.rate > 0 || c.brisk || !c.srv.crowded.Load() {
		return
	}
	c.brisk = true
	c.budget -= c.limit - c.limit/hurry
	c.limit /= hurry
}

// expectCommand sets the budget for the wait for one line.
func (c *conn) expectCommand() { c.expect(cmp.Or(c.srv.CommandTimeout, defaultCommandTimeout), 0) }

// expectDrain sets the budget for the wait for the rest of a refused message.
func (c *conn) expectDrain() { c.expect(cmp.Or(c.srv.DrainTimeout, defaultDrainTimeout), 0) }

// expectData sets the budget for the wait for a message.
func (c *conn) expectData() {
	c.expect(cmp.Or(c.srv.DataTimeout, defaultDataTimeout), cmp.Or(c.srv.MinDataRate, defaultMinDataRate))
}

func (c *conn) expect(limit time.Duration, rate int) {
	if c.brisk = c.srv.crowded.Load(); c.brisk {
		limit /= hurry
	}
	c.limit, c.budget, c.rate = limit, limit, rate
}
