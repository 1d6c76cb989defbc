package queuetest

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testReports tests that reports are new messages, stored with the settlement.
func testReports(e *env) {
	id := e.enqueue(message("x", "d.example", "d.example"))
	t := e.claimOne("d.example")
	report := full(e.now())
	report.Envelope.From = ""
	second := message("second report", "r.example")
	next := e.now().Add(time.Hour)
	e.settle(t, queue.Settlement{
		Results: results(t, smtp.Rejected, smtp.Deferred),
		Next:    next,
		Reports: []queue.Message{report, second},
	})
	got := e.claimOne("r.example")
	if got.ID == id {
		e.Fatalf("a report is a message with its own ID: got the ID of the message, %s", id)
	}
	e.checkTask("a report is a message", got, task(got.ID, second, "r.example", len("second report"), got.Arrival))
	e.checkBody(got.ID, []byte("second report"))
	e.settle(got, queue.Settlement{})
	e.claimNone("one.example", "is a report with a NotBefore in the future")
	e.sleep(time.Hour + time.Millisecond)
	first := e.claimOne("one.example")
	e.checkTask("a report is a message", first, task(first.ID, report, "one.example", len("body\r\n"), first.Arrival))
	t = e.claimOne("d.example")
	if len(t.Envelope.Recipients) != 1 || !eqTime(t.Due, next) {
		e.Errorf("a settlement with reports settles its task: got %d recipients due at %v, want 1 at %v",
			len(t.Envelope.Recipients), t.Due, next)
	}
	e.settle(t, reporting(message("last", "r.example")))
	e.settle(e.claimOne("r.example"), queue.Settlement{})
	e.settle(first, queue.Settlement{})
	e.settle(e.claimOne("smarthost"), queue.Settlement{})
	e.empty("the message and its reports are settled")
}

// testReportSlow tests that the Bodies of reports are read before anything changes, and delay no other call.
func testReportSlow(e *env) {
	if e.h.Advance != nil {
		e.lack("calls while a report is read", "Harness.Advance is set")
	}
	remover, removes := e.q.(queue.Remover)
	if !removes {
		e.note("calls while a report of Remove is read", "the Queue is no Remover")
	}
	for _, large := range []bool{false, true} {
		id := e.enqueue(message("x", "d.example", "e.example"))
		removed := e.enqueue(message("y", "r.example"))
		t := e.claimOne("d.example")
		report := message("", "report.example")
		report.Body = slowBody("report", 30*time.Minute)
		if large {
			report.Body = io.MultiReader(io.LimitReader(stream(5), 600_000), report.Body)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(time.Minute)
			begin := e.now()
			e.claimNone("report.example", "is a report that is being read")
			e.claimNone("d.example", "is leased")
			e.checkBody(id, []byte("x"))
			e.settle(e.claimOne("e.example"), queue.Settlement{})
			if err := e.q.Extend(e.ctx, t.Lease, time.Hour); err != nil {
				e.Errorf("Extend while a report is read: got %v, want nil", err)
			}
			if _, ok := e.q.(queue.Holder); ok {
				e.hold(id)
				e.release(id)
			}
			e.settle(e.claimOne("r.example"), queue.Settlement{Next: e.now()})
			if passed := e.now().Sub(begin); passed != 0 {
				e.Errorf("a report that is read slowly delays no other call: got a delay of %v", passed)
			}
		})
		if removes {
			wg.Go(func() {
				report := message("", "report.example")
				report.Body = slowBody("report", 30*time.Minute)
				if err := remover.Remove(e.ctx, []queue.ID{removed}, report); err != nil {
					e.Errorf("Remove with a report that is read slowly: %v", err)
				}
			})
		}
		if err := e.q.Settle(e.ctx, t.Lease, reporting(report)); err != nil {
			e.Errorf("Settle with a report that is read slowly: %v", err)
		}
		wg.Wait()
		for _, t := range append(e.claim("report.example", 2, queue.Any), e.claim("r.example", 1, queue.Any)...) {
			e.settle(t, queue.Settlement{})
		}
		e.empty("the message and its reports are settled")
	}
}

// testReportFails tests that if a report can't be stored, nothing is settled, and no other report is stored.
func testReportFails(e *env) {
	id := e.enqueue(message("x", "d.example"))
	t := e.claimOne("d.example")
	bad := message("", "r.example")
	bad.Body = failAfter(1<<20, errBroken)
	err := e.q.Settle(e.ctx, t.Lease, queue.Settlement{
		Results: results(t, smtp.Rejected),
		Reports: []queue.Message{message("good", "r.example"), bad},
	})
	if !errors.Is(err, errBroken) || errors.Is(err, queue.ErrLeaseLost) {
		e.Fatalf("Settle with a report whose body fails: got %v, want that error wrapped", err)
	}
	e.claimNone("r.example", "is a report of a settlement that failed")
	e.claimNone("d.example", "is leased: its settlement failed")
	e.checkBody(id, []byte("x"))
	if err := e.q.Extend(e.ctx, t.Lease, time.Hour); err != nil {
		e.Errorf("a lease continues after a Settle that failed: Extend returns %v", err)
	}
	e.settle(t, queue.Settlement{})
	e.empty("the message is settled without reports")

	// The lease may expire after a settlement that failed.
	e.enqueue(message("y", "d.example"))
	t = e.claimOne("d.example")
	bad.Body = failAfter(10, errBroken)
	if err := e.q.Settle(e.ctx, t.Lease, reporting(bad)); !errors.Is(err, errBroken) {
		e.Fatalf("Settle with a report whose body fails: got %v, want that error wrapped", err)
	}
	e.sleep(time.Hour)
	e.claimOne("d.example")
	e.checkLost("Settle after that", e.q.Settle(e.ctx, t.Lease, queue.Settlement{}))
}
