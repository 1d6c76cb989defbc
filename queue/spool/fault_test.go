package spool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/mem"
)

// TestSpoolPoisoned has an operation fail, once: nothing is accepted or handed out from then on, though the disk
// is good again, until the spool is opened anew; what was acknowledged is there then.
func TestSpoolPoisoned(t *testing.T) {
	quiet(t)
	large := strings.Repeat("x", 1000)
	tests := []struct {
		name string
		op   string
		body string
	}{
		{"sync", "sync", "new"},
		{"write", "write", "new"},
		{"sync of a body file", "sync", large},
		{"sync of the directory", "syncdir", large},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			broken := errors.New("the disk is broken")
			var failing atomic.Bool
			d := crashfs.New[File](nil)
			d.Before = func(op string, _ ...string) error {
				if op == tt.op && failing.CompareAndSwap(true, false) {
					return broken
				}
				return nil
			}
			s := mustOpen(t, d, Options{SegmentSize: 1 << 20, InlineSize: 500, SyncDelay: time.Hour})
			first := mustEnqueue(t, s, "first", "d.example")
			mustEnqueue(t, s, "second", "e.example")
			tasks := mustClaim(t, s, "d.example")
			failing.Store(true)
			if _, err := s.Enqueue(context.Background(), testMessage(tt.body, "d.example")); !errors.Is(err, broken) {
				t.Fatalf("Enqueue: got %v, want the disk's error", err)
			}
			ctx := context.Background()
			_, enqueueErr := s.Enqueue(ctx, testMessage("later", "d.example"))
			_, claimErr := s.Claim(ctx, []queue.Want{{Lane: queue.Lane{Destination: "e.example"}, Max: 1}}, time.Hour)
			_, flushErr := s.Flush(ctx, "", 0)
			for op, err := range map[string]error{
				"Enqueue": enqueueErr,
				"Claim":   claimErr,
				"Flush":   flushErr,
				"Settle":  s.Settle(ctx, tasks[0].Lease, queue.Settlement{}),
				"Settle with a report": s.Settle(ctx, tasks[0].Lease, queue.Settlement{
					Reports: []queue.Message{testMessage("report", "r.example")},
				}),
			} {
				if !errors.Is(err, broken) || !strings.Contains(err.Error(), "opened again") {
					t.Errorf("%s after that: got %v, want an error that wraps the disk's and says what to do", op, err)
				}
			}
			if body, err := readBody(s, first); body != "first" || err != nil {
				t.Errorf("Open after that: got %q and %v", body, err)
			}
			if err := s.Close(); !errors.Is(err, broken) {
				t.Errorf("Close: got %v, want the disk's error", err)
			}
			s = mustOpen(t, d, testConfig)
			checkNoDamage(t, s)
			got := contents(t, s)
			for key, body := range got {
				if body == "later" || body == "report" {
					t.Errorf("%s: got %q, which was refused", key, body)
				}
			}
			if got[string(first)+" d.example"] != "first" || len(got) < 2 {
				t.Errorf("got %v, want what was acknowledged", got)
			}
			mustEnqueue(t, s, "after", "d.example")
		})
	}
}

// TestSpoolPoisonedMeanwhile has a sync fail while more is being written: that is refused, too.
func TestSpoolPoisonedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the disk is broken")
		var hold atomic.Bool
		syncs, writes := make(chan struct{}), make(chan struct{})
		d := crashfs.New[File](nil)
		d.Before = func(op string, _ ...string) error {
			switch {
			case !hold.Load():
			case op == "sync":
				<-syncs
				return broken
			case op == "write":
				<-writes
			}
			return nil
		}
		s := mustOpen(t, d, testConfig)
		mustEnqueue(t, s, "body", "d.example")
		task := mustClaim(t, s, "d.example")[0]
		hold.Store(true)
		errs := make(chan error, 3)
		enqueue := func() {
			_, err := s.Enqueue(context.Background(), testMessage("body", "d.example"))
			errs <- err
		}
		go enqueue()
		synctest.Wait()
		writes <- struct{}{}
		synctest.Wait() // its sync is under way
		go enqueue()
		synctest.Wait()
		go func() { errs <- s.Settle(context.Background(), task.Lease, queue.Settlement{}) }()
		synctest.Wait() // both are being written
		syncs <- struct{}{}
		synctest.Wait()
		writes <- struct{}{}
		for range 3 {
			if err := <-errs; !errors.Is(err, broken) {
				t.Errorf("got %v, want the disk's error", err)
			}
		}
		hold.Store(false)
		if err := s.Close(); !errors.Is(err, broken) {
			t.Errorf("Close: got %v, want the disk's error", err)
		}
	})
}

