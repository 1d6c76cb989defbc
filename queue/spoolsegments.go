package queue

import "sort"

// acquire gives the segment of that number, to be released; nil if there is none any more.
func (l *spoolLog) acquire(number uint32) *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].number >= number })
	if i == len(l.segments) || l.segments[i].number != number {
		return nil
	}
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

// newest gives the number of the segment that is written to.
func (l *spoolLog) newest() uint32 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments[len(l.segments)-1].number
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

// retire takes the oldest segment out of the log. Who reads it can go on; unread says that nobody does, and that its file is the
// caller's.
func (l *spoolLog) retire(seg *segment) (unread bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = l.segments[1:]
	l.bytes -= seg.size
	seg.retired = true
	return seg.refs == 0
}

// release gives back what acquire gave.
func (l *spoolLog) release(seg *segment) {
	if seg == nil {
		return
	}
	l.mu.Lock()
	seg.refs--
	last := seg.refs == 0 && seg.retired
	l.mu.Unlock()
	if last {
		seg.file.Close()
	}
}

// applied says that the index has taken in a record.
func (l *spoolLog) applied(a *appending) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.segment.pending--; a.segment.pending == 0 && a.segment != l.segments[len(l.segments)-1] {
		l.onRoll() // the janitor may have waited for it
	}
}
