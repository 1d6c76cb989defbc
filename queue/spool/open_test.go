package spool

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
)

// fullDiskOptions are fullDisk's. With them, nothing is compacted.
var fullDiskOptions = Options{SegmentSize: 16 << 10, InlineSize: 4 << 10, SyncDelay: time.Second}

// fullDisk has messages of 1000 octets in segments of 16 KiB, and gives what they are.
func fullDisk(t *testing.T, messages int) (*crashfs.FS[File], map[string]string) {
	disk := crashfs.New[File](nil)
	var want map[string]string
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, disk, fullDiskOptions)
		for i := range messages {
			mustEnqueue(t, s, strings.Repeat(fmt.Sprintf("%4d\n", i), 200), "d.example", "e.example")
			if i%3 == 0 {
				mustSettle(t, s, mustClaim(t, s, "e.example")[0].Lease, queue.Settlement{})
			}
		}
		synctest.Wait() // for the hints
		want = contents(t, s)
		mustClose(t, s)
	})
	return disk, want
}

// TestSpoolHints opens a spool without reading the bodies in it. A hint that isn't there, is another segment's, or is of a
// segment that isn't as long, changes nothing else.
func TestSpoolHints(t *testing.T) {
	disk, want := fullDisk(t, 100)
	all := disk.Files()
	hinted := map[string]bool{} // the segments; while the spool is open, it reads others to write hints
	var size int64
	for name, b := range all {
		if hint := strings.TrimSuffix(name, segmentSuffix) + hintSuffix; hint != name && all[hint] != nil {
			hinted[name] = true
			size += int64(len(b))
		}
	}
	open := func(name string, files map[string][]byte) (read int64) {
		m := crashfs.New[File](files)
		var octets atomic.Int64
		m.Reading = func(name string, _ int64, n int) error {
			if hinted[name] {
				octets.Add(int64(n))
			}
			return nil
		}
		s := mustOpen(t, m, fullDiskOptions)
		read = octets.Load()
		checkNoDamage(t, s)
		checkContents(t, s, want)
		mustClose(t, s)
		if t.Failed() {
			t.Fatalf("with %s", name)
		}
		return read
	}
	if read := open("all hints", all); len(hinted) < 4 || read > size/10 {
		t.Errorf("read %d octets of %d segments of %d, want less than a tenth", read, len(hinted), size)
	}
	first := int64(len(all[segmentName(1)]))
	all[hintName(1)] = all[hintName(2)]
	if read := open("the second segment's hint for the first", all); read < first {
		t.Errorf("read %d octets, want the first segment's %d", read, first)
	}
	delete(all, hintName(1))
	all[hintName(2)] = all[hintName(2)][:len(all[hintName(2)])-1]
	open("a hint that is cut", all)
	for name := range all {
		if strings.HasSuffix(name, hintSuffix) {
			delete(all, name)
		}
	}
	if read := open("no hints", all); read < size {
		t.Errorf("read %d octets of %d without hints", read, size)
	}
}

// TestSpoolBadSector has a disk that can't read a sector: what stands there is damage, and all else is there. A disk that can't
// read at all is another matter.
func TestSpoolBadSector(t *testing.T) {
	quiet(t)
	disk, want := fullDisk(t, 50)
	for name := range disk.Files() {
		if strings.HasSuffix(name, hintSuffix) {
			disk.Remove(name)
		}
	}
	disk.Sync()
	bad := func(name string, off int64, n int) error {
		if name == segmentName(2) && off < 2*sector && off+int64(n) > sector {
			return syscall.EIO
		}
		return nil
	}
	disk.Reading = bad
	for range 2 {
		s := mustOpen(t, disk, testConfig)
		d := s.Damage()
		if len(d) == 0 || d[0].File != segmentName(2) || d[0].Offset > sector || d[0].Offset+d[0].Length < 2*sector {
			t.Errorf("got damage %+v, want the second sector of the second segment among it", d)
		}
		got, _ := readable(s)
		for key, body := range got {
			if want[key] != body {
				t.Errorf("%s: got another body, or it should be gone", key)
			}
		}
		// Two tasks a message, and five or six messages that touch the sector.
		if lost := len(want) - len(got); lost < 4 || lost > 12 {
			t.Errorf("lost %d tasks of %d, want those of the sector alone", lost, len(want))
		}
		mustEnqueue(t, s, "more", "f.example")
		mustSettle(t, s, mustClaim(t, s, "f.example")[0].Lease, queue.Settlement{})
		mustClose(t, s)
	}
	disk.Reading = func(string, int64, int) error { return syscall.EIO }
	before := disk.Sum()
	if _, err := openSpool(disk, "memory", testConfig); err == nil || !strings.Contains(err.Error(), segmentSuffix) {
		t.Errorf("with nothing to be read: got %v, want an error that names the segment", err)
	}
	if disk.Sum() != before {
		t.Errorf("a spool that couldn't be opened was changed")
	}
}

// TestSpoolProgress tells of a start that takes long, once a second.
func TestSpoolProgress(t *testing.T) {
	disk, want := fullDisk(t, 5000)
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		config := testConfig
		config.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		var opened atomic.Bool // the janitor reads, too
		disk.Reading = func(string, int64, int) error {
			if !opened.Load() {
				time.Sleep(10 * time.Millisecond)
			}
			return nil
		}
		begin := time.Now()
		s := mustOpen(t, disk, config)
		took := time.Since(begin)
		opened.Store(true)
		if got := len(contents(t, s)); got != len(want) {
			t.Errorf("got %d tasks, want %d", got, len(want))
		}
		lines := strings.Count(logged.String(), "opening the spool")
		if seconds := int(took / time.Second); seconds < 3 || lines < 2 || lines > seconds || !strings.Contains(logged.String(), "percent=") {
			t.Errorf("it took %v and told %d times of it: %s", took, lines, logged.String())
		}
		mustClose(t, s)
	})
}

// noHandler is a slog.Handler that panics.
type noHandler struct{ slog.Handler }

// TestSpoolLoggerPanics opens a damaged spool with a Logger that panics: it is opened, and the damage is known.
func TestSpoolLoggerPanics(t *testing.T) {
	disk, _ := fullDisk(t, 5000)
	files := disk.Files()
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return strings.HasSuffix(name, hintSuffix) })
	name := segmentName(2)
	files[name] = slices.Clone(files[name])
	copy(files[name][len(files[name])/2:], make([]byte, 600))
	config := testConfig
	config.Logger = slog.New(noHandler{})
	s := mustOpen(t, crashfs.New[File](files), config)
	if len(s.Damage()) == 0 {
		t.Error("got no damage, want what the zeros took")
	}
	mustEnqueue(t, s, "more", "f.example")
	mustClose(t, s)
}
