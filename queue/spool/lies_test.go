package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// TestHintLies has a hint that says that a segment is empty, and that isn't the segment's in one thing.
func TestHintLies(t *testing.T) {
	disk, want := fullDisk(t, 40)
	seal := func(b []byte) { binary.LittleEndian.PutUint32(b[32:], hintChecksum(b)) }
	for _, test := range []struct {
		name string
		lie  func(b []byte)
	}{
		{"checksum", func([]byte) {}},
		{"magic", func(b []byte) { b[15]++; seal(b) }},
		{"version", func(b []byte) { b[16] = hintVersion + 1; seal(b) }},
		{"end", func(b []byte) { b[20]++; seal(b) }},
		{"end beyond 64 KiB", func(b []byte) { b[23]++; seal(b) }},
		{"salt", func(b []byte) { b[24]++; seal(b) }},
		{"end of the salt", func(b []byte) { b[31]++; seal(b) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			all := disk.Files()
			hint := bytes.Clone(all[hintName(1)][:hintHeaderLen])
			if len(hint) != hintHeaderLen {
				t.Fatal("no hint")
			}
			test.lie(hint)
			all[hintName(1)] = hint
			s := mustOpen(t, crashfs.New[File](all), testConfig)
			checkContents(t, s, want)
			checkNoDamage(t, s)
			mustClose(t, s)
		})
	}
}

// TestRecordMoved has two records of the same length change their places: neither is one.
func TestRecordMoved(t *testing.T) {
	quiet(t)
	one, two := fullStored(), fullStored()
	two.ID++
	disk := syncedSegment(t, segmentHeader{number: 1, next: 1}, messageEntry(one, "body"), messageEntry(two, "tail"))
	all := disk.Files()
	b := all[segmentName(1)]
	at := records(t, b)
	first, second := b[at[0].from:at[0].to], b[at[1].from:at[1].to]
	if len(first) != len(second) {
		t.Fatalf("got records of %d and %d octets", len(first), len(second))
	}
	was := bytes.Clone(first)
	copy(first, second)
	copy(second, was)
	s := mustOpen(t, crashfs.New[File](all), testConfig)
	if n := len(contents(t, s)); n != 0 {
		t.Errorf("got %d tasks, want none", n)
	}
	if d := s.Damage(); len(d) != 1 || d[0].Offset != at[0].from || d[0].Length != at[1].to-at[0].from {
		t.Errorf("got damage %+v, want both records", d)
	}
	mustClose(t, s)
}

// TestDurableMarks has each record say what was on the disk when it was written: no more, and no less.
func TestDurableMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		size := func() int64 {
			s.log.mu.Lock()
			defer s.log.mu.Unlock()
			return s.log.last().size
		}
		want := []int64{segmentHeaderLen}
		mustEnqueue(t, s, "one", "a.example")
		want = append(want, size())
		mustEnqueue(t, s, "two", "b.example")
		synced := size()
		for _, dest := range []string{"a.example", "b.example"} { // nobody waits for these
			want = append(want, synced)
			mustSettle(t, s, mustClaim(t, s, dest)[0].Lease, queue.Settlement{
				Next: time.Now(), Results: []smtp.Result{{Recipient: "r0@" + dest}},
			})
		}
		time.Sleep(2 * testConfig.SyncDelay)
		want = append(want, size())
		mustEnqueue(t, s, "three", "c.example")
		want = append(want, size())
		mustClose(t, s)
		var got []int64
		seg := s.log.last()
		sc := scanner{r: bytes.NewReader(disk.Files()[segmentName(seg.number)]), salt: seg.salt}
		sc.scan(segmentHeaderLen, seg.size, func(r record) error {
			got = append(got, r.durable)
			return nil
		})
		got, want = slices.Compact(got), slices.Compact(want) // claims have records too
		if !slices.Equal(got, want) {
			t.Errorf("got marks %d, want %d", got, want)
		}
	})
}

// TestDurableMarksOfNewSegment has records written at once, that begin a segment: of that, only the header is on the disk.
func TestDurableMarksOfNewSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		mustEnqueue(t, s, strings.Repeat("x", 200), "a.example")
		var batch []*appending
		for range 3 {
			a := &appending{record: append(make([]byte, recordHeaderLen), messageEntry(fullStored(), "body")...), done: make(chan error, 1)}
			startHeader(a.record)
			batch = append(batch, a)
		}
		batch[0].roll = true
		if n := s.log.writeSome(batch); n != len(batch) {
			t.Fatalf("got %d records written", n)
		}
		seg := s.log.last()
		sc := scanner{r: bytes.NewReader(disk.Files()[segmentName(seg.number)]), salt: seg.salt}
		found := 0
		sc.scan(segmentHeaderLen, seg.size, func(r record) error {
			if found++; r.durable != segmentHeaderLen {
				t.Errorf("record %d: got mark %d, want %d", found, r.durable, segmentHeaderLen)
			}
			return nil
		})
		if found != len(batch) || seg.number != 2 {
			t.Errorf("got %d records in segment %d, want %d in the second", found, seg.number, len(batch))
		}
	})
}

