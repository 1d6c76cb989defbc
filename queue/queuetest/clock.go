package queuetest

import (
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testNotBefore tests that a task isn't due before its NotBefore, whatever NoticeAt and Deadline say.
func testNotBefore(e *env) {
	start := e.now()
	m := message("later", "d.example")
	m.NotBefore, m.NoticeAt, m.Deadline = start.Add(30*24*time.Hour), start.Add(4*time.Hour), start.Add(31*24*time.Hour)
	id := e.enqueue(m)
	check := func(what string) {
		e.Helper()
		e.checkLanes(due("d.example", m.NotBefore, m.NotBefore))
		for _, class := range []queue.Class{queue.Any, queue.Fresh, queue.Overdue} {
			if tasks := e.claim("d.example", 10, class); len(tasks) > 0 {
				e.Fatalf("no task is due before its NotBefore: %s, got one %v before it",
					what, m.NotBefore.Sub(e.now()))
			}
		}
	}
	check("at first")
	if e.h.Reopen == nil {
		e.note("NotBefore after a restart", "Harness.Reopen is nil")
	} else {
		e.reopen()
		check("after a restart")
	}
	e.sleep(5 * time.Hour)
	if tasks := e.claim("d.example", 10, queue.Any); len(tasks) > 0 {
		e.Fatalf("no task is due before its NotBefore: got one at its NoticeAt")
	}
	e.sleep(m.NotBefore.Sub(e.now()))
	got := e.claimOne("d.example")
	e.checkTask("a Task has the NotBefore of its Message", got, task(id, m, "d.example", len("later"), got.Arrival))
	e.settle(got, queue.Settlement{})
	e.empty("the task was settled")
}

// testNotBeforeDeadline tests that a message whose NotBefore isn't before its Deadline is refused.
func testNotBeforeDeadline(e *env) {
	start := e.now()
	e.enqueue(message("x", "d.example"))
	settling := e.claimOne("d.example")
	for _, tt := range []struct {
		notBefore, deadline time.Duration
		refused             bool
	}{
		{time.Hour, time.Hour, true},
		{2 * time.Hour, time.Hour, true},
		{-time.Hour, -2 * time.Hour, true},
		{time.Hour, 2 * time.Hour, false},
	} {
		m := message("x", "later.example")
		m.NotBefore, m.Deadline = start.Add(tt.notBefore), start.Add(tt.deadline)
		_, err := e.q.Enqueue(e.ctx, m)
		if refused := err != nil && strings.Contains(err.Error(), "NotBefore"); refused != tt.refused ||
			!refused && err != nil {
			e.Errorf("Enqueue refuses a NotBefore that isn't before the Deadline, and names it: "+
				"with %v and %v from now, got %v, want an error: %v", tt.notBefore, tt.deadline, err, tt.refused)
		}
		if !tt.refused {
			continue
		}
		m.Body = strings.NewReader("x")
		if err := e.q.Settle(e.ctx, settling.Lease, reporting(m)); err == nil {
			e.Fatalf("Settle refuses a report with a NotBefore %v from now and a Deadline %v from now: got no error",
				tt.notBefore, tt.deadline)
		}
	}
	e.settle(settling, queue.Settlement{})
	e.sleep(time.Hour)
	e.settle(e.claimOne("later.example"), queue.Settlement{})
	e.empty("the one message that was stored is settled")
}

// testOverdueFrom tests that OverdueFrom puts off the notice and the deadline, until the next Settle.
func testOverdueFrom(e *env) {
	start := e.now()
	m := message("x", "d.example")
	m.NoticeAt, m.Deadline = start.Add(time.Hour), start.Add(2*time.Hour)
	e.enqueue(m)
	next, from := start.Add(24*time.Hour), start.Add(5*time.Hour)
	e.settle(e.claimOne("d.example"), queue.Settlement{Next: next, OverdueFrom: from})
	e.checkLanes(due("d.example", from, from))
	e.sleep(4 * time.Hour)
	for _, class := range []queue.Class{queue.Any, queue.Overdue} {
		if tasks := e.claim("d.example", 10, class); len(tasks) > 0 {
			e.Fatalf("neither a notice nor a deadline makes a task due before OverdueFrom: got one claimed")
		}
	}
	e.sleep(time.Hour)
	t := e.claimOne("d.example")
	if !eqTime(t.NoticeAt, m.NoticeAt) || !eqTime(t.Deadline, m.Deadline) || !eqTime(t.Due, next) {
		e.Errorf("OverdueFrom changes neither NoticeAt nor Deadline nor Due: got %s", describe(t))
	}
	e.settle(t, queue.Settlement{Next: next})
	t = e.claimOne("d.example") // by its notice and its deadline
	e.settle(t, queue.Settlement{Next: e.now().Add(time.Hour), OverdueFrom: start})
	t = e.claimOne("d.example")
	e.settle(t, queue.Settlement{Next: e.now(), OverdueFrom: e.now().Add(5 * time.Hour)})
	t = e.claimOne("d.example") // by its Due
	e.settle(t, queue.Settlement{Next: e.now().Add(time.Hour)})
	e.settle(e.claimOne("d.example"), queue.Settlement{})
	e.empty("the task was settled")
}

// testAtOnce tests that tasks that are due at once come first, in the order of their arrival.
func testAtOnce(e *env) {
	var want []queue.ID
	past := message("x", "d.example")
	past.NotBefore = e.now().Add(-time.Hour)
	last := e.enqueue(past)
	for range 4 {
		e.sleep(time.Second)
		want = append(want, e.enqueue(message("x", "d.example")))
	}
	check := func(class queue.Class, when string) {
		e.Helper()
		var got []queue.ID
		for range len(want) + 1 {
			for _, t := range e.claim("d.example", 1, class) {
				got = append(got, t.ID)
				e.settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: e.now().Add(time.Hour)})
			}
		}
		if all := append(slices.Clone(want), last); !slices.Equal(got, all) {
			e.Errorf("tasks that are due at once come first, in the order of their arrival: %s, got %v, want %v",
				when, got, all)
		}
	}
	check(queue.Fresh, "at first")
	e.sleep(time.Hour)
	for _, t := range e.claim("d.example", len(want)+1, queue.Retried) {
		next := e.now().Add(-time.Minute)
		if t.ID == last {
			next = e.now().Add(time.Millisecond)
		}
		e.settle(t, queue.Settlement{Next: next})
	}
	e.sleep(time.Second)
	check(queue.Retried, "after a settlement")
	e.sleep(time.Hour)
	for _, t := range e.claim("d.example", len(want)+1, queue.Any) {
		e.settle(t, queue.Settlement{})
	}
	e.empty("all tasks were settled")
}

