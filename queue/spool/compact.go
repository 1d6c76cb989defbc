package spool

import (
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/queue/internal/mutant"
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
			s.watch.Tell(time.Now(), "") // so that a Runner asks, and hears of it
		}
		s.removeFiles()
		s.dropSpare()
		for s.compact() {
			if s.quitting() {
				return
			}
		}
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
			s.config.Logger.Warn("queue: no hint was written", "dir", s.dir, "file", segmentName(seg.number), "error", err)
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

// wasteful reports whether the log's oldest segment should go: it has no message any more, or the log is
// large or in many pieces for what lives in it. s.mu is held.
func (s *Spool) wasteful() bool {
	const much = 1 << 20 // for which it is worth while to copy what lives, if the disk is full
	oldest, segments, size := s.log.shape()
	switch {
	case segments > 1 && s.perSeg[oldest].messages == 0:
		return true
	case size-s.live < s.futile:
		return false
	case s.space.full.Load() && size > s.live+s.live/4+much:
		return true
	case segments == 1:
		return false
	case size > 2*s.live+s.config.SegmentSize/2: // the rest of the two segments is for what comes meanwhile
		return true
	}
	return int64(segments) > 8+2*size/s.config.SegmentSize
}

// turn is a turn of compaction through the whole log.
type turn struct {
	end          uint32 // what was the newest segment when it began
	freed, moved int64  // octets
}

// endTurn counts a segment that was freed. If a whole turn has freed hardly more than it wrote, what seems to be waste isn't, and more of
// it must come before there is another.
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
		s.futile = size - s.live + s.config.SegmentSize/4
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
	lives := s.perSeg[seg.number]
	s.mu.Unlock()
	if seg.stuck || !s.hasRoom(lives.octets) || !s.rollPast(seg) || !s.log.settled(seg) || !s.moveAll(seg) {
		return false
	}
	spare := !s.log.isDamaged(seg) && s.wantsSpare(seg)
	if err := s.removeSegment(seg, spare); err != nil {
		s.stick(seg, Damage{File: segmentName(seg.number), Reason: "the segment can't be removed: " + err.Error()})
		return false
	}
	unread := s.log.retire(seg)
	s.endTurn(seg)
	switch {
	case spare && s.log.isDamaged(seg): // as has turned out meanwhile
		s.fs.Rename(spareName(seg.number), segmentName(seg.number)+damagedSuffix)
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

// removeSegment removes the segment's file for good, or gives it another name, before the next one's goes: what settled its messages
// may be in there.
func (s *Spool) removeSegment(seg *segment, spare bool) error {
	name := segmentName(seg.number)
	err := s.fs.Remove(hintName(seg.number))
	switch {
	case err != nil:
	case spare:
		err = s.fs.Rename(name, spareName(seg.number))
	case s.log.isDamaged(seg):
		err = s.fs.Rename(name, name+damagedSuffix)
	default:
		err = s.fs.Remove(name)
	}
	if err != nil {
		return err
	}
	return s.log.doubt(syncNames(s.fs))
}

// stick reports why a segment can't go, and leaves it until the spool is opened again.
func (s *Spool) stick(seg *segment, d Damage) {
	seg.stuck = true
	s.distrust(seg.number, d)
}

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
	reason := fmt.Sprintf("%d messages in the segment can't be read any more", left)
	if err != nil {
		reason += ": " + err.Error()
	}
	s.stick(seg, Damage{File: segmentName(seg.number), Length: seg.size, Reason: reason})
	return false
}

var (
	errNotMoved = errors.New("some were not moved")
	errNoneLeft = errors.New("no message lives in the segment any more")
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

// prepareMove makes a record of the entry of a message if that lives there, nil otherwise. errNoneLeft: nor does any other.
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
