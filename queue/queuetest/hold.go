package queuetest

import (
	"errors"
	"io"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

func (e *env) needHolder() {
	if _, ok := e.q.(queue.Holder); !ok {
		e.lack("Hold and Release", "the Queue is no Holder")
	}
}

func (e *env) hold(ids ...queue.ID) {
	e.Helper()
	if err := e.q.(queue.Holder).Hold(e.ctx, ids...); err != nil {
		e.Fatalf("Hold of messages of which at least one exists: got %v, want nil", err)
	}
}

// keepsReasons reports whether the HeldFor of tasks is that of the present hold.
func (e *env) keepsReasons() bool {
	_, ok := e.q.(queue.ReasonHolder)
	return ok
}

func (e *env) holdFor(reason string, ids ...queue.ID) {
	e.Helper()
	if err := e.q.(queue.ReasonHolder).HoldFor(e.ctx, reason, ids...); err != nil {
		e.Fatalf("HoldFor of messages of which at least one exists: got %v, want nil", err)
	}
}

func (e *env) release(ids ...queue.ID) {
	e.Helper()
	if err := e.q.(queue.Holder).Release(e.ctx, ids...); err != nil {
		e.Fatalf("Release of messages of which at least one exists: got %v, want nil", err)
	}
}

// checkNotFound checks that the error is ErrNotFound.
func (e *env) checkNotFound(what string, err error) {
	e.Helper()
	if !errors.Is(err, queue.ErrNotFound) {
		e.Fatalf("%s: got %v, want ErrNotFound", what, err)
	}
}

// checkKept checks that no task of these destinations can be claimed in any class, or is listed as due.
func (e *env) checkKept(when string, destinations ...string) {
	e.Helper()
	listed := map[string]queue.LaneDue{}
	for l, d := range e.lanes() {
		listed[l.Destination] = d
	}
	for _, d := range destinations {
		for _, class := range []queue.Class{queue.Any, queue.Fresh, queue.Retried, queue.Overdue} {
			if tasks := e.claim(d, 10, class); len(tasks) > 0 {
				e.Fatalf("no task of a held message can be claimed: %s, Claim returns %d tasks of class %d for %s",
					when, len(tasks), class, d)
			}
		}
		if got, ok := listed[d]; ok {
			e.Fatalf("held tasks don't count: %s, Lanes yields %+v", when, got)
		}
	}
}

// testHold tests that no task of a held message can be claimed.
func testHold(e *env) {
	e.needHolder()
	start := e.now()
	m := message("fresh", "fresh.example", "also.example", "other.example")
	m.NoticeAt, m.Deadline = start.Add(time.Hour), start.Add(2*time.Hour)
	fresh := e.enqueue(m)
	m = message("retried", "retried.example")
	m.Deadline = start.Add(3 * time.Hour)
	retried := e.enqueue(m)
	t := e.claimOne("retried.example")
	e.settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: start.Add(time.Minute)})
	m = message("later", "later.example")
	m.NotBefore = start.Add(time.Hour)
	later := e.enqueue(m)
	kept := []string{"fresh.example", "also.example", "retried.example", "later.example"}

	e.hold(fresh, "nosuch", retried, later)
	e.checkKept("after Hold", kept...)
	e.checkState("that is held", fresh, queue.Held)
	e.checkState("that is held", retried, queue.Held)
	other := e.enqueue(message("other", "other.example"))
	if t := e.claimOne("other.example"); t.ID != other {
		e.Errorf("Hold holds the messages that it names, and no others: got a task of %s, want one of %s", t.ID, other)
	} else {
		e.settle(t, queue.Settlement{})
	}
	e.hold(fresh) // a second time
	for range 4 {
		e.sleep(time.Hour)
		e.checkKept("after its times", append(kept, "other.example")...)
	}
	e.checkBody(fresh, []byte("fresh"))
	h := e.q.(queue.Holder)
	e.checkNotFound("Hold of no existing message", h.Hold(e.ctx, "nosuch", other))
	e.checkNotFound("Release of no existing message", h.Release(e.ctx, "nosuch", other))
	e.release(later)
	e.checkKept("after another was released", "fresh.example", "also.example", "retried.example")
	e.settle(e.claimOne("later.example"), queue.Settlement{})
	e.release(fresh, retried, "nosuch")
	for _, d := range []string{"fresh.example", "also.example", "retried.example", "other.example"} {
		e.settle(e.claimOne(d), queue.Settlement{})
	}
	e.empty("all tasks were released and settled")
}

