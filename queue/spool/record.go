package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// A segment is a file of the spool's log: a header and records, one behind the other. All numbers are
// little-endian.
//
//	header   magic [16]byte, version uint8, [3]byte, number uint32, next uint64, salt [8]byte,
//	         previous uint32, before [8]byte, [8]byte, checksum uint32 of all that
//	record   salt [8]byte, length uint32, checksum uint32 of the payload, durable uint32,
//	         checksum uint32 of the record's offset and of all that, payload
//
// The salt is random, of this segment only, and marks where a record begins, so that the next one can be found behind
// a damaged one. Since a record's checksum covers the place where it stands, neither a mail nor a copy of
// a segment within a mail can pose as a record.
//
// next is above every id that the segments before this one have given out. previous is where the segment before this
// one ends; what that has behind it is void. before is its salt, so that its records are found though its own header
// can't be read. It is zero in the first segment, and in one that an earlier program of version 2 has made, which skips
// the field.
//
// durable is how much of the segment was known to be on the disk when the record was written: what can't be read before
// that is damage, what can't be read behind the last such mark may never have been written.
const (
	segmentMagic     = "postrider spool\n"
	segmentVersion   = 2 // version 1 differs in its entries, of which each says what it is: see format1.go
	segmentHeaderLen = 64
	recordHeaderLen  = 24
	saltLen          = 8

	// maxPayload bounds what one record holds, so that a length can be believed.
	maxPayload = 1 << 30

	// maxSegment bounds a segment: places in it are 32 bits long. One is at most as long as Options.SegmentSize, or one
	// record.
	maxSegment = 2 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

type salt [saltLen]byte

type segmentHeader struct {
	number   uint32
	next     uint64
	salt     salt
	previous uint32
	before   salt
}

// unknownSalt is in before where that salt isn't known: then previous says nothing.
var unknownSalt = salt{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func (h *segmentHeader) encode() []byte {
	b := make([]byte, segmentHeaderLen)
	copy(b, segmentMagic)
	b[16] = segmentVersion
	binary.LittleEndian.PutUint32(b[20:], h.number)
	binary.LittleEndian.PutUint64(b[24:], h.next)
	copy(b[32:40], h.salt[:])
	binary.LittleEndian.PutUint32(b[40:], h.previous)
	copy(b[44:52], h.before[:])
	binary.LittleEndian.PutUint32(b[60:], checksum(b[:60]))
	return b
}

// versionError says that a newer program wrote the spool.
type versionError struct{ version uint8 }

func (e *versionError) Error() string {
	return fmt.Sprintf("version %d of the format is not known, only 1 to %d: open the spool with the newer program",
		e.version, segmentVersion)
}

var errHeader = errors.New("damaged segment header")

func decodeSegmentHeader(b []byte) (h segmentHeader, err error) {
	if len(b) < segmentHeaderLen || string(b[:16]) != segmentMagic ||
		binary.LittleEndian.Uint32(b[60:]) != checksum(b[:60]) {
		return h, errHeader
	}
	switch version := b[16]; {
	case version > segmentVersion:
		return h, &versionError{version}
	case version == 0:
		return h, errHeader
	}
	h.number = binary.LittleEndian.Uint32(b[20:])
	h.next = binary.LittleEndian.Uint64(b[24:])
	if h.next == 0 || h.next > maxID {
		return h, errHeader
	}
	copy(h.salt[:], b[32:40])
	h.previous = binary.LittleEndian.Uint32(b[40:])
	copy(h.before[:], b[44:52])
	return h, nil
}

type recordHeader struct {
	length   uint32
	checksum uint32
	durable  uint32
}

// startHeader puts into a record's header what its payload gives, finishHeader what is known only
// when it has its place.
func startHeader(record []byte) {
	payload := record[recordHeaderLen:]
	binary.LittleEndian.PutUint32(record[8:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(record[12:], checksum(payload))
}

func finishHeader(b []byte, s salt, off, durable int64) {
	copy(b, s[:])
	binary.LittleEndian.PutUint32(b[16:], uint32(durable))
	binary.LittleEndian.PutUint32(b[20:], headerChecksum(b, off))
}

// decodeRecordHeader reports false where no header begins at off.
func decodeRecordHeader(b []byte, s salt, off int64) (h recordHeader, ok bool) {
	if len(b) < recordHeaderLen || salt(b[:saltLen]) != s ||
		binary.LittleEndian.Uint32(b[20:]) != headerChecksum(b, off) {
		return h, false
	}
	h.length = binary.LittleEndian.Uint32(b[8:])
	h.checksum = binary.LittleEndian.Uint32(b[12:])
	h.durable = binary.LittleEndian.Uint32(b[16:])
	return h, h.length <= maxPayload
}

func headerChecksum(b []byte, off int64) uint32 {
	var place [8]byte
	binary.LittleEndian.PutUint64(place[:], uint64(off))
	return crc32.Update(checksum(place[:]), castagnoli, b[:20])
}
