package queuetest

import (
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/queue"
)

// checkReason checks the HeldFor of all tasks of a message.
func (e *env) checkReason(when string, id queue.ID, want string) {
	e.Helper()
	tasks := e.list(queue.Filter{ID: id})
	if len(tasks) == 0 {
		e.Fatalf("List yields the tasks of a message %s: got none of %s", when, id)
	}
	for _, t := range tasks {
		if t.HeldFor != want {
			e.Errorf("HeldFor is the reason of the present hold: %s, the task of %s for %s has %q, want %q", when, id,
				t.Destination, t.HeldFor, want)
		}
	}
}

// testHoldReason tests that the HeldFor of a task is the reason of the present hold, after a restart and a crash too.
func testHoldReason(e *env) {
	e.needHolder()
	e.needLister()
	if !e.keepsReasons() {
		e.lack("HoldFor", "the Queue is no ReasonHolder")
	}
	m := message("stored", "stored.example", "also.example")
	m.Held, m.HeldFor = true, "a check"
	stored := e.enqueue(m)
	m = message("again", "again.example")
	m.Held, m.HeldFor = true, "a check"
	again := e.enqueue(m)
	held, other := e.enqueue(message("held", "held.example", "part.example")), e.enqueue(message("x", "other.example"))
	silent := e.enqueue(message("silent", "silent.example"))
	leased := e.enqueue(message("leased", "leased.example"))
	e.claimOne("leased.example")

	e.release(again)
	e.checkReason("after Release of what was stored held", again, "")
	e.hold(again, silent, stored)
	e.holdFor("asked by\x00Bob, ticket 4711: ünder review", held, "nosuch", other, leased)
	e.holdFor("", held) // as Hold
	e.hold(other)
	e.checkNotFound("HoldFor of no existing message", e.q.(queue.ReasonHolder).HoldFor(e.ctx, "a reason", "nosuch"))
	e.checkKept("after HoldFor", "held.example", "part.example", "other.example", "stored.example")
	reasons := map[queue.ID]string{
		stored: "a check", again: "", silent: "", held: "asked by\x00Bob, ticket 4711: ünder review",
		other: "asked by\x00Bob, ticket 4711: ünder review", leased: "asked by\x00Bob, ticket 4711: ünder review",
	}
	check := func(when string) {
		e.Helper()
		for id, want := range reasons {
			e.checkReason(when, id, want)
		}
	}
	restart := func(when string) {
		check("after " + when)
		if e.h.Reopen == nil {
			e.note("HeldFor after a restart", "Harness.Reopen is nil")
		} else {
			e.reopen()
			check("after a restart after " + when)
		}
		if e.h.Kill != nil {
			e.q = e.h.Kill(e.t, e.q)
			e.forgetLanes()
			check("after a crash after " + when)
		}
	}
	restart("HoldFor")

	e.holdFor("another reason", stored, other)
	e.release(held)
	e.holdFor("a third one", held)
	e.release(leased)
	reasons[stored], reasons[other] = "another reason", "another reason"
	reasons[held], reasons[leased] = "a third one", ""
	restart("other reasons")

	long := strings.Repeat("ü", queue.MaxHeldFor)
	e.holdFor(long, silent)
	cut := e.list(queue.Filter{ID: silent})[0].HeldFor
	if !strings.HasSuffix(cut, "…") || !strings.HasPrefix(long, strings.TrimSuffix(cut, "…")) ||
		len(cut) > queue.MaxHeldFor || len(cut) < queue.MaxHeldFor/2 || !utf8.ValidString(cut) {
		e.Errorf("a long reason is cut to %d octets, and ends in …: got %d octets, %q", queue.MaxHeldFor, len(cut), cut)
	}
	e.release(stored, again, held, other, silent)
	for _, d := range []string{"stored.example", "also.example", "again.example", "held.example", "part.example",
		"other.example", "silent.example"} {
		t := e.claimOne(d)
		if t.HeldFor != "" {
			e.Errorf("Release clears HeldFor: the task for %s has %q", d, t.HeldFor)
		}
		e.settle(t, queue.Settlement{})
	}
}
