package queuetest

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// beside is the most octets that a store may add to Octets for a small message.
const beside = 10_000

// checkStats compares Stats. For Octets, it allows a range. If the Stats differ, they may be old: it waits a minute,
// and compares them again.
func (e *env) checkStats(when string, want queue.Stats) {
	e.Helper()
	if e.diffStats(want, want) == "" {
		return
	}
	e.sleep(time.Minute)
	if diff := e.diffStats(want, want); diff != "" {
		e.Errorf("Stats counts the contents: %s,\n%s", when, diff)
	}
}

// diffStats compares Stats with those a minute ago and now, between which leases may have expired. It returns "" if
// they are the same.
func (e *env) diffStats(ago, now queue.Stats) string {
	e.Helper()
	got, err := e.q.(queue.Stater).Stats(e.ctx)
	if err != nil {
		e.Fatalf("Stats: %v", err)
	}
	want := now
	between := func(got int, a, b int) bool { return min(a, b) <= got && got <= max(a, b) }
	if between(got.Waiting, ago.Waiting, now.Waiting) && between(got.Leased, ago.Leased, now.Leased) &&
		between(got.Held, ago.Held, now.Held) && got.Waiting+got.Leased+got.Held == now.Tasks {
		want.Waiting, want.Leased, want.Held = got.Waiting, got.Leased, got.Held
	}
	if most := want.Octets + int64(want.Messages)*beside; want.Octets <= got.Octets && got.Octets <= most {
		want.Octets = got.Octets
	}
	if e.h.Advance != nil && got.Oldest.Sub(want.Oldest).Abs() < time.Minute || eqTime(got.Oldest, want.Oldest) {
		want.Oldest = got.Oldest
	}
	if got == want {
		return ""
	}
	return fmt.Sprintf("got  %+v\nwant %+v, and up to %d octets more for each message", got, want, beside)
}

// testStats tests that Stats counts the contents.
func testStats(e *env) {
	if _, ok := e.q.(queue.Stater); !ok {
		e.lack("Stats", "the Queue is no Stater")
	}
	e.checkStats("when the queue is empty", queue.Stats{})
	start := e.now()
	first := e.enqueue(message("first", "d.example", "e.example"))
	e.sleep(time.Minute)
	startSecond := e.now()
	second := e.enqueue(message("the second", "d.example", "f.example", "f.example"))
	e.sleep(time.Minute)
	later := message("later", "g.example")
	startLater := e.now()
	later.NotBefore = startLater.Add(10 * time.Hour)
	e.enqueue(later)
	want := queue.Stats{Messages: 3, Tasks: 5, Destinations: 4, Waiting: 5, Octets: 20, Oldest: start}
	e.checkStats("when nothing was claimed", want)
	e.claimOne("e.example")
	want.Waiting, want.Leased = 4, 1
	e.checkStats("when one is leased", want)
	e.sleep(time.Hour)
	want.Waiting, want.Leased = 5, 0
	e.checkStats("when the lease has expired", want)
	t := e.claimOne("e.example")
	e.settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: e.now().Add(time.Hour)})
	e.checkStats("when one was deferred", want)

	held := want
	if h, ok := e.q.(queue.Holder); !ok {
		e.note("Stats of held tasks", "the Queue is no Holder")
	} else {
		e.claimOne("f.example")
		if err := h.Hold(e.ctx, second, first); err != nil {
			e.Fatalf("Hold of existing messages: got %v, want nil", err)
		}
		held.Waiting, held.Leased, held.Held = 1, 1, 3
		e.checkStats("when some are held, one of them leased", held)
		e.sleep(time.Hour)
		held.Leased, held.Held = 0, 4
		e.checkStats("when the lease on a held task has expired", held)
		if err := h.Release(e.ctx, first, second); err != nil {
			e.Fatalf("Release of existing messages: got %v, want nil", err)
		}
		e.checkStats("when all were released", want)
	}

	e.sleep(2 * time.Hour)
	e.settle(e.claimOne("e.example"), queue.Settlement{})
	want = queue.Stats{Messages: 3, Tasks: 4, Destinations: 3, Waiting: 4, Octets: 20, Oldest: start}
	e.checkStats("when one was settled", want)
	arrived := e.now()
	for _, t := range e.claim("d.example", 10, queue.Any) {
		s := queue.Settlement{}
		if t.ID == first {
			s.Reports = []queue.Message{message("report", "r.example")}
		}
		e.settle(t, s)
	}
	want = queue.Stats{Messages: 3, Tasks: 3, Destinations: 3, Waiting: 3, Octets: 21, Oldest: startSecond}
	e.checkStats("when the oldest has left, with a report", want)
	if r, ok := e.q.(queue.Remover); !ok {
		e.note("Stats of removed messages", "the Queue is no Remover")
		e.settle(e.claimOne("f.example"), queue.Settlement{})
	} else if err := r.Remove(e.ctx, []queue.ID{second}); err != nil {
		e.Fatalf("Remove of an existing message: got %v, want nil", err)
	}
	want = queue.Stats{Messages: 2, Tasks: 2, Destinations: 2, Waiting: 2, Octets: 11}
	want.Oldest = startLater
	e.checkStats("when another has left", want)
	e.sleep(10 * time.Hour)
	e.settle(e.claimOne("g.example"), queue.Settlement{})
	want = queue.Stats{Messages: 1, Tasks: 1, Destinations: 1, Waiting: 1, Octets: 6, Oldest: arrived}
	e.checkStats("when the report is left", want)
	e.settle(e.claimOne("r.example"), queue.Settlement{})
	e.checkStats("when nothing is left", queue.Stats{})
}
