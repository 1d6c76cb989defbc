package queuetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testReopen tests that messages and settlements survive a restart.
func testReopen(e *env) {
	e.needReopen()
	m := full(e.now())
	id := e.enqueue(m)
	large := make([]byte, 700_000)
	io.ReadFull(stream(5), large)
	lm := message("", "large.example")
	lm.Body = newBody(large)
	largeID := e.enqueue(lm)
	goneID := e.enqueue(message("gone", "gone.example"))
	e.settle(e.claimOne("gone.example"), queue.Settlement{})
	enqueued := e.now()

	e.sleep(2 * time.Hour)
	t := e.claimOne("one.example")
	next := e.now().Add(2*time.Hour + 765432)
	report := message("report", "r.example")
	e.settle(t, queue.Settlement{
		Results: results(t, smtp.Delivered, smtp.Unknown), Next: next, Noticed: true,
		Reports: []queue.Message{report},
	})
	settled := e.now()
	want := task(id, m, "one.example", 6, t.Arrival)
	want.Envelope.Recipients = want.Envelope.Recipients[1:]
	want.Last = results(t, smtp.Delivered, smtp.Unknown)[1:]
	want.Due, want.NoticeAt = next, time.Time{}

	for range 3 {
		e.reopen()
		e.sleep(2*time.Hour + time.Millisecond)
		want.Attempts++
		t = e.claimOne("one.example")
		e.checkTask("a restart keeps the settlement of a task", t, want)
		want.Due = e.now().Add(time.Hour)
		e.settle(t, queue.Settlement{Next: want.Due})
	}
	e.reopen()
	t = e.claimOne("smarthost")
	e.checkTask("a restart keeps a task that was never claimed", t, task(id, m, "smarthost", 6, t.Arrival))
	e.checkBody(id, []byte("body\r\n"))
	t = e.claimOne("large.example")
	e.checkTask("a restart keeps a message with a large body", t,
		task(largeID, lm, "large.example", len(large), t.Arrival))
	if t.Arrival.Sub(enqueued).Abs() > time.Minute {
		e.Errorf("a restart keeps the Arrival: got %v, want about %v", t.Arrival, enqueued)
	}
	e.checkBody(largeID, large)
	t = e.claimOne("r.example")
	e.checkTask("a restart keeps a report", t, task(t.ID, report, "r.example", len("report"), t.Arrival))
	if t.Arrival.Sub(settled).Abs() > time.Minute {
		e.Errorf("the Arrival of a report is the time of its settlement: got %v, want about %v", t.Arrival, settled)
	}
	e.checkBody(t.ID, []byte("report"))
	e.claimNone("gone.example", "was settled without Next before the restart")
	if _, err := e.q.Open(e.ctx, goneID); !errors.Is(err, queue.ErrNotFound) {
		e.Errorf("a settled message is gone after a restart: Open returns %v, want ErrNotFound", err)
	}
}

// testReopenLeases tests that a restart ends every lease, or none, and no ID is used again.
func testReopenLeases(e *env) {
	e.needReopen()
	ids := map[queue.ID]bool{}
	for range 4 {
		for range 3 {
			id := e.enqueue(message("x", "d.example"))
			if ids[id] {
				e.Fatalf("no ID is used again: got %s a second time", id)
			}
			ids[id] = true
		}
		tasks := e.claim("d.example", 2, queue.Any)
		e.settle(tasks[0], queue.Settlement{})
		left := len(e.claim("d.example", 100, queue.Any)) + 1
		e.reopen()
		e.outlast("d.example")
		e.checkLost("Settle under a lease from before the restart",
			e.q.Settle(e.ctx, tasks[1].Lease, queue.Settlement{}))
		e.checkLost("Extend of a lease from before the restart", e.q.Extend(e.ctx, tasks[1].Lease, time.Hour))
		again := e.claim("d.example", 100, queue.Any)
		if len(again) != left {
			e.Fatalf("a lease from before a restart ends: got %d tasks, want %d", len(again), left)
		}
		e.checkLost("Settle under a lease from before the restart",
			e.q.Settle(e.ctx, tasks[1].Lease, queue.Settlement{}))
		for _, t := range again {
			e.settle(t, queue.Settlement{Next: e.now()})
		}
	}
	for _, t := range e.claim("d.example", 100, queue.Any) {
		e.settle(t, queue.Settlement{})
	}
	e.reopen()
	e.empty("all tasks were settled before the restart")

	e.enqueue(message("x", "d.example"))
	e.reopen()
	stale := e.claimOne("d.example")
	e.reopen()
	e.outlast("d.example")
	again := e.claimOne("d.example") // the first claim since the restart, like stale
	e.checkLost("Settle under a lease from before the restart", e.q.Settle(e.ctx, stale.Lease, queue.Settlement{}))
	e.settle(again, queue.Settlement{})
}

// outlast checks that leases of an hour from before a restart continue, if Harness.LeasesSurvive is set, and waits for
// their end.
func (e *env) outlast(destination string) {
	e.Helper()
	if !e.h.LeasesSurvive {
		return
	}
	w, stop := e.watch()
	defer stop()
	e.claimNone(destination, "is under a lease from before the restart")
	e.sleep(59 * time.Minute)
	e.claimNone(destination, "is under a lease from before the restart")
	e.sleep(time.Minute)
	e.lag()
	w.checkWithin(e, "the end of a lease from before the restart", destination, e.now().Add(-e.delay()), e.delay())
}

// testReopenMany tests that many messages survive a restart unchanged.
func testReopenMany(e *env) {
	e.needReopen()
	const n = 300
	bodies := map[queue.ID][]byte{}
	for i := range n {
		body := bytes.Repeat([]byte(fmt.Sprintf("%d.", i)), i*i/8)
		m := message("", fmt.Sprintf("d%d.example", i%7))
		m.Body, m.Ref = newBody(body), strings.Repeat("r", i)
		bodies[e.enqueue(m)] = body
	}
	for i := range 7 {
		for _, t := range e.claim(fmt.Sprintf("d%d.example", i), 10+i, queue.Fresh) {
			delete(bodies, t.ID)
			e.settle(t, queue.Settlement{})
		}
	}
	e.reopen()
	for i := range 7 {
		for _, t := range e.claim(fmt.Sprintf("d%d.example", i), n, queue.Fresh) {
			body, ok := bodies[t.ID]
			if !ok {
				e.Fatalf("a settled task stays settled: message %s came again", t.ID)
			}
			e.checkBody(t.ID, body)
			delete(bodies, t.ID)
		}
	}
	if len(bodies) > 0 {
		e.Errorf("no accepted message is lost: %d messages are missing after a restart", len(bodies))
	}
}
