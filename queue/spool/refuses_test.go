package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/internal/index"
)

// TestEntriesOutOfBounds has entries whose numbers are one beyond what there is.
func TestEntriesOutOfBounds(t *testing.T) {
	decode := func(t *testing.T, entry []byte, msg *index.Message) (err error) {
		h, fields, err := entryFields(entry)
		if err != nil {
			t.Fatal(err)
		}
		if isState(h) {
			_, err = decodeState(h, fields, msg)
		} else {
			_, err = decodeMessage(h, fields, false)
		}
		return err
	}
	for _, brief := range []bool{false, true} {
		fewer := fullStored()
		if !brief {
			fewer.Envelope.Recipients, fewer.Dest = fewer.Envelope.Recipients[:2], fewer.Dest[:2] // the state has index 2
		}
		if err := decode(t, appendState(nil, fullState(), fullStored()), fewer); (err == errEntry) == brief {
			t.Errorf("a state of %d recipients: got %v", len(fewer.Dest), err)
		}
	}
	for dest, want := range map[uint32]error{1: nil, 2: errEntry} {
		msg := fullStored()
		msg.Dest[2] = dest
		if err := decode(t, messageEntry(msg, "body"), nil); err != want {
			t.Errorf("a recipient of destination %d of 2: got %v, want %v", dest, err, want)
		}
	}
	for name, change := range map[string]func(m *index.Message){
		"without an ID":        func(m *index.Message) { m.ID = 0 },
		"without destinations": func(m *index.Message) { m.Dests, m.Dest, m.Envelope.Recipients = nil, nil, nil },
	} {
		msg := fullStored()
		change(msg)
		if err := decode(t, messageEntry(msg, "body"), nil); err != errEntry {
			t.Errorf("a message %s: got %v, want %v", name, err, errEntry)
		}
	}
	for num, want := range map[uint32]error{partBit | maxPart: nil, index.ReportTask: errEntry} {
		st := fullState()
		st.num, st.state.Delayed = num, []bool{false, false}
		if err := decode(t, appendState(nil, st, fullStored()), fullStored()); err != want {
			t.Errorf("part %x: got %v, want %v", num, err, want)
		}
	}
	for kind := range uint8(255) {
		if id := entryID(entryHeader{kind: kind}, nil); id != 0 {
			t.Errorf("an entry of kind %d without an ID: got one of message %d", kind, id)
		}
	}
}

// TestCriticalClaims has marks of claims with fields that this program must not ignore.
func TestCriticalClaims(t *testing.T) {
	const octets = "\xfa\x00" // a critical field
	for name, decode := range map[string]func() error{
		"claim": func() error { _, err := decodeClaim([]byte("\x01\x01\x05" + octets)); return err },
		"end":   func() error { _, err := decodeEnd([]byte(octets)); return err },
	} {
		if _, ok := errors.AsType[*unknownError](decode()); !ok {
			t.Errorf("%s: got %v, want an error that names the field", name, decode())
		}
	}
}

// TestMissingBounded has a roster by which thousands of segments are missing: a bounded number is reported.
func TestMissingBounded(t *testing.T) {
	if n := len(missingSegments(nil, &roster{first: 1, last: 10_000}, nil)); n != maxMissing {
		t.Errorf("got %d, want %d", n, maxMissing)
	}
}

// TestSegmentRenamed gives segments another one's name: that is reported, and their messages are read by the salts of
// their records.
func TestSegmentRenamed(t *testing.T) {
	quiet(t)
	files, last, want := severalSegments(t)
	name, other := segmentName(last), segmentName(last+3)
	files[other] = files[name]
	delete(files, name)
	s := mustOpen(t, crashfs.New[File](files), runtimeOptions)
	if !slices.ContainsFunc(s.Damage(), func(d Damage) bool { return d.File == other && d.Reason == errHeader.Error() }) {
		t.Errorf("got damage %+v, want that %s has another's header", s.Damage(), other)
	}
	checkContents(t, s, want)
}

// closeCount counts how often a file is closed.
type closeCount struct {
	File
	n int
}

func (f *closeCount) Close() error { f.n++; return nil }

// TestSegmentReleased keeps the file of a segment while it is read, and no longer.
func TestSegmentReleased(t *testing.T) {
	f := &closeCount{}
	seg := &segment{file: f}
	seg.refs.Store(1)
	for range 2 {
		if !seg.acquire() {
			t.Error("got it not kept")
		}
	}
	for range 3 {
		if f.n != 0 {
			t.Error("got it closed while it is read")
		}
		seg.release()
	}
	if f.n != 1 || seg.acquire() || seg.refs.Load() != 0 {
		t.Errorf("got it closed %d times, %d readers, want once and none", f.n, seg.refs.Load())
	}
}

// TestSpareDropped has a spare when the disk gets full: it goes.
func TestSpareDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		s := mustOpen(t, disk, runtimeOptions)
		if !churnPast(t, s, 3) {
			t.Fatal("compaction doesn't go on")
		}
		spares := func() (n int) {
			synctest.Wait()
			for name := range disk.Files() {
				if strings.HasSuffix(name, spareSuffix+tempSuffix) {
					n++
				}
			}
			return n
		}
		for i := 0; spares() == 0; i++ {
			if i == 100 {
				t.Fatal("got no spare")
			}
			churnPast(t, s, s.log.oldest().number)
		}
		opened := disk.Opened()
		s.space.full.Store(true)
		s.wakeJanitor()
		if n := spares(); n != 0 || disk.Opened() != opened-1 {
			t.Errorf("got %d spares and %d files open on a full disk, want none and %d", n, disk.Opened(), opened-1)
		}
		s.space.full.Store(false)
		mustClose(t, s)
	})
}

