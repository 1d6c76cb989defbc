package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/smtp"
)

// quiet keeps the damage that a test does out of its output.
func quiet(t *testing.T) {
	old := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(old) })
}

// TestSpoolTornTail cuts the log at every octet of its last record, as a crash may, and lays zeros or
// nonsense behind the cut: what was acknowledged before is there, and nothing is called damage.
func TestSpoolTornTail(t *testing.T) {
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, testConfig)
	for i := range 3 {
		mustEnqueue(t, s, fmt.Sprint("body ", i), "d.example")
	}
	before := contents(t, s)
	mustEnqueue(t, s, "last", "d.example")
	after := contents(t, s)
	snapshot := disk.Files()
	name := newest(snapshot)
	spans := records(t, snapshot[name])
	last := spans[len(spans)-1]
	for cut := last.from; cut <= last.to; cut++ {
		for i, tail := range [][]byte{nil, make([]byte, 100), bytes.Repeat([]byte{0xa5}, 100)} {
			if i > 0 && cut%4 != 0 && cut != last.to {
				continue
			}
			torn := maps.Clone(snapshot)
			torn[name] = append(snapshot[name][:cut:cut], tail...)
			want := before
			if cut == last.to {
				want = after
			}
			disk := crashfs.New[File](torn)
			for range 2 {
				s := mustOpen(t, disk, testConfig)
				checkContents(t, s, want)
				checkNoDamage(t, s)
				mustClose(t, s)
			}
			if t.Failed() {
				t.Fatalf("cut at octet %d of the last record, with %d octets behind", cut-last.from, len(tail))
			}
		}
	}
}

// damagedSpool gives the files of a spool that was closed, and what it holds. The keys of what stays are
// of a message to two destinations of which one is settled.
func damagedSpool(t *testing.T) (all map[string][]byte, want map[string]string) {
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, Options{SegmentSize: 900, InlineSize: 300, SyncDelay: testConfig.SyncDelay})
	for i := range 6 {
		mustEnqueue(t, s, strings.Repeat(fmt.Sprint("body ", i, " "), 10), "d.example", "e.example")
	}
	mustEnqueue(t, s, strings.Repeat("large ", 100), "f.example")
	for i, task := range mustClaim(t, s, "e.example") {
		if i%2 == 0 {
			mustSettle(t, s, task.Lease, queue.Settlement{Next: task.Due, Results: []smtp.Result{{Reply: smtp.NewReply(450, "", "later")}}})
		}
	}
	want = contents(t, s)
	mustClose(t, s)
	all = disk.Files()
	if len(all) < 4 {
		t.Fatalf("got %d files, want several segments and a body", len(all))
	}
	return all, want
}

// TestSpoolFlippedBits flips a bit in each octet of each file: at most one message suffers, the damage is named, and the
// others are whole, also when the spool is opened once more.
func TestSpoolFlippedBits(t *testing.T) {
	quiet(t)
	all, want := damagedSpool(t)
	opened, unread := 0, 0
	for name, b := range all {
		for off := range b {
			flipped := crashfs.New[File](all)
			flipped.Names[name].Data[off] ^= 1 << (off % 8)
			flipped.Names[name].Synced[off] ^= 1 << (off % 8)
			for range 2 {
				opened++
				unread += checkFlipped(t, flipped, want)
			}
			if t.Failed() {
				t.Fatalf("bit %d of octet %d of %s was flipped", off%8, off, name)
			}
		}
	}
	t.Logf("opened %d spools, of which %d had a message that couldn't be read", opened, unread)
}

func checkFlipped(t *testing.T, disk *crashfs.FS[File], want map[string]string) (unread int) {
	t.Helper()
	s := mustOpen(t, disk, testConfig)
	defer mustClose(t, s)
	got, _ := readable(s)
	lost := map[string]bool{}
	for key, body := range want {
		g, ok := got[key]
		if ok && g != body {
			t.Errorf("%s: got another body", key)
		}
		if !ok {
			id, _, _ := strings.Cut(key, " ")
			lost[id] = true
		}
	}
	damaged := slices.ContainsFunc(slices.Collect(maps.Keys(disk.Files())), func(name string) bool {
		return strings.HasSuffix(name, damagedSuffix)
	})
	if len(lost) > 1 || len(lost) > 0 && len(s.Damage()) == 0 && !damaged {
		t.Errorf("lost %v, reported %+v; want at most one message lost, and that reported", lost, s.Damage())
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: got it, want it gone", key)
		}
	}
	return len(lost)
}

