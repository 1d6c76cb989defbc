package queuetest

import (
	"context"
	"errors"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

func (e *env) needFlusher() {
	if _, ok := e.q.(queue.Flusher); !ok {
		e.lack("Flush", "the Queue is no Flusher")
	}
}

// flush calls Flush for all times and checks the number that it returns.
func (e *env) flush(when, destination string, want int) {
	e.Helper()
	e.flushAfter(when, destination, 0, want)
}

// flushAfter calls Flush and checks the number that it returns.
func (e *env) flushAfter(when, destination string, after time.Duration, want int) {
	e.Helper()
	got, err := e.q.(queue.Flusher).Flush(e.ctx, destination, after)
	if err != nil || got != want {
		e.Errorf("Flush returns the number of tasks that it made due: %s, Flush(%q, %v) returns %d and %v, want %d",
			when, destination, after, got, err, want)
	}
}

// putOff enqueues a message and defers it to next.
func (e *env) putOff(m queue.Message, next time.Time) queue.ID {
	e.Helper()
	id := e.enqueue(m)
	t := e.claimOne(m.Destinations[0])
	e.settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: next})
	return id
}

// testFlush tests that Flush makes waiting retries due now.
func testFlush(e *env) {
	e.needFlusher()
	start := e.now()
	in := func(hours int) time.Time { return start.Add(time.Duration(hours) * time.Hour) }
	var ids []queue.ID
	for i := range 3 {
		m := message("x", "d.example")
		m.NoticeAt, m.Deadline = in(20+i), in(30+i)
		ids = append(ids, e.putOff(m, in(3-i)))
	}
	e.putOff(message("other", "other.example"), in(6))
	ended, cancel := context.WithCancel(e.ctx)
	cancel()
	if n, err := e.q.(queue.Flusher).Flush(ended, "", 0); n != 0 || !errors.Is(err, context.Canceled) {
		e.Errorf("Flush with a context that has ended: got %d and %v, want 0 and context.Canceled", n, err)
	}
	e.flush("with no task", "nosuch.example", 0)
	e.checkLanes(due("d.example", in(1), in(20)), due("other.example", in(6)))

	e.sleep(time.Minute)
	w, stop := e.watch()
	defer stop()
	now := e.now()
	e.flush("with three retries", "d.example", 3)
	w.check(e, "Flush", "d.example", now)
	w.forget()
	e.flush("when all are due", "d.example", 0)
	for l, d := range e.lanes() {
		switch {
		case l.Destination != "d.example" && !eqTime(d.Due, in(6)):
			e.Errorf("Flush changes one destination: got %+v, want it due at %v", d, in(6))
		case l.Destination == "d.example" && (!d.Due.IsZero() || !eqTime(d.Overdue, in(20))):
			e.Errorf("after Flush, retries are due at once: got %+v, want no Due", d)
		}
	}
	tasks := e.claim("d.example", 10, queue.Retried)
	if len(tasks) != 3 {
		e.Fatalf("after Flush, retries can be claimed: got %d tasks, want 3", len(tasks))
	}
	for _, t := range tasks {
		for i, id := range ids {
			same := t.Attempts == 2 && eqTime(t.NoticeAt, in(20+i)) && eqTime(t.Deadline, in(30+i)) &&
				t.Last[0].Reply != nil
			if t.ID == id && !same {
				e.Errorf("Flush changes Due and nothing else: got %s", describe(t))
			}
		}
		e.settle(t, queue.Settlement{})
	}
	e.flushAfter("with a retry in less time", "", 6*time.Hour, 0)
	e.flushAfter("with a retry of another destination in more time", "", 5*time.Hour, 1)
	w.check(e, "Flush of all destinations", "other.example", now)
	e.settle(e.claimOne("other.example"), queue.Settlement{})
	e.empty("all tasks were made due and settled")
}

