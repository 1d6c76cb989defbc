package spool

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/mem"
)

// TestSpoolLocked opens a spool that is open, in this process and in another.
func TestSpoolLocked(t *testing.T) {
	if dir := os.Getenv("QUEUE_TEST_LOCKED"); dir != "" {
		_, err := Open(dir)
		fmt.Printf("other process: %v\n", err)
		return
	}
	dir := t.TempDir()
	s := mustOpenDir(t, dir)
	_, err := Open(dir)
	locked, ok := errors.AsType[*LockedError](err)
	if !ok || locked.PID != os.Getpid() || locked.Dir != dir || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) {
		t.Errorf("got %v, want a *LockedError that names process %d", err, os.Getpid())
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSpoolLocked$")
	cmd.Env = append(os.Environ(), "QUEUE_TEST_LOCKED="+dir)
	out, err := cmd.CombinedOutput()
	if want := (&LockedError{dir, os.Getpid()}).Error(); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("got %q and %v, want %q", out, err, want)
	}
	mustEnqueue(t, s, "body", "d.example") // it isn't disturbed
	mustClose(t, s)
	mustClose(t, mustOpenDir(t, dir))
}

func mustOpenDir(t *testing.T, dir string) *Spool {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestSpoolMakesDirectory makes a directory that only its user can read.
func TestSpoolMakesDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := mustOpenDir(t, dir)
	mustEnqueue(t, s, strings.Repeat("x", 1<<20), "d.example")
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 4 {
		t.Errorf("got %v and %v, want a lock, a roster, a segment and a body", entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got %v and %v, want mode 0600", e.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got %v and %v, want mode 0700", info.Mode(), err)
	}
}

// TestSpoolLaterVersion refuses a spool of a later format and leaves it as it is.
func TestSpoolLaterVersion(t *testing.T) {
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, testConfig)
	mustEnqueue(t, s, "body", "d.example")
	mustClose(t, s)
	all := disk.Files()
	b := all[segmentName(1)]
	b[16] = 9
	binary.LittleEndian.PutUint32(b[60:], checksum(b[:60]))
	all["1.body.tmp"] = []byte("x")
	disk = crashfs.New[File](all)
	_, err := openSpool(disk, "memory", testConfig)
	if err == nil || !strings.Contains(err.Error(), "version 9") || !strings.Contains(err.Error(), segmentName(1)) {
		t.Errorf("got %v, want an error that names version 9 and the segment", err)
	}
	if got := disk.Files(); !maps.EqualFunc(got, all, bytes.Equal) {
		t.Errorf("the spool was changed")
	}
}

// TestSpoolSweeps removes files that belong to no message. Files that the spool can't have made stay, whatever their names end
// with, and are told of. A body or a hint that may belong to a segment that was damaged stays, too.
func TestSpoolSweeps(t *testing.T) {
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, testConfig)
	id := mustEnqueue(t, s, strings.Repeat("x", 1<<20), "d.example")
	want := contents(t, s)
	mustClose(t, s)
	temps := []string{
		"7.body.tmp", segmentName(9) + tempSuffix, hintName(9) + tempSuffix, spareName(9), rosterName + tempSuffix,
	}
	orphans := []string{"2.body", "3.body", hintName(9)}
	strays := []string{
		"README", "7.segment", "00000000001.segment", "notes.tmp", "7.tmp", "07.body.tmp", "x.body.tmp", "README.segment.tmp",
		"zzz.body", "foo.body", "0.body", "01.body", "UPPER.body", "-1.body", "report.body", "9.hint", "a.hint", "b.spare.tmp",
		"segments.old", "lock.tmp",
	}
	mark := segmentName(7) + damagedSuffix
	for _, tt := range []struct {
		name string
		also []string // files besides
		stay [][]string
	}{
		{"no damage", nil, [][]string{strays}},
		{"earlier damage", []string{mark}, [][]string{strays, orphans, {mark}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := disk.Files()
			for _, name := range slices.Concat(temps, orphans, strays, tt.also) {
				all[name] = []byte(name)
			}
			var logged bytes.Buffer
			config := testConfig
			config.Logger = slog.New(slog.NewTextHandler(&logged, nil))
			disk := crashfs.New[File](all)
			s := mustOpen(t, disk, config)
			checkNoDamage(t, s)
			checkContents(t, s, want)
			mustClose(t, s)
			got := slices.Sorted(maps.Keys(disk.Files()))
			stay := append(slices.Concat(tt.stay...), segmentName(1), segmentName(2), rosterName, string(id)+bodySuffix)
			slices.Sort(stay)
			if !slices.Equal(got, stay) {
				t.Errorf("got %v, want %v", got, stay)
			}
			if told := fmt.Sprint("count=", len(strays)); !strings.Contains(logged.String(), told) {
				t.Errorf("got the log %s, want %q in it", logged.String(), told)
			}
		})
	}
}

