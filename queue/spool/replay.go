package spool

import (
	"fmt"

	"github.com/postrider/postrider/queue/internal/index"
)

// replay takes in what a segment has up to end, from its hint if it has one.
func (s *Spool) replay(seg *segment, end int64, p *progress) error {
	name := segmentName(seg.number)
	if !seg.damaged {
		s.last = max(s.last, seg.header.next-1)
	}
	if !seg.readable {
		s.report(Damage{File: name, Length: seg.size, Reason: "the beginnings of records can't be found"})
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
		err := s.apply(seg, rec)
		if isUnknown(err) {
			return err
		}
		if err != nil {
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
		s.report(Damage{name, b.from, b.to - b.from, "no valid record"})
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

// salvage takes in the messages of a record that isn't good as a whole, and what it says of them. One whose body is
// damaged stays in the queue, though it can't be opened, until its sender hears that it failed. If there is another
// copy, compaction has made this one, and the other is good. What became of other messages' tasks is left out: better a
// delivery too many.
func (s *Spool) salvage(seg *segment, rec record) {
	own := map[uint64]bool{}
	eachEntry(rec.payload, func(off int, entry []byte) error {
		h, fields, err := entryFields(entry)
		if err != nil {
			return err
		}
		id := entryID(h, fields)
		if isMessage(h) && s.ix.Data(id) == nil {
			own[id] = true
		}
		if !own[id] {
			return nil
		}
		err = s.applyEntry(h, fields, rec.entryAt(seg, off, h))
		if isUnknown(err) { // of its kind
			s.refused[id] = err
			return nil
		}
		return err
	})
}

// applyEntry takes in an entry. An unknownError is about its kind; what it has that must not be skipped is left for
// checkRefused.
func (s *Spool) applyEntry(h entryHeader, fields []byte, at place) error {
	switch {
	case isMessage(h):
		return s.applyMessage(h, fields, at)
	case isState(h):
		return s.applyState(h, fields, at)
	case h.kind == entryHold, h.kind == entryHold1:
		return s.applyHold(h, fields)
	case h.kind == entryRemoval, h.kind == entryRemoval1:
		return s.applyRemoval(h, fields)
	case h.kind == entryClaim:
		return s.applyClaim(fields)
	case h.kind == entryEnd:
		return s.applyEnd(fields)
	case h.kind == entryKey:
		return s.applyKey(fields, at)
	}
	return unknownKind(h)
}

// applyMessage takes in a message, which compaction may have moved.
func (s *Spool) applyMessage(h entryHeader, fields []byte, at place) error {
	m, err := decodeMessage(h, fields, true)
	if m == nil {
		return err
	}
	s.last = max(s.last, m.ID)
	s.knows(m.ID)
	if old := s.ix.Data(m.ID); old != nil {
		for _, c := range s.ix.TasksOf(m.ID) {
			if c.Num != index.ReportTask && int64(c.Num) >= int64(len(m.Dests)) { // no copy: the former entry stays
				return errEntry
			}
		}
		s.gone(*old)
		*old = at
	} else {
		s.ix.Add(m, at)
	}
	s.joined(at)
	s.live += int64(at.length)
	if bodyInFile(h, m) {
		s.addFile(m.ID, m.Size)
	}
	return s.refuse(m.ID, err)
}

// applyState takes in what became of a task. It may be gone, or its message may have been lost.
func (s *Spool) applyState(h entryHeader, fields []byte, at place) error {
	st, err := decodeState(h, fields, nil)
	if st == nil {
		return err
	}
	s.knows(st.id)
	if isPart(st.num) {
		s.applyPart(st, at)
		return s.refuse(st.id, err)
	}
	r := s.ix.Task(st.id, st.num)
	if r == 0 {
		return s.refuse(st.id, err)
	}
	delete(s.claims, taskKey{st.id, st.num})
	s.ix.Take(r)
	s.live -= int64(s.ix.Tasks.At(r).State.length)
	if !st.done {
		s.live += int64(at.length)
		overdue := st.overdue
		if t := s.ix.Tasks.At(r); t.State == (place{}) {
			overdue = max(overdue, t.Due()) // an older program stored notices and deadlines that come before NotBefore
		}
		s.ix.Change(r, st.due, overdue, st.attempts, at)
		s.ix.SetDeaths(r, st.deaths)
		s.ix.Put(r)
		return s.refuse(st.id, err)
	}
	p := *s.ix.Data(st.id)
	if s.ix.Drop(r) {
		s.gone(p)
		s.dropFile(st.id)
	}
	return s.refuse(st.id, err)
}

// applyPart takes in a part of a report task, which compaction may have moved, or that it was reported.
func (s *Spool) applyPart(st *taskState, at place) {
	s.parts = max(s.parts, st.num&^partBit)
	m := s.ix.Data(st.id)
	if m == nil {
		return
	}
	old := s.ix.Part(st.id, st.num)
	if old != nil {
		s.live -= int64(old.State.length)
	}
	if st.done {
		delete(s.claims, taskKey{st.id, index.ReportTask})
		if p := *m; old != nil && s.ix.Unowe(st.id, st.num) {
			s.gone(p)
			s.dropFile(st.id)
		}
		return
	}
	s.live += int64(at.length)
	part := spoolPart{Num: st.num, Due: st.due, Attempts: st.attempts, Deaths: st.deaths, State: at}
	if old != nil {
		s.ix.Replace(st.id, part)
	} else {
		s.ix.Owe(st.id, part)
	}
}

// applyHold takes in that a message was held or released.
func (s *Spool) applyHold(h entryHeader, fields []byte) error {
	m, err := decodeMark(h, fields)
	switch {
	case m.id == 0:
	case !m.held:
		s.ix.Release(m.id)
	case m.reasoned:
		s.ix.Hold(m.id, m.reason)
	default:
		s.ix.HoldAsStored(m.id)
	}
	return s.refuse(m.id, err)
}

// applyRemoval takes in that a message was removed.
func (s *Spool) applyRemoval(h entryHeader, fields []byte) error {
	m, err := decodeMark(h, fields)
	s.knows(m.id)
	if err == nil {
		s.drop(m.id)
		s.dropFile(m.id)
	}
	return s.refuse(m.id, err)
}
