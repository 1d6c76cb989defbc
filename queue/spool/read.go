package spool

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
)

// pin holds the segments that a task's entries are in, nil where there is none.
type pin struct{ message, state *segment }

// pin keeps the segments of the tasks readable. s.mu is held.
func (s *Spool) pin(tasks ...spoolClaim) []pin {
	pins := make([]pin, len(tasks))
	for i, c := range tasks {
		pins[i].message = s.log.acquire(c.Data.segment)
		if c.State.length > 0 {
			pins[i].state = s.log.acquire(c.State.segment)
		}
	}
	return pins
}

func (s *Spool) unpin(pins []pin) {
	for _, p := range pins {
		p.message.release()
		p.state.release()
	}
}

// task reads a task, and unpins it.
func (s *Spool) task(c spoolClaim, p pin) (queue.Task, error) {
	msg, st, err := s.load(c, p)
	if err != nil {
		return queue.Task{}, err
	}
	t := c.Task
	msg.Fill(&t, st)
	return t, nil
}

// load reads a task's message and state, and unpins it.
func (s *Spool) load(c spoolClaim, p pin) (*index.Message, *index.Progress, error) {
	defer s.unpin([]pin{p})
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	msg, err := readMessage(p.message, c.Data, *buf)
	if err == nil && (msg.ID != c.ID || int64(c.Num) >= int64(len(msg.Dests))) {
		err = errEntry
	}
	if err != nil {
		return nil, nil, s.unreadable(c.Data, err)
	}
	if c.State.length == 0 {
		return msg, msg.Initial(c.Num), nil
	}
	st, err := readState(p.state, c.State, msg, *buf)
	if err == nil && (st.id != c.ID || st.num != c.Num || st.done) {
		err = errEntry
	}
	if err != nil {
		return nil, nil, s.unreadable(c.State, err)
	}
	return msg, &st.state, nil
}

func readMessage(seg *segment, p place, buf []byte) (*index.Message, error) {
	h, fields, err := seg.entry(p, buf)
	if err != nil {
		return nil, err
	}
	return decodeMessage(h, fields, false)
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

var errBodyDamaged = errors.New("damaged body")

// openInline makes the Body of a message that has it in the log, and releases seg.
func (s *Spool) openInline(p place, seg *segment) (queue.Body, error) {
	defer seg.release()
	h, entry, fields, err := seg.appendEntry(nil, p)
	if err != nil {
		return nil, s.unreadable(p, err)
	}
	m, err := decodeMessage(h, fields, true)
	if err != nil {
		return nil, s.unreadable(p, err)
	}
	body := entry[entryHeaderLen+len(fields):]
	if checksum(body) != m.Sum {
		return nil, s.unreadable(p, errBodyDamaged)
	}
	return index.BytesBody{Reader: bytes.NewReader(body)}, nil
}

// openFile makes the Body of a message that has it in a file, and releases seg.
func (s *Spool) openFile(id uint64, p place, seg *segment) (queue.Body, error) {
	defer seg.release()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	m, err := readMessage(seg, p, *buf)
	if err != nil {
		return nil, s.unreadable(p, err)
	}
	name := bodyName(id)
	f, err := s.fs.Open(name, false)
	if err == nil {
		if err = checkBody(f, m); err == nil {
			return fileBody{io.NewSectionReader(f, 0, m.Size), f}, nil
		}
		f.Close()
	}
	s.mu.Lock()
	gone := s.ix.Data(id) == nil
	s.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) && gone {
		return nil, queue.ErrNotFound
	}
	if !passing(err) {
		s.report(Damage{File: name, Length: m.Size, Reason: err.Error()})
	}
	return nil, fmt.Errorf("%s: %w", name, err)
}

// checkBody reads a body file to its end: none that is damaged goes out, not even in part.
func checkBody(f File, m *index.Message) error {
	h := crc32.New(castagnoli)
	if n, err := io.Copy(h, io.NewSectionReader(f, 0, math.MaxInt64)); err != nil {
		return err
	} else if n != m.Size {
		return fmt.Errorf("it has %d octets, want %d", n, m.Size)
	}
	if h.Sum32() != m.Sum {
		return errBodyDamaged
	}
	return nil
}

// fileBody is a body file. Closing it twice does no harm.
type fileBody struct {
	*io.SectionReader
	file File
}

func (b fileBody) Close() error {
	if err := b.file.Close(); !errors.Is(err, fs.ErrClosed) {
		return err
	}
	return nil
}
