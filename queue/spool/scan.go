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
	failed error  // of a read

	// broken, if set, is called with each record whose header is good and whose payload isn't.
	broken func(record)
}

const (
	scanWindow = 1 << 20
	sector     = 4 << 10 // what a disk can't read is this long, or a multiple of it
)

// scan calls visit with each whole record from off to end and returns what lies between them. A
// record is whole if its header and its payload are; where the header is and the payload isn't, the
// next record is looked for behind it, else wherever the salt marks one. What can't be read is read as zeros. An error
// is one of visit.
func (s *scanner) scan(off, end int64, visit func(record) error) (bad []span, err error) {
	for off < end {
		rec, next := s.next(off, end)
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
func (s *scanner) next(off, end int64) (*record, int64) {
	h, ok := decodeRecordHeader(s.peek(off, recordHeaderLen, end), s.salt, off)
	next := off + recordHeaderLen + int64(h.length)
	if !ok || next > end {
		return nil, s.search(off+1, end)
	}
	payload := s.peek(off+recordHeaderLen, int(h.length), end)
	rec := &record{off: off, durable: int64(h.durable), payload: payload}
	if checksum(payload) != h.checksum {
		if s.broken != nil {
			s.broken(*rec)
		}
		return nil, next
	}
	return rec, next
}

// search finds the first header at or behind off, or end.
func (s *scanner) search(off, end int64) int64 {
	for off < end {
		b := s.peek(off, scanWindow, end)
		if len(b) == 0 {
			return end // the file is shorter than it was
		}
		i := bytes.Index(b, s.salt[:])
		if i < 0 {
			// The salt may begin in the window's last octets.
			off += max(1, int64(len(b)-saltLen+1))
			continue
		}
		off += int64(i)
		if _, ok := decodeRecordHeader(s.peek(off, recordHeaderLen, end), s.salt, off); ok {
			return off
		}
		off++
	}
	return end
}

// peek gives the n octets at off, fewer where end comes first. off isn't behind end.
func (s *scanner) peek(off int64, n int, end int64) []byte {
	n = int(min(int64(n), end-off))
	if from := off - s.at; from >= 0 && from+int64(n) <= int64(len(s.window)) {
		return s.window[from : from+int64(n)]
	}
	size := int(min(int64(max(n, scanWindow)), end-off))
	if cap(s.window) < size {
		s.window = make([]byte, size)
	}
	s.window = s.window[:size]
	s.at = off
	got, err := s.r.ReadAt(s.window, off)
	if err != nil && !errors.Is(err, io.EOF) {
		readAround(s.r, s.window, off)
		s.failed, got = err, size
	}
	s.window = s.window[:got]
	return s.window[:min(n, got)]
}

// readAround reads what can be read and leaves zeros where a sector can't: it is damage like any other. It reports
// whether anything could be read.
func readAround(r io.ReaderAt, b []byte, off int64) (some bool) {
	clear(b)
	for len(b) > 0 {
		n := min(len(b), int(sector-off%sector))
		got, err := r.ReadAt(b[:n], off)
		if err == nil || errors.Is(err, io.EOF) {
			some = true
		} else {
			clear(b[got:n])
		}
		b, off = b[n:], off+int64(n)
	}
	return some
}
