package spool

import (
	"encoding/binary"
	"math/bits"

	"github.com/postrider/postrider/queue/internal/index"
)

// An entry's fields follow each other without gaps:
//
//	field    tag uint8, length uvarint, value
//
// A value is a string, a number, a flag, or a list of fields. A number has up to 8 octets, little-endian, without
// leading zeros. A flag has length 0 and means true. A field is left out if its value is zero, or is "never" for a
// time. A field that occurs several times is a list. Each kind of entry, and each field that has fields, numbers its
// tags anew.
//
// # Unknown tags and kinds
//
// A reader skips an unknown tag, unless it has the critical bit. With the bit, the message can't be in the queue of
// this program: Open is refused while it is there. The same rule applies to the kinds of entries; a critical kind is
// refused as long as its segment exists. Only a field of the entry itself can be critical. Fields within a field aren't
// read when the spool is opened, and the bit has no meaning there.
//
// # How to add a field
//
//  1. Take the next free tag. Never use a number again, and never change the meaning of a field.
//  2. Set the critical bit if a program that skips the field does harm, such as sending a message without TLS.
//  3. Choose the meaning of zero such that it is right for all entries that were written without the field.
//  4. Add it to fillFixture, in the tests. Don't change the directories in testdata.
//
// Compaction copies the entries of a message and of its states octet by octet, so unknown fields survive it. A
// settlement writes a new state, without the unknown fields of the former one. Compaction drops entries of unknown
// kinds.
//
// The version in a segment's header changes only if a program that follows these rules couldn't read the segment.
const (
	critical = 0x80

	// fieldID is the tag of the message's ID in an entry of any kind.
	fieldID = 1
)

// appendField appends a field, even if the value is empty.
func appendField[T string | []byte](b []byte, tag uint8, value T) []byte {
	return append(binary.AppendUvarint(append(b, tag), uint64(len(value))), value...)
}

func appendString(b []byte, tag uint8, value string) []byte {
	if value == "" {
		return b
	}
	return appendField(b, tag, value)
}

func appendFlag(b []byte, tag uint8, set bool) []byte {
	if !set {
		return b
	}
	return append(b, tag, 0)
}

func appendUint(b []byte, tag uint8, n uint64) []byte {
	if n == 0 {
		return b
	}
	return appendNumber(b, tag, n)
}

// appendNumber appends a number, even if it is zero.
func appendNumber(b []byte, tag uint8, n uint64) []byte {
	length := (bits.Len64(n) + 7) / 8
	b = binary.LittleEndian.AppendUint64(append(b, tag, uint8(length)), n)
	return b[:len(b)-8+length]
}

// appendTime appends a time unless it is index.Never.
func appendTime(b []byte, tag uint8, t int64) []byte {
	if t == index.Never {
		return b
	}
	return appendNumber(b, tag, uint64(t))
}

// beginFields begins a field that has fields. Call endFields with the length of the returned slice.
func beginFields(b []byte, tag uint8) []byte { return append(b, tag, 0) }

// endFields ends the field whose value begins at start. A length of more than one octet moves the value.
func endFields(b []byte, start int) []byte {
	n := len(b) - start
	if n < 0x80 {
		b[start-1] = uint8(n)
		return b
	}
	var length [binary.MaxVarintLen64]byte
	more := binary.PutUvarint(length[:], uint64(n)) - 1
	b = append(b, length[:more]...)
	copy(b[start+more:], b[start:start+n])
	copy(b[start-1:], length[:more+1])
	return b
}

// fields reads the fields of an entry, or of a field.
type fields struct {
	rest   []byte
	tag    uint8 // of the field that next has read, like value
	value  []byte
	failed bool
	unread *unknownError // of the first critical field
}

// next reads a field. It reports false at the end, and after a failure.
func (f *fields) next() bool {
	if len(f.rest) == 0 || f.failed {
		return false
	}
	length, n := binary.Uvarint(f.rest[1:])
	rest := uint64(len(f.rest) - 1)
	if f.tag = f.rest[0]; n <= 0 || f.tag == 0 || length > rest-uint64(n) {
		f.failed = true
		return false
	}
	value := f.rest[1+n:]
	f.value, f.rest = value[:length], value[length:]
	return true
}

// uint64 returns the value as a number.
func (f *fields) uint64() (n uint64) {
	switch {
	case len(f.value) == 8:
		return binary.LittleEndian.Uint64(f.value)
	case len(f.value) > 8:
		f.failed = true
		return 0
	}
	for i, b := range f.value {
		n |= uint64(b) << (8 * i)
	}
	return n
}

func (f *fields) int64() int64 { return int64(f.uint64()) }

func (f *fields) uint32() uint32 { return uint32(f.upTo(1<<32 - 1)) }

func (f *fields) uint8() uint8 { return uint8(f.upTo(1<<8 - 1)) }

// upTo returns the value as a number. It fails if the number is above most.
func (f *fields) upTo(most uint64) uint64 {
	n := f.uint64()
	if n > most {
		f.failed = true
		return 0
	}
	return n
}

// int returns the value as a signed number. It fails if the number doesn't fit.
func (f *fields) int() int {
	n := f.int64()
	if n != int64(int(n)) {
		f.failed = true
	}
	return int(n)
}

// text returns the value as a string, or "" if brief is set.
func (f *fields) text(brief bool) string {
	if brief {
		return ""
	}
	return string(f.value)
}

// skip skips an unknown field of an entry, and records it if it is critical.
func (f *fields) skip() {
	if f.tag&critical != 0 {
		f.unread = &unknownError{"field", f.tag}
	}
}

// err returns errEntry after a failure, or the unknownError of a critical field.
func (f *fields) err() error {
	switch {
	case f.failed:
		return errEntry
	case f.unread != nil:
		return f.unread
	}
	return nil
}
