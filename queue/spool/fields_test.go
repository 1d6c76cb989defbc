package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
)

// TestFieldNumbers has numbers come out of fields as they went in, in as few octets as they need.
func TestFieldNumbers(t *testing.T) {
	for n, length := range map[uint64]int{0: 0, 1: 1, 255: 1, 256: 2, 1<<16 - 1: 2, 1 << 55: 7, 1 << 56: 8, math.MaxUint64: 8} {
		b := appendNumber(nil, 5, n)
		f := fields{rest: b}
		if !f.next() || f.tag != 5 || len(f.value) != length || f.uint64() != n || f.next() || f.err() != nil {
			t.Errorf("%d: got %x, want %d octets of it", n, b, length)
		}
	}
	for _, at := range []int64{math.MinInt64, -1, 0, 1, index.Never - 1} {
		f := fields{rest: appendTime(nil, 5, at)}
		if !f.next() || f.int64() != at {
			t.Errorf("got another time than %d", at)
		}
	}
	if b := appendTime(nil, 5, index.Never); len(b) != 0 {
		t.Errorf("got %x of the time that never comes, want nothing", b)
	}
}

// TestFieldLengths has fields within fields of all lengths around those at which the length takes another octet.
func TestFieldLengths(t *testing.T) {
	for _, n := range []int{0, 1, 127, 128, 129, 1<<14 - 1, 1 << 14, 1<<14 + 1, 1 << 21} {
		value := bytes.Repeat([]byte{7}, n)
		b := append(beginFields([]byte("before"), 5), value...)
		b = append(endFields(b, len("before")+2), "\x06\x00"...)
		f := fields{rest: b[len("before"):]}
		if !f.next() || f.tag != 5 || !bytes.Equal(f.value, value) || !f.next() || f.tag != 6 || f.next() || f.err() != nil {
			t.Errorf("a field of %d octets doesn't come out as it went in", n)
		}
	}
}

// TestFieldsRefused has octets that aren't fields, and values that are out of bounds.
func TestFieldsRefused(t *testing.T) {
	tests := []struct {
		name, octets string
		read         func(f *fields)
	}{
		{"tag zero", "\x00\x00", nil},
		{"no length", "\x05", nil},
		{"length unfinished", "\x05\x80", nil},
		{"length too large", "\x05\x02x", nil},
		{"length of 64 bits", "\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", nil},
		{"length wraps around", "\x05\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01x", nil},
		{"length of more than 64 bits", "\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffx", nil},
		{"number of nine octets", "\x05\x09123456789", func(f *fields) { f.uint64() }},
		{"number of 33 bits", "\x05\x05\x00\x00\x00\x00\x01", func(f *fields) { f.uint32() }},
		{"number of nine bits", "\x05\x02\x00\x01", func(f *fields) { f.uint8() }},
		{"an ID too high", "\x05\x081234567\xff", func(f *fields) { f.upTo(maxID) }},
		{"no enhanced code", "\x05\x02\x08\x08", func(f *fields) { f.enhanced() }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fields{rest: []byte(tt.octets)}
			if f.next() && tt.read != nil {
				tt.read(&f)
			}
			if f.err() != errEntry {
				t.Errorf("got %v, want errEntry", f.err())
			}
		})
	}
}

// withField adds octets behind the fields of an entry, or behind those of a field of it: of each list the first.
func withField(entry []byte, octets string, path ...uint8) []byte {
	h, b, err := entryFields(entry)
	if err != nil {
		panic(err)
	}
	body := entry[entryHeaderLen+len(b):]
	changed := append(bytes.Clone(entry[:entryHeaderLen]), withInner(b, octets, path)...)
	changed = append(changed, body...)
	endEntry(changed, int(h.body))
	return changed
}

func withInner(b []byte, octets string, path []uint8) []byte {
	if len(path) == 0 {
		return append(bytes.Clone(b), octets...)
	}
	var changed []byte
	found := false
	for f := (fields{rest: b}); f.next(); {
		value := f.value
		if f.tag == path[0] && !found {
			found = true
			value = withInner(value, octets, path[1:])
		}
		changed = appendField(changed, f.tag, value)
	}
	if !found {
		panic(fmt.Sprint("no field ", path))
	}
	return changed
}

// newerEntries are payloads that a later version may write: of a message with a deferred task, and held.
func newerEntries(octets string, where string) (payloads [][]byte) {
	msg := fullStored()
	message, state, hold := messageEntry(msg, "body"), appendState(nil, fullState(), msg), appendHoldAsStored(nil, msg.ID)
	switch where {
	case "message":
		message = withField(message, octets)
	case "envelope":
		message = withField(message, octets, messageEnvelope)
	case "recipient":
		message = withField(message, octets, messageEnvelope, envelopeRecipient)
	case "state":
		state = withField(state, octets)
	case "result":
		state = withField(state, octets, stateRecipient)
	case "hold":
		hold = withField(hold, octets)
	}
	return [][]byte{message, state, hold}
}