// TestDurableMarkTooEarly cuts off what a record says of the disk, by records whose marks are beyond themselves: they prove nothing.
func TestDurableMarkTooEarly(t *testing.T) {
	disk := crashfs.New[File](nil)
	seg, err := createSegment(disk, segmentHeader{number: 1, next: 1}, [][]byte{messageEntry(fullStored(), "body")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	mark := make([]byte, recordHeaderLen)
	startHeader(mark)
	finishHeader(mark, seg.salt, seg.size, seg.size+1)
	if err := seg.file.Writev(seg.size, mark); err != nil {
		t.Fatal(err)
	}
	seg.size += recordHeaderLen
	if end, err := newIndexed(new(Options)).provenEnd(seg); end != segmentHeaderLen || err != nil {
		t.Errorf("got %d and %v, want %d", end, err, segmentHeaderLen)
	}
}

// TestTornTailCut has a full disk tear a write: what was written of it is cut off, and that is on the disk, before anything is
// written in its place.
func TestTornTailCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		mustEnqueue(t, s, "body", "a.example")
		var mu sync.Mutex
		var ops []string
		full := true
		disk.Before = func(op string, names ...string) error {
			mu.Lock()
			defer mu.Unlock()
			if !strings.HasSuffix(names[0], segmentSuffix) {
				return nil
			}
			ops = append(ops, op)
			if op == "write" && full {
				full = false
				return &crashfs.TornWrite{N: 20, Err: syscall.ENOSPC}
			}
			return nil
		}
		if _, err := s.Enqueue(context.Background(), testMessage("body", "b.example")); err == nil {
			t.Error("got mail into a full disk")
		}
		mustEnqueue(t, s, "body", "c.example")
		mu.Lock()
		defer mu.Unlock()
		if got, want := fmt.Sprint(ops[:min(4, len(ops))]), "[write truncate sync write]"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		disk.Before = nil
	})
}

// movable is a spool with a message that is deferred once, in a segment that isn't written to any more.
func movable(t *testing.T) (s *Spool, seg *segment, id uint64) {
	t.Helper()
	disk := crashfs.New[File](nil)
	s = mustOpen(t, disk, Options{SegmentSize: 16 << 10, InlineSize: 256 << 10, SyncDelay: time.Second})
	id, _ = index.ParseID(mustEnqueue(t, s, "lives", "a.example", "b.example"))
	deferOnce(t, s, "a.example", "first")
	mustEnqueue(t, s, strings.Repeat("x", 8000), "x.example") // so that the janitor has no reason
	mustEnqueue(t, s, strings.Repeat("x", 16000), "x.example")
	synctest.Wait()
	seg = s.log.oldest()
	if s.ix.Data(id).segment != seg.number || seg == s.log.last() {
		t.Fatal("the message isn't in a former segment")
	}
	return s, seg, id
}

func deferOnce(t *testing.T, s *Spool, dest, text string) {
	t.Helper()
	mustSettle(t, s, mustClaim(t, s, dest)[0].Lease, queue.Settlement{
		Next: time.Now(), Results: []smtp.Result{{Recipient: "r0@" + dest, Reply: smtp.NewReply(450, "", text)}},
	})
}

// checkLast claims a task, and checks its last result and its attempts.
func checkLast(t *testing.T, s *Spool, dest, text string, attempts int) {
	t.Helper()
	tasks := mustClaim(t, s, dest)
	if len(tasks) != 1 || tasks[0].Attempts != attempts || len(tasks[0].Last) != 1 || tasks[0].Last[0].Reply.Text != text {
		t.Fatalf("got %+v, want %q and %d attempts", tasks, text, attempts)
	}
}

