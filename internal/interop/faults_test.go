package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The files of a spool that faults are confined to: the log's first segments, that of an aged spool when it has been
// opened, and bodies before they have their names for good.
const (
	firstSegment = "0000000001.segment"
	nextSegment  = "0000000002.segment"
	agedSegment  = "0000000009.segment"

	eio = "input/output error"
)

func inline() int { return 250 << 10 } // no file of its own, so that a segment is full soon

func bodies() (names []string) {
	for i := range 300 {
		names = append(names, fmt.Sprintf("%d.body.tmp", i+1))
	}
	return names
}

// brokenDisk are faults of the spool's file operations, as strace injects them. When has the numbers of the calls that
// fail, of those to these files, a case each; with a + all later ones fail too. strace counts in each thread. Names are
// relative to the directory, so that renameat and unlinkat are of all files.
var brokenDisk = []struct {
	name       string
	inject     string
	when, long string
	files      []string
	aged       bool       // the spool is compacted when it is opened
	size       func() int // of mails; nil: mixed
	says       string     // what the relay ends with; if empty, it goes on
}{
	{name: "log sync", inject: "fdatasync:error=EIO", when: "1 5 1+", long: "2 3 12 30 2+ 9+", files: []string{firstSegment}, says: eio},
	{name: "log write", inject: "pwritev:error=EIO", when: "1 6 2+", long: "2 3 15 40 1+ 9+", files: []string{firstSegment}, says: eio},
	{name: "log full", inject: "pwritev:error=ENOSPC", when: "3 2+", long: "1 2 12 1+ 9+", files: []string{firstSegment}},
	{name: "log full and not cut", inject: "ftruncate:error=EIO:when=1+ pwritev:error=ENOSPC", when: "2", long: "1 9 1+", files: []string{firstSegment}, says: "no space left on device"},
	{name: "body sync", inject: "fdatasync:error=EIO", when: "1 3", long: "2 8 1+ 4+", files: bodies(), says: eio},
	{name: "body write", inject: "pwritev:error=EIO", when: "1 2+", long: "2 3 9 1+", files: bodies()},
	{name: "body name", inject: "renameat:error=EIO", when: "3 4+", long: "5 9 3+", files: bodies()},                // two are the start's
	{name: "directory sync", inject: "fsync:error=EIO", when: "2 3", long: "5 9 2+ 4+", files: bodies(), says: eio}, // the first is the start's
	{name: "next segment sync", inject: "fdatasync:error=EIO", when: "1", files: []string{nextSegment + ".tmp"}, size: inline, says: eio},
	{name: "next segment write", inject: "pwritev:error=EIO", long: "1", files: []string{nextSegment + ".tmp"}, size: inline, says: eio},
	{name: "next segment name", inject: "renameat:error=EIO", long: "1", files: []string{nextSegment}, size: inline, says: eio},
	{name: "compaction sync", inject: "fdatasync:error=EIO", when: "1+", long: "1 2", files: []string{agedSegment}, aged: true, says: eio},
	{name: "compaction write", inject: "pwritev:error=EIO", when: "1", long: "1+", files: []string{agedSegment}, aged: true, says: eio},
	{name: "compaction remove", inject: "unlinkat:error=EIO", when: "3+", files: []string{firstSegment}, aged: true},
}

// openings are faults while a spool is opened.
var openings = []string{"ftruncate", "pwrite64", "unlinkat", "pwritev", "fdatasync", "renameat", "fsync"}

