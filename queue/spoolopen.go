package queue

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

const (
	segmentSuffix = ".segment"
	bodySuffix    = ".body"
	tempSuffix    = ".tmp"     // of files that mean nothing yet
	damagedSuffix = ".damaged" // of segments that are kept for what can't be read in them

	// idGap parts the ids of one life of the spool from those of the next: more than a cut or damaged
	// tail can have held, so that none comes again.
	idGap = 1 << 20
)

func bodyName(id uint64) string { return string(formatID(id)) + bodySuffix }

// tempName makes a name for a file that is to become a body file.
func (s *Spool) tempName() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.temps++
	return strconv.FormatUint(s.temps, 10) + bodySuffix + tempSuffix
}

func openSpool(d *disk, o spoolOptions) (*Spool, error) {
	s, err := openLocked(d, o)
	if _, ok := errors.AsType[*LockedError](err); ok || err == nil {
		return s, err
	}
	return nil, fmt.Errorf("queue: open spool %s: %w", d.dir, err)
}

func openLocked(d *disk, o spoolOptions) (s *Spool, err error) {
	if err := makeDir(d.dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(d.dir)
	if err != nil {
		return nil, err
	}
	s = &Spool{
		disk: d, options: o, lock: lock,
		tidy: make(chan struct{}, 1), quit: make(chan struct{}),
		ix: newIndex[place, place](), perSeg: map[uint32]int{}, files: map[uint64]int64{},
	}
	s.log = &spoolLog{disk: d, limit: o.segment, delay: o.delay, nextID: s.nextID, onSync: s.synced, onFail: s.wakeJanitor}
	var segments []*segment
	defer func() {
		if err != nil {
			lock.Close()
			for _, seg := range segments {
				seg.file.Close()
			}
		}
	}()
	entries, err := d.list()
	if err != nil {
		return nil, err
	}
	if segments, err = openSegments(d, entries); err != nil {
		return nil, err
	}
	if segments, err = s.replayAll(segments); err != nil {
		return nil, err
	}
	if err := s.sweep(entries); err != nil {
		return nil, err
	}
	s.log.start(segments)
	s.janitor.Go(s.keepTidy)
	s.wakeJanitor()
	return s, nil
}

// nextID tells the log what ids come next.
func (s *Spool) nextID() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last + 1
}

