package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/postrider/postrider/queue"
)

// keepTidy is the janitor: it removes what isn't needed any more, whenever it is woken.
func (s *Spool) keepTidy() {
	told := false
	for {
		select {
		case <-s.quit:
			return
		case <-s.tidy:
		}
		if !told && s.log.broken() != nil {
			told = true
			s.watch.Tell(time.Now(), queue.Lane{}) // so that a Runner asks, and gets the error
		}
		s.removeFiles()
		s.dropSpare()
		for s.compact() {
			if s.quitting() {
				return
			}
		}
		s.keepRoster(s.log.all())
		s.writeHints()
	}
}

func (s *Spool) quitting() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// writeHints writes the hints that are missing. What can't be written isn't missed: the start takes longer.
func (s *Spool) writeHints() {
	for seg := s.log.unhinted(); seg != nil && !s.quitting(); seg = s.log.unhinted() {
		seg.hinted = true
		if err := s.writeHint(seg); err != nil {
			s.config.Logger.Warn("hint wasn't written", "dir", s.dir, "file", segmentName(seg.number), "err", err)
		}
	}
}

// wakeJanitor has the janitor look whether there is something to do.
func (s *Spool) wakeJanitor() {
	select {
	case s.tidy <- struct{}{}:
	default:
	}
}

// synced wakes the janitor if files have waited for the disk.
func (s *Spool) synced() {
	if s.waiting.Load() > 0 {
		s.wakeJanitor()
	}
}

// wasteful reports whether the log's oldest segment should go: it has no message and no key any more, or the log
// is large or in many pieces for what lives in it. s.mu is held.
func (s *Spool) wasteful() bool {
	const much = 1 << 20 // for which it is worth while to copy what lives, if the disk is full
	oldest, segments, size := s.log.shape()
	live := s.alive()
	switch {
	case segments > 1 && s.isEmpty(oldest):
		return true
	case size-live < s.futile:
		return false
	case s.space.full.Load() && size > live+live/4+much:
		return true
	case segments == 1:
		return false
	case size > 2*live+s.config.SegmentSize/2: // the rest of the two segments is for what comes meanwhile
		return true
	}
	return int64(segments) > 8+2*size/s.config.SegmentSize
}

// turn is a turn of compaction through the whole log.
type turn struct {
	end          uint32 // what was the newest segment when it began
	freed, moved int64  // octets
}

// endTurn counts a segment that was freed. If a whole turn has freed hardly more than it wrote, what seems to be waste
// isn't, and more of it must come before there is another.
func (s *Spool) endTurn(seg *segment) {
	newest := s.log.last().number
	_, _, size := s.log.shape()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn.freed += seg.size
	if seg.number < s.turn.end {
		return
	}
	if s.futile = 0; s.turn.end != 0 && s.turn.moved > s.turn.freed/8*7 {
		s.futile = size - s.alive() + s.config.SegmentSize/4
	}
	s.turn = turn{end: newest}
}

// hasRoom reports whether so much can be written, and as much is left for settlements and reports that come meanwhile.
func (s *Spool) hasRoom(octets int64) bool {
	free, err := s.fs.Free()
	return err != nil || free/2 >= octets
}

// removeFiles removes the body files of messages whose end is on the disk.
func (s *Spool) removeFiles() {
	s.mu.Lock()
	var names []string
	for len(s.removed) > 0 && s.log.reached(s.removed[0].seq) {
		names = append(names, s.removed[0].name)
		s.removed = s.removed[1:]
		s.waiting.Add(-1)
	}
	s.mu.Unlock()
	for _, name := range names {
		s.fs.Remove(name) // what stays is swept when the spool is opened
	}
}

// compact does away with the oldest segment, if that is worth it, and moves what lives in it to the
// log's end. Only the oldest ever goes: what settled a message never goes before the message. It
// reports whether there may be more to do.
func (s *Spool) compact() bool {
	s.mu.Lock()
	if !s.wasteful() {
		s.mu.Unlock()
		return false
	}
	seg := s.log.oldest()
	octets := s.perSeg[seg.number].octets + int64(s.keys.InSegment(seg.number)*keyLength)
	s.mu.Unlock()
	if time.Now().Before(seg.again) || !s.hasRoom(octets) || !s.rollPast(seg) {
		return false
	}
	if !s.log.settled(seg) || !s.moveAll(seg) {
		return false
	}
	// A body whose message has ended goes before the last segment that knows of the message: a crash would leave a file
	// that isn't known to be the spool's.
	if s.waiting.Load() > 0 && s.log.sync() != nil {
		return false
	}
	s.removeFiles()
	s.keepRoster(s.log.all()[1:])
	spare := !s.log.isDamaged(seg) && s.wantsSpare(seg)
	if err := s.removeSegment(seg, spare); err != nil {
		s.postpone(seg, err)
		return false
	}
	unread := s.log.retire(seg)
	s.endTurn(seg)
	switch {
	case spare && s.log.isDamaged(seg): // as has turned out meanwhile
		s.fs.Rename(spareName(seg.number), s.keptName(segmentName(seg.number)))
	case spare && unread:
		s.keepSpare(seg)
		return true
	case spare:
		s.fs.Remove(spareName(seg.number))
	}
	if unread {
		seg.file.Close()
	}
	return true
}

// rollPast sees to it that the segment isn't written to any more.
func (s *Spool) rollPast(seg *segment) bool {
	if _, segments, _ := s.log.shape(); segments > 1 {
		return true
	}
	a := appending{record: make([]byte, recordHeaderLen), durable: true, roll: true, done: make(chan error, 1)}
	s.log.hand(&a)
	if a.wait() != nil {
		return false
	}
	s.log.applied(&a)
	return true
}

// removeSegment removes the segment's file for good, or gives it another name, before the next one's goes: what settled
// its messages may be in there.
func (s *Spool) removeSegment(seg *segment, spare bool) error {
	name := segmentName(seg.number)
	err := s.fs.Remove(hintName(seg.number))
	switch {
	case err != nil:
	case spare:
		err = s.fs.Rename(name, spareName(seg.number))
	case s.log.isDamaged(seg):
		err = s.fs.Rename(name, s.keptName(name))
	default:
		err = s.fs.Remove(name)
	}
	if err != nil {
		return err
	}
	return s.log.doubt(syncNames(s.fs))
}

// keptName returns the name under which a damaged segment is kept, which no file has.
func (s *Spool) keptName(name string) string {
	kept := name + damagedSuffix
	for n := 2; ; n++ {
		f, err := s.fs.Open(kept, false)
		if err == nil {
			f.Close()
		}
		if errors.Is(err, fs.ErrNotExist) || n > maxMissing {
			return kept
		}
		kept = fmt.Sprintf("%s.%d%s", name, n, damagedSuffix)
	}
}
