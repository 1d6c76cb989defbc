package spool

import (
	"errors"
	"fmt"

	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/queue/internal/mutant"
)

// moveAll writes the messages that live in the segment to the log's end, and reports whether none is
// left there.
func (s *Spool) moveAll(seg *segment) bool {
	const batch = 1 << 20
	var moves []*move
	size := 0
	all := true
	flush := func() error { // an error ends it: the disk is full, say
		all = s.carryOut(moves) && all
		moves, size = nil, 0
		if !all {
			return errNotMoved
		}
		return nil
	}
	visit := func(rec record) error {
		return eachEntry(rec.payload, func(off int, entry []byte) error {
			h, fields, err := entryFields(entry)
			if err != nil || !isMessage(h) {
				return err
			}
			m, err := s.prepareMove(h, entry, fields, rec.entryAt(seg, off, h))
			if err == errNoneLeft {
				return err // in a busy queue, most of what lives when it begins is settled at once
			}
			if m == nil || err != nil {
				return nil // what can't be read is reported, and left
			}
			moves = append(moves, m)
			if size += len(m.record.record); size >= batch {
				return flush()
			}
			return nil
		})
	}
	lives := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.perSeg[seg.number].messages
	}
	if lives() == 0 {
		return true
	}
	sc := scanner{r: seg.file, salt: seg.salt, broken: func(rec record) { visit(rec) }}
	_, err := sc.scan(segmentHeaderLen, seg.size, visit)
	if flush() != nil {
		return false
	}
	left := lives()
	if left == 0 {
		return true
	}
	reason := fmt.Sprintf("%d messages in the segment can't be read", left)
	if err != nil {
		reason += ": " + err.Error()
	}
	s.stick(seg, Damage{File: segmentName(seg.number), Length: seg.size, Reason: reason})
	return false
}

var (
	errNotMoved = errors.New("some messages were not moved")
	errNoneLeft = errors.New("no message is left in the segment")
)

// move is a message on its way to the log's end, with what became of its tasks.
type move struct {
	id     uint64
	from   place
	held   bool
	record appending
	tasks  []movedTask
}

type movedTask struct {
	num  uint32
	from place // of its state; zero: it has none
	off  int   // in the record
}

// prepareMove makes a record of the entry of a message if that lives there, nil otherwise. errNoneLeft: nor does any
// other.
func (s *Spool) prepareMove(h entryHeader, entry, fields []byte, at place) (*move, error) {
	msg, err := decodeMessage(h, fields, true)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	if p := s.ix.Data(msg.ID); p == nil || *p != at {
		var err error
		if s.perSeg[at.segment].messages == 0 {
			err = errNoneLeft
		}
		s.mu.Unlock()
		return nil, err
	}
	tasks := s.ix.TasksOf(msg.ID)
	pins := s.pin(tasks...)
	m := &move{id: msg.ID, from: at, held: s.ix.Held(msg.ID)}
	s.mu.Unlock()
	defer s.unpin(pins)
	b := append(make([]byte, recordHeaderLen, recordHeaderLen+len(entry)), entry...)
	gone := make([]bool, len(msg.Dests))
	for i := range gone {
		gone[i] = true
	}
	for i, c := range tasks {
		if int64(c.Num) >= int64(len(gone)) {
			return nil, s.unreadable(at, errEntry)
		}
		gone[c.Num] = false
		m.tasks = append(m.tasks, movedTask{c.Num, c.State, len(b)})
		if c.State.length == 0 {
			continue
		}
		if _, b, _, err = pins[i].state.appendEntry(b, c.State); err != nil {
			return nil, s.unreadable(c.State, err)
		}
	}
	for num, is := range gone {
		if is {
			b = appendState(b, &taskState{id: m.id, num: uint32(num), done: true}, nil)
		}
	}
	if m.held && mutant.On != mutant.ForgetsHolds {
		b = appendHold(b, m.id, true)
	}
	m.record = appending{record: b, durable: mutant.On != mutant.MovesEarly, done: make(chan error, 1)}
	return m, nil
}

// carryOut writes the moves, but for those that were overtaken, and reports whether it did all.
func (s *Spool) carryOut(moves []*move) bool {
	all := true
	var handed []*move
	s.mu.Lock()
	for _, m := range moves {
		switch {
		case s.ix.Data(m.id) == nil: // it is gone
		case !s.upToDate(m):
			all = false
		default:
			// Under the lock, so that what settles one of its tasks from here on comes behind it in the log.
			s.log.hand(&m.record)
			s.turn.moved += int64(len(m.record.record))
			handed = append(handed, m)
		}
	}
	s.mu.Unlock()
	for _, m := range handed {
		if m.record.wait() != nil {
			all = false
			continue
		}
		s.mu.Lock()
		s.moved(m)
		s.mu.Unlock()
	}
	return all
}

// upToDate reports whether the message is as it was when the move was prepared, and nothing is being
// settled. s.mu is held.
func (s *Spool) upToDate(m *move) bool {
	tasks := s.ix.TasksOf(m.id)
	if *s.ix.Data(m.id) != m.from || len(tasks) != len(m.tasks) || s.ix.Held(m.id) != m.held || s.busy[m.id] != nil {
		return false
	}
	for i, c := range tasks {
		if c.Num != m.tasks[i].num || c.State != m.tasks[i].from || c.Phase == index.Settling {
			return false
		}
	}
	return true
}

// moved makes the message's new place known. s.mu is held.
func (s *Spool) moved(m *move) {
	defer s.log.applied(&m.record)
	p := s.ix.Data(m.id)
	if p == nil {
		return
	}
	s.left(*p)
	*p = m.record.place(recordHeaderLen, int(m.from.length))
	s.joined(*p)
	for _, t := range m.tasks {
		r := s.ix.Task(m.id, t.num)
		if r != 0 && t.from.length > 0 && s.ix.Tasks.At(r).State == t.from {
			s.ix.Tasks.At(r).State = m.record.place(t.off, int(t.from.length))
		}
	}
}
