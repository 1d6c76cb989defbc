package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
)

// sharer returns the Queue as a Sharer.
func (e *env) sharer() queue.Sharer {
	e.Helper()
	s, ok := e.q.(queue.Sharer)
	if !ok {
		e.lack("Share", "the Queue is no Sharer")
	}
	return s
}

// share calls Share, which must succeed.
func (e *env) share(names []string, f func(now time.Time, records map[string][]byte) error) {
	e.Helper()
	if err := e.sharer().Share(e.ctx, names, f); err != nil {
		e.Fatalf("Share: %v", err)
	}
}

// put stores a record.
func (e *env) put(name, data string) {
	e.Helper()
	e.share([]string{name}, func(_ time.Time, records map[string][]byte) error {
		records[name] = []byte(data)
		return nil
	})
}

// record returns a record, "" if there is none.
func (e *env) record(name string) (data string) {
	e.Helper()
	e.share([]string{name, "another"}, func(_ time.Time, records map[string][]byte) error {
		d, ok := records[name]
		if data = string(d); ok && data == "" {
			e.Errorf("a record without octets is none: got one of %s", name)
		}
		return nil
	})
	return data
}

func (e *env) checkRecord(what, name, want string) {
	e.Helper()
	if got := e.record(name); got != want {
		e.Errorf("%s: got %.50q of %s, want %.50q", what, got, name, want)
	}
}

// testShare tests what one call of Share reads and stores.
func testShare(e *env) {
	s := e.sharer()
	all := string([]byte{0, 1, 127, 128, 255, '\n', '\'', '"', '\\'})
	names := []string{"a", "site müller.example", `it's "\`, strings.Repeat("n", 255)}
	for i, name := range names {
		e.checkRecord("there is no record at first", name, "")
		e.put(name, all+strconv.Itoa(i))
	}
	e.put("large", strings.Repeat("x", 1<<20))
	e.checkRecord("a record has up to 1 MB", "large", strings.Repeat("x", 1<<20))
	for i, name := range names {
		e.checkRecord("a record is returned unchanged", name, all+strconv.Itoa(i))
	}
	e.share(names, func(_ time.Time, records map[string][]byte) error {
		if len(records) != len(names) {
			e.Errorf("Share reads the records of all names: got %d, want %d", len(records), len(names))
		}
		delete(records, names[0])
		records[names[1]] = nil
		records[names[2]] = []byte("new")
		return nil
	})
	for i, want := range []string{"", "", "new", all + "3"} {
		e.checkRecord("Share deletes, replaces and keeps records", names[i], want)
	}

	broken := errors.New("broken")
	err := s.Share(e.ctx, names, func(_ time.Time, records map[string][]byte) error {
		records[names[0]], records[names[2]] = []byte("wrong"), nil
		return broken
	})
	if !errors.Is(err, broken) {
		e.Errorf("Share returns the error of f: got %v, want %v", err, broken)
	}
	err = s.Share(e.ctx, names[:1], func(_ time.Time, records map[string][]byte) error {
		records[names[0]], records["other"] = []byte("wrong"), []byte("wrong")
		return nil
	})
	if err == nil {
		e.Errorf("a record under another name is an error: got none")
	}
	ended, cancel := context.WithCancel(e.ctx)
	cancel()
	err = s.Share(ended, names, func(_ time.Time, records map[string][]byte) error {
		records[names[0]] = []byte("wrong")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		e.Errorf("a call whose context has ended returns its error: got %v", err)
	}
	for i, want := range []string{"", "", "new", all + "3"} {
		e.checkRecord("after an error nothing is stored", names[i], want)
	}
	e.checkRecord("after an error nothing is stored", "other", "")
}

// testShareTime tests the time that Share passes to f.
func testShareTime(e *env) {
	time1, time2 := time.Time{}, time.Time{}
	read := func(to *time.Time) func(time.Time, map[string][]byte) error {
		return func(now time.Time, _ map[string][]byte) error {
			*to = now
			return nil
		}
	}
	before := e.now()
	e.share([]string{"x"}, read(&time1))
	if after := e.now(); time1.Before(before.Add(-time.Second)) || time1.After(after.Add(time.Second)) {
		e.Errorf("Share has the time of the store: got %v, between %v and %v", time1, before, after)
	}
	e.sleep(time.Hour)
	e.share([]string{"x"}, read(&time2))
	if d := time2.Sub(time1); d < time.Hour-time.Second || d > time.Hour+time.Minute {
		e.Errorf("the time of the store goes on: got %v in an hour", d)
	}
}

// testShareKept tests that records survive a restart and a crash.
func testShareKept(e *env) {
	e.sharer()
	if e.h.Reopen == nil && e.h.Kill == nil {
		e.lack("restarts", "Harness.Reopen and Harness.Kill are nil")
	}
	e.put("kept", "1")
	e.put("gone", "1")
	e.put("gone", "")
	if e.h.Reopen != nil {
		e.reopen()
		e.checkRecord("a record survives a restart", "kept", "1")
		e.checkRecord("a record that was deleted stays so", "gone", "")
		e.put("kept", "2")
	}
	if e.h.Kill != nil {
		e.q = e.h.Kill(e.t, e.q)
		want := "1"
		if e.h.Reopen != nil {
			want = "2"
		}
		e.checkRecord("a record survives a crash", "kept", want)
	}
}

// testShareFails tests Share while the store fails.
func testShareFails(e *env) {
	e.sharer()
	if e.h.Fail == nil {
		e.lack("failures of the store", "Harness.Fail is nil")
	}
	e.put("x", "1")
	heal := e.h.Fail(e.t, e.q)
	err := e.sharer().Share(e.ctx, []string{"x"}, func(_ time.Time, records map[string][]byte) error {
		records["x"] = []byte("2")
		return nil
	})
	if err == nil {
		e.Errorf("Share returns an error if it can't store the records: got none")
	}
	e.q = heal()
	e.checkRecord("after an error nothing is stored", "x", "1")
}

// testHandlesShare tests that calls of Share at all Queues of a store come one after another.
func testHandlesShare(e *env) {
	e.sharer()
	a, b := e.pair()
	a.put("x", "0")
	b.checkRecord("a record is there at once at each Queue", "x", "0")
	const workers, times = 4, 10
	names := []string{"x", "left", "right"}
	var wg sync.WaitGroup
	for w := range 2 * workers {
		q := []*env{a, b}[w%2]
		wg.Go(func() {
			for i := range times {
				err := q.q.(queue.Sharer).Share(e.ctx, names, func(_ time.Time, records map[string][]byte) error {
					n, _ := strconv.Atoi(string(records["x"]))
					if !bytes.Equal(records["left"], records["right"]) {
						e.Errorf("a call has its effects at once: got %q and %q", records["left"], records["right"])
					}
					records["x"] = []byte(strconv.Itoa(n + 1))
					records["left"] = fmt.Appendf(nil, "%d/%d", w, i)
					records["right"] = records["left"]
					if n%5 == 0 { // a record that goes and comes again is another one
						delete(records, "left")
						delete(records, "right")
					}
					return nil
				})
				if err != nil {
					e.Errorf("Share: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for _, q := range []*env{a, b} {
		q.checkRecord("calls come one after another, and none is lost", "x", strconv.Itoa(2*workers*times))
	}
}
