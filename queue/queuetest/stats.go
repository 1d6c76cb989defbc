package queuetest

import (
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// beside is the most octets that a store may add to Octets for a small message.
const beside = 10_000

// checkStats compares Stats. For Octets, it allows a range.
func (e *env) checkStats(when string, want queue.Stats) {
	e.Helper()
	got, err := e.q.(queue.Stater).Stats(e.ctx)
	if err != nil {
		e.Fatalf("Stats, %s: %v", when, err)
	}
	if most := want.Octets + int64(want.Messages)*beside; got.Octets < want.Octets || got.Octets > most {
		e.Errorf("Octets is the size of all bodies: %s, got %d, want %d to %d", when, got.Octets, want.Octets, most)
	}
	got.Octets = want.Octets
	if e.h.Advance != nil && got.Oldest.Sub(want.Oldest).Abs() < time.Minute || got.Oldest.Equal(want.Oldest) {
		got.Oldest = want.Oldest
	}
	if got != want {
		e.Errorf("Stats counts the contents: %s,\ngot  %+v\nwant %+v", when, got, want)
	}
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
	second := e.enqueue(message("the second", "d.example", "f.example", "f.example"))
	e.sleep(time.Minute)
	later := message("later", "g.example")
	later.NotBefore = e.now().Add(10 * time.Hour)
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
	want = queue.Stats{Messages: 3, Tasks: 3, Destinations: 3, Waiting: 3, Octets: 21, Oldest: start.Add(time.Minute)}
	e.checkStats("when the oldest has left, with a report", want)
	if r, ok := e.q.(queue.Remover); !ok {
		e.note("Stats of removed messages", "the Queue is no Remover")
		e.settle(e.claimOne("f.example"), queue.Settlement{})
	} else if err := r.Remove(e.ctx, []queue.ID{second}); err != nil {
		e.Fatalf("Remove of an existing message: got %v, want nil", err)
	}
	want = queue.Stats{Messages: 2, Tasks: 2, Destinations: 2, Waiting: 2, Octets: 11}
	want.Oldest = start.Add(2 * time.Minute)
	e.checkStats("when another has left", want)
	e.sleep(10 * time.Hour)
	e.settle(e.claimOne("g.example"), queue.Settlement{})
	want = queue.Stats{Messages: 1, Tasks: 1, Destinations: 1, Waiting: 1, Octets: 6, Oldest: arrived}
	e.checkStats("when the report is left", want)
	e.settle(e.claimOne("r.example"), queue.Settlement{})
	e.checkStats("when nothing is left", queue.Stats{})
}