// testHoldLeased tests that a task that is held while it is leased can be settled, and is held after its lease.
func testHoldLeased(e *env) {
	e.needHolder()
	next, expiring := e.enqueue(message("x", "next.example")), e.enqueue(message("x", "expiring.example"))
	done, failing := e.enqueue(message("x", "done.example", "next.example")), e.enqueue(message("x", "failing.example"))
	released := e.enqueue(message("x", "released.example"))
	tasks := e.claim("next.example", 10, queue.Any)
	if len(tasks) != 2 {
		e.Fatalf("every due task can be claimed: got %d, want 2", len(tasks))
	}
	lapsing, last := e.claimOne("expiring.example"), e.claimOne("done.example")
	failed, back := e.claimOne("failing.example"), e.claimOne("released.example")
	e.hold(next, expiring, done, failing, released)
	e.checkState("that was leased when it was held", next, queue.Leased)
	e.sleep(30 * time.Minute)
	for _, t := range append(tasks, last, failed, back) {
		if err := e.q.Extend(e.ctx, t.Lease, time.Hour); err != nil {
			e.Errorf("a lease on a held task can be extended: got %v", err)
		}
	}
	for _, t := range tasks {
		e.settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: e.now()})
	}
	e.checkState("that is back by a Settle with Next", next, queue.Held)
	e.settle(last, reporting(message("report", "report.example")))
	e.settle(e.claimOne("report.example"), queue.Settlement{}) // reports aren't held
	bad := message("", "r.example")
	bad.Body = failAfter(10, errBroken)
	if err := e.q.Settle(e.ctx, failed.Lease, reporting(bad)); !errors.Is(err, errBroken) {
		e.Fatalf("Settle with a report whose body fails: got %v, want that error wrapped", err)
	}
	e.checkState("whose settlement failed", failing, queue.Leased)
	e.checkKept("when its lease has ended", "next.example")
	e.release(released)
	e.sleep(31 * time.Minute)
	e.checkKept("when its lease has expired", "next.example", "expiring.example")
	e.checkState("whose lease has expired", expiring, queue.Held)
	e.checkLost("Settle under an expired lease on a held task", e.q.Settle(e.ctx, lapsing.Lease, queue.Settlement{}))
	e.sleep(time.Hour)
	e.checkKept("when its extended lease has expired", "next.example", "done.example", "failing.example")
	if t := e.claimOne("released.example"); t.Attempts != 2 {
		e.Errorf("a task released while it is leased is back after the lease: got %d attempts, want 2", t.Attempts)
	} else {
		e.settle(t, queue.Settlement{})
	}
	e.release(next, expiring, done, failing)
	tasks = e.claim("next.example", 10, queue.Retried)
	for _, t := range append(tasks, e.claimOne("expiring.example"), e.claimOne("failing.example")) {
		if t.Attempts != 2 {
			e.Errorf("Hold counts no attempt: %s for %s has %d, want 2", t.ID, t.Destination, t.Attempts)
		}
		e.settle(t, queue.Settlement{})
	}
	e.empty("all tasks were released and settled")
}

// testRelease tests that a released task is unchanged, and due if it became due meanwhile.
func testRelease(e *env) {
	e.needHolder()
	start := e.now()
	now := message("now", "now.example", "too.example")
	soon, noticed := message("soon", "soon.example"), message("noticed", "noticed.example")
	late := message("late", "late.example")
	soon.NotBefore = start.Add(time.Hour)
	noticed.NoticeAt = start.Add(time.Hour)
	late.NotBefore, late.Deadline = start.Add(50*time.Hour), start.Add(60*time.Hour)
	ids := []queue.ID{e.enqueue(now), e.enqueue(soon), e.enqueue(noticed), e.enqueue(late)}
	next := start.Add(90 * time.Hour)
	e.settle(e.claimOne("noticed.example"), queue.Settlement{Next: next, Uncounted: true})
	e.hold(ids...)
	e.sleep(10 * time.Hour)
	w, stop := e.watch()
	defer stop()
	e.release(append(ids, "nosuch")...)
	for _, d := range []string{"now.example", "too.example", "soon.example", "noticed.example"} {
		w.check(e, "Release of a task that became due", d, e.now())
	}
	w.check(e, "Release of a task that isn't due", "late.example", late.NotBefore)
	e.checkState("that was released", ids[0], queue.Waiting)
	e.release(ids...) // a second time
	for i, due := range []struct {
		m                 queue.Message
		body, destination string
	}{{now, "now", "now.example"}, {soon, "soon", "soon.example"}, {noticed, "noticed", "noticed.example"}} {
		t := e.claimOne(due.destination)
		want := task(ids[i], due.m, due.destination, len(due.body), t.Arrival)
		if due.body == "noticed" {
			want.Due = next
		}
		e.checkTask("a released task is unchanged", t, want)
		if t.Arrival.Sub(start).Abs() > time.Minute {
			e.Errorf("Hold and Release don't change the Arrival: got %v, want about %v", t.Arrival, start)
		}
		e.settle(t, queue.Settlement{})
	}
	e.settle(e.claimOne("too.example"), queue.Settlement{})
	e.claimNone("late.example", "is released and not yet due")
	e.checkLanes(due("late.example", late.NotBefore, late.Deadline))
	e.sleep(41 * time.Hour)
	e.settle(e.claimOne("late.example"), queue.Settlement{})
	e.empty("all tasks were released and settled")
}

