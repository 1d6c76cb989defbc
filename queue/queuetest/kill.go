package queuetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testKill tests that messages and durable changes survive a crash of the process.
func testKill(e *env) {
	if e.h.Kill == nil {
		e.lack("crashes", "Harness.Kill is nil")
	}
	_, holds := e.q.(queue.Holder)
	_, removes := e.q.(queue.Remover)
	if !holds {
		e.note("Hold before a crash", "the Queue is no Holder")
	}
	if !removes {
		e.note("Remove before a crash", "the Queue is no Remover")
	}
	seen := map[queue.ID]bool{}
	kept := map[queue.ID][]byte{} // of keep.example
	for round := range 4 {
		add := func(m queue.Message) queue.ID {
			id := e.enqueue(m)
			if seen[id] {
				e.Fatalf("no ID is used again: got %s a second time, after a crash", id)
			}
			seen[id] = true
			return id
		}
		for i := range 10 {
			body := bytes.Repeat([]byte(fmt.Sprint(i)), i*i*i*400)
			m := message("", "keep.example")
			m.Body = newBody(body)
			kept[add(m)] = body
		}
		reported := add(message("reported", "reported.example"))
		e.settle(e.claimOne("reported.example"), reporting(message("report", "report.example")))
		part := add(message("part", "part.example", "part.example"))
		t := e.claimOne("part.example")
		next := e.now().Add(time.Hour)
		partly := results(t, smtp.Delivered, smtp.Deferred)
		e.settle(t, queue.Settlement{Results: partly, Next: next,
			Reports: []queue.Message{message("report", "report.example")}})
		undone, put := add(message("undone", "undone.example")), add(message("put off", "off.example"))
		e.settle(e.claimOne("undone.example"), queue.Settlement{})
		e.settle(e.claimOne("off.example"), queue.Settlement{Next: next})
		add(message("leased", "leased.example"))
		leased := e.claimOne("leased.example")
		bad := message("", "bad.example")
		bad.Body = failAfter(300_000, errBroken)
		if _, err := e.q.Enqueue(e.ctx, bad); err == nil {
			e.Errorf("Enqueue of a body that fails: got no error")
		}
		var held, removed queue.ID
		if holds {
			held = add(message("held", "held.example"))
			e.hold(held)
		}
		if removes {
			removed = add(message("removed", "removed.example"))
			e.remove([]queue.ID{removed}, message("report", "report.example"))
		}

		e.q = e.h.Kill(e.t, e.q)
		e.forgetLanes()

		e.claimNone("part.example", "was deferred, with reports")
		if e.h.LeasesSurvive {
			e.claimNone("leased.example", "is under a lease from before the crash")
			e.sleep(time.Hour)
		}
		e.checkLost("Extend of a lease from before the crash", e.q.Extend(e.ctx, leased.Lease, time.Hour))
		if again := e.claimOne("leased.example"); again.ID != leased.ID {
			e.Errorf("a lease from before a crash ends: Claim returns %s, want %s", again.ID, leased.ID)
		} else {
			e.checkLost("Settle under a lease from before the crash",
				e.q.Settle(e.ctx, leased.Lease, queue.Settlement{}))
			e.settle(again, reporting(message("report", "report.example")))
		}
		e.checkGone("after a settlement with reports and a crash", reported)
		e.claimNone("reported.example", "was settled, with reports")
		e.claimNone("bad.example", "was never enqueued")
		want := 3
		if removes {
			e.checkGone("after Remove and a crash", removed)
			e.claimNone("removed.example", "was removed")
			want++
		}
		reports := e.claim("report.example", 100, queue.Any)
		if len(reports) != want {
			e.Errorf("reports are durable with their settlement or Remove: got %d, want %d", len(reports), want)
		}
		for _, t := range reports {
			e.checkBody(t.ID, []byte("report"))
			e.settle(t, reporting(message("last", "last.example")))
		}
		if holds {
			e.checkKept("after a crash", "held.example")
			e.release(held)
			e.settle(e.claimOne("held.example"), reporting(message("last", "last.example")))
		}
		e.sleep(time.Hour)
		t = e.claimOne("part.example")
		if t.ID != part || len(t.Last) != 1 || t.Last[0].Recipient != partly[1].Recipient || !eqTime(t.Due, next) {
			e.Errorf("a settlement with reports is durable: got %s, want one recipient of %s, due at %v",
				describe(t), part, next)
		}
		e.settle(t, reporting(message("last", "last.example")))
		for _, t := range e.claim("undone.example", 10, queue.Any) {
			if t.ID != undone {
				e.Errorf("only the last settlements may be lost: got %s in round %d", t.ID, round)
			}
			e.checkBody(t.ID, []byte("undone"))
			e.settle(t, reporting(message("last", "last.example")))
		}
		t = e.claimOne("off.example")
		e.checkBody(put, []byte("put off"))
		e.settle(t, reporting(message("last", "last.example")))
		for id, body := range kept {
			e.checkBody(id, body)
		}
	}
	for _, t := range e.claim("keep.example", 1000, queue.Any) {
		if _, ok := kept[t.ID]; !ok {
			e.Errorf("a message is claimed once: got %s twice", t.ID)
		}
		delete(kept, t.ID)
		e.settle(t, queue.Settlement{})
	}
	if len(kept) > 0 {
		e.Errorf("no accepted message is lost: %d messages can't be claimed", len(kept))
	}
	for _, t := range e.claim("last.example", 1000, queue.Any) {
		e.settle(t, queue.Settlement{})
	}
	e.empty("all tasks were settled")
}

