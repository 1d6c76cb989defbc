package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A record's payload is a list of entries, which take effect together: messages, or the outcome of a task or of
// messages with the reports of it.
//
//	entry    kind uint8, [3]byte zero, fields uint32, body uint64, checksum uint32 of the
//	         sixteen octets before it and of the fields, fields, body
//
// Lengths are in octets. The fields are described in fields.go. Only a message has a body.
const (
	entryHeaderLen = 20

	// These are the kinds of entries. The critical bit has the same meaning as in tags: see fields.go. Kinds 1 to 4 are
	// those of version 1: see format1.go. A number is never used again.
	entryMessage = critical | 1
	entryState   = critical | 2 // of a task
	entryHold    = critical | 3 // a message is held or released
	entryRemoval = critical | 4 // a message is removed

	// These can be skipped: they are about attempts that weren't settled. See claim.go.
	entryClaim = 5 // a task was claimed
	entryEnd   = 6 // all leases have ended

	// This one, too: an older program would store a message with a known Key once more. See keys.go.
	entryKey = 7

	// maxID and maxBody bound the numbers in a file, so that the next ID and the sum of all sizes don't overflow. No
	// spool gets near them.
	maxID   = 1 << 62
	maxBody = 1 << 50
)

// place is the position of an entry in the log.
type place struct {
	segment uint32
	off     uint32
	length  uint32 // with its body
}

type entryHeader struct {
	kind     uint8
	flags    uint8 // of version 1
	fields   uint32
	body     uint64
	checksum uint32
}

// length returns the length of the whole entry. decodeEntryHeader bounds fields and body, so the sum can't overflow.
func (h *entryHeader) length() uint64 { return entryHeaderLen + uint64(h.fields) + h.body }

var errEntry = errors.New("unreadable entry")

// appendEntry begins an entry. endEntry ends it.
func appendEntry(b []byte, kind uint8) []byte {
	return append(b, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

// endEntry completes the header of b, an entry whose last octets are a body of this length.
func endEntry(b []byte, body int) {
	fields := len(b) - entryHeaderLen - body
	binary.LittleEndian.PutUint32(b[4:], uint32(fields))
	binary.LittleEndian.PutUint64(b[8:], uint64(body))
	binary.LittleEndian.PutUint32(b[16:], entryChecksum(b, fields))
}

func entryChecksum(b []byte, fields int) uint32 {
	return crc32.Update(checksum(b[:16]), castagnoli, b[entryHeaderLen:entryHeaderLen+fields])
}

// decodeEntryHeader reads the header at the beginning of b. It refuses an entry that is longer than a record can be.
func decodeEntryHeader(b []byte) (entryHeader, error) {
	if len(b) < entryHeaderLen {
		return entryHeader{}, errEntry
	}
	h := entryHeader{
		kind: b[0], flags: b[1],
		fields:   binary.LittleEndian.Uint32(b[4:]),
		body:     binary.LittleEndian.Uint64(b[8:]),
		checksum: binary.LittleEndian.Uint32(b[16:]),
	}
	if h.fields > maxPayload || h.body > maxPayload || h.length() > maxPayload {
		return entryHeader{}, errEntry
	}
	return h, nil
}

// entryFields returns the header and the fields of an entry, and verifies their checksum. b may end after the fields.
func entryFields(b []byte) (entryHeader, []byte, error) {
	h, err := decodeEntryHeader(b)
	if err != nil || uint64(len(b)) < entryHeaderLen+uint64(h.fields) || entryChecksum(b, int(h.fields)) != h.checksum {
		return h, nil, errEntry
	}
	return h, b[entryHeaderLen:][:h.fields], nil
}

// eachEntry calls visit for each entry of a payload, with its offset.
func eachEntry(payload []byte, visit func(off int, entry []byte) error) error {
	for off := 0; off < len(payload); {
		h, err := decodeEntryHeader(payload[off:])
		if err != nil || h.length() > uint64(len(payload)-off) {
			return errEntry
		}
		if err := visit(off, payload[off:off+int(h.length())]); err != nil {
			return err
		}
		off += int(h.length())
	}
	return nil
}

// entryID returns the ID of the message that an entry of any kind is about, 0 if it has none.
func entryID(h entryHeader, b []byte) uint64 {
	if isFormat1(h) {
		d := decoder1{b: b}
		return uint64(d.int64())
	}
	for f := (fields{rest: b}); f.next(); {
		if f.tag == fieldID {
			return f.uint64()
		}
	}
	return 0
}