// TestBrokenDisk: calls of the relay to its disk fail, under load from several sessions, while the next host is down.
// What got 250 must be there when the spool is opened again: with all that the process wrote, and with only that which
// the disk was told to keep before the 250. What got 4xx may be there, but not in half. Not reached for certain: the sync
// of the directory behind a compaction, which can't be told from the others.
func TestBrokenDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("-short is set: processes under strace, which take their time beside other tests")
	}
	needStrace(t)
	old, acked := agedSpool(t)
	long := os.Getenv("POSTRIDER_FAULTS") == "long"
	var injected, acks, refusals atomic.Int64
	t.Run("cases", func(t *testing.T) {
		for _, f := range brokenDisk {
			when := strings.Fields(f.when)
			if long {
				when = append(when, strings.Fields(f.long)...)
			}
			for _, n := range when {
				t.Run(f.name+" "+n, func(t *testing.T) {
					t.Parallel()
					spool, log, o := filepath.Join(t.TempDir(), "spool"), filepath.Join(t.TempDir(), "log"), newOffers()
					if f.aged {
						copyDir(t, spool, old)
						o = newOffers(acked...)
					}
					strace := []string{"strace", "-f", "-D", "-qq", "-y", "-s", "0", "--seccomp-bpf", "-o", log,
						"-e", "trace=pwritev,fdatasync,fsync,renameat,ftruncate,unlinkat", "-P", spool}
					for _, file := range f.files {
						strace = append(strace, "-P", filepath.Join(spool, file))
					}
					for inject := range strings.FieldsSeq(f.inject) {
						if !strings.Contains(inject, ":when=") {
							inject += ":when=" + n
						}
						strace = append(strace, "-e", "inject="+inject)
					}
					r := startRelayUnder(t, strace, spool, "-smarthost", "127.0.0.1:1", "-retry", "200ms")
					size := f.size
					if size == nil {
						size = mixed
					}
					breakDisk(t, r, o, log, size, f.says)

					// What the process wrote outlives it.
					kept := filepath.Join(t.TempDir(), "kept")
					copyDir(t, kept, spool)
					for _, id := range o.inSpool(t, kept) {
						if reply := o.refused[id]; reply != nil && f.says == "" {
							t.Errorf("%s got %q and is there", id, reply.Error())
						}
					}
					forget(t, log)
					o.inSpool(t, spool)
					fired := injections(t, log)
					injected.Add(int64(fired))
					acks.Add(int64(len(o.acked)))
					refusals.Add(int64(len(o.refused)))
					t.Logf("%d injections, %d mails got 250, %d 4xx, %d no answer", fired, len(o.acked), len(o.refused), o.unknown)
				})
			}
		}
		for _, call := range openings {
			t.Run("opening "+call, func(t *testing.T) {
				t.Parallel()
				spool, log := filepath.Join(t.TempDir(), "spool"), filepath.Join(t.TempDir(), "log")
				copyDir(t, spool, old)
				bin, _ := relayBinary()
				out, err := exec.Command("strace", "-f", "-qq", "-o", log, "-e", "trace="+call,
					"-e", "inject="+call+":error=EIO:when=1+", bin, "-spool", spool, "-list").CombinedOutput()
				if want := "relay: spool: open " + spool + ": "; err == nil || !strings.HasPrefix(string(out), want) || !strings.Contains(string(out), eio) {
					t.Errorf("%v; got %q, want one line that begins with %q", err, out, want)
				}
				fired := injections(t, log)
				if fired == 0 {
					t.Error("nothing was injected")
				}
				injected.Add(int64(fired))
				newOffers(acked...).inSpool(t, spool)
			})
		}
	})
	t.Logf("%d injections, %d mails got 250, %d 4xx", injected.Load(), acks.Load(), refusals.Load())
}

// breakDisk offers mails until the fault comes, and some more; then the relay is dead, by itself if it has to be.
func breakDisk(t *testing.T, r *relay, o *offers, log string, size func() int, says string) {
	t.Helper()
	var budget atomic.Int64
	budget.Store(20_000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.sessions(t, r, 4, "mail", size, func() bool { return budget.Add(-1) >= 0 })
	}()
	t.Cleanup(func() { budget.Store(0); <-done }) // the relay is killed before, or later
	eventually(t, "something is injected", func() bool { return injections(t, log) > 0 })
	budget.Store(60)
	if says != "" {
		select {
		case <-r.done:
		case <-time.After(30 * time.Second):
			t.Fatal("the relay goes on with a broken spool")
		}
		last := r.logs.String()
		last = last[strings.LastIndex(strings.TrimSpace(last), "\n")+1:]
		if code := r.cmd.ProcessState.ExitCode(); code != 1 || !strings.HasPrefix(last, "relay: ") || !strings.Contains(last, says) {
			t.Errorf("status %d; the last words are %q, want 1 and %q", code, last, says)
		}
	}
	<-done
	if says == "" && !r.running() {
		t.Errorf("the relay has ended: %v", r.cmd.ProcessState)
	}
	r.kill()
	for id, reply := range o.refused {
		if !reply.Temporary() {
			t.Errorf("%s got %q, want 4xx", id, reply.Error())
		}
	}
}

func injections(t *testing.T, log string) int {
	t.Helper()
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "(INJECTED)")
}

// agedSpool makes a spool of so many segments that the next to open it compacts it.
func agedSpool(t *testing.T) (dir string, acked []string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "aged")
	o := newOffers()
	for round := range 8 {
		r := startRelay(t, dir, "-smarthost", "127.0.0.1:1", "-retry", "100ms")
		var mails atomic.Int64
		o.sessions(t, r, 1, fmt.Sprintf("aged-%d", round), mixed, func() bool { return mails.Add(1) <= 4 })
		r.stop(t)
	}
	return dir, o.acked
}

func copyDir(t *testing.T, to, from string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

func needStrace(t *testing.T) {
	t.Helper()
	need(t, "strace")
	log := filepath.Join(t.TempDir(), "log")
	out, err := exec.Command("strace", "-f", "--seccomp-bpf", "-y", "-o", log,
		"-e", "trace=close", "-e", "inject=close:delay_exit=1", "true").CombinedOutput()
	if b, _ := os.ReadFile(log); err != nil || !strings.Contains(string(b), "(DELAYED)") {
		missing(t, fmt.Sprintf("strace may not trace, or is older than 5.3: %v %s", err, out))
	}
}
