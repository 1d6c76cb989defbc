package spool

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"
)

// segment is one of the log's files.
type segment struct {
	number   uint32
	header   segmentHeader // as it was found
	reason   error         // why the header is damaged
	beyond   int64         // octets of the file behind maxSegment, which aren't read
	salt     salt
	file     File
	readable bool // it has a salt
	made     bool // in this life of the spool, so that file can be written to

	filled int64 // the writer's: the length of the file

	// These are the janitor's.
	again  time.Time // before which compaction doesn't try it once more
	listed bool      // rest has what lives in it
	rest   []uint64  // messages that are to be moved
	hinted bool      // it has a hint, or needs none

	// These are guarded by the log's mutex.
	damaged bool // it is kept under another name when it isn't needed any more
	size    int64
	durable int64

	pending atomic.Int64 // records that the index doesn't know yet
	refs    atomic.Int64 // of those that read it, and the log's own: the file is closed with the last
}

// follows reports whether the segment was begun as the next one after former, and says where that ends.
func (seg *segment) follows(former *segment) bool {
	return !seg.damaged && seg.number == former.number+1 && seg.header.before != unknownSalt
}

func segmentName(number uint32) string { return fmt.Sprintf("%010d.segment", number) }

// createSegment makes a segment with the given payloads in it, durably, of the spare file if there is one. header's
// salt is chosen here: nothing that was in the file passes for a record.
func createSegment(fs FS, header segmentHeader, payloads [][]byte, spare *spareFile) (seg *segment, err error) {
	if header.number == 0 {
		return nil, errNumbers
	}
	name := segmentName(header.number)
	temp := name + tempSuffix
	var f File
	var filled int64
	if spare != nil {
		temp, f, filled = spare.name, spare.File, spare.size
	} else {
		if err := fs.Remove(temp); err != nil {
			return nil, err
		}
		if f, err = fs.Open(temp, true); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil {
			f.Close()
			fs.Remove(temp)
		}
	}()
	rand.Read(header.salt[:])
	seg = &segment{
		number: header.number, header: header, salt: header.salt, file: f,
		readable: true, made: true, size: segmentHeaderLen, filled: filled,
	}
	buffers := [][]byte{header.encode()}
	for _, payload := range payloads {
		record := append(make([]byte, recordHeaderLen), payload...)
		startHeader(record)
		finishHeader(record, seg.salt, seg.size, segmentHeaderLen)
		buffers = append(buffers, record)
		seg.size += int64(len(record))
	}
	seg.durable = seg.size
	if err := f.Writev(0, buffers...); err != nil {
		return nil, err
	}
	if err := syncFile(f); err != nil {
		return nil, err
	}
	if err := fs.Rename(temp, name); err != nil {
		return nil, err
	}
	return seg, syncNames(fs)
}

var (
	errNumbers = errors.New("the numbers of segments are used up: move the mail to a new spool")
	errIDs     = errors.New("the IDs of messages are used up: move the mail to a new spool")
)

var errSegmentGone = errors.New("the segment was removed")

// failed says what failed where.
func (seg *segment) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", op, segmentName(seg.number), err)
}

// entry reads the entry at p into buf, without its body.
func (seg *segment) entry(p place, buf []byte) (entryHeader, []byte, error) {
	if seg == nil {
		return entryHeader{}, nil, errSegmentGone
	}
	const guess = 1 << 10
	buf = slices.Grow(buf[:0], guess)[:min(p.length, guess)]
	if _, err := seg.file.ReadAt(buf, int64(p.off)); err != nil {
		return entryHeader{}, nil, err
	}
	h, err := decodeEntryHeader(buf)
	if err != nil || h.length() != uint64(p.length) {
		return entryHeader{}, nil, errEntry
	}
	if n := entryHeaderLen + int(h.fields); n > len(buf) {
		buf = slices.Grow(buf, n-len(buf))[:n]
		if _, err := seg.file.ReadAt(buf, int64(p.off)); err != nil {
			return entryHeader{}, nil, err
		}
	}
	return entryFields(buf)
}

// appendEntry appends the entry at p, with its body, to b, and gives its header and its fields, too. A part of the body
// that can't be read is zeros.
func (seg *segment) appendEntry(b []byte, p place) (h entryHeader, _, fields []byte, err error) {
	if seg == nil {
		return h, nil, nil, errSegmentGone
	}
	start := len(b)
	b = slices.Grow(b, int(p.length))[:start+int(p.length)]
	if _, err := seg.file.ReadAt(b[start:], int64(p.off)); err != nil {
		if errors.Is(err, io.EOF) || !readAround(seg.file, b[start:], int64(p.off)) {
			return h, nil, nil, err
		}
	}
	h, fields, err = entryFields(b[start:])
	if err == nil && h.length() != uint64(p.length) {
		err = errEntry
	}
	return h, b, fields, err
}

// unread returns an error if nothing in the segment can be read, as far as it tries.
func (seg *segment) unread() (err error) {
	var b [1]byte
	for _, off := range [...]int64{0, seg.size / 2, seg.size - 1} {
		if _, err = seg.file.ReadAt(b[:], max(off, 0)); err == nil || errors.Is(err, io.EOF) {
			return nil
		}
	}
	return err
}

func (seg *segment) alive() bool { return seg.unread() == nil }

// records gives the payloads of the records from off to end. With an error, a part couldn't be read.
func (seg *segment) records(off, end int64) (payloads [][]byte, err error) {
	sc := scanner{r: seg.file, salt: seg.salt}
	sc.scan(off, end, func(rec record) error {
		if len(rec.payload) > 0 {
			payloads = append(payloads, slices.Clone(rec.payload))
		}
		return nil
	})
	return payloads, sc.failed
}