// testClockBack tests that what is due at once stays due when the clock is set back.
func testClockBack(e *env) {
	if e.h.Step == nil {
		e.lack("steps of the clock", "Harness.Step is nil")
	}
	const days = 24 * time.Hour
	step := func(d time.Duration) {
		e.h.Step(e.q, d)
		e.clock.passed += d
	}
	step(6 * days)
	ahead := e.now()
	var destinations []string
	put := func(destination string, prepare func(queue.ID, queue.Task)) {
		m := message("x", destination)
		m.Deadline = ahead.Add(5 * days)
		id := e.enqueue(m)
		if prepare != nil {
			prepare(id, e.claimOne(destination))
		}
		destinations = append(destinations, destination)
	}
	put("new.example", nil)
	put("back.example", func(_ queue.ID, t queue.Task) {
		e.settle(t, queue.Settlement{Next: e.now(), Uncounted: true})
	})
	deferred := func(t queue.Task, next time.Duration) queue.Settlement {
		return queue.Settlement{Results: results(t, smtp.Deferred), Next: e.now().Add(next)}
	}
	put("retried.example", func(_ queue.ID, t queue.Task) { e.settle(t, deferred(t, 0)) })
	if _, ok := e.q.(queue.Flusher); !ok {
		e.note("flushed tasks when the clock is set back", "the Queue is no Flusher")
	} else {
		put("flushed.example", func(_ queue.ID, t queue.Task) {
			e.settle(t, deferred(t, time.Hour))
			e.flush("with one retry", "flushed.example", 1)
		})
	}
	if _, ok := e.q.(queue.Holder); !ok {
		e.note("released tasks when the clock is set back", "the Queue is no Holder")
	} else {
		put("released.example", func(id queue.ID, t queue.Task) {
			e.hold(id)
			e.settle(t, deferred(t, 0))
			e.release(id)
		})
	}
	later := message("x", "later.example")
	later.NotBefore = ahead.Add(time.Minute)
	e.enqueue(later)
	step(-6 * days)
	check := func(when string) {
		e.Helper()
		listed := map[string]time.Time{}
		for l, d := range e.lanes() {
			listed[l.Destination] = d.Due
		}
		for _, d := range destinations {
			if due, ok := listed[d]; !ok || due.After(e.now()) {
				e.Errorf("what is due at once stays due when the clock is set back: %s, %s isn't listed as due",
					when, d)
			}
			tasks := e.claim(d, 10, queue.Any)
			if len(tasks) != 1 {
				e.Fatalf("what is due at once stays due when the clock is set back: %s, got %d tasks of %s, want 1",
					when, len(tasks), d)
			}
			if tasks[0].Due.After(e.now()) {
				e.Errorf("the Due of a task that is due at once isn't in the future: %s, got %v at %v",
					when, tasks[0].Due, e.now())
			}
			e.settle(tasks[0], queue.Settlement{Next: tasks[0].Due, Uncounted: true})
		}
		if !eqTime(listed["later.example"], later.NotBefore) {
			e.Errorf("a NotBefore holds by the clock as it is: %s, got it due at %v, want %v",
				when, listed["later.example"], later.NotBefore)
		}
	}
	check("at once")
	check("after a settlement with the Due of the Task")
	if e.h.Reopen == nil {
		e.note("what is due at once after a restart", "Harness.Reopen is nil")
	} else {
		e.reopen()
		check("after a restart")
		step(-30 * days)
		check("after a restart and another step")
	}
	for _, d := range destinations {
		e.settle(e.claimOne(d), queue.Settlement{})
	}
	e.sleep(later.NotBefore.Sub(e.now()))
	e.settle(e.claimOne("later.example"), queue.Settlement{})
	e.empty("all tasks were settled")
}
