package queue

import (
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
			d := &disk{dir: t.TempDir()}
			d.fake = func(op string, _ ...string) (bool, error) {
				if op == tt.op && failing.CompareAndSwap(true, false) {
					return true, broken
				}
				return false, nil
			}
			s := mustOpen(t, d, spoolOptions{segment: 1 << 20, inline: 500, delay: time.Hour})
			first := mustEnqueue(t, s, "first", "d.example")
			mustEnqueue(t, s, "second", "e.example")
			tasks := mustClaim(t, s, "d.example")
			failing.Store(true)
			if _, err := s.Enqueue(context.Background(), testMessage(tt.body, "d.example")); !errors.Is(err, broken) {
				t.Fatalf("Enqueue: got %v, want the disk's error", err)
			}
			ctx := context.Background()
			_, enqueueErr := s.Enqueue(ctx, testMessage("later", "d.example"))
			_, claimErr := s.Claim(ctx, []Want{{Destination: "e.example", Max: 1}}, time.Hour)
			for op, err := range map[string]error{
				"Enqueue": enqueueErr,
				"Claim":   claimErr,
				"Settle":  s.Settle(ctx, tasks[0].Lease, Settlement{}),
				"Settle with a report": s.Settle(ctx, tasks[0].Lease, Settlement{
					Reports: []Message{testMessage("report", "r.example")},
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
			s = mustOpen(t, d, testOptions)
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

// TestSpoolUnsyncedSettleFails poisons the spool by the sync that follows a settlement.
func TestSpoolUnsyncedSettleFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("the disk is broken")
		var failing atomic.Bool
		d := &disk{dir: t.TempDir(), fake: func(op string, _ ...string) (bool, error) {
			return op == "sync" && failing.Load(), broken
		}}
		s := mustOpen(t, d, testOptions)
		mustEnqueue(t, s, "body", "d.example")
		mustEnqueue(t, s, "body", "d.example")
		tasks := mustClaim(t, s, "d.example")
		failing.Store(true)
		mustSettle(t, s, tasks[0].Lease, Settlement{})
		time.Sleep(time.Minute)
		if err := s.Settle(context.Background(), tasks[1].Lease, Settlement{}); !errors.Is(err, broken) {
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
	tests := []struct {
		name string
		op   string
		body string
	}{
		{"in a segment", "write", "refused"},
		{"at a new segment", "create", strings.Repeat("refused", 70)},
		{"in a body file", "write", strings.Repeat("x", 2000)},
		{"at a body file", "create", strings.Repeat("x", 2000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var full atomic.Bool
			d := &disk{dir: t.TempDir()}
			d.fake = func(op string, names ...string) (bool, error) {
				if op != tt.op || !full.Load() {
					return op == "sync" || op == "syncdir", nil
				}
				if op == "write" {
					scribble(t, d, names[0])
				}
				return true, &os.PathError{Op: op, Path: names[0], Err: syscall.ENOSPC}
			}
			s := mustOpen(t, d, spoolOptions{segment: 1000, inline: 500, delay: time.Second})
			mustEnqueue(t, s, strings.Repeat("first", 80), "d.example")
			task := mustClaim(t, s, "d.example")[0]
			want := contents(t, s)
			full.Store(true)
			for range 3 {
				if _, err := s.Enqueue(context.Background(), testMessage(tt.body, "e.example")); !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("Enqueue: got %v, want ENOSPC", err)
				}
				err := s.Settle(context.Background(), task.Lease, Settlement{Reports: []Message{testMessage(tt.body, "r.example")}})
				if !errors.Is(err, syscall.ENOSPC) {
					t.Fatalf("Settle: got %v, want ENOSPC", err)
				}
			}
			checkContents(t, s, want)
			if n := len(files(t, d.dir)); n != 1 {
				t.Errorf("got %d files, want the segment alone", n)
			}
			full.Store(false)
			id := mustEnqueue(t, s, "second", "e.example")
			want[string(id)+" e.example"] = "second"
			if err := s.Extend(context.Background(), task.Lease, time.Hour); err != nil {
				t.Errorf("the lease outlives a settlement that failed: got %v", err)
			}
			checkContents(t, s, want)
			mustClose(t, s)
			s = mustOpen(t, d, testOptions)
			checkNoDamage(t, s)
			checkContents(t, s, want)
		})
	}
}

// scribble leaves a part of a write in the file that is being written to.
func scribble(t *testing.T, d *disk, name string) {
	for _, name := range []string{name, strings.TrimSuffix(name, tempSuffix)} {
		f, err := os.OpenFile(d.path(name), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			continue
		}
		defer f.Close()
		if _, err := f.Write([]byte("half a message")); err != nil {
			t.Error(err)
		}
		return
	}
	t.Errorf("there is no file for %s", name)
}

// TestSpoolSyncTimes counts syncs: one for an Enqueue; none for a Settle, but one a second later for all of
// them; none where nothing happens.
func TestSpoolSyncTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int32
		d := &disk{dir: t.TempDir(), fake: func(op string, _ ...string) (bool, error) {
			if op == "sync" {
				syncs.Add(1)
			}
			return false, nil
		}}
		s := mustOpen(t, d, testOptions)
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
		mustSettle(t, s, tasks[0].Lease, Settlement{})
		time.Sleep(999 * time.Millisecond)
		mustSettle(t, s, tasks[1].Lease, Settlement{})
		check("two settlements, less than a second ago", 0)
		time.Sleep(time.Millisecond)
		check("a second after the first settlement", 1)
		time.Sleep(time.Hour)
		check("nothing", 0)
		tasks = mustClaim(t, s, "d.example") // the leases have expired
		mustSettle(t, s, tasks[0].Lease, Settlement{})
		mustEnqueue(t, s, "body", "d.example")
		check("a settlement and Enqueue", 1)
		time.Sleep(time.Hour)
		check("nothing after that", 0)
		tasks = mustClaim(t, s, "d.example")
		mustSettle(t, s, tasks[0].Lease, Settlement{Reports: []Message{testMessage("report", "r.example")}})
		check("a settlement with a report", 1)
		start := time.Now()
		mustClose(t, s)
		check("Close with all on the disk", 0)
		if d := time.Since(start); d != 0 {
			t.Errorf("Close took %v, want no time", d)
		}
	})
}