var (
	newerPlaces    = []string{"message", "envelope", "recipient", "state", "result", "hold"}
	criticalPlaces = []string{"message", "state", "hold"}
)

// TestUnknownField skips fields that aren't known, wherever they stand, and keeps them when a message is moved.
func TestUnknownField(t *testing.T) {
	h := segmentHeader{number: 1, next: fullStored().ID + 1}
	s := mustOpen(t, syncedSegment(t, h, newerEntries("", "")...), testConfig)
	want := listing(t, s)
	if !strings.Contains(string(want), "state held") || !strings.Contains(string(want), "reason greylisted") {
		t.Fatalf("got %s, want it held, and its last result", want)
	}
	for _, where := range newerPlaces {
		octets := "\x7f\x03new\x7e\x00"
		if !slices.Contains(criticalPlaces, where) {
			octets = "\xff\x03new\x7e\x00"
		}
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := syncedSegment(t, h, newerEntries(octets, where)...)
				s := mustOpen(t, disk, fixtureOptions)
				checkListing(t, "opened", s, want)
				for oldest := uint32(1); oldest == 1; oldest, _, _ = s.log.shape() {
					id := mustEnqueue(t, s, strings.Repeat("x", 1400), "more.example")
					if err := s.Remove(t.Context(), []queue.ID{id}); err != nil {
						t.Fatal(err)
					}
					synctest.Wait() // for the janitor
				}
				checkListing(t, "moved", s, want)
				checkNoDamage(t, s)
				mustClose(t, s)
				found := false
				for _, b := range disk.Files() {
					found = found || bytes.Contains(b, []byte(octets))
				}
				if want := where != "hold"; found != want { // a hold is written anew
					t.Errorf("the field is still there: got %v, want %v", found, want)
				}
				s = mustOpen(t, disk, fixtureOptions)
				checkListing(t, "opened again", s, want)
				checkNoDamage(t, s)
				mustClose(t, s)
			})
		})
	}
}

// checkNewer has a spool not be opened, since it has something that must not be skipped, and its directory not be changed.
func checkNewer(t *testing.T, disk *crashfs.FS[File], want string) {
	t.Helper()
	before := disk.Sum()
	_, err := openSpool(disk, "memory", testConfig)
	if !isUnknown(err) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
	if disk.Sum() != before {
		t.Error("the directory was changed")
	}
}

// TestCriticalField refuses to open a spool with a message of which something must not be skipped, until the message is gone.
func TestCriticalField(t *testing.T) {
	quiet(t)
	msg := fullStored()
	h := segmentHeader{number: 1, next: msg.ID + 1}
	id := string(index.FormatID(msg.ID))
	var done [][]byte
	for num := range msg.Dests {
		done = append(done, appendState(nil, &taskState{id: msg.ID, num: uint32(num), done: true}, nil))
	}
	for _, where := range criticalPlaces {
		t.Run(where, func(t *testing.T) {
			payloads := newerEntries("\xff\x01x", where)
			disk := syncedSegment(t, h, payloads...)
			checkNewer(t, disk, "message "+id+": field 0xff")

			// As the last sync left it: the records were never known to be on the disk.
			checkNewer(t, unsyncedSegment(t, h, payloads...), "field 0xff")

			// With a body that can't be read.
			if where == "message" {
				all := disk.Files()
				b := all[segmentName(1)]
				b[bytes.Index(b, []byte("body"))] ^= 1
				checkNewer(t, crashfs.New[File](all), "field 0xff")
			}

			s := mustOpen(t, syncedSegment(t, h, append(payloads, done...)...), testConfig)
			checkContents(t, s, nil)
			checkNoDamage(t, s)
			s = mustOpen(t, syncedSegment(t, h, append(payloads, appendRemoval(nil, msg.ID))...), testConfig)
			checkContents(t, s, nil)
		})
	}
	t.Run("removal", func(t *testing.T) {
		removal := withField(appendRemoval(nil, msg.ID), "\xff\x01x")
		checkNewer(t, syncedSegment(t, h, messageEntry(fullStored(), "body"), removal), "message "+id+": field 0xff")
	})
}

// unsyncedSegment is a directory with one segment, of which nothing was known to be on the disk.
func unsyncedSegment(t *testing.T, h segmentHeader, payloads ...[]byte) *crashfs.FS[File] {
	t.Helper()
	disk := crashfs.New[File](nil)
	seg, err := createSegment(disk, h, payloads, nil)
	if err != nil {
		t.Fatal(err)
	}
	seg.file.Close()
	return crashfs.New[File](disk.Files())
}