// TestSpoolDamagedFileStays keeps the segment with a damaged message under another name when all else in
// it is gone, and forgets the damage then.
func TestSpoolDamagedFileStays(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		all, _ := damagedSpool(t)
		name := segmentName(1)
		delete(all, hintName(1))
		all[name][segmentHeaderLen+recordHeaderLen+60] ^= 1
		disk := crashfs.New[File](all)
		s := mustOpen(t, disk, testConfig)
		if d := s.Damage(); len(d) != 1 || d[0].File != name || d[0].Offset != segmentHeaderLen || d[0].Length < 100 {
			t.Fatalf("got %+v, want damage of the first record", d)
		}
		for _, dest := range []string{"d.example", "e.example", "f.example"} {
			for _, task := range mustClaim(t, s, dest) {
				mustSettle(t, s, task.Lease, queue.Settlement{})
			}
		}
		synctest.Wait() // for the janitor
		mustClose(t, s)
		s = mustOpen(t, disk, testConfig)
		checkContents(t, s, nil)
		checkNoDamage(t, s)
		left := disk.Files()
		if kept := left[name+damagedSuffix]; !bytes.Equal(kept, all[name]) {
			t.Errorf("got %d octets of %s kept, want all %d", len(kept), name, len(all[name]))
		}
		if left[name] != nil {
			t.Errorf("%s is still there", name)
		}
	})
}

// TestSpoolMissingSegment reports a segment that isn't there, and delivers what the others have.
func TestSpoolMissingSegment(t *testing.T) {
	quiet(t)
	all, want := damagedSpool(t)
	delete(all, segmentName(2))
	s := mustOpen(t, crashfs.New[File](all), testConfig)
	if d := s.Damage(); len(d) == 0 || d[0].File != segmentName(2) {
		t.Errorf("got %+v, want the missing segment first", d)
	}
	for key, body := range contents(t, s) {
		if want[key] != body {
			t.Errorf("%s: got it, or another body than it had", key)
		}
	}
	mustEnqueue(t, s, "more", "d.example")
	mustClose(t, s)
}

// TestSpoolMissingBody reports a body file that is missing or cut, and keeps the message for its sender to
// hear of it.
func TestSpoolMissingBody(t *testing.T) {
	quiet(t)
	all, _ := damagedSpool(t)
	for name, b := range all {
		if !strings.HasSuffix(name, bodySuffix) {
			continue
		}
		for _, change := range []func(map[string][]byte){
			func(m map[string][]byte) { delete(m, name) },
			func(m map[string][]byte) { m[name] = b[:len(b)-1] },
		} {
			changed := maps.Clone(all)
			change(changed)
			s := mustOpen(t, crashfs.New[File](changed), testConfig)
			if d := s.Damage(); len(d) != 1 || d[0].File != name {
				t.Errorf("got %+v, want damage of %s", d, name)
			}
			tasks := mustClaim(t, s, "f.example")
			if len(tasks) != 1 {
				t.Fatalf("got %d tasks, want the one without its body", len(tasks))
			}
			if _, err := s.Open(context.Background(), tasks[0].ID); err == nil || err == queue.ErrNotFound {
				t.Errorf("Open: got %v, want an error that isn't ErrNotFound", err)
			}
			if n := len(mustClaim(t, s, "d.example")); n != 6 {
				t.Errorf("got %d of the others, want 6", n)
			}
			mustClose(t, s)
		}
	}
}

// TestSpoolMimic has a mail that holds a copy of the segment, markers and all, damaged so that the next record
// is looked for within it: nothing in there is taken for a record.
func TestSpoolMimic(t *testing.T) {
	quiet(t)
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, testConfig)
	first := mustEnqueue(t, s, "first", "d.example")
	copied := disk.Files()
	mustSettle(t, s, mustClaim(t, s, "d.example")[0].Lease, queue.Settlement{})
	segment := copied[newest(copied)]
	mimic := mustEnqueue(t, s, string(segment)+string(segment[segmentHeaderLen:]), "d.example")
	last := mustEnqueue(t, s, "last", "d.example")
	want := contents(t, s)
	mustClose(t, s)
	all := disk.Files()
	b := all[newest(all)]
	at := records(t, b)[3].from // after the first message, its claim and its settlement
	delete(want, string(mimic)+" d.example")
	for off := at; off < at+recordHeaderLen; off++ {
		damaged := maps.Clone(all)
		damaged[newest(all)] = bytes.Clone(b)
		damaged[newest(all)][off] ^= 0x10
		s := mustOpen(t, crashfs.New[File](damaged), testConfig)
		checkContents(t, s, want)
		if d := s.Damage(); len(d) != 1 {
			t.Errorf("got damage %+v, want one finding", d)
		}
		mustClose(t, s)
		if t.Failed() {
			t.Fatalf("octet %d of the header was changed; messages %s, %s, %s", off-at, first, mimic, last)
		}
	}
}