// TestQueueReaderPanics has the body of a report panic: the lease is what it was.
func TestQueueReaderPanics(t *testing.T) {
	for _, q := range []queue.Queue{mem.New(), mustOpen(t, crashfs.New[File](nil), testConfig)} {
		mustEnqueue(t, q, "body", "d.example")
		task := mustClaim(t, q, "d.example")[0]
		report := testMessage("", "r.example")
		report.Body = panicReader{}
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%T: the panic doesn't come through", q)
				}
			}()
			q.Settle(context.Background(), task.Lease, queue.Settlement{Reports: []queue.Message{report}})
		}()
		mustSettle(t, q, task.Lease, queue.Settlement{})
		if tasks := append(mustClaim(t, q, "d.example"), mustClaim(t, q, "r.example")...); len(tasks) != 0 {
			t.Errorf("%T: got %d tasks after that, want none", q, len(tasks))
		}
	}
}

type panicReader struct{}

func (panicReader) Read([]byte) (int, error) { panic("a reader's own") }

// TestSpoolUnsyncedSettleFails poisons the spool by the sync that follows a settlement.
func TestSpoolUnsyncedSettleFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the disk is broken")
		var failing atomic.Bool
		d := crashfs.New[File](nil)
		d.Before = func(op string, _ ...string) error {
			if op == "sync" && failing.Load() {
				return broken
			}
			return nil
		}
		s := mustOpen(t, d, testConfig)
		mustEnqueue(t, s, "body", "d.example")
		mustEnqueue(t, s, "body", "d.example")
		tasks := mustClaim(t, s, "d.example")
		told := make(chan queue.Lane, 10)
		defer s.Watch(func(l queue.Lane, _ time.Time) { told <- l })()
		failing.Store(true)
		mustSettle(t, s, tasks[0].Lease, queue.Settlement{})
		time.Sleep(time.Minute)
		select {
		case lane := <-told:
			if lane != (queue.Lane{}) {
				t.Errorf("Watch: got %+v, want the zero Lane", lane)
			}
		default:
			t.Errorf("Watch: got nothing, want to hear that the spool is broken")
		}
		if err := s.Settle(context.Background(), tasks[1].Lease, queue.Settlement{}); !errors.Is(err, broken) {
			t.Errorf("Settle after the sync failed: got %v, want the disk's error", err)
		}
		if err := s.Close(); !errors.Is(err, broken) {
			t.Errorf("Close: got %v, want the disk's error", err)
		}
	})
}