// TestMoveOvertaken has something done to a message between the moment at which its move is prepared and that at which it is
// written: it isn't written.
func TestMoveOvertaken(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		name string
		do   func(t *testing.T, s *Spool, id queue.ID)
		left int
	}{
		{"nothing", func(*testing.T, *Spool, queue.ID) {}, 0},
		{"hold", func(t *testing.T, s *Spool, id queue.ID) {
			if err := s.Hold(ctx, id); err != nil {
				t.Error(err)
			}
		}, 1},
		{"settle", func(t *testing.T, s *Spool, _ queue.ID) { deferOnce(t, s, "a.example", "second") }, 1},
		{"settle the other", func(t *testing.T, s *Spool, _ queue.ID) { deferOnce(t, s, "b.example", "second") }, 1},
		{"done", func(t *testing.T, s *Spool, _ queue.ID) {
			mustSettle(t, s, mustClaim(t, s, "a.example")[0].Lease, queue.Settlement{})
		}, 1},
		{"last done", func(t *testing.T, s *Spool, _ queue.ID) {
			mustSettle(t, s, mustClaim(t, s, "b.example")[0].Lease, queue.Settlement{})
		}, 1},
		{"remove", func(t *testing.T, s *Spool, id queue.ID) {
			if err := s.Remove(ctx, []queue.ID{id}); err != nil {
				t.Error(err)
			}
		}, 0},
		{"hold under way", func(t *testing.T, s *Spool, id queue.ID) {
			n, _ := index.ParseID(id)
			s.busy[n] = make(chan struct{})
			t.Cleanup(func() { delete(s.busy, n) })
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, seg, id := movable(t)
				m, err := s.prepareMove(seg, id)
				if err != nil || m == nil {
					t.Fatalf("got %v and %v", m, err)
				}
				test.do(t, s, index.FormatID(id))
				before := s.log.written
				left, err := s.carryOut([]*move{m})
				if err != nil || len(left) != test.left {
					t.Errorf("got %d left and %v, want %d", len(left), err, test.left)
				}
				if wrote := s.log.written > before; wrote != (test.name == "nothing") {
					t.Errorf("it was written: %v", wrote)
				}
			})
		})
	}
}

// TestMovedOverNewerState has tasks of a message settled while its move is on its way to the disk: what they were settled with stays.
func TestMovedOverNewerState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, seg, id := movable(t)
		m, err := s.prepareMove(seg, id)
		if err != nil || m == nil {
			t.Fatalf("got %v and %v", m, err)
		}
		s.log.hand(&m.record)
		deferOnce(t, s, "a.example", "second")
		deferOnce(t, s, "b.example", "first")
		if err := m.record.wait(); err != nil {
			t.Fatal(err)
		}
		s.mu.Lock()
		s.moved(m)
		s.mu.Unlock()
		checkLast(t, s, "a.example", "second", 3)
		checkLast(t, s, "b.example", "first", 2)
		checkLive(t, s)
	})
}

// TestChangesAwaitSettlement has a settlement on its way to the disk: Hold, Release and Remove of its message wait for it.
func TestChangesAwaitSettlement(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		name string
		do   func(s *Spool, id queue.ID) error
		want int // tasks
	}{
		{"hold", func(s *Spool, id queue.ID) error { return s.Hold(ctx, id) }, 2},
		{"release", func(s *Spool, id queue.ID) error { return s.Release(ctx, id) }, 2},
		{"remove", func(s *Spool, id queue.ID) error { return s.Remove(ctx, []queue.ID{id}) }, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := crashfs.New[File](nil)
				s := mustOpen(t, disk, testConfig)
				id := mustEnqueue(t, s, "body", "a.example")
				task := mustClaim(t, s, "a.example")[0]
				block, syncs := make(chan struct{}), 0
				disk.Before = func(op string, _ ...string) error {
					if op == "sync" {
						if syncs++; syncs == 1 {
							<-block
						}
					}
					return nil
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					mustSettle(t, s, task.Lease, queue.Settlement{
						Next: time.Now(), Results: []smtp.Result{{Recipient: "r0@a.example"}},
						Reports: []queue.Message{testMessage("report", "r.example")},
					})
				})
				synctest.Wait()
				wg.Go(func() {
					if err := test.do(s, id); err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
				s.mu.Lock()
				n, _ := index.ParseID(id)
				if s.busy[n] != nil {
					t.Error("it doesn't wait for the settlement")
				}
				s.mu.Unlock()
				close(block)
				wg.Wait()
				if got := len(contents(t, s)); got != test.want {
					t.Errorf("got %d tasks, want %d", got, test.want)
				}
				mustSettle(t, s, mustClaim(t, s, "r.example")[0].Lease, queue.Settlement{}) // others aren't concerned
				disk.Before = nil
				mustClose(t, s)
			})
		})
	}
}