// TestSpoolSkipsStrayID gives no message the ID under which its body would replace a file that isn't the spool's.
func TestSpoolSkipsStrayID(t *testing.T) {
	stray := bodyName(idGap + 7)
	disk := crashfs.New[File](nil)
	mustEnqueue(t, mustOpen(t, disk, testConfig), "body", "d.example")
	all := disk.Files()
	all[stray] = []byte("not ours")
	disk = crashfs.New[File](all)
	s := mustOpen(t, disk, testConfig)
	for range 10 {
		mustEnqueue(t, s, strings.Repeat("x", 300<<10), "d.example")
	}
	if got := disk.Files()[stray]; string(got) != "not ours" {
		t.Errorf("%s: got %d octets, want it as it was", stray, len(got))
	}
	if s.last <= idGap+7 {
		t.Errorf("got IDs up to %d, want them to pass that of the file, %d", s.last, idGap+7)
	}
	if n := len(contents(t, s)); n != 11 {
		t.Errorf("got %d messages, want 11", n)
	}
}

// TestSpoolRemovesBodies removes a body file when the end of its message is on the disk, not before, and leaves
// who reads it in peace.
func TestSpoolRemovesBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		large := strings.Repeat("x", 1<<20)
		id := mustEnqueue(t, s, large, "d.example")
		body, err := s.Open(context.Background(), id)
		if err != nil {
			t.Fatal(err)
		}
		mustSettle(t, s, mustClaim(t, s, "d.example")[0].Lease, queue.Settlement{})
		there := func() bool {
			synctest.Wait()
			return disk.Files()[string(id)+bodySuffix] != nil
		}
		if !there() {
			t.Errorf("the body went before its settlement was on the disk")
		}
		time.Sleep(time.Second)
		if there() {
			t.Errorf("the body is there after its settlement was on the disk")
		}
		got := make([]byte, len(large))
		if n, err := body.ReadAt(got, 0); n != len(large) || string(got) != large {
			t.Errorf("reading the body after that: got %d octets and %v", n, err)
		}
		if err := body.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSpoolRemovesBodiesLate keeps a body file when a sync ends that began before the end of its message
// was written.
func TestSpoolRemovesBodiesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		var hold atomic.Bool
		d := crashfs.New[File](nil)
		d.Before = func(op string, _ ...string) error {
			if op == "sync" && hold.Load() {
				<-goOn
			}
			return nil
		}
		s := mustOpen(t, d, testConfig)
		id := mustEnqueue(t, s, strings.Repeat("x", 1<<20), "d.example")
		task := mustClaim(t, s, "d.example")[0]
		hold.Store(true)
		go s.Enqueue(context.Background(), testMessage("body", "d.example"))
		synctest.Wait() // its sync is under way
		mustSettle(t, s, task.Lease, queue.Settlement{})
		hold.Store(false)
		goOn <- struct{}{}
		synctest.Wait()
		if d.Files()[string(id)+bodySuffix] == nil {
			t.Errorf("the body went before its settlement was on the disk")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if d.Files()[string(id)+bodySuffix] != nil {
			t.Errorf("the body is there after its settlement was on the disk")
		}
	})
}

// TestSpoolIDs gives no id twice, though nothing is left of those that were given.
func TestSpoolIDs(t *testing.T) {
	disk := crashfs.New[File](nil)
	seen := map[queue.ID]bool{}
	for range 4 {
		s := mustOpen(t, disk, Options{SegmentSize: 1000, InlineSize: 500, SyncDelay: time.Second})
		for range 30 {
			id := mustEnqueue(t, s, "body of a message", "d.example")
			if seen[id] {
				t.Fatalf("got %s a second time", id)
			}
			seen[id] = true
			mustSettle(t, s, mustClaim(t, s, "d.example")[0].Lease, queue.Settlement{})
		}
		mustClose(t, s)
	}
	// A tail that is lost takes its ids along.
	all := disk.Files()
	all[newest(all)] = all[newest(all)][:segmentHeaderLen]
	s := mustOpen(t, crashfs.New[File](all), testConfig)
	if id := mustEnqueue(t, s, "body", "d.example"); seen[id] {
		t.Errorf("got %s a second time", id)
	}
}

// TestSpoolIDsOfDamaged damages the record of the first message, or of the second, or both: none of their IDs comes again.
func TestSpoolIDsOfDamaged(t *testing.T) {
	quiet(t)
	for _, damaged := range [][]int{{0}, {1}, {0, 1}} {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, testConfig)
		given := []queue.ID{mustEnqueue(t, s, "one", "d.example"), mustEnqueue(t, s, "two", "d.example")}
		all := disk.Files()
		b := all[segmentName(1)]
		at := records(t, b)
		for _, i := range damaged {
			b[at[i].from] ^= 1 // its header
		}
		s = mustOpen(t, crashfs.New[File](all), testConfig)
		if n := len(contents(t, s)); n != 2-len(damaged) {
			t.Errorf("damage in %v: got %d messages, want the others", damaged, n)
		}
		for range 2 {
			if id := mustEnqueue(t, s, "more", "d.example"); slices.Contains(given, id) {
				t.Errorf("damage in %v: got ID %s a second time", damaged, id)
			}
		}
	}
}

