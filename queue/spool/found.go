package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
)

// openSegments opens what segments there are, in their order, and changes nothing. One that can't be read is damaged,
// like one that has a part that can't. If nothing at all can be read, it is no damage but an error.
func openSegments(fsys FS, names map[string]int64) (segments []*segment, err error) {
	for name := range names {
		number, ok := segmentNumber(name, segmentSuffix)
		if !ok {
			continue
		}
		f, err := fsys.Open(name, false)
		if passing(err) || errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			return segments, err // which says nothing about the data
		}
		if err != nil {
			f = unreadable{err, max(names[name], 0)}
		}
		seg := &segment{number: number, file: f}
		segments = append(segments, seg)
		if err := seg.readHeader(); err != nil {
			return segments, fmt.Errorf("%s: %w", name, err)
		}
	}
	slices.SortFunc(segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	return segments, nil
}

// unreadable is a file that can't be opened.
type unreadable struct {
	err  error
	size int64
}

func (f unreadable) ReadAt([]byte, int64) (int, error) { return 0, f.err }
func (f unreadable) Close() error                      { return nil }
func (f unreadable) Writev(int64, ...[]byte) error     { return f.err }
func (f unreadable) Truncate(int64) error              { return f.err }
func (f unreadable) Sync() error                       { return f.err }
func (f unreadable) Size() (int64, error)              { return f.size, nil }

// readHeader reads the header as far as it is good. An error says that this program can't have the segment, or that
// its size can't be found out.
func (seg *segment) readHeader() (err error) {
	if seg.size, err = seg.file.Size(); err != nil {
		return err
	}
	if seg.size > maxSegment {
		seg.beyond, seg.size = seg.size-maxSegment, maxSegment
	}
	b := make([]byte, min(segmentHeaderLen+recordHeaderLen, seg.size))
	if _, err = seg.file.ReadAt(b, 0); err == nil || errors.Is(err, io.EOF) {
		seg.header, err = decodeSegmentHeader(b)
	} else {
		clear(b)
	}
	if _, ok := errors.AsType[*versionError](err); ok {
		return err
	}
	if err == nil && seg.header.number != seg.number {
		err = errHeader
	}
	seg.reason, seg.damaged, seg.readable = err, err != nil, err == nil
	seg.salt = seg.header.salt
	if seg.damaged && len(b) == segmentHeaderLen+recordHeaderLen {
		// The first record tells the salt too, and proves it.
		first := b[segmentHeaderLen:]
		seg.salt = salt(first[:saltLen])
		_, seg.readable = decodeRecordHeader(first, seg.salt, segmentHeaderLen)
	}
	return nil
}

// readRoster reads the roster, nil if there is none that can be believed. An error says that nothing at all can be
// read.
func (s *Spool) readRoster(segments []*segment) (*roster, error) {
	r, sure, err := readRoster(s.fs)
	if r == nil && !errors.Is(err, errSlots) && len(segments) > 0 && !slices.ContainsFunc(segments, (*segment).alive) {
		return nil, fmt.Errorf("%s: %w", segmentName(segments[0].number), segments[0].unread())
	}
	if err != nil {
		s.report(Damage{File: rosterName, Reason: err.Error()})
	}
	if r == nil || !r.believable(segments) {
		return nil, nil
	}
	if !sure { // a newer slot may be of a later first segment
		r.first = math.MaxUint32
	}
	return r, nil
}

// findSalts looks for the salts of segments whose headers can't be read.
func findSalts(segments []*segment, r *roster) {
	for i, seg := range segments {
		if seg.readable {
			continue
		}
		if i+1 < len(segments) && segments[i+1].follows(seg) {
			seg.trySalt(segments[i+1].header.before)
		}
		if !seg.readable && r != nil && r.last == seg.number {
			seg.trySalt(r.salt)
		}
	}
}

// trySalt takes a salt that another file has for the segment.
func (seg *segment) trySalt(s salt) {
	if s != (salt{}) {
		seg.salt, seg.readable = s, true
	}
}

// maxMissing bounds the segments that are reported as missing.
const maxMissing = 100

// missingSegments lists the segments that should be there, for which there is no mark from an earlier opening.
func missingSegments(segments []*segment, r *roster, names map[string]int64) (missing []uint32) {
	miss := func(from, to uint32) { // without to
		for n := from; n < to && len(missing) < maxMissing; n++ {
			if _, marked := names[segmentName(n)+damagedSuffix]; !marked {
				missing = append(missing, n)
			}
		}
	}
	if r != nil {
		end := r.last + 1
		if len(segments) > 0 {
			end = min(end, segments[0].number)
		}
		miss(r.first, end)
	}
	for i, seg := range segments[min(1, len(segments)):] {
		miss(segments[i].number+1, seg.number)
	}
	if r != nil && len(segments) > 0 {
		miss(segments[len(segments)-1].number+1, r.last+1)
	}
	return missing
}
