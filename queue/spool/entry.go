package spool

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// The payload of a record is entries, which come true together: a message, or what became of a
// task or of messages, with the reports of that.
//
//	entry    kind uint8, [3]byte zero, fields uint32, body uint64, checksum uint32 of the
//	         sixteen octets before it and of the fields, fields, body
//
// Lengths are in octets. Fields are described in fields.go. Only a message has a body.
const (
	entryHeaderLen = 20

	// The kinds of entries. A kind with the critical bit can't be skipped: see fields.go. Kinds 1 to 4 are those of
	// version 1: see format1.go. A number is never used again.
	entryMessage = critical | 1
	entryState   = critical | 2 // of a task
	entryHold    = critical | 3 // a message is held or released
	entryRemoval = critical | 4 // a message is removed
	entryClaim   = 5            // reserved: a task was claimed, so that an attempt counts that a crash ended; fields as those of a state

	// maxID and maxBody are beyond all that a spool ever gives out or takes. What a file has beyond them would
	// overflow the next ID, or the sum of all sizes.
	maxID   = 1 << 62
	maxBody = 1 << 50
)

// place says where an entry stands in the log.
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

// length is that of the whole entry. Only decodeEntryHeader makes a header from the octets of a file, and it bounds fields and
// body, so that the sum fits into 32 bits.
func (h *entryHeader) length() uint64 { return entryHeaderLen + uint64(h.fields) + h.body }

var errEntry = errors.New("the entry can't be read")

// appendEntry begins an entry, to be ended by endEntry.
func appendEntry(b []byte, kind uint8) []byte {
	return append(b, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

// endEntry completes the header of the entry b, which has its fields and then a body of so many
// octets.
func endEntry(b []byte, body int) {
	fields := len(b) - entryHeaderLen - body
	binary.LittleEndian.PutUint32(b[4:], uint32(fields))
	binary.LittleEndian.PutUint64(b[8:], uint64(body))
	binary.LittleEndian.PutUint32(b[16:], entryChecksum(b, fields))
}

func entryChecksum(b []byte, fields int) uint32 {
	return crc32.Update(checksum(b[:16]), castagnoli, b[entryHeaderLen:entryHeaderLen+fields])
}

// decodeEntryHeader reads the header at the beginning of b. An entry that no record has room for is refused.
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

// entryFields gives the fields of an entry of which b holds them at least.
func entryFields(b []byte) (entryHeader, []byte, error) {
	h, err := decodeEntryHeader(b)
	if err != nil || uint64(len(b)) < entryHeaderLen+uint64(h.fields) || entryChecksum(b, int(h.fields)) != h.checksum {
		return h, nil, errEntry
	}
	return h, b[entryHeaderLen:][:h.fields], nil
}

// eachEntry calls visit with each entry of a payload, as a whole, and where it stands there.
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

// unknownKind is nil for a kind that can be skipped.
func unknownKind(h entryHeader) error {
	switch {
	case h.kind < entryClaim: // 0, as unwritten octets are
		return errEntry
	case h.kind&critical != 0:
		return &unknownError{"kind", h.kind}
	}
	return nil
}

// entryID is the ID of the message that an entry of any kind is about, 0 if there is none.
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
