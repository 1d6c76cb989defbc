package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/postrider/postrider/queue/internal/index"
)

// The fields of an entry stand one behind the other:
//
//	field    tag uint8, length uvarint, value
//
// A value is a string, or a number of up to 8 octets without leading zeros, little-endian, or fields again. A flag is a field
// without a value. A field whose value is zero, or that says "never" of a time, is left out; a field that may be there
// several times is a list. Tags are numbered for each kind of entry, and for each field that has fields.
//
// # What a reader doesn't know
//
// A tag that isn't known is skipped, unless it has the critical bit: then the message is no message for this program, and as long
// as it is in the queue, the spool can't be opened. The same holds for a kind of entries, of which nobody knows how long it
// matters: a spool can't be opened while a segment has one. Nothing in the directory is changed then. Only a field of the entry
// itself can be critical: fields of a field aren't read when the spool is opened, and the bit means nothing there.
//
// # To add a field
//
// Take the next number for its tag, a new one. Give it the critical bit if a program that skips it would do harm: deliver what must
// not be delivered so, say. Zero must mean what entries without the field mean, for those that are there already. Compaction moves a message
// with the fields that it doesn't know; a state is written anew by each settlement, without them. Entries of a kind that a program
// skips are gone when it has compacted their segment.
//
// A number is never used again, and what a field means never changes. The version in a segment's header changes only if a
// program that goes by these rules couldn't read the segment.
const (
	critical = 0x80

	// fieldID is the tag of the message's ID, in an entry of any kind.
	fieldID = 1
)

// unknownError says that a newer program wrote something that this one must not skip.
type unknownError struct {
	what   string // "field", say
	number uint8
}

func (e *unknownError) Error() string {
	return fmt.Sprintf("it has %s %#x, which this program doesn't know and must not skip: a newer program wrote it", e.what, e.number)
}

// isUnknown reports whether err is an unknownError.
func isUnknown(err error) bool {
	_, ok := errors.AsType[*unknownError](err)
	return ok
}

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

// appendNumber appends a field, of zero too.
func appendNumber(b []byte, tag uint8, n uint64) []byte {
	length := (bits.Len64(n) + 7) / 8
	b = binary.LittleEndian.AppendUint64(append(b, tag, uint8(length)), n)
	return b[:len(b)-8+length]
}

// appendTime appends a time that isn't index.Never.
func appendTime(b []byte, tag uint8, t int64) []byte {
	if t == index.Never {
		return b
	}
	return appendNumber(b, tag, uint64(t))
}

// beginFields begins a field that has fields, to be ended by endFields with the length of b.
func beginFields(b []byte, tag uint8) []byte { return append(b, tag, 0) }

// endFields ends the field whose value begins at start.
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
	tag    uint8 // these are of the field that next has read
	value  []byte
	failed bool
	unread *unknownError // the first field that skip must not skip
}

// next reads a field and reports whether there was one.
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

// uint64 is the value as a number.
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

// upTo is the value as a number that is at most that high.
func (f *fields) upTo(most uint64) uint64 {
	n := f.uint64()
	if n > most {
		f.failed = true
		return 0
	}
	return n
}

// int is the value as a number that may be negative.
func (f *fields) int() int {
	n := f.int64()
	if n != int64(int(n)) {
		f.failed = true
	}
	return int(n)
}

// text is the value as a string, unless it is left out.
func (f *fields) text(brief bool) string {
	if brief {
		return ""
	}
	return string(f.value)
}

// skip passes over a field of an entry that isn't known.
func (f *fields) skip() {
	if f.tag&critical != 0 && f.unread == nil {
		f.unread = &unknownError{"field", f.tag}
	}
}

// err is errEntry, or an unknownError for an entry that can be read but for what must not be skipped.
func (f *fields) err() error {
	switch {
	case f.failed:
		return errEntry
	case f.unread != nil:
		return f.unread
	}
	return nil
}
