// Package clocktest has a wall clock that a test steps, beside a monotonic clock that goes on.
package clocktest

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// Clock is a wall clock and a monotonic clock. The zero Clock shows the time of time.Now. Its readings can be compared
// with each other and with plain times, but time.Since and time.Until don't know its monotonic clock.
type Clock struct{ ahead atomic.Int64 }

// Step moves the wall clock by d, a number of whole seconds.
func (c *Clock) Step(d time.Duration) { c.ahead.Add(int64(d / time.Second)) }

// reading has the layout of a time.Time with a monotonic reading. Neither package time nor a synctest bubble, whose
// times have no such reading, can make one in which the two clocks differ. TestClock fails if the layout changes.
type reading struct {
	wall uint64 // 1 bit that is set, 33 bits of seconds since 1885, 30 bits of nanoseconds
	mono int64  // nanoseconds
	loc  *time.Location
}

const secondsTo1970 = (1970-1885)*365*86400 + 20*86400

// Now reads both clocks.
func (c *Clock) Now() time.Time {
	t := time.Now()
	r := reading{
		wall: 1<<63 | uint64(t.Unix()+secondsTo1970+c.ahead.Load())<<30 | uint64(t.Nanosecond()),
		mono: t.UnixNano(),
		loc:  time.Local,
	}
	return *(*time.Time)(unsafe.Pointer(&r))
}