// TestSpoolDiskFull has the disk full for a while: what comes then is refused, leaves nothing behind,
// and the spool goes on by itself when there is room.
func TestSpoolDiskFull(t *testing.T) {
	large := strings.Repeat("x", 2000)
	tests := []struct {
		name string
		op   string
		file string // a part of its name
		body string
	}{
		{"in a segment", "write", "segment", "refused"},
		{"in a segment, the body in its file", "write", "segment", large},
		{"at a new segment", "create", "segment", strings.Repeat("refused", 70)},
		{"in a body file", "write", "body", large},
		{"at a body file", "create", "body", large},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var full atomic.Bool
			d := crashfs.New[File](nil)
			d.Before = func(op string, names ...string) error {
				if op != tt.op || !full.Load() || !strings.Contains(names[0], tt.file) {
					return nil
				}
				return &crashfs.TornWrite{N: 30, Err: &os.PathError{Op: op, Path: names[0], Err: syscall.ENOSPC}}
			}
			s := mustOpen(t, d, Options{SegmentSize: 1000, InlineSize: 500, SyncDelay: time.Second})
			mustEnqueue(t, s, strings.Repeat("first", 80), "d.example")
			task := mustClaim(t, s, "d.example")[0]
			want := contents(t, s)
			full.Store(true)
			for range 3 {
				if _, err := s.Enqueue(context.Background(), testMessage(tt.body, "e.example")); !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("Enqueue: got %v, want ENOSPC", err)
				}
				err := s.Settle(context.Background(), task.Lease, queue.Settlement{Reports: []queue.Message{testMessage(tt.body, "r.example")}})
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("Settle: got %v, want ENOSPC", err)
				}
			}
			checkContents(t, s, want)
			all := d.Files()
			delete(all, rosterName)
			if octets := len(bytes.TrimRight(all[segmentName(1)], "\x00")); len(all) != 1 || int64(octets) != s.log.bytes.Load() {
				t.Errorf("got %d files and %d octets, want the segment alone with %d", len(all), octets, s.log.bytes.Load())
			}
			full.Store(false)
			id := mustEnqueue(t, s, "second", "e.example")
			want[string(id)+" e.example"] = "second"
			if err := s.Extend(context.Background(), task.Lease, time.Hour); err != nil {
				t.Errorf("the lease outlives a settlement that failed: got %v", err)
			}
			checkContents(t, s, want)
			mustClose(t, s)
			s = mustOpen(t, d, testConfig)
			checkNoDamage(t, s)
			checkContents(t, s, want)
		})
	}
}

// TestSpoolSyncTimes counts syncs: one for an Enqueue; none for a Settle, but one a second later for all of
// them; none where nothing happens.
func TestSpoolSyncTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int32
		d := crashfs.New[File](nil)
		d.Before = func(op string, _ ...string) error {
			if op == "sync" {
				syncs.Add(1)
			}
			return nil
		}
		s := mustOpen(t, d, testConfig)
		check := func(when string, want int32) {
			t.Helper()
			synctest.Wait()
			if got := syncs.Swap(0); got != want {
				t.Errorf("%s: got %d syncs, want %d", when, got, want)
			}
		}
		syncs.Store(0)
		for range 4 {
			mustEnqueue(t, s, "body", "d.example")
		}
		check("four times Enqueue", 4)
		tasks := mustClaim(t, s, "d.example")
		check("Claim", 0)
		mustSettle(t, s, tasks[0].Lease, queue.Settlement{})
		time.Sleep(999 * time.Millisecond)
		mustSettle(t, s, tasks[1].Lease, queue.Settlement{})
		check("two settlements, less than a second ago", 0)
		time.Sleep(time.Millisecond)
		check("a second after the first settlement", 1)
		time.Sleep(time.Hour)
		check("nothing", 0)
		tasks = mustClaim(t, s, "d.example") // the leases have expired
		mustSettle(t, s, tasks[0].Lease, queue.Settlement{})
		mustEnqueue(t, s, "body", "d.example")
		check("a settlement and Enqueue", 1)
		time.Sleep(time.Hour)
		check("nothing after that", 0)
		tasks = mustClaim(t, s, "d.example")
		mustSettle(t, s, tasks[0].Lease, queue.Settlement{Reports: []queue.Message{testMessage("report", "r.example")}})
		check("a settlement with a report", 1)
		start := time.Now()
		mustClose(t, s)
		check("Close with all on the disk", 0)
		if d := time.Since(start); d != 0 {
			t.Errorf("Close took %v, want no time", d)
		}
	})
}

