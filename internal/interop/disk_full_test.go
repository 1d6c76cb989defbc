package interop

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestFullDisk: the spool's disk fills with mail up to the reserve, and then to its last octet. The relay says 452, lives
// on, delivers what it said 250 to, and takes mail again when there is room. It is never restarted.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	need(t, "mount", "umount")
	disk := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=48m,mode=0700", "tmpfs", disk).CombinedOutput(); err != nil {
		missing(t, "a tmpfs can't be mounted: "+string(out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
			exec.Command("umount", "--lazy", disk).Run()
		}
	})
	const noSpace = "452 4.3.1 no space to store it, try again later"
	spool, o := filepath.Join(disk, "spool"), newOffers()
	size := func() int { // most of them in the log, some in files of their own
		if rand.IntN(8) == 0 {
			return 10<<10 + rand.IntN(2<<20)
		}
		return 10<<10 + rand.IntN(50<<10)
	}
	next, addr := startLedger(t, "127.0.0.1:0")
	next.busy.Store(true)
	r := startRelay(t, spool, "-smarthost", addr, "-retry", "2ms") // so that what came of attempts uses up what the log has set aside

	// Up to the reserve of 32 MiB.
	o.sessions(t, r, 6, "fill", size, func() bool {
		acked, refused := o.counts()
		return refused < 30 && acked < 1000
	})
	o.answeredWith(t, noSpace)
	filled, refused := o.counts()
	if filled < 5 || refused == 0 {
		t.Fatalf("got 250 for %d mails and 452 for %d, want some of each on 16 MiB", filled, refused)
	}

	// To the last octet: what came of attempts can't be recorded any more.
	filler := filepath.Join(disk, "filler")
	used := fill(t, filler)
	eventually(t, "a settlement fails", func() bool { return strings.Contains(r.logs.String(), "op=settle") })
	var tries atomic.Int64
	o.sessions(t, r, 6, "full", size, func() bool { return tries.Add(1) <= 60 })
	o.answeredWith(t, noSpace)
	if acked, refused := o.counts(); acked != filled || refused == 0 {
		t.Errorf("%d mails got 250 from a full disk, %d refused", acked-filled, refused)
	}

	// The next host takes it first: what is delivered meanwhile is recorded later, and not sent twice.
	next.busy.Store(false)
	if !r.running() {
		t.Fatalf("the relay has ended")
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if n := grows(filled, func() int { return next.count(o.acked) }); n < filled {
		t.Fatalf("of %d mails that got 250, %d have arrived", filled, n)
	}
	arrived := time.Since(begin)
	eventually(t, "new mail is taken", func() bool {
		var once atomic.Int64
		o.sessions(t, r, 1, "again-"+time.Now().Format("150405.000"), size, func() bool { return once.Add(1) == 1 })
		acked, _ := o.counts()
		return acked > filled
	})
	o.answeredWith(t, noSpace)
	eventually(t, "it has arrived, and no body is left", func() bool { return next.has(o.acked[len(o.acked)-1]) && len(bodiesIn(t, spool)) == 0 })
	r.stop(t)
	next.check(t, o.acked)
	if left := bodiesIn(t, spool); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	if ids := list(t, spool); len(ids) > 0 {
		t.Errorf("%q are still in the queue", ids)
	}
	t.Logf("%d mails got 250, %d got 452; the filler took %d KiB; all had arrived %v after it was gone",
		len(o.acked), len(o.refused), used>>10, arrived.Round(time.Millisecond))
}

// fill writes to a file until not one octet more can be written.
func fill(t *testing.T, name string) (size int) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := 1 << 20; block > 0; {
		n, err := f.Write(make([]byte, block))
		size += n
		if errors.Is(err, syscall.ENOSPC) {
			block /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return size
}

func bodiesIn(t *testing.T, spool string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(spool)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".body" || ext == ".tmp" {
			names = append(names, e.Name())
		}
	}
	return names
}
