package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
)

// rightChecksums makes the checksums of entries right, so that they don't keep all else out.
func rightChecksums(payload []byte) {
	for off := 0; off+entryHeaderLen <= len(payload); {
		h, _ := decodeEntryHeader(payload[off:])
		if h.length() > uint64(len(payload)-off) {
			break
		}
		endEntry(payload[off:off+int(h.length())], int(h.body))
		off += int(h.length())
	}
}

// fixturePayloads are the records of the directories of testdata, of all versions.
func fixturePayloads(f *testing.F) (payloads [][]byte) {
	names, err := filepath.Glob("testdata/format*/*" + segmentSuffix)
	if err != nil || len(names) == 0 {
		f.Fatalf("got %d segments and %v", len(names), err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		h, err := decodeSegmentHeader(b)
		if err != nil {
			f.Fatal(err)
		}
		sc := scanner{r: bytes.NewReader(b), salt: h.salt}
		sc.scan(segmentHeaderLen, int64(len(b)), func(r record) error {
			if len(r.payload) > 0 {
				payloads = append(payloads, bytes.Clone(r.payload))
			}
			return nil
		})
	}
	return payloads
}

// fuzzMarks are entries about a message that was claimed, and whose report is owed: each part has the ones before it.
func fuzzMarks(msg *index.Message) (payloads [][]byte) {
	part := fullState()
	part.num, part.deaths, part.state.Delayed = partBit|1, 1, []bool{false, true}
	claim := func(num uint32, deaths int, leased bool) []byte {
		return appendClaim(nil, claimed{msg.ID, num, deaths + 1, deaths, leased})
	}
	var b []byte
	for _, entry := range [][]byte{
		claim(0, 0, true), appendEnd(nil, false), claim(1, 2, false), appendState(nil, part, msg), claim(index.ReportTask, 1, true),
		appendEnd(nil, true), claim(0, 1, true), appendState(nil, &taskState{id: msg.ID, num: part.num, done: true}, msg),
	} {
		b = append(b, entry...)
		payloads = append(payloads, bytes.Clone(b))
	}
	return payloads
}

// FuzzApply feeds a spool payloads that no checksum guards: it may refuse them, and its counts stay right.
func FuzzApply(f *testing.F) {
	msg := fullStored()
	whole := messageEntry(msg, "body")
	f.Add(whole)
	f.Add(appendState(bytes.Clone(whole), fullState(), msg))
	f.Add(appendState(bytes.Clone(whole), &taskState{id: msg.ID, num: 1, done: true}, msg))
	f.Add(append(bytes.Clone(whole), whole...))
	f.Add(appendHold(bytes.Clone(whole), msg.ID, "a reason"))
	f.Add(appendRemoval(bytes.Clone(whole), msg.ID))
	for _, marks := range fuzzMarks(msg) {
		f.Add(append(bytes.Clone(whole), marks...))
	}
	for _, octets := range []string{"\x7f\x01x", "\xff\x01x"} {
		for _, where := range newerPlaces {
			f.Add(bytes.Join(newerEntries(octets, where), nil))
		}
	}
	for _, payload := range fixturePayloads(f) {
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		rightChecksums(payload)
		s := newIndexed(new(Options))
		s.apply(&segment{number: 1}, record{off: segmentHeaderLen, payload: payload})
		s.log = &spoolLog{}
		checkLive(t, s)
		for _, id := range indexed(s.ix) {
			for _, c := range s.ix.TasksOf(id) {
				entry := payload[c.Data.off-segmentHeaderLen-recordHeaderLen:][:c.Data.length]
				if h, fields, err := entryFields(entry); err == nil {
					if msg, err := decodeMessage(h, fields, false); err == nil {
						c.Fill(new(queue.Task), msg, msg.Initial(c.Num), time.Now())
					}
				}
			}
		}
		for range index.Lanes(new(sync.Mutex), s.ix, func() error { return nil }) {
		}
	})
}

// FuzzScan looks for records in any octets: it ends, and each octet belongs to a record or to none.
func FuzzScan(f *testing.F) {
	one := append(make([]byte, recordHeaderLen), "payload"...)
	f.Add(one, uint16(0), uint16(0))
	f.Add(append(one, one...), uint16(0), uint16(len(one)))
	f.Add(make([]byte, 200), uint16(100), uint16(110))
	f.Fuzz(func(t *testing.T, b []byte, first, second uint16) {
		s := salt{1, 2, 3}
		for _, at := range []uint16{second, first} {
			if n := int(at); n+recordHeaderLen <= len(b) {
				startHeader(b[n:])
				finishHeader(b[n:], s, int64(n), 0)
			}
		}
		var covered int64
		sc := scanner{r: bytes.NewReader(b), salt: s}
		bad, err := sc.scan(0, int64(len(b)), func(r record) error {
			covered += recordHeaderLen + int64(len(r.payload))
			return nil
		})
		for _, span := range bad {
			covered += span.to - span.from
		}
		if err != nil || covered != int64(len(b)) {
			t.Errorf("got %d octets in records and between them, and %v, want %d", covered, err, len(b))
		}
	})
}

// fuzzSegment makes a segment with one record, behind which the mark of a Close stands.
func fuzzSegment(h segmentHeader, payload []byte) []byte {
	h.salt = salt{1, 2, 3, byte(h.number)}
	b := h.encode()
	for _, payload := range [][]byte{payload, nil} {
		record := append(make([]byte, recordHeaderLen), payload...)
		startHeader(record)
		finishHeader(record, h.salt, int64(len(b)), int64(len(b)))
		b = append(b, record...)
	}
	return b
}

