package spool

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/postrider/postrider/queue/internal/index"
)

// moveAll writes the messages and the keys that live in the segment to the log's end, and reports whether none is left
// there. It reads what the index says is there: a message that is in use is left for the next call, which reads nothing
// else.
//
// Damage costs what it would cost if the spool were opened now. A message that can't be read is forgotten: it is in
// the file, which is kept. One whose body is damaged, and one whose task has a state that can't be read, are moved.
func (s *Spool) moveAll(seg *segment) bool {
	const batch = 1 << 20
	if s.moveKeys(seg) != nil {
		return false
	}
	if s.hasMoved(seg) {
		return true
	}
	if !seg.listed {
		seg.rest, seg.listed = s.living(seg), true
	}
	todo := seg.rest
	seg.rest = nil
	for len(todo) > 0 {
		var moves []*move
		var stuck error
		for size := 0; len(todo) > 0 && size < batch && stuck == nil; {
			m, err := s.prepareMove(seg, todo[0])
			switch {
			case err == errInUse:
				seg.rest = append(seg.rest, todo[0])
			case err != nil:
				stuck = err
				continue
			case m != nil:
				moves = append(moves, m)
				size += len(m.record.record)
			}
			todo = todo[1:]
		}
		left, err := s.carryOut(moves)
		seg.rest = append(seg.rest, left...)
		if stuck != nil {
			s.postpone(seg, stuck)
		}
		if stuck != nil || err != nil { // the disk is full, say
			seg.rest = append(seg.rest, todo...)
			return false
		}
	}
	return s.hasMoved(seg)
}

// hasMoved is isEmpty for a caller without s.mu.
func (s *Spool) hasMoved(seg *segment) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isEmpty(seg.number)
}

// isEmpty reports whether no message and no key lives in the segment. s.mu is held.
func (s *Spool) isEmpty(segment uint32) bool {
	return s.perSeg[segment].messages == 0 && s.keys.InSegment(segment) == 0
}

// living lists the messages that live in a segment that isn't written to any more, in their order there.
func (s *Spool) living(seg *segment) []uint64 {
	type resident struct {
		id  uint64
		off uint32
	}
	var found []resident
	index.Each(&s.mu, s.ix, func(id uint64, p *place) {
		if p.segment == seg.number {
			found = append(found, resident{id, p.off})
		}
	})
	slices.SortFunc(found, func(a, b resident) int { return cmp.Compare(a.off, b.off) })
	ids := make([]uint64, len(found))
	for i, r := range found {
		ids[i] = r.id
	}
	return ids
}

var (
	errInUse   = errors.New("the message is in use")
	errTooLong = errors.New("a message and what became of it are longer than a record can be")
)

// move is a message on its way to the log's end, with what became of its tasks.
type move struct {
	id     uint64
	from   place
	held   bool
	reason string // of the hold, unless it is that of the stored message
	record appending
	tasks  []movedTask
}

// movedTask is a task, or a part of a report task.
type movedTask struct {
	num  uint32
	task claimed
	from place // of its state; zero: it has none
	off  int   // in the record; zero: it isn't there
}

// lost reports whether the state can't be read: then the task begins anew, and a part of a report task is lost.
func (t *movedTask) lost() bool { return t.from.length > 0 && t.off == 0 }

// storedState is where the state of a task is, or of a part of a report task.
type storedState struct {
	num   uint32
	task  claimed
	place place    // zero: it has none
	seg   *segment // pinned, if the pins were given
}

// storedStates lists the states of a message's tasks. pins may be nil.
func storedStates(tasks []spoolClaim, pins []pin) (states []storedState) {
	for i, c := range tasks {
		var p pin
		if pins != nil {
			p = pins[i]
		}
		if c.Num != index.ReportTask {
			states = append(states, storedState{c.Num, claimedOf(c), c.State, p.state})
			continue
		}
		for j, part := range c.Parts {
			st := storedState{part.Num, claimedOf(c), part.State, nil}
			if pins != nil {
				st.seg = p.parts[j]
			}
			states = append(states, st)
		}
	}
	return states
}