// TestUnknownKind skips entries of a kind that isn't known, unless that has the critical bit.
func TestUnknownKind(t *testing.T) {
	quiet(t)
	msg := fullStored()
	h := segmentHeader{number: 1, next: msg.ID + 1}
	message := messageEntry(msg, "body")
	s := mustOpen(t, syncedSegment(t, h, message), testConfig)
	want := listing(t, s)
	unknown := func(kind uint8) []byte {
		b := append(appendUint(appendEntry(nil, kind), fieldID, msg.ID), "a body"...)
		endEntry(b, len("a body"))
		return b
	}
	for _, kind := range []uint8{8, 9, 0x7f} {
		b := append(bytes.Clone(unknown(kind)), message...)
		s := mustOpen(t, syncedSegment(t, h, append(b, unknown(kind)...)), testConfig)
		checkListing(t, fmt.Sprint("kind ", kind), s, want)
		checkNoDamage(t, s)
	}
	for _, kind := range []uint8{0x80, 0x85, 0xff} {
		b := append(bytes.Clone(message), unknown(kind)...)
		checkNewer(t, syncedSegment(t, h, b), fmt.Sprintf("kind %#x", kind))
		checkNewer(t, unsyncedSegment(t, h, b), fmt.Sprintf("kind %#x", kind))

		// In a record of which the body of the message is damaged.
		all := syncedSegment(t, h, b).Files()
		seg := all[segmentName(1)]
		seg[bytes.Index(seg, []byte("body"))] ^= 1
		checkNewer(t, crashfs.New[File](all), fmt.Sprintf("kind %#x", kind))
	}
	// Octets that nobody wrote are damage.
	s = mustOpen(t, syncedSegment(t, h, append(bytes.Clone(unknown(0)), message...)), testConfig)
	if len(s.Damage()) != 1 {
		t.Errorf("kind 0: got damage %v, want the record", s.Damage())
	}
}

// TestCriticalInHint has a field that must not be skipped in a hint alone, whose segment isn't read.
func TestCriticalInHint(t *testing.T) {
	msg := fullStored()
	body := strings.Repeat("body", 1000)
	msg.Size = int64(len(body))
	for octets, want := range map[string]string{"\x7f\x01x": "", "\xff\x01x": "field 0xff"} {
		entry := withField(messageEntry(msg, body), octets)
		disk := syncedSegment(t, segmentHeader{number: 1, next: msg.ID + 1}, entry)
		f, err := disk.Open(segmentName(1), false)
		if err != nil {
			t.Fatal(err)
		}
		seg := &segment{number: 1, file: f}
		if err := seg.readHeader(); err != nil {
			t.Fatal(err)
		}
		seg.size -= recordHeaderLen // without the mark
		hint, err := makeHint(seg)
		if err != nil || hint == nil {
			t.Fatalf("got a hint of %d octets and %v", len(hint), err)
		}
		all := disk.Files()
		all[hintName(1)] = hint
		clear(all[segmentName(1)][segmentHeaderLen:seg.size])
		disk = crashfs.New[File](all)
		if want != "" {
			checkNewer(t, disk, want)
			continue
		}
		s := mustOpen(t, disk, testConfig)
		if st, err := s.Stats(t.Context()); err != nil || st.Messages != 1 {
			t.Errorf("got %d messages and %v, want that of the hint", st.Messages, err)
		}
	}
}

// TestVersions refuses a segment of a later version than the program knows, and reads the records of one without.
func TestVersions(t *testing.T) {
	quiet(t)
	h := segmentHeader{number: 1, next: 2}
	for version, newer := range map[uint8]bool{0: false, 1: false, segmentVersion: false, segmentVersion + 1: true, 255: true} {
		all := syncedSegment(t, h, messageEntry(fullStored(), "body")).Files()
		b := all[segmentName(1)]
		b[16] = version
		binary.LittleEndian.PutUint32(b[60:], checksum(b[:60]))
		disk := crashfs.New[File](all)
		before := disk.Sum()
		s, err := openSpool(disk, "memory", testConfig)
		got, ok := errors.AsType[*versionError](err)
		if ok != newer || ok && got.version != version {
			t.Errorf("version %d: got %v, want a versionError: %v", version, err, newer)
		}
		if newer && disk.Sum() != before {
			t.Errorf("version %d: the directory was changed", version)
		}
		if err != nil {
			continue
		}
		if n := len(contents(t, s)); n != 2 {
			t.Errorf("version %d: got %d tasks, want 2", version, n)
		}
		mustClose(t, s)
	}
}
