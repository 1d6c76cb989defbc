package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
)

// pin holds the segments that a task's entries are in.
type pin struct{ message, state *segment }

// pin keeps the segments of the tasks readable. s.mu is held.
func (s *Spool) pin(tasks ...spoolClaim) []pin {
	pins := make([]pin, len(tasks))
	for i, c := range tasks {
		pins[i].message = s.log.acquire(c.data.segment)
		if c.state.length > 0 {
			pins[i].state = s.log.acquire(c.state.segment)
		}
	}
	return pins
}

func (s *Spool) unpin(pins []pin) {
	for _, p := range pins {
		s.log.release(p.message)
		if p.state != nil {
			s.log.release(p.state)
		}
	}
}

// task reads a task, and unpins it.
func (s *Spool) task(c spoolClaim, p pin) (Task, error) {
	msg, st, err := s.load(c, p)
	if err != nil {
		return Task{}, err
	}
	t := c.task
	msg.fill(&t, st)
	return t, nil
}

// load reads a task's message and state, and unpins it.
func (s *Spool) load(c spoolClaim, p pin) (*stored, *state, error) {
	defer s.unpin([]pin{p})
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	msg, err := readMessage(p.message, c.data, *buf)
	if err == nil && msg.id != c.id {
		err = errEntry
	}
	if err != nil {
		return nil, nil, s.unreadable(c.data, err)
	}
	if p.state == nil {
		return msg, msg.initial(c.num), nil
	}
	st, err := readState(p.state, c.state, msg, *buf)
	if err == nil && (st.id != c.id || st.num != c.num || st.done) {
		err = errEntry
	}
	if err != nil {
		return nil, nil, s.unreadable(c.state, err)
	}
	return msg, &st.state, nil
}

func readMessage(seg *segment, p place, buf []byte) (*stored, error) {
	h, fields, err := seg.entry(p, buf)
	if err != nil {
		return nil, err
	}
	if h.kind != entryMessage {
		return nil, errEntry
	}
	return decodeMessage(fields, false)
}

func readState(seg *segment, p place, msg *stored, buf []byte) (*taskState, error) {
	h, fields, err := seg.entry(p, buf)
	if err != nil {
		return nil, err
	}
	if h.kind != entryState {
		return nil, errEntry
	}
	return decodeState(h, fields, msg)
}

// unreadable notes that an entry that was good when the spool was opened is not any more.
func (s *Spool) unreadable(p place, err error) error {
	name := segmentName(p.segment)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report(Damage{File: name, Offset: int64(p.off), Length: int64(p.length), Reason: err.Error()})
	return fmt.Errorf("%s at %d: %w", name, p.off, err)
}

// open makes the Body of a message, and releases seg in the end.
func (s *Spool) open(id uint64, p place, seg *segment, size int64, inFile bool) (Body, error) {
	if inFile {
		s.log.release(seg)
		return s.openFile(id, size)
	}
	head := make([]byte, entryHeaderLen)
	_, err := seg.file.ReadAt(head, int64(p.off))
	if err == nil {
		var h entryHeader
		if h, err = decodeEntryHeader(head); err == nil && h.length() != uint64(p.length) {
			err = errEntry
		}
	}
	if err != nil {
		s.log.release(seg)
		return nil, s.unreadable(p, err)
	}
	start := entryHeaderLen + int64(binary.LittleEndian.Uint32(head[4:]))
	return &spoolBody{
		SectionReader: io.NewSectionReader(seg.file, int64(p.off)+start, int64(p.length)-start),
		close:         func() error { s.log.release(seg); return nil },
	}, nil
}

func (s *Spool) openFile(id uint64, size int64) (Body, error) {
	name := bodyName(id)
	f, err := s.disk.open(name)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if errors.Is(err, fs.ErrNotExist) && s.ix.data(id) == nil {
			return nil, ErrNotFound
		}
		s.report(Damage{File: name, Length: size, Reason: err.Error()})
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.Size() != size {
		f.Close()
		return nil, fmt.Errorf("%s doesn't have its %d octets", name, size)
	}
	return &spoolBody{SectionReader: io.NewSectionReader(f, 0, size), close: f.Close}, nil
}

// spoolBody is a part of a segment, or a body file.
type spoolBody struct {
	*io.SectionReader
	once  sync.Once
	close func() error
}

func (b *spoolBody) Close() (err error) {
	b.once.Do(func() { err = b.close() })
	return err
}