// TestSpoolManyOpens doesn't pile up segments.
func TestSpoolManyOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		want := map[string]string{}
		for i := range 60 {
			s := mustOpen(t, disk, testConfig)
			if i%2 == 0 {
				id := mustEnqueue(t, s, fmt.Sprint("body ", i), "d.example")
				want[string(id)+" d.example"] = fmt.Sprint("body ", i)
			}
			checkContents(t, s, want)
			synctest.Wait() // for the janitor
			mustClose(t, s)
		}
		if _, n := onDisk(disk); n > 10 {
			t.Errorf("got %d segments for 30 small messages, want at most 10", n)
		}
	})
}

// TestSpoolClosed answers ErrClosed to all that comes after Close, and lets bodies be read on.
func TestSpoolClosed(t *testing.T) {
	s := mustOpen(t, crashfs.New[File](nil), testConfig)
	id := mustEnqueue(t, s, "body", "d.example")
	task := mustClaim(t, s, "d.example")[0]
	body, err := s.Open(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	mustClose(t, s)
	ctx := context.Background()
	_, enqueueErr := s.Enqueue(ctx, testMessage("x", "d.example"))
	_, claimErr := s.Claim(ctx, []queue.Want{{Lane: queue.Lane{Destination: "d.example"}, Max: 1}}, time.Hour)
	_, openErr := s.Open(ctx, id)
	_, flushErr := s.Flush(ctx, "", 0)
	errs := map[string]error{
		"Enqueue": enqueueErr, "Claim": claimErr, "Open": openErr, "Flush": flushErr,
		"Extend": s.Extend(ctx, task.Lease, time.Hour),
		"Settle": s.Settle(ctx, task.Lease, queue.Settlement{}),
	}
	for _, err := range s.Lanes(ctx) {
		errs["Lanes"] = err
	}
	for _, err := range s.List(ctx, queue.Filter{}) {
		errs["List"] = err
	}
	if len(errs) != 8 {
		t.Errorf("got errors of %v, want of 8 methods", slices.Collect(maps.Keys(errs)))
	}
	for op, err := range errs {
		if !errors.Is(err, queue.ErrClosed) {
			t.Errorf("%s: got %v, want ErrClosed", op, err)
		}
	}
	got := make([]byte, 4)
	if _, err := body.ReadAt(got, 0); string(got) != "body" {
		t.Errorf("reading a body after Close: got %q and %v", got, err)
	}
	for range 2 {
		if err := body.Close(); err != nil {
			t.Errorf("closing the body: %v", err)
		}
	}
}

// TestQueueRefuses has messages that make no sense refused.
func TestQueueRefuses(t *testing.T) {
	noRecipient := testMessage("x")
	noEnvelope := testMessage("x", "d.example")
	noEnvelope.Envelope = nil
	noBody := testMessage("x", "d.example")
	noBody.Body = nil
	tooFew := testMessage("x", "d.example", "e.example")
	tooFew.Destinations = tooFew.Destinations[:1]
	tests := []struct {
		name string
		m    queue.Message
		want string
	}{
		{"no envelope", noEnvelope, "no recipient"},
		{"no recipient", noRecipient, "no recipient"},
		{"no body", noBody, "no body"},
		{"too few destinations", tooFew, "2 recipients and 1 destinations"},
		{"empty destination", testMessage("x", "d.example", ""), "without destination"},
	}
	for _, q := range []queue.Queue{mem.New(), mustOpen(t, crashfs.New[File](nil), testConfig)} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%T/%s", q, tt.name), func(t *testing.T) {
				if _, err := q.Enqueue(context.Background(), tt.m); err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want an error with %q", err, tt.want)
				}
			})
		}
	}
}

// TestOptions refuses what makes no sense, and changes nothing then.
func TestOptions(t *testing.T) {
	for _, c := range []Options{
		{InlineSize: math.MaxInt}, {InlineSize: -1}, {SegmentSize: 100}, {SegmentSize: 2 << 30}, {SegmentSize: -1}, {SyncDelay: -1},
	} {
		dir := filepath.Join(t.TempDir(), "spool")
		s, err := c.Open(dir)
		if err == nil {
			s.Close()
		}
		if _, statErr := os.Stat(dir); err == nil || !strings.Contains(err.Error(), "must") || !os.IsNotExist(statErr) {
			t.Errorf("%+v: got %v and a directory: %v", c, err, statErr)
		}
	}
	for _, c := range []Options{{SegmentSize: 1 << 10}, {SegmentSize: 1 << 30}, {InlineSize: 64 << 20}} {
		s, err := c.Open(t.TempDir())
		if err != nil {
			t.Errorf("%+v: got %v, want it taken", c, err)
			continue
		}
		s.Close()
	}
}
