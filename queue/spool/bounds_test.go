package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
)

// rawEntry is an entry whose header declares these lengths.
func rawEntry(fields uint32, body uint64, rest int) []byte {
	b := append(appendEntry(nil, entryMessage), make([]byte, rest)...)
	binary.LittleEndian.PutUint32(b[4:], fields)
	binary.LittleEndian.PutUint64(b[8:], body)
	return b
}

// TestEntryLengths has entry headers whose lengths overflow their sum, or are longer than what holds them.
func TestEntryLengths(t *testing.T) {
	tests := []struct {
		name   string
		fields uint32
		body   uint64
		rest   int
		ok     bool
	}{
		{"both as long as they are", 3, 4, 7, true},
		{"body wraps around", 0, math.MaxUint64, 7, false},
		{"body wraps around to the header", 0, math.MaxUint64 - entryHeaderLen + 1, 0, false},
		{"body wraps around to what is there", 3, math.MaxUint64 - 2, 7, false},
		{"body is negative as an int64", 0, 1 << 63, 7, false},
		{"fields of all bits", math.MaxUint32, 0, 7, false},
		{"fields and body wrap around", math.MaxUint32, math.MaxUint64 - math.MaxUint32 + 1, 7, false},
		{"longer than a record", 0, maxPayload - entryHeaderLen + 1, 7, false},
		{"as long as a record, and not there", 0, maxPayload - entryHeaderLen, 7, false},
		{"one octet too many", 3, 5, 7, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var visited []int
			err := eachEntry(rawEntry(tt.fields, tt.body, tt.rest), func(_ int, entry []byte) error {
				visited = append(visited, len(entry))
				return nil
			})
			if ok := err == nil && len(visited) == 1; ok != tt.ok {
				t.Errorf("got entries of %v octets and %v, want one: %v", visited, err, tt.ok)
			}
		})
	}
}

// TestCountsAllocateNothing has counts of things that aren't there.
func TestCountsAllocateNothing(t *testing.T) {
	huge := binary.AppendUvarint(nil, 1<<40)
	for n := range 3 {
		fields := bytes.Repeat(huge, 1<<n)
		allocated := func() uint64 {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.TotalAlloc
		}
		before := allocated()
		for range 100 {
			d := decoder1{b: fields}
			for range n {
				d.uvarint()
			}
			if c := d.count(1); c > len(fields) || !d.failed {
				t.Fatalf("got a count of %d in %d octets, want it refused", c, len(fields))
			}
			d = decoder1{b: fields}
			if s := d.string(); s != "" || !d.failed {
				t.Fatalf("got a string of %d octets, want it refused", len(s))
			}
		}
		if got := allocated() - before; got > 1<<20 {
			t.Errorf("%d octets were allocated for %d, want hardly any", got, len(fields))
		}
	}
}

// TestSegmentHeaderBounds refuses headers whose next ID would overflow.
func TestSegmentHeaderBounds(t *testing.T) {
	for next, want := range map[uint64]error{0: errHeader, 1: nil, maxID: nil, maxID + 1: errHeader, math.MaxUint64: errHeader} {
		h := segmentHeader{number: 1, next: next}
		if _, err := decodeSegmentHeader(h.encode()); err != want {
			t.Errorf("next %d: got %v, want %v", next, err, want)
		}
	}
}

// TestSegmentNumbersEnd refuses to begin again at the first number.
func TestSegmentNumbersEnd(t *testing.T) {
	disk := syncedSegment(t, segmentHeader{number: math.MaxUint32, next: 1}, messageEntry(fullStored(), "body"))
	checkRefused(t, disk, errNumbers)
}

// TestIDsEnd refuses a spool whose IDs are near their end.
func TestIDsEnd(t *testing.T) {
	m := fullStored()
	m.ID = maxID
	checkRefused(t, syncedSegment(t, segmentHeader{number: 1, next: 1}, messageEntry(m, "body")), errIDs)
	checkRefused(t, syncedSegment(t, segmentHeader{number: 1, next: maxID}, messageEntry(fullStored(), "body")), errIDs)
}

// syncedSegment is a directory with one segment, of which all was known to be on the disk.
func syncedSegment(t *testing.T, h segmentHeader, payloads ...[]byte) *crashfs.FS[File] {
	t.Helper()
	disk := crashfs.New[File](nil)
	seg, err := createSegment(disk, h, payloads, nil)
	if err != nil {
		t.Fatal(err)
	}
	seg.file.Close()
	mark := make([]byte, recordHeaderLen)
	startHeader(mark)
	finishHeader(mark, seg.salt, seg.size, seg.size)
	all := disk.Files()
	all[segmentName(h.number)] = append(all[segmentName(h.number)], mark...)
	return crashfs.New[File](all)
}