// testFlushLeaves tests that Flush doesn't change tasks that were never attempted, are held or are leased.
func testFlushLeaves(e *env) {
	e.needFlusher()
	start := e.now()
	in := func(hours int) time.Time { return start.Add(time.Duration(hours) * time.Hour) }
	scheduled := message("x", "scheduled.example")
	scheduled.NotBefore = in(5)
	e.enqueue(scheduled)
	e.enqueue(message("x", "back.example"))
	e.settle(e.claimOne("back.example"), queue.Settlement{Next: in(6), Uncounted: true})
	e.putOff(message("x", "leased.example"), start)
	leased := e.claimOne("leased.example")
	left := []struct {
		destination string
		at          time.Time
		why         string
	}{
		{"scheduled.example", in(5), "was scheduled and never attempted"},
		{"back.example", in(6), "was settled as Uncounted"},
		{"leased.example", in(7), "was leased"},
		{"held.example", in(8), "was held"},
	}
	if _, ok := e.q.(queue.Holder); ok {
		held := e.putOff(message("x", "held.example"), in(8))
		e.hold(held)
		e.flush("without retries", "", 0)
		e.release(held)
	} else {
		e.note("Flush of held tasks", "the Queue is no Holder")
		e.flush("without retries", "", 0)
		left = left[:3]
	}
	e.settle(leased, queue.Settlement{Next: in(7)})
	for _, l := range left {
		e.sleep(l.at.Add(-time.Minute).Sub(e.now()))
		e.claimNone(l.destination, l.why+" and keeps its time after Flush")
		e.sleep(time.Minute)
		e.settle(e.claimOne(l.destination), queue.Settlement{})
	}
	e.empty("all tasks were settled")
}

// testHasten tests that Hasten does for the tasks of some messages what Flush does for a destination.
func testHasten(e *env) {
	q, ok := e.q.(queue.Hastener)
	if !ok {
		e.lack("Hasten", "the Queue is no Hastener")
	}
	start := e.now()
	in := func(hours int) time.Time { return start.Add(time.Duration(hours) * time.Hour) }
	m := message("x", "d.example", "also.example", "fresh.example")
	m.NoticeAt, m.Deadline = in(20), in(30)
	id := e.putOff(m, in(3))
	t := e.claimOne("also.example")
	e.settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: in(4)})
	other := e.putOff(message("other", "d.example"), in(6))
	scheduled := message("x", "scheduled.example")
	scheduled.NotBefore = in(5)
	later := e.enqueue(scheduled)
	leased := e.putOff(message("x", "leased.example"), start)
	lease := e.claimOne("leased.example")

	hasten := func(when string, want int, ids ...queue.ID) {
		e.Helper()
		if n, err := q.Hasten(e.ctx, ids...); err != nil || n != want {
			e.Errorf("Hasten returns the number of tasks that it made due: %s, got %d and %v, want %d",
				when, n, err, want)
		}
	}
	none := func(when string, ids ...queue.ID) {
		e.Helper()
		n, err := q.Hasten(e.ctx, ids...)
		e.checkNotFound("Hasten of "+when, err)
		if n != 0 {
			e.Errorf("Hasten of %s: got %d tasks, want none", when, n)
		}
	}
	none("no message")
	none("no existing message", "nosuch")
	hasten("with a task that was never attempted, and one that is leased", 0, later, leased)
	if h, ok := e.q.(queue.Holder); ok {
		e.hold(other)
		hasten("with a held message", 0, other)
		if err := h.Release(e.ctx, other); err != nil {
			e.Fatalf("Release: got %v", err)
		}
	} else {
		e.note("Hasten of held messages", "the Queue is no Holder")
	}
	w, stop := e.watch()
	defer stop()
	now := e.now()
	hasten("with a message that has two retries and a new task", 2, "nosuch", id, id)
	w.check(e, "Hasten", "d.example", now)
	w.check(e, "Hasten", "also.example", now)
	hasten("when both are due", 0, id)
	tasks := e.claim("d.example", 10, queue.Retried)
	if len(tasks) != 1 || tasks[0].ID != id || tasks[0].Attempts != 2 || !eqTime(tasks[0].NoticeAt, in(20)) ||
		!eqTime(tasks[0].Deadline, in(30)) || tasks[0].Last[0].Reply == nil {
		e.Fatalf("Hasten makes the retries of its messages due, and changes nothing else: got %d tasks, want one of %s",
			len(tasks), id)
	}
	tasks = append(tasks, e.claimOne("also.example"), e.claimOne("fresh.example"), lease)
	e.claimNone("scheduled.example", "was scheduled and never attempted, and keeps its time after Hasten")
	for _, t := range tasks {
		e.settle(t, queue.Settlement{})
	}
	none("a message that has left", id)
	e.sleep(in(5).Sub(e.now()))
	e.settle(e.claimOne("scheduled.example"), queue.Settlement{})
	e.claimNone("d.example", "is of another message, and keeps its time after Hasten")
	e.sleep(time.Hour)
	if t := e.claimOne("d.example"); t.ID != other {
		e.Errorf("Hasten leaves other messages: got a task of %s, want one of %s", t.ID, other)
	} else {
		e.settle(t, queue.Settlement{})
	}
	e.empty("all tasks were settled")
}
