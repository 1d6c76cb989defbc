package spool

import (
	"bytes"
	"errors"
	"io"
)

// span is a part of a segment that can't be read as records.
type span struct{ from, to int64 }

// record is one that was found.
type record struct {
	off     int64
	durable int64
	payload []byte // good until the next call
}

func (r *record) length() int64 { return recordHeaderLen + int64(len(r.payload)) }

// entryAt is the place of the record's entry that begins at off in the payload.
func (r *record) entryAt(seg *segment, off int, h entryHeader) place {
	return place{seg.number, uint32(r.off + recordHeaderLen + int64(off)), uint32(h.length())}
}

// scanner finds the records of a segment.
type scanner struct {
	r      io.ReaderAt
	salt   salt
	window []byte // what was read last
	at     int64  // where in the segment it stands

	// broken, if set, is called with each record whose header is good and whose payload isn't.
	broken func(record)
}

const (
	scanWindow = 1 << 20
	sector     = 4 << 10 // what a disk can't read is this long, or a multiple of it
)

// scan calls visit with each whole record from off to end and returns what lies between them. A
// record is whole if its header and its payload are; where the header is and the payload isn't, the
// next record is looked for behind it, else wherever the salt marks one. An error is one of reading, or of visit.
func (s *scanner) scan(off, end int64, visit func(record) error) (bad []span, err error) {
	for off < end {
		rec, next, err := s.next(off, end)
		if err != nil {
			return bad, err
		}
		if rec != nil {
			if err := visit(*rec); err != nil {
				return bad, err
			}
		} else if n := len(bad); n > 0 && bad[n-1].to == off {
			bad[n-1].to = next
		} else {
			bad = append(bad, span{off, next})
		}
		off = next
	}
	return bad, nil
}

// next reads the record at off and says where to go on. The record is nil if it isn't whole.
func (s *scanner) next(off, end int64) (*record, int64, error) {
	head, err := s.peek(off, recordHeaderLen, end)
	if err != nil {
		return nil, 0, err
	}
	h, ok := decodeRecordHeader(head, s.salt, off)
	if !ok {
		next, err := s.search(off+1, end)
		return nil, next, err
	}
	next := off + recordHeaderLen + int64(h.length)
	if next > end {
		next, err := s.search(off+1, end)
		return nil, next, err
	}
	payload, err := s.peek(off+recordHeaderLen, int(h.length), end)
	if err != nil {
		return nil, 0, err
	}
	rec := &record{off: off, durable: int64(h.durable), payload: payload}
	if checksum(payload) != h.checksum {
		if s.broken != nil {
			s.broken(*rec)
		}
		return nil, next, nil
	}
	return rec, next, nil
}

// search finds the first header at or behind off, or end.
func (s *scanner) search(off, end int64) (int64, error) {
	for off < end {
		b, err := s.peek(off, scanWindow, end)
		if err != nil {
			return 0, err
		}
		if len(b) == 0 {
			return end, nil // the file is shorter than it was
		}
		i := bytes.Index(b, s.salt[:])
		if i < 0 {
			// The salt may begin in the window's last octets.
			off += max(1, int64(len(b)-saltLen+1))
			continue
		}
		off += int64(i)
		head, err := s.peek(off, recordHeaderLen, end)
		if err != nil {
			return 0, err
		}
		if _, ok := decodeRecordHeader(head, s.salt, off); ok {
			return off, nil
		}
		off++
	}
	return end, nil
}

// peek gives the n octets at off, fewer where end comes first.
func (s *scanner) peek(off int64, n int, end int64) ([]byte, error) {
	n = int(min(int64(n), end-off))
	if n < 0 {
		n = 0
	}
	if from := off - s.at; from >= 0 && from+int64(n) <= int64(len(s.window)) {
		return s.window[from : from+int64(n)], nil
	}
	size := int(min(int64(max(n, scanWindow)), end-off))
	if cap(s.window) < size {
		s.window = make([]byte, size)
	}
	s.window = s.window[:size]
	s.at = off
	got, err := s.r.ReadAt(s.window, off)
	if err != nil && !errors.Is(err, io.EOF) {
		if err := readAround(s.r, s.window, off); err != nil {
			s.window = s.window[:0]
			return nil, err
		}
		got = size
	}
	s.window = s.window[:got]
	return s.window[:min(n, got)], nil
}

// readAround reads what can be read and leaves zeros where a sector can't: it is damage like any other. An error says
// that nothing can be read at all.
func readAround(r io.ReaderAt, b []byte, off int64) (err error) {
	clear(b)
	some := false
	for len(b) > 0 {
		n := min(len(b), int(sector-off%sector))
		got, readErr := r.ReadAt(b[:n], off)
		if readErr == nil || errors.Is(readErr, io.EOF) {
			some = true
		} else {
			clear(b[got:n])
			err = readErr
		}
		b, off = b[n:], off+int64(n)
	}
	if some {
		return nil
	}
	return err
}
