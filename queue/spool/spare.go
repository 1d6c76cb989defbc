package spool

import "fmt"

// A spare is the file of a segment that isn't needed any more. It becomes the next segment: what is written over blocks
// that a file has already is synced in half the time, as the file system has nothing to note of it.
type spareFile struct {
	File
	name string // its own: the last spare may still be on its way to become a segment
	size int64
}

func spareName(number uint32) string { return fmt.Sprintf("%010d%s", number, spareSuffix+tempSuffix) }

func (s *spareFile) remove(fs FS) {
	s.Close()
	fs.Remove(s.name)
}

// wantsSpare reports whether the segment's file should become the next one.
func (s *Spool) wantsSpare(seg *segment) bool {
	spare, sealed := s.log.spareSize()
	return spare == 0 && seg.made && seg.size >= s.config.SegmentSize/2 && s.affords(sealed)
}

// affords reports whether so much besides the segment that is written to is within bounds: a segment and twice what
// lives, of which some is for what comes meanwhile.
func (s *Spool) affords(octets int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.space.full.Load() && octets <= s.live+s.config.SegmentSize
}

// keepSpare makes a spare of the file, which nobody else has.
func (s *Spool) keepSpare(seg *segment) {
	size := min(seg.size, s.config.SegmentSize/8*7) // less, as a margin for what affords counts
	spare := &spareFile{seg.file, spareName(seg.number), size}
	if spare.Truncate(spare.size) != nil || !s.log.putSpare(spare) {
		spare.remove(s.fs)
	}
}

// dropSpare removes the spare if the disk is full, or what lives has become so little that it isn't within bounds.
func (s *Spool) dropSpare() {
	if spare, sealed := s.log.spareSize(); spare == 0 || s.affords(sealed+spare) {
		return
	}
	if spare := s.log.takeSpare(); spare != nil {
		spare.remove(s.fs)
	}
}

// putSpare reports false if there is one already.
func (l *spoolLog) putSpare(spare *spareFile) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare != nil {
		return false
	}
	l.spare = spare
	return true
}

// takeSpare gives the spare, nil if there is none.
func (l *spoolLog) takeSpare() *spareFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	spare := l.spare
	l.spare = nil
	return spare
}

// spareSize tells how large the spare is, and all segments that aren't written to any more.
func (l *spoolLog) spareSize() (spare, sealed int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.spare != nil {
		spare = l.spare.size
	}
	return spare, l.bytes.Load() - l.last().size
}
