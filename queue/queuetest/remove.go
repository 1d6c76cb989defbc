package queuetest

import (
	"errors"
	"io"
	"sync"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

func (e *env) needRemover() {
	if _, ok := e.q.(queue.Remover); !ok {
		e.lack("Remove", "the Queue is no Remover")
	}
}

func (e *env) remove(ids []queue.ID, reports ...queue.Message) {
	e.Helper()
	if err := e.q.(queue.Remover).Remove(e.ctx, ids, reports...); err != nil {
		e.Fatalf("Remove of messages of which at least one exists: got %v, want nil", err)
	}
}

// checkGone checks that the message can't be opened or listed.
func (e *env) checkGone(when string, ids ...queue.ID) {
	e.Helper()
	for _, id := range ids {
		if _, err := e.q.Open(e.ctx, id); !errors.Is(err, queue.ErrNotFound) {
			e.Errorf("%s, a message is gone: Open(%s) returns %v, want ErrNotFound", when, id, err)
		}
		if _, ok := e.q.(queue.Lister); !ok {
			e.note("List of a message that is gone", "the Queue is no Lister")
		} else if tasks := e.list(queue.Filter{ID: id}); len(tasks) > 0 {
			e.Errorf("%s, a message is gone: List yields %d tasks of %s, want none", when, len(tasks), id)
		}
	}
}

// testRemove tests that Remove removes the messages that it names, whatever the State of their tasks, and no others.
func testRemove(e *env) {
	e.needRemover()
	large := make([]byte, 600_000)
	io.ReadFull(stream(4), large)
	lm := message("", "d.example", "e.example")
	lm.Body = newBody(large)
	waiting, part := e.enqueue(lm), e.enqueue(message("part", "part.example", "e.example"))
	e.settle(e.claimOne("part.example"), queue.Settlement{})
	retried := e.enqueue(message("retried", "r.example"))
	t := e.claimOne("r.example")
	e.settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: e.now()})
	later := message("later", "d.example")
	now := e.now()
	later.NotBefore, later.NoticeAt, later.Deadline = now.Add(time.Hour), now.Add(time.Minute), now.Add(2*time.Hour)
	ids := []queue.ID{waiting, part, "nosuch", retried, e.enqueue(later), e.enqueue(message("held", "d.example"))}
	if h, ok := e.q.(queue.Holder); !ok {
		e.note("Remove of held messages", "the Queue is no Holder")
	} else if err := h.Hold(e.ctx, ids[5]); err != nil {
		e.Fatalf("Hold of an existing message: got %v, want nil", err)
	}
	other := e.enqueue(message("other", "d.example", "part.example"))
	e.remove(append(ids, ids[0]))
	gone := append(ids[:2:2], ids[3:]...)
	e.checkGone("after Remove", gone...)
	for range 2 {
		if t := e.claimOne("d.example"); t.ID != other {
			e.Errorf("Remove removes the messages that it names, and no others: got a task of %s, want one of %s",
				t.ID, other)
		} else {
			e.settle(t, queue.Settlement{Next: e.now()})
		}
		for _, d := range []string{"e.example", "r.example"} {
			e.claimNone(d, "was removed")
		}
		e.sleep(3 * time.Hour)
	}
	e.checkBody(other, []byte("other"))
	r := e.q.(queue.Remover)
	e.checkNotFound("Remove of removed messages", r.Remove(e.ctx, gone, message("report", "report.example")))
	err := r.Remove(e.ctx, []queue.ID{"nosuch"}, message("report", "report.example"))
	e.checkNotFound("Remove of a message that never existed", err)
	e.claimNone("report.example", "is a report of a Remove without messages")
	e.remove([]queue.ID{other})
	e.empty("all messages were removed")
}