// testHeldFromStart tests that a message with Held is held as by Hold, after a restart and a crash too, and that a
// Queue which can't hold refuses it.
func testHeldFromStart(e *env) {
	m := message("held", "held.example", "also.example")
	m.HeldFor = "a check"
	if id, err := e.q.Enqueue(e.ctx, m); err == nil {
		e.Errorf("a message with HeldFor and without Held is refused: got ID %s and no error", id)
	}
	e.empty("the message was refused")
	m.Held = true
	if _, ok := e.q.(queue.Holder); !ok {
		if id, err := e.q.Enqueue(e.ctx, m); err == nil {
			e.Errorf("a Queue that is no Holder refuses a message that is to be held: got ID %s and no error", id)
		}
		e.empty("the message was refused")
		return
	}
	m.NoticeAt, m.Deadline = e.now().Add(time.Hour), e.now().Add(2*time.Hour)
	large := make([]byte, 700_000)
	io.ReadFull(stream(6), large)
	lm := message("", "large.example")
	lm.Body, lm.Held = newBody(large), true
	report := message("report", "report.example")
	report.Held = true
	kept := []string{"held.example", "also.example", "large.example", "report.example"}

	held, largeID := e.enqueue(m), e.enqueue(lm)
	other := e.enqueue(message("other", "held.example"))
	if t := e.claimOne("held.example"); t.ID != other {
		e.Fatalf("only the message with Held is held: got a task of %s, want one of %s", t.ID, other)
	} else {
		e.settle(t, reporting(report))
	}
	check := func(when string) {
		e.Helper()
		e.checkKept(when, kept...)
		e.checkState("stored as Held", held, queue.Held)
		e.checkBody(held, []byte("held"))
		e.checkBody(largeID, large)
	}
	check("after Enqueue")
	e.sleep(4 * time.Hour)
	check("after its times")
	if e.h.Reopen == nil {
		e.note("Held after a restart", "Harness.Reopen is nil")
	} else {
		e.reopen()
		check("after a restart")
	}
	if e.h.Kill == nil {
		e.note("Held after a crash", "Harness.Kill is nil")
	} else {
		e.enqueue(message("other", "other.example")) // what is synced with it
		e.q = e.h.Kill(e.t, e.q)
		e.forgetLanes()
		check("after a crash")
		e.settle(e.claimOne("other.example"), queue.Settlement{})
	}
	e.release(held, largeID)
	if e.h.Reopen != nil {
		e.reopen()
	}
	t := e.claimOne("held.example")
	if e.keepsReasons() {
		m.HeldFor = ""
	}
	e.checkTask("a message that was Held is like any other after Release", t,
		task(held, m, "held.example", len("held"), t.Arrival))
	for _, t := range []queue.Task{t, e.claimOne("also.example"), e.claimOne("large.example")} {
		e.settle(t, queue.Settlement{})
	}
	e.checkKept("as it isn't released", "report.example")
	if _, ok := e.q.(queue.Lister); !ok {
		e.lack("Release of a report that is Held", "the Queue is no Lister")
	}
	tasks := e.list(queue.Filter{Destination: "report.example"})
	if len(tasks) != 1 || tasks[0].State != queue.Held {
		e.Fatalf("a report can be Held: List yields %d tasks for it, want one that is held", len(tasks))
	}
	e.release(tasks[0].ID)
	e.settle(e.claimOne("report.example"), queue.Settlement{})
	e.empty("all tasks were released and settled")
}

// testHoldKept tests that Hold and Release survive a restart.
func testHoldKept(e *env) {
	e.needHolder()
	e.needReopen()
	start := e.now()
	m := message("held", "held.example", "part.example")
	m.Deadline = start.Add(time.Hour)
	held := e.enqueue(m)
	e.settle(e.claimOne("part.example"), queue.Settlement{})
	retried := e.enqueue(message("retried", "retried.example"))
	t := e.claimOne("retried.example")
	next := start.Add(time.Minute)
	e.settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: next})
	leased := e.enqueue(message("leased", "leased.example"))
	released := e.enqueue(message("released", "released.example"))
	e.claimOne("leased.example")
	e.hold(held, retried, leased, released)
	e.release(released)
	kept := []string{"held.example", "part.example", "retried.example", "leased.example"}
	for range 3 {
		e.reopen()
		e.checkKept("after a restart", kept...)
		e.sleep(2 * time.Hour)
		e.checkKept("after a restart, after its times", kept...)
		e.checkState("that is held", held, queue.Held)
		e.checkState("that is held", leased, queue.Held)
		e.checkBody(held, []byte("held"))
		t := e.claimOne("released.example")
		e.settle(t, queue.Settlement{Next: e.now()})
	}
	e.release(held, retried, leased)
	e.reopen()
	e.claimNone("part.example", "was settled before it was held")
	again := e.claimOne("retried.example")
	want := task(retried, message("retried", "retried.example"), "retried.example", len("retried"), t.Arrival)
	want.Due, want.Last, want.Attempts = next, results(t, smtp.Deferred), 2
	e.checkTask("a task held during a restart is unchanged", again, want)
	e.settle(again, queue.Settlement{})
	for _, d := range []string{"held.example", "leased.example", "released.example"} {
		e.settle(e.claimOne(d), queue.Settlement{})
	}
	e.empty("all tasks were released and settled")
	e.reopen()
	e.empty("all tasks were released and settled before the restart")
}