// checkRefused has a spool not be opened, and its directory not be changed.
func checkRefused(t *testing.T, disk *crashfs.FS[File], want error) {
	t.Helper()
	before := disk.Sum()
	if _, err := openSpool(disk, "memory", testConfig); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
	if disk.Sum() != before {
		t.Error("the directory was changed")
	}
}

// longFile claims to be longer than it is.
type longFile struct {
	File
	size int64
}

func (f longFile) Size() (int64, error) { return f.size, nil }

// TestSegmentTooLong reads no further than places can name.
func TestSegmentTooLong(t *testing.T) {
	disk := crashfs.New[File](nil)
	seg, err := createSegment(disk, segmentHeader{number: 1, next: 1}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{maxSegment, maxSegment + 7, math.MaxInt64} {
		got := &segment{number: 1, file: longFile{seg.file, size}}
		if err := got.readHeader(); err != nil || got.size != maxSegment || got.beyond != size-maxSegment {
			t.Errorf("%d octets: got %d, %d beyond them, and %v; want %d", size, got.size, got.beyond, err, int64(maxSegment))
		}
	}
}

// longFS has a segment that claims to be longer than it is.
type longFS struct {
	*crashfs.FS[File]
	size int64
}

func (fs longFS) Open(name string, create bool) (File, error) {
	f, err := fs.FS.Open(name, create)
	if err == nil && name == segmentName(1) && !create {
		return longFile{f, fs.size}, nil
	}
	return f, err
}

// TestSegmentBeyondReported reads what it can of a segment that is too long, and reports the rest.
func TestSegmentBeyondReported(t *testing.T) {
	quiet(t)
	disk := syncedSegment(t, segmentHeader{number: 1, next: 1}, messageEntry(fullStored(), "body"))
	s := mustOpen(t, longFS{disk, maxSegment + 7}, testConfig)
	if n := len(contents(t, s)); n != 2 {
		t.Errorf("got %d tasks, want 2", n)
	}
	want := Damage{segmentName(1), maxSegment, 7, "too long for a segment"}
	if d := s.Damage(); !slices.Contains(d, want) {
		t.Errorf("got damage %+v, want %+v among it", d, want)
	}
	if !s.log.isDamaged(s.log.oldest()) {
		t.Error("got it taken for a segment that needn't be kept")
	}
}

// TestHintBeyondSegment doesn't believe a hint that names a place outside of its segment.
func TestHintBeyondSegment(t *testing.T) {
	disk, want := fullDisk(t, 100)
	all := disk.Files()
	name := hintName(1)
	hint := all[name]
	if len(hint) == 0 {
		t.Fatal("no hint")
	}
	binary.LittleEndian.PutUint32(hint[hintHeaderLen:], uint32(len(all[segmentName(1)])-10))
	binary.LittleEndian.PutUint32(hint[32:], hintChecksum(hint))
	s := mustOpen(t, crashfs.New[File](all), testConfig)
	checkContents(t, s, want)
	checkNoDamage(t, s)
	mustClose(t, s)
}

// twoMessages is a spool with two entries of one message, the second of which has one destination less. No Spool writes that.
func twoMessages(t *testing.T) *crashfs.FS[File] {
	full := fullStored()
	first := messageEntry(full, "body")
	less := fullStored()
	less.Dests = less.Dests[:1]
	less.Dest = make([]uint32, len(less.Dest))
	return syncedSegment(t, segmentHeader{number: 1, next: full.ID + 1}, first, messageEntry(less, "body"))
}

// TestTaskWithoutDestination has a copy of a message that doesn't have all of its tasks: it is damage, and the task is claimed and
// moved from the entry that has it.
func TestTaskWithoutDestination(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		disk := twoMessages(t)
		s := mustOpen(t, disk, Options{SegmentSize: 4 << 10, InlineSize: 1 << 10, SyncDelay: time.Second})
		for range 20 { // so that the janitor moves what is left
			mustEnqueue(t, s, strings.Repeat("x", 1000), "d.example")
			mustSettle(t, s, mustClaim(t, s, "d.example")[0].Lease, queue.Settlement{})
			synctest.Wait()
		}
		if n, oldest := len(mustClaim(t, s, "two.example")), s.log.oldest().number; n != 1 || oldest == 1 {
			t.Errorf("got %d tasks, and segment %d as the oldest, want one task, and the first segment gone", n, oldest)
		}
		if d := s.Damage(); len(d) != 1 || d[0].File != segmentName(1) {
			t.Errorf("got damage %+v, want the second entry", d)
		}
		if len(disk.Files()[segmentName(1)+damagedSuffix]) == 0 {
			t.Error("the segment with the damage isn't kept")
		}
		mustClose(t, s)
	})
}