// TestSpoolDamagedRegion loses what stands in a large hole, and no more.
func TestSpoolDamagedRegion(t *testing.T) {
	quiet(t)
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, testConfig)
	var ids []queue.ID
	for i := range 20 {
		dest := "d.example"
		if i == 2 {
			dest = "first.example"
		}
		ids = append(ids, mustEnqueue(t, s, strings.Repeat(fmt.Sprint(i, " "), 60_000), dest))
	}
	want := contents(t, s)
	mustClose(t, s)
	all := disk.Files()
	b := all[newest(all)]
	spans := records(t, b)
	from, to := (spans[2].from+spans[2].to)/2, (spans[14].from+spans[14].to)/2
	clear(b[from:to])
	for _, id := range ids[2:15] {
		delete(want, string(id)+" d.example")
	}
	delete(want, string(ids[2])+" first.example")
	s = mustOpen(t, crashfs.New[File](all), testConfig)
	if d := s.Damage(); len(d) != 1 || d[0].Offset != spans[2].from || d[0].Offset+d[0].Length != spans[15].from {
		t.Errorf("got damage %+v, want one finding from %d to %d", d, spans[2].from, spans[15].from)
	}
	// Of the first message that was hit, all is there but the end of its body.
	if _, err := s.Open(context.Background(), ids[2]); !errors.Is(err, errBodyDamaged) {
		t.Errorf("Open of a message whose body is damaged: got %v, want errBodyDamaged", err)
	}
	mustSettle(t, s, mustClaim(t, s, "first.example")[0].Lease, queue.Settlement{})
	checkContents(t, s, want)
}

// TestSpoolSalvage damages the body of a held and deferred message that compaction has moved: it is still held and deferred. Where
// the copy that it was moved from is there, it is whole.
func TestSpoolSalvage(t *testing.T) {
	quiet(t)
	for _, both := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			disk := crashfs.New[File](nil)
			var crashed *crashfs.FS[File]
			disk.Before = func(op string, names ...string) error {
				if crashed == nil && op == "remove" && names[0] == hintName(1) {
					crashed = disk.After("killed", nil)
				}
				return nil
			}
			s := mustOpen(t, disk, Options{SegmentSize: 16 << 10, InlineSize: 256 << 10, SyncDelay: time.Hour})
			id := mustEnqueue(t, s, "a moved body", "a.example")
			mustSettle(t, s, mustClaim(t, s, "a.example")[0].Lease, queue.Settlement{Next: time.Now().Add(time.Hour)})
			if err := s.Hold(context.Background(), id); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				mustEnqueue(t, s, strings.Repeat("x", 10_000), "b.example")
			}
			for _, task := range mustClaim(t, s, "b.example") {
				mustSettle(t, s, task.Lease, queue.Settlement{})
			}
			synctest.Wait()
			mustEnqueue(t, s, "later", "l.example") // so that the move isn't in the tail
			mustClose(t, s)
			if both {
				disk = crashed
				disk.Before = func(op string, names ...string) error {
					if op == "remove" && names[0] == hintName(1) {
						return syscall.EIO // the first segment can't go
					}
					return nil
				}
				mustClose(t, mustOpen(t, disk, Options{SegmentSize: 1 << 20, InlineSize: 256 << 10, SyncDelay: time.Hour}))
			}
			all := disk.Files()
			b := all[newestWith(all, "a moved body")]
			b[bytes.LastIndex(b, []byte("a moved body"))] ^= 1
			s = mustOpen(t, crashfs.New[File](all), Options{SegmentSize: 1 << 20, InlineSize: 256 << 10, SyncDelay: time.Hour})
			if len(s.Damage()) == 0 {
				t.Errorf("no damage is reported")
			}
			for task, err := range s.List(context.Background(), queue.Filter{ID: id}) {
				if err != nil || task.State != queue.Held || task.Attempts != 1 {
					t.Errorf("the copy it was moved from is there: %v: got %+v and %v, want it held, after an attempt", both, task, err)
				}
			}
			body, err := readBody(s, id)
			if both && (err != nil || body != "a moved body") || !both && !errors.Is(err, errBodyDamaged) {
				t.Errorf("the copy it was moved from is there: %v: got %q and %v", both, body, err)
			}
		})
	}
}

// newestWith gives the name of the newest segment that has the text.
func newestWith(all map[string][]byte, text string) string {
	var name string
	for n, b := range all {
		if strings.HasSuffix(n, segmentSuffix) && bytes.Contains(b, []byte(text)) && n > name {
			name = n
		}
	}
	return name
}
