package spool

import (
	"encoding/binary"
	"fmt"
)

// replay takes in what a segment has up to end, from its hint if it has one.
func (s *Spool) replay(seg *segment, end int64, p *progress) error {
	name := segmentName(seg.number)
	if !seg.damaged {
		s.last = max(s.last, seg.header.next-1)
	}
	if !seg.readable {
		s.report(Damage{File: name, Length: seg.size, Reason: "no record can be told from the others"})
		return nil
	}
	if s.replayHint(seg, end) {
		seg.size = end
		p.add(end)
		return nil
	}
	sc := scanner{r: seg.file, salt: seg.salt, broken: func(rec record) { s.salvage(seg, rec) }}
	bad, err := sc.scan(segmentHeaderLen, min(end, seg.size), func(rec record) error {
		p.add(rec.length())
		if err := s.apply(seg, rec); err != nil {
			seg.damaged = true
			s.report(Damage{name, rec.off, rec.length(), err.Error()})
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
	seg.size = min(seg.size, end)
	return nil
}

// apply takes in a record.
func (s *Spool) apply(seg *segment, rec record) error {
	return eachEntry(rec.payload, func(off int, entry []byte) error {
		h, fields, err := entryFields(entry)
		if err != nil {
			return err
		}
		return s.applyEntry(h, fields, rec.entryAt(seg, off, h))
	})
}

// salvage takes in the messages of a record that isn't good as a whole, and what it says of them. One whose body is damaged stays in
// the queue, though it can't be opened, until its sender hears that it failed. If there is another copy, compaction has made this
// one, and the other is good. What became of other messages' tasks is left out: better a delivery too many.
func (s *Spool) salvage(seg *segment, rec record) {
	own := map[uint64]bool{}
	eachEntry(rec.payload, func(off int, entry []byte) error {
		h, fields, err := entryFields(entry)
		if err != nil || len(fields) < 8 {
			return err
		}
		id := binary.LittleEndian.Uint64(fields) // of all kinds, that comes first
		if h.kind == entryMessage && s.ix.Data(id) == nil {
			own[id] = true
		}
		if !own[id] {
			return nil
		}
		return s.applyEntry(h, fields, rec.entryAt(seg, off, h))
	})
}

func (s *Spool) applyEntry(h entryHeader, fields []byte, at place) error {
	switch h.kind {
	case entryMessage:
		return s.applyMessage(h, fields, at)
	case entryState:
		return s.applyState(h, fields, at)
	case entryHold:
		return s.applyHold(h, fields)
	case entryRemoval:
		return s.applyRemoval(fields)
	}
	return errEntry
}

// applyMessage takes in a message, which compaction may have moved.
func (s *Spool) applyMessage(h entryHeader, fields []byte, at place) error {
	m, err := decodeMessage(fields, true)
	if err != nil {
		return err
	}
	s.last = max(s.last, m.ID)
	if old := s.ix.Data(m.ID); old != nil {
		s.gone(*old)
		*old = at
	} else {
		s.ix.Add(m, at)
	}
	s.joined(at)
	s.live += int64(at.length)
	if h.flags&flagBodyFile != 0 {
		s.addFile(m.ID, m.Size)
	}
	return nil
}

// applyState takes in what became of a task. It may be gone, or its message may have been lost.
func (s *Spool) applyState(h entryHeader, fields []byte, at place) error {
	st, err := decodeState(h, fields, nil)
	if err != nil {
		return err
	}
	r := s.ix.Task(st.id, st.num)
	if r == 0 {
		return nil
	}
	s.ix.Take(r)
	s.live -= int64(s.ix.Tasks.At(r).State.length)
	if !st.done {
		s.live += int64(at.length)
		s.ix.Change(r, st.due, st.overdue, st.attempts, at)
		s.ix.Put(r)
		return nil
	}
	p := *s.ix.Data(st.id)
	if s.ix.Drop(r) {
		s.gone(p)
		s.dropFile(st.id)
	}
	return nil
}

// applyHold takes in that a message was held or released.
func (s *Spool) applyHold(h entryHeader, fields []byte) error {
	d := decoder{b: fields}
	id := uint64(d.int64())
	if d.failed {
		return errEntry
	}
	s.ix.Hold(id, h.flags&flagHeld != 0)
	return nil
}

// applyRemoval takes in that a message was removed.
func (s *Spool) applyRemoval(fields []byte) error {
	d := decoder{b: fields}
	id := uint64(d.int64())
	if d.failed {
		return errEntry
	}
	s.drop(id)
	s.dropFile(id)
	return nil
}
