package queuetest

import (
	"errors"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// owe returns a settlement without Next that owes a report about every recipient of t, due at that time.
func owe(t queue.Task, at time.Time, delayed bool, outcomes ...smtp.Outcome) queue.Settlement {
	s := queue.Settlement{Results: results(t, outcomes...), ReportAt: at}
	for i, r := range s.Results {
		s.Owed = append(s.Owed, queue.Owed{Recipient: i, Result: r, Delayed: delayed})
	}
	return s
}

// reportTask returns the report task of a message, claimed once, with these recipients.
func reportTask(id queue.ID, m queue.Message, size int, arrival, due time.Time, owed ...queue.Owed) queue.Task {
	t := task(id, m, queue.ReportDestination, size, arrival)
	t.Due, t.NoticeAt, t.Last = due, time.Time{}, nil
	for _, o := range owed {
		i := slices.IndexFunc(m.Envelope.Recipients, func(r smtp.Recipient) bool {
			return r.Address == o.Result.Recipient
		})
		t.Envelope.Recipients = append(t.Envelope.Recipients, m.Envelope.Recipients[i])
		t.Last = append(t.Last, o.Result)
		t.Delayed = append(t.Delayed, o.Delayed)
	}
	return t
}

// testOwed tests that what several settlements owe is in one report task, which is a task like any other.
func testOwed(e *env) {
	m := message("body", "d.example", "e.example", "e.example", "f.example")
	m.NoticeAt, m.Deadline, m.Priority = e.now().Add(time.Hour), e.now().Add(2*time.Hour), 3
	m.Envelope.EnvID, m.Envelope.Recipients[1].Notify = "QQ314159", smtp.NotifyFailure
	id := e.enqueue(m)
	d, two := e.claimOne("d.example"), e.claimOne("e.example")
	arrival := d.Arrival
	if d.Only {
		e.Errorf("Only is false for a message with three tasks")
	}
	at := e.now().Add(time.Minute)
	first := owe(d, at, false, smtp.Rejected)
	e.settle(d, first)
	e.claimNone(queue.ReportDestination, "isn't due before ReportAt")

	// It keeps the earliest time. A recipient that stays in its own task may be in the report task, too.
	second := owe(two, at.Add(time.Hour), true, smtp.Deferred, smtp.Unknown)
	second.Next, second.Noticed = e.now().Add(time.Hour), true
	second.Owed = second.Owed[1:]
	e.settle(two, second)
	e.claimNone(queue.ReportDestination, "isn't due before ReportAt")
	if _, ok := e.q.(queue.Stater); ok {
		s, err := e.q.(queue.Stater).Stats(e.ctx)
		if err != nil || s.Messages != 1 || s.Tasks != 3 || s.Destinations != 3 {
			e.Errorf("Stats counts a report task as a task: got %+v and %v, want 3 tasks", s, err)
		}
	}
	e.sleep(time.Minute)
	owed := append(first.Owed, second.Owed...)
	report := e.claimOne(queue.ReportDestination)
	e.checkTask("a report task has what is owed", report, reportTask(id, m, 4, arrival, at, owed...))
	e.checkBody(id, []byte("body"))

	// A report that can't be composed is tried again.
	again := e.now().Add(5 * time.Minute)
	e.settle(report, queue.Settlement{Next: again, Uncounted: true})
	e.claimNone(queue.ReportDestination, "isn't due before Next")
	e.sleep(5 * time.Minute)
	report = e.claimOne(queue.ReportDestination)
	e.checkTask("a report task that is settled with Next has all it had", report,
		reportTask(id, m, 4, arrival, again, owed...))
	e.settle(report, reporting(message("report", "r.example")))
	e.claimNone(queue.ReportDestination, "is settled")
	e.settle(e.claimOne("r.example"), queue.Settlement{})
	e.sleep(time.Hour)
	e.settle(e.claimOne("f.example"), queue.Settlement{})
	last := e.claimOne("e.example")
	if !last.Only || len(last.Envelope.Recipients) != 2 {
		e.Errorf("recipients that aren't settled stay in their task, the only one: got %s", describe(last))
	}
	e.settle(last, queue.Settlement{})
	e.empty("all tasks are settled")
}

// testOwedLeased tests that a Settle of the report task ends it for the recipients that its Claim returned, and for no
// others.
func testOwedLeased(e *env) {
	m := message("x", "d.example", "e.example", "f.example")
	id := e.enqueue(m)
	d, two, three := e.claimOne("d.example"), e.claimOne("e.example"), e.claimOne("f.example")
	s := owe(d, time.Time{}, false, smtp.Rejected)
	e.settle(d, s)
	report := e.claimOne(queue.ReportDestination)
	at := e.now().Add(time.Minute)
	added := owe(two, at, false, smtp.Deferred)
	e.settle(two, added)
	e.claimNone(queue.ReportDestination, "is leased")
	if _, ok := e.q.(queue.Lister); ok {
		tasks := e.list(queue.Filter{Destination: queue.ReportDestination})
		if len(tasks) != 1 || len(tasks[0].Last) != 2 || tasks[0].State != queue.Leased {
			e.Errorf("List yields one report task with all of its recipients: got %v", tasks)
		}
	}
	w, stop := e.watch()
	defer stop()
	e.settle(report, queue.Settlement{})
	w.check(e, "a Settle of a report task with more recipients", queue.ReportDestination, at)
	e.claimNone(queue.ReportDestination, "isn't due before ReportAt")
	e.sleep(time.Minute)
	report = e.claimOne(queue.ReportDestination)
	e.checkTask("recipients that are added to a leased report task stay in it", report,
		reportTask(id, m, 1, report.Arrival, at, added.Owed...))

	// With Next, those that the Claim returned stay, too.
	last := owe(three, e.now(), false, smtp.Rejected)
	e.settle(three, last)
	e.settle(report, queue.Settlement{Next: e.now().Add(time.Hour)})
	report = e.claimOne(queue.ReportDestination)
	if len(report.Last) != 2 || !report.Only || report.Attempts != 2 {
		e.Errorf("a report task that is settled with Next has all recipients: got %s", describe(report))
	}
	e.settle(report, queue.Settlement{})
	if _, err := e.q.Open(e.ctx, id); !errors.Is(err, queue.ErrNotFound) {
		e.Errorf("a message whose report task is settled last is gone: Open returns %v, want ErrNotFound", err)
	}
	e.empty("all tasks are settled")
}

// testOwedLast tests that a report task that is left alone is due at once.
func testOwedLast(e *env) {
	m := message("x", "d.example", "e.example")
	w, stop := e.watch()
	defer stop()
	for _, held := range []bool{false, true} {
		h, ok := e.q.(queue.Holder)
		if held && !ok {
			continue
		}
		id := e.enqueue(m)
		m.Body = newBody([]byte("x"))
		d, two := e.claimOne("d.example"), e.claimOne("e.example")
		at := e.now().Add(time.Hour)
		w.forget()
		e.settle(d, owe(d, at, false, smtp.Rejected))
		w.check(e, "a Settle with Owed", queue.ReportDestination, at)
		if held {
			if err := h.Hold(e.ctx, id); err != nil {
				e.Fatalf("Hold: %v", err)
			}
		}
		w.forget()
		e.settle(two, queue.Settlement{Results: results(two, smtp.Delivered)})
		if held {
			e.claimNone(queue.ReportDestination, "is held")
			if err := h.Release(e.ctx, id); err != nil {
				e.Fatalf("Release: %v", err)
			}
		}
		w.check(e, "the last Settle beside a report task, or Release", queue.ReportDestination, e.now())
		report := e.claimOne(queue.ReportDestination)
		if !report.Only || len(report.Last) != 1 || report.Last[0].Outcome != smtp.Rejected {
			e.Errorf("a report task that is left alone has what is owed: got %s", describe(report))
		}
		e.settle(report, queue.Settlement{})
	}
	e.empty("all tasks are settled")
}

// testOwedRefused tests that an invalid settlement owes nothing, and that no message has the destination of reports.
func testOwedRefused(e *env) {
	if _, err := e.q.Enqueue(e.ctx, message("x", "d.example", queue.ReportDestination)); err == nil {
		e.Errorf("Enqueue for the destination %q: got no error", queue.ReportDestination)
	}
	e.enqueue(message("x", "d.example", "e.example"))
	d := e.claimOne("d.example")
	for _, n := range []int{-1, 1} {
		if err := e.q.Settle(e.ctx, d.Lease, queue.Settlement{Owed: []queue.Owed{{Recipient: n}}}); err == nil {
			e.Errorf("Settle with Owed for recipient %d of 1: got no error", n)
		}
	}
	bad := owe(d, e.now(), false, smtp.Rejected)
	bad.Reports = []queue.Message{message("", "r.example")}
	bad.Reports[0].Body = failAfter(10, errBroken)
	if err := e.q.Settle(e.ctx, d.Lease, bad); !errors.Is(err, errBroken) {
		e.Errorf("Settle with a report whose body fails: got %v, want that error wrapped", err)
	}
	e.claimNone(queue.ReportDestination, "is of a settlement that failed")
	e.settle(d, owe(d, e.now(), false, smtp.Rejected))
	report := e.claimOne(queue.ReportDestination)
	if err := e.q.Settle(e.ctx, report.Lease, owe(report, e.now(), false, smtp.Rejected)); err == nil {
		e.Errorf("Settle of a report task with Owed: got no error")
	}
	e.settle(report, queue.Settlement{})
	e.settle(e.claimOne("e.example"), queue.Settlement{})
	e.empty("all tasks are settled")
}

// testOwedKept tests that a report task survives a restart, or what it is about isn't settled.
func testOwedKept(e *env) {
	e.needReopen()
	m := message("x", "d.example", "e.example", "f.example", "g.example")
	id := e.enqueue(m)
	t := e.claimOne("d.example")
	arrival, at := t.Arrival, e.now().Add(time.Hour)
	first := owe(t, at, false, smtp.Rejected)
	e.settle(t, first)
	t = e.claimOne("e.example")
	second := owe(t, at.Add(time.Hour), true, smtp.Unknown)
	e.settle(t, second)
	owed := append(first.Owed, second.Owed...)
	check := func(what string, due time.Time, attempts int) queue.Task {
		e.Helper()
		e.reopen()
		e.claimNone(queue.ReportDestination, "isn't due yet after a restart")
		e.sleep(due.Sub(e.now()))
		t := e.claimOne(queue.ReportDestination)
		want := reportTask(id, m, 1, arrival, due, owed...)
		want.Attempts = attempts
		e.checkTask("a restart keeps "+what, t, want)
		return t
	}
	check("a report task", at, 1)
	e.reopen()
	if e.h.LeasesSurvive {
		e.sleep(time.Hour)
	}
	t = e.claimOne(queue.ReportDestination)
	at = e.now().Add(time.Hour)
	e.settle(t, queue.Settlement{Next: at})
	t = check("a report task that was settled with Next", at, 3)
	last := e.claimOne("f.example")
	added := owe(last, at.Add(time.Hour), false, smtp.Rejected)
	e.settle(last, added)
	e.settle(t, reporting(message("report", "r.example")))
	owed = added.Owed
	t = check("what was added to a leased report task, and nothing else of it", at.Add(time.Hour), 1)
	e.settle(t, queue.Settlement{})
	e.settle(e.claimOne("g.example"), queue.Settlement{})
	e.settle(e.claimOne("r.example"), queue.Settlement{})
	e.reopen()
	e.empty("all tasks were settled before the restart")
}