// testRemoveLeased tests that Remove ends the leases on its tasks.
func testRemoveLeased(e *env) {
	e.needRemover()
	id := e.enqueue(message("x", "d.example", "e.example", "f.example"))
	kept := e.enqueue(message("kept", "kept.example"))
	d, other, own := e.claimOne("d.example"), e.claimOne("e.example"), e.claimOne("kept.example")
	e.remove([]queue.ID{id})
	e.checkGone("after Remove", id)
	// New tasks may reuse the memory of the removed ones.
	for range 5 {
		e.enqueue(message("next", "d.example", "e.example", "f.example"))
	}
	for _, l := range []queue.Lease{d.Lease, other.Lease} {
		e.checkLost("Extend of a lease on a removed task", e.q.Extend(e.ctx, l, time.Hour))
		for _, next := range []time.Time{{}, e.now()} {
			s := queue.Settlement{Next: next, Reports: []queue.Message{message("report", "report.example")}}
			e.checkLost("Settle under a lease on a removed task", e.q.Settle(e.ctx, l, s))
		}
	}
	e.claimNone("report.example", "is a report of a settlement that failed")
	if err := e.q.Extend(e.ctx, own.Lease, 3*time.Hour); err != nil {
		e.Errorf("Remove ends no other lease: Extend returns %v", err)
	}
	e.sleep(2 * time.Hour) // until the leases would have expired
	for _, dest := range []string{"d.example", "e.example", "f.example"} {
		tasks := e.claim(dest, 10, queue.Any)
		if len(tasks) != 5 {
			e.Errorf("the end of a lease on a removed task changes nothing: got %d tasks for %s, want 5",
				len(tasks), dest)
		}
		for _, t := range tasks {
			if t.Attempts != 1 {
				e.Errorf("a lease on a removed task is on no other task: %s for %s has %d attempts, want 1",
					t.ID, dest, t.Attempts)
			}
			e.settle(t, queue.Settlement{})
		}
	}
	e.checkBody(kept, []byte("kept"))
	e.settle(own, queue.Settlement{})
	e.empty("all tasks were removed or settled")
}

// testRemoveWhileSettling tests that of a Remove and a Settle in progress, one succeeds.
func testRemoveWhileSettling(e *env) {
	e.needRemover()
	if e.h.Advance != nil {
		e.lack("Remove while a Settle is in progress", "Harness.Advance is set")
	}
	for _, tt := range []struct {
		name string
		next time.Duration
		end  error // of the report's body
	}{{"done", 0, io.EOF}, {"with a Next", time.Minute, io.EOF}, {"with a report that fails", 0, errBroken}} {
		id := e.enqueue(message("x", "d.example", "e.example"))
		t := e.claimOne("d.example")
		var removed, extended error
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(10 * time.Minute)
			removed = e.q.(queue.Remover).Remove(e.ctx, []queue.ID{id}, message("removed", "removed.example"))
			for range 5 { // new tasks may reuse the memory of the removed ones
				e.enqueue(message("next", "d.example", "e.example"))
			}
			extended = e.q.Extend(e.ctx, t.Lease, 10*time.Hour)
		})
		report := message("", "settled.example")
		report.Body = io.MultiReader(slowBody("report", 2*time.Hour), iotest.ErrReader(tt.end))
		s := reporting(report)
		if tt.next != 0 {
			s.Next = e.now().Add(tt.next)
		}
		settled := e.q.Settle(e.ctx, t.Lease, s)
		wg.Wait()
		reports := [2]int{
			len(e.claim("removed.example", 10, queue.Any)), len(e.claim("settled.example", 10, queue.Any)),
		}
		if removed == nil {
			if tt.end == io.EOF && !errors.Is(settled, queue.ErrLeaseLost) || settled == nil {
				e.Errorf("a Settle in progress, %s, loses its lease by Remove: Settle returns %v, want ErrLeaseLost",
					tt.name, settled)
			}
			if reports != [2]int{1, 0} {
				e.Errorf("a removed task isn't settled: got %d reports of Remove and %d of Settle, %s; want 1 and 0",
					reports[0], reports[1], tt.name)
			}
			e.checkGone("after Remove, while its task was being settled", id)
			e.checkLost("Extend of a lease on a removed task", extended)
		} else if reports != [2]int{0, 1} || settled != nil || tt.end != io.EOF || tt.next != 0 {
			// Remove may wait for the Settle, and then there is nothing to remove.
			e.Errorf("a message is removed or its task settled, %s: got %v of Remove, %v of Settle, %d and %d reports",
				tt.name, removed, settled, reports[0], reports[1])
		}
		e.sleep(24 * time.Hour) // until the lease would have expired
		for _, dest := range []string{"removed.example", "settled.example"} {
			for _, t := range e.claim(dest, 10, queue.Any) {
				e.settle(t, queue.Settlement{})
			}
		}
		for _, dest := range []string{"d.example", "e.example"} {
			tasks := e.claim(dest, 10, queue.Any)
			for _, t := range tasks {
				if t.Attempts != 1 {
					e.Errorf("a settlement of a removed task, %s, changes nothing else: %s has %d attempts, want 1",
						tt.name, t.ID, t.Attempts)
				}
				if t.ID != id {
					e.checkBody(t.ID, []byte("next"))
				}
				e.settle(t, queue.Settlement{})
			}
			if len(tasks) != 5 && removed == nil {
				e.Errorf("a settlement of a removed task, %s, changes nothing else: got %d tasks for %s, want 5",
					tt.name, len(tasks), dest)
			}
		}
		e.empty("all tasks were removed or settled")
	}
}

