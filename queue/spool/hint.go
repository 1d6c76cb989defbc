package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A hint is what a segment has but for the bodies, so that a start needn't read those. It is a file beside a
// segment that isn't written to any more:
//
//	magic [16]byte, version uint8, [3]byte, end uint32, salt [8]byte, checksum uint32 of all but itself, items
//	item   off uint32, where the entry stands in the segment, and the entry up to its body
//
// Nothing depends on hints. One that is torn, or belongs to another segment, is passed over, and so they need no sync.
const (
	hintMagic     = "postrider hint\n\n"
	hintVersion   = 2 // version 1 is the same: entries are as they are in the segment
	hintHeaderLen = 36
)

func hintName(number uint32) string { return fmt.Sprintf("%010d%s", number, hintSuffix) }

// startHint begins the hint of a segment.
func startHint(seg *segment) []byte {
	b := make([]byte, hintHeaderLen)
	copy(b, hintMagic)
	b[16] = hintVersion
	binary.LittleEndian.PutUint32(b[20:], uint32(seg.size))
	copy(b[24:32], seg.salt[:])
	return b
}

func hintChecksum(b []byte) uint32 {
	return crc32.Update(checksum(b[:32]), castagnoli, b[hintHeaderLen:])
}

// makeHint makes the hint of a segment that isn't written to any more: nil if it has damage, or if the hint would
// be no shorter than half of it.
func makeHint(seg *segment) ([]byte, error) {
	hint := startHint(seg)
	sc := scanner{r: seg.file, salt: seg.salt}
	bad, err := sc.scan(segmentHeaderLen, seg.size, func(rec record) error {
		if int64(len(hint)) > seg.size/2 {
			return errHint
		}
		return eachEntry(rec.payload, func(off int, entry []byte) error {
			h, fields, err := entryFields(entry)
			hint = binary.LittleEndian.AppendUint32(hint, rec.entryAt(seg, off, h).off)
			hint = append(hint, entry[:entryHeaderLen+len(fields)]...)
			return err
		})
	})
	if err == errHint || err == nil && len(bad) > 0 {
		return nil, nil
	}
	binary.LittleEndian.PutUint32(hint[32:], hintChecksum(hint))
	return hint, err
}

var errHint = errors.New("the hint would be too long")

// writeHint has the segment replayed from a hint at the next start.
func (s *Spool) writeHint(seg *segment) error {
	hint, err := makeHint(seg)
	if hint == nil || err != nil {
		return err
	}
	name := hintName(seg.number)
	temp := name + tempSuffix
	if err := s.fs.Remove(temp); err != nil {
		return err
	}
	f, err := s.fs.Open(temp, true)
	if err != nil {
		return err
	}
	err = f.Writev(0, hint)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = s.fs.Rename(temp, name)
	}
	if err != nil {
		s.fs.Remove(temp)
	}
	return err
}

// replayHint takes in a segment from its hint. It reports false if there is none that can be trusted.
func (s *Spool) replayHint(seg *segment, end int64) bool {
	if seg.damaged || end > seg.size {
		return false
	}
	f, err := s.fs.Open(hintName(seg.number), false)
	if err != nil {
		return false
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil || size < hintHeaderLen || size > seg.size {
		return false
	}
	hint := make([]byte, size)
	if _, err := f.ReadAt(hint, 0); err != nil {
		return false
	}
	want := startHint(&segment{size: end, salt: seg.salt})
	if hint[16] == 1 {
		want[16] = 1
	}
	if string(hint[:32]) != string(want[:32]) || binary.LittleEndian.Uint32(hint[32:]) != hintChecksum(hint) {
		return false
	}
	for b := hint[hintHeaderLen:]; len(b) > 4; {
		h, fields, err := entryFields(b[4:])
		at := place{seg.number, binary.LittleEndian.Uint32(b), uint32(h.length())}
		if err == nil && int64(at.off)+int64(at.length) > end {
			err = errEntry
		}
		if err == nil {
			err = s.applyEntry(h, fields, at)
		}
		if err != nil {
			return false // what was taken in so far comes once more, from the segment
		}
		b = b[4+entryHeaderLen+len(fields):]
	}
	seg.hinted = true
	return true
}