// prepareMove makes a record of a message that lives in the segment, nil if it doesn't any more. The error is errInUse,
// or says why the segment can't go now.
func (s *Spool) prepareMove(seg *segment, id uint64) (*move, error) {
	s.mu.Lock()
	p := s.ix.Data(id)
	if p == nil || p.segment != seg.number {
		s.mu.Unlock()
		return nil, nil
	}
	at, tasks := *p, s.ix.TasksOf(id)
	if s.inUse(id, tasks) {
		s.mu.Unlock()
		return nil, errInUse
	}
	pins := s.pinAll(tasks)
	m := &move{id: id, from: at, held: s.ix.Held(id)}
	s.mu.Unlock()
	defer unpin(pins)
	b, dests, err := s.copyMessage(seg, at, id)
	if err != nil {
		return nil, s.lose(seg, id, at, err)
	}
	gone := make([]bool, dests)
	for i := range gone {
		gone[i] = true
	}
	if m.held {
		m.reason = tasks[0].HeldFor
	}
	states := storedStates(tasks, pins)
	var known claimed // of a task, by its states: without its last claims
	for i, from := range states {
		switch {
		case isPart(from.num):
		case int64(from.num) >= int64(dests):
			return nil, s.lose(seg, id, at, errEntry)
		default:
			gone[from.num] = false
		}
		if i == 0 || states[i-1].task.num != from.task.num {
			known = claimed{id: id, num: from.task.num}
		}
		t := movedTask{num: from.num, task: from.task, from: from.place}
		if from.place.length > 0 {
			t.off = len(b)
			if b, err = copyState(b, id, from, &known); err != nil {
				s.unreadable(from.place, err)
				t.off = 0
				if from.task.leased { // its holder knows the state
					return nil, errInUse
				}
			}
		}
		if last := i+1 == len(states) || states[i+1].task.num != from.task.num; last && from.task != known {
			b = appendClaim(b, from.task)
		}
		m.tasks = append(m.tasks, t)
	}
	for num, is := range gone {
		if is {
			b = appendState(b, &taskState{id: m.id, num: uint32(num), done: true}, nil)
		}
	}
	switch {
	case !m.held:
	case tasks[0].AsStored:
		b = appendHoldAsStored(b, m.id)
	default:
		b = appendHold(b, m.id, m.reason)
	}
	if len(b)-recordHeaderLen > maxPayload {
		return nil, errTooLong
	}
	m.record = appending{record: b, durable: true, done: make(chan error, 1)}
	return m, nil
}

// inUse reports whether something is being done to the message that a move would miss. s.mu is held.
func (s *Spool) inUse(id uint64, tasks []spoolClaim) bool {
	settling := func(c spoolClaim) bool { return c.Phase == index.Settling }
	return s.busy[id] != nil || slices.ContainsFunc(tasks, settling)
}

// copyMessage begins a record with the entry of a message, and says how many destinations it has. If only its body is
// damaged, that is reported.
func (s *Spool) copyMessage(seg *segment, at place, id uint64) (record []byte, dests int, err error) {
	h, b, fields, err := seg.appendEntry(make([]byte, recordHeaderLen, recordHeaderLen+int(at.length)), at)
	if err != nil {
		return nil, 0, err
	}
	m, err := decodeMessage(h, fields, true)
	if err != nil || m.ID != id {
		return nil, 0, cmp.Or(err, errEntry)
	}
	body := b[recordHeaderLen+entryHeaderLen+len(fields):]
	if !bodyInFile(h, m) && checksum(body) != m.Sum {
		s.unreadable(at, errBodyDamaged)
	}
	return b, len(m.Dests), nil
}

// copyState appends a state of a message, and adds to known what the state knows of the claims of its task. If it can't
// be read, b is returned as it was.
func copyState(b []byte, id uint64, from storedState, known *claimed) ([]byte, error) {
	h, with, fields, err := from.seg.appendEntry(b, from.place)
	if err != nil {
		return b, err
	}
	st, err := decodeState(h, fields, nil)
	if err != nil || st.id != id || st.num != from.num || st.done {
		return b, cmp.Or(err, errEntry)
	}
	known.attempts, known.deaths = max(known.attempts, st.attempts), max(known.deaths, st.deaths)
	return with, nil
}