// testRemoveReports tests that reports are new messages, stored with Remove.
func testRemoveReports(e *env) {
	e.needRemover()
	w, stop := e.watch()
	defer stop()
	ids := []queue.ID{e.enqueue(message("x", "d.example")), e.enqueue(message("y", "d.example"))}
	report := full(e.now())
	report.Envelope.From = ""
	second := message("second report", "r.example")
	w.forget()
	e.remove(ids, report, second)
	w.check(e, "a report of Remove", "r.example", e.now())
	w.check(e, "a report of Remove", "one.example", report.NotBefore)
	e.checkGone("after a Remove with reports", ids...)
	got := e.claimOne("r.example")
	if got.ID == ids[0] || got.ID == ids[1] {
		e.Fatalf("a report is a message with its own ID: got the ID of a message, %s", got.ID)
	}
	e.checkTask("a report of Remove is a message", got,
		task(got.ID, second, "r.example", len("second report"), got.Arrival))
	e.checkBody(got.ID, []byte("second report"))
	e.settle(got, queue.Settlement{})
	e.sleep(time.Hour + time.Millisecond)
	first := e.claimOne("one.example")
	e.checkTask("a report of Remove is a message", first,
		task(first.ID, report, "one.example", len("body\r\n"), first.Arrival))
	e.remove([]queue.ID{first.ID}) // like any other message
	e.empty("the messages and their reports are gone")
}

// testRemoveReportFails tests that if a report can't be stored, nothing is removed, and no other report is stored.
func testRemoveReportFails(e *env) {
	e.needRemover()
	id, leased := e.enqueue(message("x", "d.example")), e.enqueue(message("y", "e.example"))
	t := e.claimOne("e.example")
	for _, n := range []int64{0, 10, 1 << 20} {
		bad := message("", "r.example")
		bad.Body = failAfter(n, errBroken)
		err := e.q.(queue.Remover).Remove(e.ctx, []queue.ID{id, leased}, message("good", "r.example"), bad)
		if !errors.Is(err, errBroken) {
			e.Fatalf("Remove with a report whose body fails: got %v, want that error wrapped", err)
		}
	}
	e.claimNone("r.example", "is a report of a Remove that failed")
	e.claimNone("e.example", "is leased: its Remove failed")
	e.checkBody(id, []byte("x"))
	e.checkBody(leased, []byte("y"))
	if err := e.q.Extend(e.ctx, t.Lease, time.Hour); err != nil {
		e.Errorf("a lease continues after a Remove that failed: Extend returns %v", err)
	}
	e.settle(t, queue.Settlement{})
	e.settle(e.claimOne("d.example"), queue.Settlement{})
	e.empty("the messages that couldn't be removed were settled")
}

// testRemoveKept tests that removals and their reports survive a restart.
func testRemoveKept(e *env) {
	e.needRemover()
	e.needReopen()
	large := make([]byte, 600_000)
	io.ReadFull(stream(6), large)
	lm := message("", "d.example", "e.example")
	lm.Body = newBody(large)
	ids := []queue.ID{e.enqueue(lm), e.enqueue(message("part", "part.example", "e.example"))}
	e.settle(e.claimOne("part.example"), queue.Settlement{})
	ids = append(ids, e.enqueue(message("leased", "leased.example")))
	e.claimOne("leased.example")
	kept := e.enqueue(message("kept", "d.example"))
	report := message("report", "report.example")
	e.remove(ids, report)
	for range 3 {
		e.reopen()
		e.checkGone("after Remove and a restart", ids...)
		for _, d := range []string{"e.example", "part.example", "leased.example"} {
			e.claimNone(d, "was removed before a restart")
		}
		t := e.claimOne("report.example")
		e.checkBody(t.ID, []byte("report"))
		e.settle(t, queue.Settlement{Next: e.now()})
	}
	e.checkBody(kept, []byte("kept"))
	e.settle(e.claimOne("d.example"), queue.Settlement{})
	e.settle(e.claimOne("report.example"), queue.Settlement{})
	e.empty("all tasks were removed or settled")
	e.reopen()
	e.empty("all tasks were removed or settled before the restart")
}