// testStoreFails tests that if the store fails, calls return an error and store nothing.
func testStoreFails(e *env) {
	if e.h.Fail == nil {
		e.lack("a failing store", "Harness.Fail is nil")
	}
	large := make([]byte, 600_000)
	io.ReadFull(stream(8), large)
	id, leased := e.enqueue(message("x", "d.example")), e.enqueue(message("y", "e.example"))
	for round := range 3 {
		t := e.claimOne("e.example")
		refused := func(what string, err error) {
			e.Helper()
			if err == nil || errors.Is(err, queue.ErrNotFound) || errors.Is(err, queue.ErrLeaseLost) {
				e.Errorf("a call that can't be stored returns the error of the store: got %v of %s, in round %d",
					err, what, round)
			}
		}
		heal := e.h.Fail(e.t, e.q)
		for _, body := range [][]byte{[]byte("small"), large} {
			m := message("", "new.example")
			m.Body = newBody(body)
			_, err := e.q.Enqueue(e.ctx, m)
			refused("Enqueue", err)
		}
		report := message("report", "report.example")
		refused("Settle with a report", e.q.Settle(e.ctx, t.Lease, reporting(report)))
		if h, ok := e.q.(queue.Holder); !ok {
			e.note("Hold on a failing store", "the Queue is no Holder")
		} else {
			refused("Hold", h.Hold(e.ctx, id))
		}
		if r, ok := e.q.(queue.Remover); !ok {
			e.note("Remove on a failing store", "the Queue is no Remover")
		} else {
			refused("Remove", r.Remove(e.ctx, []queue.ID{id, leased}, message("report", "report.example")))
		}

		e.forgetLanes()
		e.q = heal()

		e.sleep(2 * time.Hour) // until all leases have ended
		if h, ok := e.q.(queue.Holder); ok {
			if err := h.Release(e.ctx, id); err != nil { // a Hold that failed may have been stored
				e.Errorf("messages are still in the repaired store: Release returns %v", err)
			}
		}
		e.claimNone("new.example", "was refused")
		e.claimNone("report.example", "is a report of a call that failed")
		e.checkBody(id, []byte("x"))
		e.checkBody(leased, []byte("y"))
		got := e.claimOne("d.example")
		if got.ID != id {
			e.Errorf("a call that failed stores nothing: got %s, want a task of %s", describe(got), id)
		}
		e.settle(got, queue.Settlement{Next: e.now()})
		e.settle(e.claimOne("e.example"), queue.Settlement{Next: e.now()})
		after := e.enqueue(message("after", "after.example"))
		e.checkBody(after, []byte("after"))
		e.settle(e.claimOne("after.example"), reporting(message("last", "last.example")))
		e.settle(e.claimOne("last.example"), queue.Settlement{})
	}
	e.settle(e.claimOne("d.example"), queue.Settlement{})
	e.settle(e.claimOne("e.example"), queue.Settlement{})
	e.empty("all tasks were settled")
}
