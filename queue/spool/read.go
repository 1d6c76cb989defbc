package spool

import (
	"cmp"
	"fmt"

	"github.com/postrider/postrider/queue/internal/index"
)

// pin holds the segments that a task's entries are in, nil where there is none.
type pin struct {
	message, state *segment
	parts          []*segment // of a report task
}

// pin keeps the segments of a task readable. s.mu is held.
func (s *Spool) pin(c *spoolClaim) (p pin) {
	p.message = s.log.acquire(c.Data.segment)
	p.state = s.log.acquire(c.State.segment) // nil where there is none, in segment 0
	for _, part := range c.Parts {
		p.parts = append(p.parts, s.log.acquire(part.State.segment))
	}
	return p
}

// pinAll is pin for several tasks. s.mu is held.
func (s *Spool) pinAll(tasks []spoolClaim) []pin {
	pins := make([]pin, len(tasks))
	for i := range tasks {
		pins[i] = s.pin(&tasks[i])
	}
	return pins
}

// release ends pin.
func (p *pin) release() {
	p.message.release()
	p.state.release()
	for _, seg := range p.parts {
		seg.release()
	}
}

func unpin(pins []pin) {
	for i := range pins {
		pins[i].release()
	}
}

// load reads a task's message and state, and unpins it.
func (s *Spool) load(c *spoolClaim, p pin) (*index.Message, *index.Progress, error) {
	defer p.release()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	msg, err := s.readMessage(p.message, c.Data, *buf)
	if err == nil && (msg.ID != c.ID || c.Num != index.ReportTask && int64(c.Num) >= int64(len(msg.Dests))) {
		err = errEntry
	}
	switch {
	case err != nil:
		return nil, nil, s.unreadable(c.Data, err)
	case c.Num == index.ReportTask:
		st, err := s.loadReport(c, p, msg, *buf)
		return msg, st, err
	case c.State.length == 0:
		return msg, msg.Initial(c.Num), nil
	}
	st, err := s.loadState(p.state, c.State, c.Num, msg, *buf)
	return msg, st, err
}

// loadReport reads the parts of a report task. A part that can't be read costs what it has, unless it is the only one.
func (s *Spool) loadReport(c *spoolClaim, p pin, msg *index.Message, buf []byte) (*index.Progress, error) {
	var parts []*index.Progress
	var unread error
	for i, part := range c.Parts {
		st, err := s.loadState(p.parts[i], part.State, part.Num, msg, buf)
		if err != nil {
			unread = err
			continue
		}
		parts = append(parts, st)
	}
	if len(parts) == 0 {
		return nil, unread
	}
	return index.Merge(parts), nil
}

// loadState reads the state of a task of the message, or of a part of its report task.
func (s *Spool) loadState(seg *segment, p place, num uint32, msg *index.Message, buf []byte) (*index.Progress, error) {
	st, err := readState(seg, p, msg, buf)
	if err == nil && (st.id != msg.ID || st.num != num || st.done) {
		err = errEntry
	}
	if err != nil {
		return nil, s.unreadable(p, err)
	}
	return &st.state, nil
}

// readMessage reads a message but its body. It must not be changed.
func (s *Spool) readMessage(seg *segment, p place, buf []byte) (*index.Message, error) {
	if m := cmp.Or(s.wide.get(p), s.fresh.message(p)); m != nil {
		return m, nil
	}
	h, fields, err := seg.entry(p, buf)
	if err != nil {
		return nil, err
	}
	m, err := decodeMessage(h, fields, false)
	if err != nil {
		return nil, err
	}
	s.wide.keep(p, m)
	return m, nil
}

func readState(seg *segment, p place, msg *index.Message, buf []byte) (*taskState, error) {
	h, fields, err := seg.entry(p, buf)
	if err != nil {
		return nil, err
	}
	return decodeState(h, fields, msg)
}

// unreadable notes that an entry that was good when the spool was opened is not any more.
func (s *Spool) unreadable(p place, err error) error {
	name := segmentName(p.segment)
	s.distrust(p.segment, Damage{File: name, Offset: int64(p.off), Length: int64(p.length), Reason: err.Error()})
	return fmt.Errorf("%s at octet %d: %w", name, p.off, err)
}

// distrust reports damage in a segment and sees to it that the next start reads the segment itself.
func (s *Spool) distrust(segment uint32, d Damage) {
	s.log.damage(segment)
	s.fs.Remove(hintName(segment))
	s.report(d)
}
