package spool

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
)

// space is what is known of the room on the disk. To ask at every message took a twentieth of the processor's time,
// where many come at a time.
type space struct {
	full  atomic.Bool  // but for the reserve
	since time.Time    // what asked is counted from
	asked atomic.Int64 // when, in nanoseconds
	room  atomic.Int64 // octets that may come before it is asked again
}

// spaceAge is for how long an answer is good. It is what others on the same disk may take unseen: far less than the
// reserve, for a disk that writes a gigabyte a second.
const spaceAge = 10 * time.Millisecond

// checkSpace says that the disk is full, but for the reserve. At most so many octets come next.
func (s *Spool) checkSpace(octets int) error {
	now := int64(time.Since(s.space.since))
	if s.space.room.Add(-int64(octets)) > 0 && now-s.space.asked.Load() < int64(spaceAge) {
		return nil
	}
	free, err := s.fs.Free()
	full := err == nil && free < s.config.Reserve
	s.space.full.Store(full)
	if !full {
		// The rest is for what the log takes besides, and for those who ask at once.
		s.space.room.Store((free - s.config.Reserve) / 8)
		s.space.asked.Store(now)
		return nil
	}
	s.space.room.Store(0)
	s.wakeJanitor()
	return fmt.Errorf("%d octets are free, and the last %d are for settlements and reports: %w",
		free, s.config.Reserve, syscall.ENOSPC)
}