// TestSpoolSyncsLate has a settlement come while the sync for an earlier one is under way: it gets one of
// its own.
func TestSpoolSyncsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int32
		goOn := make(chan struct{})
		d := crashfs.New[File](nil)
		s := mustOpen(t, d, testConfig)
		mustEnqueue(t, s, "body", "d.example")
		mustEnqueue(t, s, "body", "d.example")
		tasks := mustClaim(t, s, "d.example")
		d.Before = func(op string, _ ...string) error {
			if op == "sync" && syncs.Add(1) == 1 {
				<-goOn
			}
			return nil
		}
		mustSettle(t, s, tasks[0].Lease, queue.Settlement{})
		time.Sleep(time.Second)
		synctest.Wait() // its sync is under way
		mustSettle(t, s, tasks[1].Lease, queue.Settlement{})
		goOn <- struct{}{}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := syncs.Load(); got != 2 {
			t.Errorf("got %d syncs, want 2", got)
		}
	})
}

// TestSpoolGathers holds a sync up: meanwhile settlements come through, and enqueues are written if they are
// many or a settlement comes; one more sync serves all of them.
func TestSpoolGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hold atomic.Bool
		var syncs, writes, done atomic.Int32
		goOn := make(chan struct{})
		d := crashfs.New[File](nil)
		d.Before = func(op string, _ ...string) error {
			switch {
			case op == "write":
				writes.Add(1)
			case op == "sync":
				syncs.Add(1)
				if hold.Load() {
					<-goOn
				}
			}
			return nil
		}
		s := mustOpen(t, d, testConfig)
		for range 2 {
			mustEnqueue(t, s, "body", "d.example")
		}
		tasks := mustClaim(t, s, "d.example")
		var wg sync.WaitGroup
		enqueue := func(n int, body string) {
			for range n {
				wg.Go(func() {
					mustEnqueue(t, s, body, "d.example")
					done.Add(1)
				})
			}
			synctest.Wait()
		}
		check := func(when string, wantWrites, wantSyncs, wantDone int32) {
			t.Helper()
			synctest.Wait()
			if w, s, d := writes.Swap(0), syncs.Swap(0), done.Swap(0); w != wantWrites || s != wantSyncs || d != wantDone {
				t.Errorf("%s: got %d writes, %d syncs and %d acknowledged, want %d, %d and %d", when, w, s, d, wantWrites, wantSyncs, wantDone)
			}
		}
		check("at first, with the roster, a claim and a write of zeros", 6, 4, 0)
		hold.Store(true)
		enqueue(1, "body")
		check("with a sync under way", 1, 1, 0)
		enqueue(50, "body")
		check("with some more that wait for the disk", 0, 0, 0)
		mustSettle(t, s, tasks[0].Lease, queue.Settlement{})
		check("with a settlement", 1, 0, 0)
		enqueue(3, strings.Repeat("x", 100_000))
		check("with much that waits for the disk", 1, 0, 0)
		enqueue(5, "body")
		check("with some more", 0, 0, 0)
		goOn <- struct{}{}
		check("when the sync has ended and the next one is under way", 1, 1, 1)
		hold.Store(false)
		goOn <- struct{}{}
		wg.Wait()
		check("when the next has ended", 0, 0, 58)
		mustClose(t, s)
	})
}

// TestSpoolBodyFailsLate leaves no file of a large body whose reader fails.
func TestSpoolBodyFailsLate(t *testing.T) {
	disk := crashfs.New[File](nil)
	s := mustOpen(t, disk, testConfig)
	m := testMessage("", "d.example")
	m.Body = io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), &brokenReader{})
	if _, err := s.Enqueue(context.Background(), m); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v, want io.ErrNoProgress", err)
	}
	id := mustEnqueue(t, s, "body", "d.example")
	report := testMessage(strings.Repeat("x", 1<<20), "r.example")
	m.Body = &brokenReader{}
	if err := s.Settle(context.Background(), mustClaim(t, s, "d.example")[0].Lease, queue.Settlement{Reports: []queue.Message{report, m}}); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v, want io.ErrNoProgress", err)
	}
	checkContents(t, s, map[string]string{string(id) + " d.example": "body"})
	if all := disk.Files(); len(all) != 2 {
		t.Errorf("got %d files, want the segment and the roster alone", len(all))
	}
}