// fuzzHint makes a hint of what items say.
func fuzzHint(seg []byte, items []byte) []byte {
	hint := startHint(&segment{size: int64(len(seg)) - recordHeaderLen, salt: salt(seg[32:40])})
	hint = append(hint, items...)
	for b := hint[hintHeaderLen:]; len(b) > 4; {
		h, err := decodeEntryHeader(b[4:])
		if err != nil || uint64(len(b)) < 4+entryHeaderLen+uint64(h.fields) {
			break
		}
		entry := b[4 : 4+entryHeaderLen+h.fields]
		binary.LittleEndian.PutUint32(entry[16:], entryChecksum(entry, int(h.fields)))
		b = b[4+len(entry):]
	}
	binary.LittleEndian.PutUint32(hint[32:], hintChecksum(hint))
	return hint
}

// itemsOf are the items of the hint of a segment with this payload.
func itemsOf(payload []byte) (items []byte) {
	eachEntry(payload, func(off int, entry []byte) error {
		_, fields, err := entryFields(entry)
		items = binary.LittleEndian.AppendUint32(items, uint32(segmentHeaderLen+recordHeaderLen+off))
		items = append(items, entry[:entryHeaderLen+len(fields)]...)
		return err
	})
	return items
}

// FuzzOpen opens directories of two segments, the first with a hint, whose checksums are right: it may refuse them. Else all that
// can be asked of the spool ends without a panic, and the spool can be opened again.
func FuzzOpen(f *testing.F) {
	msg := fullStored()
	message, state := messageEntry(msg, "body"), appendState(nil, fullState(), msg)
	items := func(at uint32, entry []byte) []byte {
		return append(binary.LittleEndian.AppendUint32(nil, at), entry...)
	}
	f.Add(message, state, []byte(nil), uint32(0), msg.ID+1)
	f.Add(message, appendHoldAsStored(state, msg.ID), items(segmentHeaderLen+recordHeaderLen, message[:len(message)-4]), uint32(0), msg.ID+1)
	f.Add(message, appendRemoval(nil, msg.ID), items(1<<31, message[:len(message)-4]), uint32(70), uint64(0))
	for _, marks := range fuzzMarks(msg) {
		f.Add(message, marks, []byte(nil), uint32(0), msg.ID+1)
		whole := append(bytes.Clone(message), marks...)
		f.Add(whole, appendEnd(nil, false), itemsOf(whole), uint32(0), msg.ID+1)
	}
	payloads := fixturePayloads(f)
	for i, payload := range payloads {
		f.Add(payload, payloads[(i+1)%len(payloads)], []byte(nil), uint32(0), uint64(100))
	}
	f.Fuzz(func(t *testing.T, first, second, hint []byte, previous uint32, next uint64) {
		rightChecksums(first)
		rightChecksums(second)
		one := fuzzSegment(segmentHeader{number: 1, next: 1}, first)
		if previous == 0 {
			previous = uint32(len(one) - recordHeaderLen)
		}
		files := map[string][]byte{
			segmentName(1): one,
			segmentName(2): fuzzSegment(segmentHeader{number: 2, next: next, previous: previous}, second),
		}
		if len(hint) > 0 {
			files[hintName(1)] = fuzzHint(one, hint)
		}
		disk := crashfs.New[File](files)
		before := disk.Sum()
		s, err := openSpool(disk, "memory", fixtureOptions)
		if err != nil {
			if disk.Sum() != before {
				t.Errorf("the directory was changed, and the error is %v", err)
			}
			return
		}
		useAll(t, s)
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		if s, err = openSpool(disk, "memory", fixtureOptions); err != nil {
			t.Fatalf("it was opened, and can't be again: %v", err)
		}
		useAll(t, s)
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	})
}

// useAll lists, claims, opens and settles all that there is, holds and removes some of it, and has compaction run.
func useAll(t *testing.T, s *Spool) {
	ctx := context.Background()
	readable(s)
	var wants []queue.Want
	for d := range s.Lanes(ctx) {
		wants = append(wants, queue.Want{Lane: d.Lane, Max: 10})
	}
	tasks, _ := s.Claim(ctx, wants, time.Hour)
	for i, task := range tasks {
		set := queue.Settlement{Noticed: i%2 == 0}
		if i%3 > 0 {
			set.Next = time.Now()
		}
		s.Settle(ctx, task.Lease, set)
		if i%4 == 0 {
			s.Hold(ctx, task.ID)
		}
		if i%5 == 4 {
			s.Remove(ctx, []queue.ID{task.ID})
		}
	}
	for i := range 3 {
		id, err := s.Enqueue(ctx, testMessage(fmt.Sprintf("%*d", 1400, i), "more.example"))
		if err != nil {
			t.Fatalf("Enqueue: %v", err)
		}
		if body, err := readBody(s, id); err != nil || len(body) != 1400 {
			t.Fatalf("Open of a new message: got %d octets and %v", len(body), err)
		}
		if err := s.Remove(ctx, []queue.ID{id}); err != nil {
			t.Fatalf("Remove of a new message: %v", err)
		}
	}
	s.Stats(ctx)
}
