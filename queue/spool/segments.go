package spool

import "sort"

// all gives the segments, oldest first; the last is written to.
func (l *spoolLog) all() []*segment {
	if all := l.segments.Load(); all != nil {
		return *all
	}
	return nil
}

// setAll changes which segments there are. l.mu is held.
func (l *spoolLog) setAll(segments []*segment) { l.segments.Store(&segments) }

// last gives the segment that is written to.
func (l *spoolLog) last() *segment {
	all := l.all()
	return all[len(all)-1]
}

// acquire gives the segment of that number, to be released; nil if there is none any more.
func (l *spoolLog) acquire(number uint32) *segment {
	all := l.all()
	i := sort.Search(len(all), func(i int) bool { return all[i].number >= number })
	if i == len(all) || all[i].number != number || !all[i].acquire() {
		return nil
	}
	return all[i]
}

// acquire keeps the segment's file until release. It reports false if that is gone.
func (seg *segment) acquire() bool {
	for refs := seg.refs.Load(); refs > 0; refs = seg.refs.Load() {
		if seg.refs.CompareAndSwap(refs, refs+1) {
			return true
		}
	}
	return false
}

// release gives back what acquire gave, which may be nil.
func (seg *segment) release() {
	if seg != nil && seg.refs.Add(-1) == 0 {
		seg.file.Close()
	}
}

// shape tells how large the log is, and which segment is the oldest.
func (l *spoolLog) shape() (oldest uint32, segments int, bytes int64) {
	all := l.all()
	return all[0].number, len(all), l.bytes.Load()
}

// oldest gives the segment that goes first. Only the janitor calls it and retire, so that it stays.
func (l *spoolLog) oldest() *segment { return l.all()[0] }

// settled reports whether nothing is written to the segment any more, and the index knows all of it.
func (l *spoolLog) settled(seg *segment) bool { return seg != l.last() && seg.pending.Load() == 0 }

func (l *spoolLog) isDamaged(seg *segment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return seg.damaged
}

// damage marks a segment as one to be kept for what can't be read in it.
func (l *spoolLog) damage(number uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, seg := range l.all() {
		if seg.number == number {
			seg.damaged = true
		}
	}
}

// unhinted gives a segment that should have a hint, nil if there is none. Of the newest two most is gone when the next
// is begun: they aren't worth it.
func (l *spoolLog) unhinted() *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.all()
	for _, seg := range all[:max(0, len(all)-2)] {
		if !seg.hinted && !seg.damaged {
			return seg
		}
	}
	return nil
}

// retire takes the oldest segment out of the log. Who reads it can go on; unread says that nobody does, and that its
// file is the caller's.
func (l *spoolLog) retire(seg *segment) (unread bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setAll(l.all()[1:])
	l.bytes.Add(-seg.size)
	return seg.refs.Add(-1) == 0
}

// applied says that the index has taken in a record.
func (l *spoolLog) applied(a *appending) {
	if a.segment.pending.Add(-1) == 0 && a.segment != l.last() {
		l.onRoll() // the janitor may have waited for it
	}
}