// openSegments opens what segments there are, in their order, and changes nothing.
func openSegments(d *disk, entries []fs.DirEntry) (segments []*segment, err error) {
	for _, e := range entries {
		digits, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		number, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || segmentName(uint32(number)) != e.Name() {
			continue
		}
		f, err := d.open(e.Name())
		if err != nil {
			return segments, err
		}
		seg := &segment{number: uint32(number), file: f}
		segments = append(segments, seg)
		if err := seg.readHeader(); err != nil {
			return segments, fmt.Errorf("%s: %w", e.Name(), err)
		}
	}
	slices.SortFunc(segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	return segments, nil
}

// readHeader reads the header as far as it is good.
func (seg *segment) readHeader() error {
	info, err := seg.file.Stat()
	if err != nil {
		return err
	}
	seg.size = info.Size()
	b := make([]byte, min(seg.size, segmentHeaderLen+recordHeaderLen))
	if _, err := seg.file.ReadAt(b, 0); err != nil {
		return err
	}
	seg.header, err = decodeSegmentHeader(b)
	if _, ok := errors.AsType[*versionError](err); ok {
		return err
	}
	if err == nil && seg.header.number != seg.number {
		err = errHeader
	}
	seg.damaged = err != nil
	seg.salt = seg.header.salt
	if seg.damaged && len(b) == segmentHeaderLen+recordHeaderLen {
		// The first record tells the salt too, and proves it.
		first := b[segmentHeaderLen:]
		seg.salt = salt(first[:saltLen])
		_, seg.readable = decodeRecordHeader(first, seg.salt, segmentHeaderLen)
	}
	seg.readable = seg.readable || !seg.damaged
	return nil
}

// replayAll takes in what the segments have, and adds one to write to.
func (s *Spool) replayAll(segments []*segment) ([]*segment, error) {
	next := segmentHeader{number: 1}
	for i, seg := range segments {
		if i > 0 && seg.number != segments[i-1].number+1 {
			s.report(Damage{File: segmentName(segments[i-1].number + 1), Reason: "the segment is missing"})
		}
		if seg.damaged {
			s.report(Damage{File: segmentName(seg.number), Length: segmentHeaderLen, Reason: errHeader.Error()})
		}
		if i == len(segments)-1 {
			break
		}
		end := seg.size
		if after := segments[i+1]; !after.damaged && after.number == seg.number+1 {
			end = int64(after.header.previous)
		}
		if err := s.replay(seg, end); err != nil {
			return segments, err
		}
	}
	var pending [][]byte
	if len(segments) > 0 {
		last := segments[len(segments)-1]
		proven, err := s.provenEnd(last)
		if err == nil {
			err = s.replay(last, proven)
		}
		if err == nil {
			pending, err = last.recordsFrom(proven)
		}
		if err != nil {
			return segments, err
		}
		if s.last > 0 {
			s.last += idGap
		}
		next = segmentHeader{number: last.number + 1, previous: uint32(proven)}
		last.size = proven // what is behind isn't looked at any more
		if proven <= segmentHeaderLen && !last.damaged {
			// All of it is in the new segment, which takes its place.
			next = segmentHeader{number: last.number, previous: last.header.previous}
			last.file.Close()
			segments = segments[:len(segments)-1]
		}
	}
	next.next = s.last + 1
	seg, err := createSegment(s.disk, next, pending)
	if err != nil {
		return segments, err
	}
	segments = append(segments, seg)
	if err := s.replay(seg, seg.size); err != nil {
		return segments, err
	}
	return segments, nil
}

// provenEnd tells how far the newest segment was on the disk for certain when it was last written to. What
// stands behind may have been read from the system's cache, and the disk may never get it: it is
// written once more, into the new segment.
func (s *Spool) provenEnd(seg *segment) (int64, error) {
	end := int64(segmentHeaderLen)
	if !seg.readable {
		return seg.size, nil
	}
	sc := scanner{r: seg.file, salt: seg.salt}
	_, err := sc.scan(segmentHeaderLen, seg.size, func(rec record) error {
		if rec.durable <= rec.off {
			end = max(end, rec.durable)
		}
		return nil
	})
	return end, err
}

// replay takes in the records of a segment that ends at end.
func (s *Spool) replay(seg *segment, end int64) error {
	name := segmentName(seg.number)
	if !seg.damaged {
		s.last = max(s.last, seg.header.next-1)
	}
	if !seg.readable {
		s.report(Damage{File: name, Length: seg.size, Reason: "no record can be told from the others"})
		return nil
	}
	sc := scanner{r: seg.file, salt: seg.salt}
	bad, err := sc.scan(segmentHeaderLen, min(end, seg.size), func(rec record) error {
		if err := s.apply(seg, rec); err != nil {
			seg.damaged = true
			s.report(Damage{name, rec.off, recordHeaderLen + int64(len(rec.payload)), err.Error()})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if end > seg.size {
		bad = append(bad, span{seg.size, end})
	}
	for _, b := range bad {
		seg.damaged = true
		s.report(Damage{name, b.from, b.to - b.from, "no good record stands here"})
	}
	return nil
}

// apply takes in a record.
func (s *Spool) apply(seg *segment, rec record) error {
	return eachEntry(rec.payload, func(off int, entry []byte) error {
		h, fields, err := entryFields(entry)
		if err != nil {
			return err
		}
		at := place{seg.number, uint32(rec.off + recordHeaderLen + int64(off)), uint32(len(entry))}
		switch h.kind {
		case entryMessage:
			return s.applyMessage(h, fields, at)
		case entryState:
			return s.applyState(h, fields, at)
		}
		return errEntry
	})
}

// applyMessage takes in a message, which compaction may have moved.
func (s *Spool) applyMessage(h entryHeader, fields []byte, at place) error {
	m, err := decodeMessage(fields, true)
	if err != nil {
		return err
	}
	s.last = max(s.last, m.id)
	if old := s.ix.data(m.id); old != nil {
		s.gone(*old)
		*old = at
	} else {
		s.ix.add(m.id, at, m.dests, m.due, m.overdue(false))
	}
	s.perSeg[at.segment]++
	s.live += int64(at.length)
	if h.flags&flagBodyFile != 0 {
		s.files[m.id] = m.size
	}
	return nil
}

// applyState takes in what became of a task. It may be gone, or its message may have been lost.
func (s *Spool) applyState(h entryHeader, fields []byte, at place) error {
	st, err := decodeState(h, fields, nil)
	if err != nil {
		return err
	}
	r := s.ix.task(st.id, st.num)
	if r == 0 {
		return nil
	}
	s.ix.take(r)
	s.live -= int64(s.ix.tasks.at(r).state.length)
	if !st.done {
		s.live += int64(at.length)
		s.ix.change(r, st.due, st.overdue, st.attempts, at)
		s.ix.put(r)
		return nil
	}
	p := *s.ix.data(st.id)
	if s.ix.drop(r) {
		s.gone(p)
		delete(s.files, st.id)
	}
	return nil
}

// sweep removes what files no message refers to and looks whether the others are there. Where there is
// damage nobody knows what they belong to, and they stay.
func (s *Spool) sweep(entries []fs.DirEntry) error {
	damaged := len(s.damage) > 0 || slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return strings.HasSuffix(e.Name(), damagedSuffix) // of an earlier opening
	})
	found := map[string]int64{}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasSuffix(name, tempSuffix):
			if err := s.disk.remove(name); err != nil {
				return err
			}
		case strings.HasSuffix(name, bodySuffix):
			if info, err := e.Info(); err == nil {
				found[name] = info.Size()
			}
		}
	}
	for id, size := range s.files {
		name := bodyName(id)
		if got, ok := found[name]; !ok || got != size {
			s.report(Damage{File: name, Length: size, Reason: "the body of a message isn't there, or not as long as it was"})
		}
		delete(found, name)
	}
	if damaged {
		return nil
	}
	for name := range found {
		if err := s.disk.remove(name); err != nil {
			return err
		}
	}
	return nil
}
