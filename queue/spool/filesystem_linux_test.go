package spool_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

const (
	crashInline = 256 << 10               // octets of a body that a Spool still keeps in its log
	crashFull   = 150                     // messages from which on the load settles rather than enqueues
	crashSafe   = 1500 * time.Millisecond // after which no crash undoes a settlement: Spool's second, and the sync's time
)

// openCrashing is how the Spool under test is opened.
func openCrashing(dir string) (*spool.Spool, error) {
	return (&spool.Options{SegmentSize: 1 << 20}).Open(dir) // small segments, so that they come and go
}

// TestFileSystemCrash crashes the file system itself, at random moments of a load, as often as POSTRIDER_CRASHES says.
// What a Spool then finds must be what those know who were told by it. It needs root.
func TestFileSystemCrash(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: it takes seconds and hundreds of MB of disk")
	}
	logger := slog.Default() // after a crash, what can't be read any more is logged as damage
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(logger) })
	crashes := 3
	if n, err := strconv.Atoi(os.Getenv("POSTRIDER_CRASHES")); err == nil {
		crashes = n
	}
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			fs := newFileSystem(t, kind)
			seed := rand.Uint64()
			c := &crasher{t: t, fs: fs, dir: filepath.Join(fs.dir, "spool"), rng: rand.New(rand.NewPCG(seed, 0)), known: map[string]*known{}}
			t.Cleanup(c.close) // before the file system is unmounted
			begin := time.Now()
			defer func() {
				each := time.Since(begin) / time.Duration(max(1, c.crashes))
				t.Logf("%d crashes, %d ms each, seed %d: %+v", c.crashes, each.Milliseconds(), seed, c.counts)
			}()
			for c.crashes < crashes {
				if c.rng.IntN(4) == 0 {
					c.crashOpening()
				}
				c.open()
				c.crashLoaded(c.crashes%16 == 1)
			}
			c.open()
			if err := c.spool.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
}

// crasher runs the load and keeps the ledger.
type crasher struct {
	t        *testing.T
	fs       *fileSystem
	dir      string
	rng      *rand.Rand
	spool    *spool.Spool
	crashes  int
	at       time.Time   // of the last crash
	ending   atomic.Bool // the load is to end
	crashing atomic.Bool // from just before a crash on

	mu     sync.Mutex
	known  map[string]*known // messages by their names
	there  int               // how many of them are there, by and large
	counts struct{ Acknowledged, Large, Settled, WithReport, Deferred, Lost, Incomplete, UnacknowledgedFound int }
}

// known is what is known of a message.
type known struct {
	fate    fate
	settled time.Time
	report  string
}

type fate int

const (
	begun    fate = iota // it may be there: nobody was told that it is
	kept                 // it must be there
	leaving              // it may be there: a settlement without a report was begun
	left                 // so settled: it must be gone if that was long enough before the crash
	either               // a settlement with a report was begun: it or the report must be there, and not both
	replaced             // so settled: it must be gone
)

// keep notes that the message is stored, if no more than that it might be is known.
func (k *known) keep() {
	if k.fate == begun {
		k.fate = kept
	}
}

// crashBody gives the body that goes with a name.
func crashBody(name string) []byte {
	source := rand.NewChaCha8(sha256.Sum256([]byte(name)))
	rng := rand.New(source)
	size := 1<<10 + rng.IntN(19<<10)
	switch n := rng.IntN(100); {
	case n < 2:
		size = 1<<20 + rng.IntN(1<<20)
	case n < 10:
		size = 250<<10 + rng.IntN(50<<10)
	}
	body := make([]byte, size)
	source.Read(body)
	return body
}

func crashMessage(name, dest string) queue.Message {
	env := smtp.NewEnvelope("sender@example.com", "recipient@"+dest)
	return queue.Message{Envelope: env, Destinations: []string{dest}, Ref: name, Body: bytes.NewReader(crashBody(name))}
}

func crashDestination(rng *rand.Rand) string { return fmt.Sprintf("d%d.example", rng.IntN(5)) }