// TestMissingUnmarked has no room for the mark of a missing segment: the spool opens, and says so.
func TestMissingUnmarked(t *testing.T) {
	files, _, _ := severalSegments(t)
	delete(files, segmentName(2))
	disk := crashfs.New[File](files)
	disk.Before = func(op string, names ...string) error {
		if op == "create" && strings.HasSuffix(names[0], damagedSuffix) {
			return errors.New("no room")
		}
		return nil
	}
	var logged bytes.Buffer
	config := runtimeOptions
	config.Logger = slog.New(slog.NewTextHandler(&logged, nil))
	s := mustOpen(t, disk, config)
	mustEnqueue(t, s, "body", "d.example")
	mustClose(t, s)
	if want := "missing segment wasn't marked"; !strings.Contains(logged.String(), want) {
		t.Errorf("got the log\n%s\nwant %q in it", logged.String(), want)
	}
}

// TestReportTaskUnreadable has parts of a report task that can't be read: the others are listed and reported, and if
// there are none, an error is.
func TestReportTaskUnreadable(t *testing.T) {
	quiet(t)
	for damaged := range 3 {
		synctest.Test(t, func(t *testing.T) {
			disk := crashfs.New[File](nil)
			s, id := reportSpool(t, disk, true)
			n, _ := index.ParseID(id)
			f, _ := index.NewFilter(queue.Filter{ID: id, Destination: queue.ReportDestination})
			for _, part := range s.ix.Matching(n, f)[0].Parts[:damaged] {
				disk.Names[segmentName(1)].Data[part.State.off+25] ^= 1
			}
			var last []string
			var failed error
			for task, err := range s.List(t.Context(), queue.Filter{ID: id, Destination: queue.ReportDestination}) {
				if failed = err; err == nil {
					for _, res := range task.Last {
						last = append(last, res.Reply.Text)
					}
				}
			}
			if want := []string{"a.example", "b.example"}[damaged:]; !slices.Equal(last, want) || (failed != nil) != (damaged == 2) {
				t.Errorf("%d damaged: got %v and %v, want %v", damaged, last, failed, want)
			}
			mustClose(t, s)
		})
	}
}

// TestListErrors lists after what is no ID, and with a context that ends after the first task.
func TestListErrors(t *testing.T) {
	s := mustOpen(t, crashfs.New[File](nil), testConfig)
	for range 3 {
		mustEnqueue(t, s, "body", "d.example")
	}
	var got []string
	for task, err := range s.List(t.Context(), queue.Filter{After: "no ID"}) {
		got = append(got, fmt.Sprint(task.ID, errors.Is(err, queue.ErrNotFound)))
	}
	if want := []string{"true"}; !slices.Equal(got, want) {
		t.Errorf("after what is no ID: got %v, want one ErrNotFound", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got = nil
	for task, err := range s.List(ctx, queue.Filter{}) {
		got = append(got, fmt.Sprint(task.ID, errors.Is(err, context.Canceled)))
		cancel()
	}
	if want := []string{"1false", "true"}; !slices.Equal(got, want) {
		t.Errorf("a context that ends: got %v, want one task and the error", got)
	}
}

// TestCompactionStopsBroken breaks the disk while files of bodies wait for it: no segment goes any more.
func TestCompactionStopsBroken(t *testing.T) {
	quiet(t)
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		config := Options{SegmentSize: 2 << 10, InlineSize: 1 << 10, SyncDelay: time.Hour, Reserve: -1}
		s := mustOpen(t, disk, config)
		for range 20 {
			mustEnqueue(t, s, strings.Repeat("x", 2000), "d.example")
		}
		tasks := mustClaim(t, s, "d.example")
		synctest.Wait()
		disk.Before = func(op string, names ...string) error {
			if op == "sync" {
				return errors.New("the disk is broken")
			}
			return nil
		}
		_, before := onDisk(disk)
		for _, task := range tasks {
			s.Settle(t.Context(), task.Lease, queue.Settlement{}) // it may be broken by then
		}
		for range 5 {
			s.wakeJanitor()
			synctest.Wait()
		}
		if _, after := onDisk(disk); after < before {
			t.Errorf("got %d segments, and %d before the disk broke", after, before)
		}
	})
}

// shutFS has a segment that can't be opened.
type shutFS struct {
	*crashfs.FS[File]
	name string
	err  error
}

func (fs shutFS) Open(name string, create bool) (File, error) {
	if name == fs.name && !create {
		return nil, &os.PathError{Op: "open", Path: name, Err: fs.err}
	}
	return fs.FS.Open(name, create)
}

// TestSegmentShut can't open a segment, for a reason that says nothing about what is in it: the spool doesn't open, and
// nothing is changed, so that the next opening misses nothing.
func TestSegmentShut(t *testing.T) {
	files, last, want := severalSegments(t)
	for number := uint32(1); number <= last; number++ {
		for _, err := range []error{syscall.EMFILE, fs.ErrPermission, fs.ErrNotExist} {
			disk := crashfs.New[File](files)
			if _, got := openSpool(shutFS{disk, segmentName(number), err}, "memory", runtimeOptions); !errors.Is(got, err) {
				t.Errorf("segment %d: got %v, want %v", number, got, err)
			}
			if n := disk.Opened(); n != 0 || !maps.EqualFunc(disk.Files(), files, bytes.Equal) {
				t.Errorf("segment %d, %v: got %d files open, or files changed", number, err, n)
			}
			s := mustOpen(t, disk, runtimeOptions)
			checkNoDamage(t, s)
			checkContents(t, s, want)
			mustClose(t, s)
		}
	}
}