// lose forgets a message that can't be read, and reports it. With an error, the message isn't forgotten: it is in use,
// or nothing can be read now, and the disk may come back.
func (s *Spool) lose(seg *segment, id uint64, at place, cause error) error {
	if err := seg.unread(); err != nil && !s.log.last().alive() {
		return err
	}
	s.unreadable(at, cause)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch p := s.ix.Data(id); {
	case p == nil || *p != at:
		return nil
	case s.inUse(id, s.ix.TasksOf(id)):
		return errInUse
	}
	s.drop(id)
	s.dropFile(id) // the file stays, like all that may belong to what was lost
	return nil
}

// postpone reports why a segment can't go now, and has compaction try again after a minute.
func (s *Spool) postpone(seg *segment, cause error) {
	const pause = time.Minute
	seg.again = time.Now().Add(pause)
	time.AfterFunc(pause, s.wakeJanitor)
	s.report(Damage{File: segmentName(seg.number), Reason: "the segment can't be removed: " + cause.Error()})
}

// carryOut writes the moves. It returns the messages that were overtaken and have to be moved once more, or that
// couldn't be written, and the error of the last of these.
func (s *Spool) carryOut(moves []*move) (left []uint64, err error) {
	var handed []*move
	s.mu.Lock()
	for _, m := range moves {
		switch {
		case s.ix.Data(m.id) == nil: // it is gone
		case !s.upToDate(m):
			left = append(left, m.id)
		default:
			// Under the lock, so that what settles one of its tasks from here on comes behind it in the log.
			s.log.hand(&m.record)
			s.turn.moved += int64(len(m.record.record))
			handed = append(handed, m)
		}
	}
	s.mu.Unlock()
	for _, m := range handed {
		if failed := m.record.wait(); failed != nil {
			left, err = append(left, m.id), failed
			continue
		}
		s.mu.Lock()
		s.moved(m)
		s.mu.Unlock()
	}
	return left, err
}

// upToDate reports whether the message is as it was when the move was prepared, and nothing is being settled. s.mu is
// held.
func (s *Spool) upToDate(m *move) bool {
	tasks := s.ix.TasksOf(m.id)
	states := storedStates(tasks, nil)
	if *s.ix.Data(m.id) != m.from || len(states) != len(m.tasks) || s.ix.Held(m.id) != m.held || s.inUse(m.id, tasks) {
		return false
	}
	if m.held && tasks[0].HeldFor != m.reason {
		return false
	}
	for i, st := range states {
		t := m.tasks[i]
		if st.num != t.num || st.task != t.task || st.place != t.from {
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
		if isPart(t.num) {
			s.movedPart(m, t)
			continue
		}
		r := s.ix.Task(m.id, t.num)
		switch {
		case r == 0 || t.from.length == 0 || s.ix.Tasks.At(r).State != t.from:
		case !t.lost():
			s.ix.Tasks.At(r).State = m.record.place(t.off, int(t.from.length))
		case !s.ix.Leased(r): // else its holder knows the state
			s.live -= int64(t.from.length)
			s.ix.Tasks.At(r).State = place{}
		}
	}
}

// movedPart is moved for a part of a report task. s.mu is held.
func (s *Spool) movedPart(m *move, t movedTask) {
	part := s.ix.Part(m.id, t.num)
	switch {
	case part == nil || part.State != t.from:
	case !t.lost():
		part.State = m.record.place(t.off, int(t.from.length))
	case !s.ix.Leased(s.ix.Task(m.id, index.ReportTask)):
		s.live -= int64(t.from.length)
		if p := *s.ix.Data(m.id); s.ix.Unowe(m.id, t.num) {
			s.gone(p)
			s.removeFile(m.id)
		}
	}
}
