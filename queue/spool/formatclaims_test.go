package spool

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
)

// claimsFixture writes a directory with all that fillFixture has, and with claims, the ends of processes by a death and
// by Close, a quarantined message, and report tasks with several parts, attempts and deaths. Hints have of all that.
func claimsFixture(t *testing.T) (disk *crashfs.FS[File], want []byte) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		disk = crashfs.New[File](nil)
		s := mustOpen(t, disk, fixtureOptions)
		kill := func() { s, disk = killed(t, disk, fixtureOptions) }
		pad := func() { // so that the segments have hints, which are no longer than half of them
			for range 4 {
				mustEnqueue(t, s, strings.Repeat("x", 1400), "last.example")
			}
			synctest.Wait() // for the janitor
		}
		one := func(destination string) queue.Task {
			t.Helper()
			tasks, err := claimOf(s, destination, 1)
			if err != nil || len(tasks) != 1 {
				t.Fatalf("%s: got %d tasks and %v", destination, len(tasks), err)
			}
			return tasks[0]
		}
		fillFixture(t, s)
		for _, destination := range []string{"killer.example", "suspect.example", "cleared.example"} {
			mustEnqueue(t, s, destination, destination, "beside-"+destination)
		}
		mustEnqueue(t, s, "closed", "closed.example")
		mustEnqueue(t, s, "reported", "first.example", "second.example", "third.example")
		rejected := func(task queue.Task) queue.Settlement {
			return queue.Settlement{Owed: []queue.Owed{{Result: deferred(task)[0], Delayed: task.Destination == "second.example"}}}
		}
		for _, destination := range []string{"first.example", "second.example"} {
			task := one(destination)
			mustSettle(t, s, task.Lease, rejected(task))
		}
		one("killer.example")
		one("suspect.example")
		one("cleared.example")
		one(queue.ReportDestination)
		pad()
		kill()
		one("killer.example")
		task := one("cleared.example")
		mustSettle(t, s, task.Lease, queue.Settlement{Results: deferred(task), Next: fixtureTime(1)})
		task = one(queue.ReportDestination) // its parts become one, with a death
		mustSettle(t, s, task.Lease, queue.Settlement{Uncounted: true, Next: fixtureTime(2)})
		task = one("third.example") // and this is another
		set := rejected(task)
		set.ReportAt = fixtureTime(3)
		mustSettle(t, s, task.Lease, set)
		pad()
		kill()
		one("killer.example")
		pad()
		kill()
		task = one("killer.example")
		if err := s.Hold(ctx, task.ID); err != nil {
			t.Fatal(err)
		}
		mustSettle(t, s, task.Lease, queue.Settlement{Uncounted: true, Next: fixtureTime(4)})
		one("closed.example")
		pad()
		mustClose(t, s)
		s = mustOpen(t, disk, fixtureOptions)
		pad()
		pad()
		time.Sleep(time.Minute)
		synctest.Wait() // for the janitor
		want = listing(t, s)
		mustClose(t, s)
	})
	return disk, want
}

// TestClaimsFixture has what it is for in the fixture: entries of the new kinds and parts of report tasks, in segments
// and in hints.
func TestClaimsFixture(t *testing.T) {
	files, want := fixture(t, "format2-claims")
	for _, line := range []string{
		"state held", "deaths 1", "deaths 3", "task g (report)", "delayed true", "attempts 1",
	} {
		if !strings.Contains(string(want), line) {
			t.Errorf("the fixture has no %q", line)
		}
	}
	for _, suffix := range []string{segmentSuffix, hintSuffix} {
		count := map[string]int{}
		for name, b := range files {
			if !strings.HasSuffix(name, suffix) {
				continue
			}
			eachFixtureEntry(t, name, b, func(h entryHeader, fields []byte) {
				switch {
				case h.kind == entryClaim:
					c, err := decodeClaim(fields)
					if err != nil {
						t.Errorf("%s: a claim: %v", name, err)
					}
					count["claim"]++
					if c.deaths > 0 {
						count["claim with deaths"]++
					}
				case h.kind == entryEnd:
					if closed, _ := decodeEnd(fields); closed {
						count["end by Close"]++
					} else {
						count["end by a death"]++
					}
				case h.kind == entryState:
					st, err := decodeState(h, fields, nil)
					if err != nil {
						t.Errorf("%s: a state: %v", name, err)
					}
					if isPart(st.num) && st.done {
						count["part that is reported"]++
					} else if isPart(st.num) {
						count["part"]++
					} else if st.deaths > 0 {
						count["state with deaths"]++
					}
				}
			})
		}
		for _, what := range []string{
			"claim", "claim with deaths", "end by Close", "end by a death", "part", "part that is reported", "state with deaths",
		} {
			if count[what] == 0 {
				t.Errorf("%s: got no %s in %v", suffix, what, count)
			}
		}
	}
}

// eachFixtureEntry visits the entries of a segment or a hint.
func eachFixtureEntry(t *testing.T, name string, b []byte, visit func(h entryHeader, fields []byte)) {
	t.Helper()
	entry := func(_ int, b []byte) error {
		h, fields, err := entryFields(b)
		if err == nil {
			visit(h, fields)
		}
		return err
	}
	if strings.HasSuffix(name, hintSuffix) {
		for b = b[hintHeaderLen:]; len(b) > 4; {
			h, fields, err := entryFields(b[4:])
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			visit(h, fields)
			b = b[4+entryHeaderLen+len(fields):]
		}
		return
	}
	h, err := decodeSegmentHeader(b)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	sc := scanner{r: bytes.NewReader(b), salt: h.salt}
	if _, err := sc.scan(segmentHeaderLen, int64(len(b)), func(r record) error { return eachEntry(r.payload, entry) }); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