// TestFailedSyncIsNoFullDisk has the sync of a new segment fail with what a full disk says: nobody knows what the disk has then.
func TestFailedSyncIsNoFullDisk(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE} {
		if !passing(cause) || passing(&syncError{cause}) || passing(fmt.Errorf("sync: %w", &syncError{cause})) {
			t.Errorf("%v: got %v, and %v of a sync", cause, passing(cause), passing(&syncError{cause}))
		}
	}
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, Options{SegmentSize: 16 << 10, InlineSize: 256 << 10, SyncDelay: time.Second})
		mustEnqueue(t, s, strings.Repeat("x", 10000), "a.example")
		disk.Before = func(op string, names ...string) error {
			if op == "sync" && names[0] == segmentName(2)+tempSuffix {
				return syscall.ENOSPC
			}
			return nil
		}
		for range 2 {
			if _, err := s.Enqueue(context.Background(), testMessage(strings.Repeat("x", 10000), "b.example")); !errors.Is(err, queue.ErrBroken) {
				t.Errorf("got %v, want %v", err, queue.ErrBroken)
			}
			disk.Before = nil
		}
	})
}

// TestSegmentGone reads an entry in a segment that is gone.
func TestSegmentGone(t *testing.T) {
	var seg *segment
	if _, _, err := seg.entry(place{1, segmentHeaderLen, 100}, nil); err != errSegmentGone {
		t.Errorf("entry: got %v, want %v", err, errSegmentGone)
	}
	if _, _, _, err := seg.appendEntry(nil, place{1, segmentHeaderLen, 100}); err != errSegmentGone {
		t.Errorf("appendEntry: got %v, want %v", err, errSegmentGone)
	}
	seg = &segment{number: 1, file: unreadable{syscall.EIO, 1000}}
	if _, _, err := seg.entry(place{1, segmentHeaderLen, 100}, nil); err != syscall.EIO {
		t.Errorf("entry that can't be read: got %v, want %v", err, syscall.EIO)
	}
}

// TestUnreadableHeader says why a header can't be read.
func TestUnreadableHeader(t *testing.T) {
	seg := &segment{number: 1, file: unreadable{syscall.EIO, 1000}}
	if err := seg.readHeader(); err != nil || !seg.damaged || seg.readable || seg.reason != syscall.EIO {
		t.Errorf("got %v, damaged: %v, readable: %v, %v; want it damaged by %v", err, seg.damaged, seg.readable, seg.reason, syscall.EIO)
	}
}

// TestDamagedMeanwhile has a segment turn out to be damaged while it becomes a spare file: it is kept.
func TestDamagedMeanwhile(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, Options{SegmentSize: 16 << 10, InlineSize: 256 << 10, SyncDelay: time.Second})
		disk.Before = func(op string, names ...string) error {
			if op == "rename" && names[0] == segmentName(1) && strings.Contains(names[1], spareSuffix) {
				s.log.damage(1)
			}
			return nil
		}
		for range 20 {
			mustEnqueue(t, s, strings.Repeat("x", 8000), "a.example")
			mustSettle(t, s, mustClaim(t, s, "a.example")[0].Lease, queue.Settlement{})
			synctest.Wait()
		}
		if len(disk.Files()[segmentName(1)+damagedSuffix]) == 0 {
			t.Errorf("got the files %v, want the first segment kept", slices.Sorted(maps.Keys(disk.Files())))
		}
		disk.Before = nil
	})
}