// open opens what the last crash left, and compares.
func (c *crasher) open() {
	s, err := openCrashing(c.dir)
	if err != nil {
		c.t.Fatalf("after crash %d: %v", c.crashes, err)
	}
	c.spool = s
	var wrong []string
	note := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	found := map[string]*known{}
	for task, err := range s.List(c.t.Context(), queue.Filter{}) {
		if err != nil {
			note("List: %v", err)
			continue
		}
		name := task.Ref
		switch {
		case c.known[name] == nil:
			note("%s was gone and is back", name)
		case found[name] != nil:
			note("%s is there twice", name)
		}
		found[name] = &known{fate: kept} // what was once seen stays
		got, err := c.body(task.ID)
		if want := crashBody(name); err != nil || !bytes.Equal(got, want) {
			c.counts.Incomplete++
			note("%s isn't whole: got %d octets and %v, want %d", name, len(got), err, len(want))
		}
	}
	for name, k := range c.known {
		there, ago := found[name] != nil, c.at.Sub(k.settled)
		switch {
		case k.fate == begun && there:
			c.counts.UnacknowledgedFound++
		case k.fate == kept && !there:
			c.counts.Lost++
			note("%s is lost", name)
		case k.fate == left && there && ago > crashSafe:
			note("%s was settled %v before the crash and is back", name, ago)
		case k.fate == replaced && there:
			note("%s was settled with a report and is back", name)
		case k.fate == either && there == (found[k.report] != nil):
			note("%s is there: %v, and so is its report", name, there)
		}
	}
	for _, d := range s.Damage() {
		note("got damage %+v, want none", d)
	}
	if len(wrong) > 0 {
		c.t.Fatalf("after crash %d, %d findings:\n%s", c.crashes, len(wrong), strings.Join(wrong[:min(len(wrong), 10)], "\n"))
	}
	c.known, c.there = found, len(found)
}

func (c *crasher) body(id queue.ID) ([]byte, error) {
	b, err := c.spool.Open(c.t.Context(), id)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(smtp.NewReader(b))
}

// crash crashes, has end close the Spool, and does what a start of the machine does.
func (c *crasher) crash(end func()) {
	c.crashing.Store(true)
	err := c.fs.crash()
	end()
	if err = errors.Join(err, c.fs.unmount()); err == nil {
		err = c.fs.mount()
	}
	if err != nil {
		c.t.Fatalf("crash %d: %v", c.crashes, err)
	}
	c.crashing.Store(false)
}

// close closes the Spool. Its error can only be the crash's.
func (c *crasher) close() {
	if c.spool != nil {
		c.spool.Close()
	}
}

// crashOpening crashes while the Spool finds out what the last crash left.
func (c *crasher) crashOpening() {
	opened := make(chan struct{})
	go func() {
		defer close(opened)
		c.spool, _ = openCrashing(c.dir)
	}()
	time.Sleep(time.Duration(c.rng.IntN(40000)) * time.Microsecond)
	c.crash(func() { <-opened; c.close() })
}

// crashLoaded crashes amid the load or, rested, when the load has ended so long ago that all settlements are safe.
func (c *crasher) crashLoaded(rested bool) {
	var load sync.WaitGroup
	c.crashes++
	c.ending.Store(false)
	for w := range 10 {
		rng := rand.New(rand.NewPCG(c.rng.Uint64(), 0))
		load.Go(func() { c.load(w, rng) })
	}
	time.Sleep(50*time.Millisecond + time.Duration(c.rng.IntN(250))*time.Millisecond)
	if rested {
		c.end(&load)
		if _, err := c.settle(c.rng, true); err != nil { // no sync of new mail takes this along any more
			c.t.Errorf("before crash %d: %v", c.crashes, err)
		}
		time.Sleep(crashSafe + 100*time.Millisecond)
	}
	c.at = time.Now()
	c.crash(func() { c.end(&load); c.close() })
}

// end ends the load.
func (c *crasher) end(load *sync.WaitGroup) {
	c.ending.Store(true)
	ended := make(chan struct{})
	go func() { load.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		c.spool = nil // closing it would hang, too
		stacks := make([]byte, 1<<20)
		c.t.Fatalf("crash %d: the load hangs\n%s", c.crashes, stacks[:runtime.Stack(stacks, true)])
	}
}
