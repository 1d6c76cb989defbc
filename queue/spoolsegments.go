package queue

import "sort"

// acquire gives the segment of that number, to be released.
func (l *spoolLog) acquire(number uint32) *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].number >= number })
	seg := l.segments[i]
	seg.refs++
	return seg
}

// shape tells how large the log is, and which segment is the oldest.
func (l *spoolLog) shape() (oldest uint32, segments int, bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0].number, len(l.segments), l.bytes
}

// oldest gives the segment that goes first. Only the janitor calls it and retire, so that it stays.
func (l *spoolLog) oldest() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[0]
}

// settled reports whether nothing is written to the segment any more, and the index knows all of it.
func (l *spoolLog) settled(seg *segment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return seg != l.segments[len(l.segments)-1] && seg.pending == 0
}

func (l *spoolLog) isDamaged(seg *segment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return seg.damaged
}

// damage marks a segment as one to be kept for what can't be read in it.
func (l *spoolLog) damage(number uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seg := range l.segments {
		if seg.number == number {
			seg.damaged = true
		}
	}
}

// unhinted gives a segment that should have a hint, nil if there is none. Of the newest two most is gone when the next is
// begun: they aren't worth it.
func (l *spoolLog) unhinted() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seg := range l.segments[:max(0, len(l.segments)-2)] {
		if !seg.hinted && !seg.damaged {
			return seg
		}
	}
	return nil
}

// retire takes the oldest segment out of the log. Who reads it can go on. If its file is wanted as a spare, and nobody reads it, kept
// says that it is one.
func (l *spoolLog) retire(seg *segment, wanted bool) (kept bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = l.segments[1:]
	l.bytes -= seg.size
	if wanted && seg.refs == 0 {
		l.spare = &spareFile{seg.file, min(seg.size, l.limit/8*7)} // the last eighth is a margin for those bounds
		l.spare.truncate(l.spare.size)
		return true
	}
	seg.refs++
	seg.retired = true
	l.unref(seg)
	return false
}

// A spare is the file of a segment that isn't needed any more. It becomes the next segment: what is written over blocks that
// a file has already is synced in half the time, as the file system has nothing to note of it.
const spareName = "spare" + segmentSuffix + tempSuffix

type spareFile struct {
	file
	size int64
}

func (s *spareFile) remove(fs fileSystem) {
	s.Close()
	fs.remove(spareName)
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
	return spare, l.bytes - l.segments[len(l.segments)-1].size
}

// release gives back what acquire gave.
func (l *spoolLog) release(seg *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unref(seg)
}

func (l *spoolLog) unref(seg *segment) {
	if seg.refs--; seg.refs == 0 && seg.retired {
		seg.file.Close()
	}
}

// applied says that the index has taken in a record.
func (l *spoolLog) applied(a *appending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.segment.pending--
}