// TestFileClosed has each operation on a file that is closed fail: none is left out.
func TestFileClosed(t *testing.T) {
	dir, err := openDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	f, err := dir.Open("1.body.tmp", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Writev(0, nil, []byte{}); err != nil {
		t.Errorf("writing nothing: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	_, sizeErr := f.Size()
	_, readErr := f.ReadAt(make([]byte, 1), 0)
	for op, err := range map[string]error{
		"write": f.Writev(0, []byte("x")), "sync": f.Sync(), "truncate": f.Truncate(0), "size": sizeErr, "read": readErr,
	} {
		if err == nil {
			t.Errorf("%s: got nil, want an error", op)
		}
	}
}

// TestRecordLengthBound takes a record header for one up to the most that a record can hold.
func TestRecordLengthBound(t *testing.T) {
	for length, want := range map[uint32]bool{0: true, maxPayload - 1: true, maxPayload: true, maxPayload + 1: false} {
		b := make([]byte, recordHeaderLen)
		binary.LittleEndian.PutUint32(b[8:], length)
		finishHeader(b, salt{1}, segmentHeaderLen, 0)
		if h, ok := decodeRecordHeader(b, salt{1}, segmentHeaderLen); ok != want || h.length != length {
			t.Errorf("%d octets: got %v and %d, want %v", length, ok, h.length, want)
		}
	}
}

// TestSpareKept keeps one spare file, and hands it out once.
func TestSpareKept(t *testing.T) {
	var l spoolLog
	one, two := &spareFile{}, &spareFile{}
	if !l.putSpare(one) || l.putSpare(two) {
		t.Error("it doesn't keep the first of two")
	}
	if got := l.takeSpare(); got != one {
		t.Errorf("got %p, want %p", got, one)
	}
	if got := l.takeSpare(); got != nil {
		t.Errorf("got %p, want none", got)
	}
	if !l.putSpare(two) || l.takeSpare() != two {
		t.Error("it doesn't keep the next")
	}
}

// TestBodyOfEnded has a crash leave the body of a message that has ended, as the log knows: it goes when the spool is opened.
func TestBodyOfEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		config := Options{SegmentSize: 1 << 20, InlineSize: 1 << 10, SyncDelay: time.Second}
		s := mustOpen(t, disk, config)
		id := mustEnqueue(t, s, strings.Repeat("x", 2000), "a.example")
		n, _ := index.ParseID(id)
		body := disk.Files()[bodyName(n)]
		if len(body) != 2000 {
			t.Fatalf("got a body file of %d octets", len(body))
		}
		mustSettle(t, s, mustClaim(t, s, "a.example")[0].Lease, queue.Settlement{})
		mustClose(t, s)
		all := disk.Files()
		all[bodyName(n)] = body
		disk = crashfs.New[File](all)
		s = mustOpen(t, disk, config)
		if _, there := disk.Files()[bodyName(n)]; there {
			t.Error("the body is still there")
		}
		checkNoDamage(t, s)
		mustClose(t, s)
	})
}

// TestMarksRefused has holds and removals without an ID: they are about no message, and hold none.
func TestMarksRefused(t *testing.T) {
	for _, kind := range []uint8{entryHold1, entryRemoval1, entryHold, entryRemoval} {
		m, err := decodeMark(entryHeader{kind: kind, flags: flagHeld1}, nil)
		if m != (mark{}) || err != errEntry {
			t.Errorf("kind %d: got %d, held: %v, and %v, want %v", kind, m.id, m.held, err, errEntry)
		}
	}
}

// TestReadAroundNothing reads what can't be read at all.
func TestReadAroundNothing(t *testing.T) {
	b := []byte("junk")
	if readAround(unreadable{syscall.EIO, 1000}, b, 10) || !bytes.Equal(b, make([]byte, 4)) {
		t.Errorf("got %q, or that something can be read", b)
	}
	if !readAround(strings.NewReader("0123456789all of it"), b, 10) || string(b) != "all " {
		t.Errorf("got %q, or that nothing can be read", b)
	}
}

// TestRosterAndDamage believes a roster in spite of a segment whose header doesn't say what its salt is.
func TestRosterAndDamage(t *testing.T) {
	r := roster{first: 1, last: 1, salt: salt{1}}
	for _, test := range []struct {
		seg  *segment
		want bool
	}{
		{&segment{number: 1, salt: salt{1}}, true},
		{&segment{number: 1, salt: salt{2}}, false},
		{&segment{number: 1, damaged: true}, true},
		{&segment{number: 2, damaged: true}, true},
		{&segment{number: 2}, false},
		{&segment{number: 2, header: segmentHeader{before: salt{1}}}, true},
	} {
		if got := r.believable([]*segment{test.seg}); got != test.want {
			t.Errorf("%+v: got %v, want %v", test.seg.header, got, test.want)
		}
	}
}

// TestStoredGone looks for a message that is gone, and for one after the end.
func TestStoredGone(t *testing.T) {
	s := mustOpen(t, crashfs.New[File](nil), testConfig)
	id, _ := index.ParseID(mustEnqueue(t, s, "body", "a.example"))
	if _, err := s.stored(id + 1); err != queue.ErrNotFound {
		t.Errorf("got %v, want %v", err, queue.ErrNotFound)
	}
	mustClose(t, s)
	for _, id := range []uint64{id, id + 1} {
		if _, err := s.stored(id); err != queue.ErrClosed {
			t.Errorf("got %v, want %v", err, queue.ErrClosed)
		}
	}
}

// TestFileBodyClosedTwice closes a body in a file twice.
func TestFileBodyClosedTwice(t *testing.T) {
	s, err := (&Options{InlineSize: 1 << 10}).Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	body, err := s.Open(context.Background(), mustEnqueue(t, s, strings.Repeat("x", 2000), "a.example"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := body.Close(); err != nil {
			t.Errorf("got %v, want nil", err)
		}
	}
}