// brokenReader gives nothing, for ever.
type brokenReader struct{}

func (*brokenReader) Read([]byte) (int, error) { return 0, nil }

// TestSpoolReserveRecovers fills a small disk with mail until no more is taken, and ends all but the last of it: though what
// is left of it stands in the segment that is being written to, there is room again.
func TestSpoolReserveRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		disk.Space = 40 << 20
		s := mustOpen(t, disk, Options{SegmentSize: 64 << 20, InlineSize: 256 << 10, SyncDelay: time.Second, Reserve: 20 << 20})
		body := strings.Repeat("x", 100<<10)
		fill := func() (n int) {
			for {
				_, err := s.Enqueue(t.Context(), testMessage(body, "d.example"))
				synctest.Wait()
				if errors.Is(err, syscall.ENOSPC) {
					return n
				}
				if n++; err != nil || n > 1000 {
					t.Fatalf("got %v after %d messages, want ENOSPC", err, n)
				}
			}
		}
		for round := range 3 {
			n := fill()
			if n < 80 {
				t.Errorf("round %d: got %d messages in, want them to fill 20 MiB by half at least", round, n)
			}
			tasks := mustClaim(t, s, "d.example")
			for _, task := range tasks[1:] {
				mustSettle(t, s, task.Lease, queue.Settlement{})
			}
			mustSettle(t, s, tasks[0].Lease, queue.Settlement{Next: time.Now()})
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		fill()
		want := contents(t, s)
		mustClose(t, s)
		s = mustOpen(t, disk, testConfig)
		checkContents(t, s, want)
		checkNoDamage(t, s)
	})
}

// TestSpoolReserve: the last of the disk is for settlements and reports, not for new mail.
func TestSpoolReserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mustOpen(t, crashfs.New[File](nil), testConfig)
		mustEnqueue(t, s, "body", "d.example")
		s.config.Reserve = 1 << 60
		time.Sleep(spaceAge)
		if _, err := s.Enqueue(t.Context(), testMessage("body", "d.example")); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Enqueue: got %v, want ENOSPC", err)
		}
		mustSettle(t, s, mustClaim(t, s, "d.example")[0].Lease, queue.Settlement{Reports: []queue.Message{testMessage("report", "r.example")}})
		s.config.Reserve = 0
		mustEnqueue(t, s, "body", "d.example")
		if got := contents(t, s); len(got) != 2 {
			t.Errorf("got %v, want the report and the mail behind it", got)
		}
	})
}

// TestSpoolReserveStays fills a disk up to the reserve. A quarter of the mail ends, here and there in all segments: compaction takes no
// more of the reserve than it can afford, and settlements with reports go on.
func TestSpoolReserveStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := crashfs.New[File](nil)
		disk.Space = 20 << 20
		s := mustOpen(t, disk, Options{SegmentSize: 8 << 20, InlineSize: 256 << 10, SyncDelay: time.Second, Reserve: 4 << 20})
		body := strings.Repeat("x", 100<<10)
		for i := 0; ; i++ {
			dest := "live.example"
			if i%4 == 0 {
				dest = "dead.example"
			}
			if _, err := s.Enqueue(t.Context(), testMessage(body, dest)); err != nil {
				break
			}
		}
		for _, task := range mustClaim(t, s, "dead.example") {
			mustSettle(t, s, task.Lease, queue.Settlement{})
		}
		for range 20 {
			if _, err := s.Enqueue(t.Context(), testMessage(body, "live.example")); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("got %v, want ENOSPC", err)
			}
			synctest.Wait()
		}
		report := strings.Repeat("r", 5<<10)
		for _, task := range mustClaim(t, s, "live.example") {
			mustSettle(t, s, task.Lease, queue.Settlement{Reports: []queue.Message{testMessage(report, "r.example")}})
			synctest.Wait()
		}
		mustEnqueue(t, s, body, "live.example") // there is room again
	})
}