// TestSpoolGathers holds a sync up: meanwhile settlements come through, enqueues are written, and
// one more sync serves all of them.
func TestSpoolGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held, syncs atomic.Int32
		var writes atomic.Int32
		goOn := make(chan struct{})
		d := &disk{dir: t.TempDir(), fake: func(op string, _ ...string) (bool, error) {
			switch {
			case op == "write":
				writes.Add(1)
			case op == "sync":
				syncs.Add(1)
				if held.Load() > 0 {
					<-goOn
				}
			}
			return false, nil
		}}
		s := mustOpen(t, d, testOptions)
		for range 2 {
			mustEnqueue(t, s, "body", "d.example")
		}
		tasks := mustClaim(t, s, "d.example")
		syncs.Store(0)
		writes.Store(0)
		held.Store(1)
		var wg sync.WaitGroup
		var done atomic.Int32
		enqueue := func() {
			mustEnqueue(t, s, "body", "d.example")
			done.Add(1)
		}
		wg.Go(enqueue)
		synctest.Wait() // its sync is under way
		mustSettle(t, s, tasks[0].Lease, Settlement{})
		for range 50 {
			wg.Go(enqueue)
		}
		synctest.Wait()
		if got := writes.Load(); got < 2 || done.Load() != 0 {
			t.Errorf("during a sync: got %d writes and %d acknowledged, want writing to go on and none", got, done.Load())
		}
		mustSettle(t, s, tasks[1].Lease, Settlement{})
		goOn <- struct{}{}
		synctest.Wait()
		if done.Load() != 1 {
			t.Errorf("after the first sync: got %d acknowledged, want 1", done.Load())
		}
		held.Store(0)
		goOn <- struct{}{}
		wg.Wait()
		if got := syncs.Load(); got != 2 {
			t.Errorf("got %d syncs for 51 messages, want 2", got)
		}
		mustClose(t, s)
	})
}

// TestSpoolBodyFailsLate leaves no file of a large body whose reader fails.
func TestSpoolBodyFailsLate(t *testing.T) {
	s := mustOpen(t, unsynced(t.TempDir()), testOptions)
	m := testMessage("", "d.example")
	m.Body = io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), &brokenReader{})
	if _, err := s.Enqueue(context.Background(), m); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v, want io.ErrNoProgress", err)
	}
	if all := files(t, s.disk.dir); len(all) != 1 {
		t.Errorf("got %d files, want the segment alone", len(all))
	}
}

// brokenReader gives nothing, for ever.
type brokenReader struct{}

func (*brokenReader) Read([]byte) (int, error) { return 0, nil }
