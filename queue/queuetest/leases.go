package queuetest

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testExclusiveClaims tests that a task has one lease at a time.
func testExclusiveClaims(e *env) {
	const workers, messages = 64, 512
	for i := range messages {
		e.enqueue(message("x", fmt.Sprintf("d%d.example", i%4)))
	}
	var mu sync.Mutex
	claims := map[queue.ID]int{}
	var wg sync.WaitGroup
	lanes := e.allLanes()
	for w := range workers {
		wg.Go(func() {
			for n := 0; n < messages; {
				var wants []queue.Want
				for i := range lanes {
					wants = append(wants, queue.Want{Lane: lanes[(i+w)%len(lanes)], Max: 1 + w%3})
				}
				tasks, err := e.q.Claim(e.ctx, wants, time.Hour)
				if err != nil {
					e.Errorf("Claim: %v", err)
				}
				if len(tasks) == 0 {
					return
				}
				n += len(tasks)
				for _, t := range tasks {
					mu.Lock()
					claims[t.ID]++
					mu.Unlock()
					if err := e.q.Settle(e.ctx, t.Lease, queue.Settlement{}); err != nil {
						e.Errorf("Settle: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	for id, n := range claims {
		if n != 1 {
			e.Errorf("a task has one lease at a time: message %s was claimed %d times", id, n)
		}
	}
	if len(claims) != messages {
		e.Errorf("every due task can be claimed: got %d of %d", len(claims), messages)
	}
	e.empty("all tasks are settled")
}

// testLeaseExpires tests that a task whose lease expires can be claimed again, and the attempt counts.
func testLeaseExpires(e *env) {
	e.enqueue(message("x", "d.example"))
	first := e.claimOne("d.example")
	e.claimNone("d.example", "is leased")
	e.sleep(59 * time.Minute)
	e.claimNone("d.example", "is leased")
	e.sleep(time.Minute)
	e.checkLanes(due("d.example", time.Time{}))
	if tasks := e.claim("d.example", 1, queue.Fresh); len(tasks) != 0 {
		e.Errorf("a task whose lease has expired isn't fresh: got it as class Fresh")
	}
	second := e.claimOne("d.example")
	if second.Attempts != 2 || second.Lease == first.Lease {
		e.Errorf("each claim counts an attempt and has its own lease: got attempts %d, tokens %d and %d",
			second.Attempts, first.Lease, second.Lease)
	}
	e.settle(second, queue.Settlement{})
	e.empty("a task is settled after its first lease expired")
}

// testStaleLease tests that a lease that has ended changes nothing.
func testStaleLease(e *env) {
	e.enqueue(message("x", "d.example"))
	first := e.claimOne("d.example")
	e.sleep(2 * time.Hour)
	stale := func(when string) {
		e.Helper()
		e.checkLost("Extend "+when, e.q.Extend(e.ctx, first.Lease, time.Hour))
		e.checkLost("Settle "+when, e.q.Settle(e.ctx, first.Lease, reporting(message("report", "r.example"))))
	}
	stale("under an expired lease")
	second := e.claimOne("d.example")
	stale("under a lease with a later lease on the task")
	e.settle(second, queue.Settlement{Results: results(second, smtp.Deferred), Next: e.now()})
	stale("under a lease that ended long ago")
	e.settle(e.claimOne("d.example"), queue.Settlement{})
	stale("of a task that is gone")
	e.empty("no stale settlement left a report")
}

// testSettleAgain tests that a Settle under a lease that was settled returns ErrSettled, and changes nothing.
func testSettleAgain(e *env) {
	const others = 100
	e.enqueue(message("x", "d.example"))
	for i := range others {
		e.enqueue(message("x", fmt.Sprintf("other%d.example", i)))
	}
	var settled []queue.Lease
	again := func(when string) {
		e.Helper()
		for _, l := range settled {
			for _, s := range []queue.Settlement{{}, {Next: e.now()}, reporting(message("report", "r.example"))} {
				e.checkSettled("Settle of a lease that was settled, "+when, e.q.Settle(e.ctx, l, s))
			}
			e.checkLost("Extend of a lease that was settled, "+when, e.q.Extend(e.ctx, l, time.Hour))
		}
	}
	first := e.claimOne("d.example")
	e.settle(first, queue.Settlement{Results: results(first, smtp.Deferred), Next: e.now()})
	settled = append(settled, first.Lease)
	again("when its task waits")
	second := e.claimOne("d.example")
	again("when its task is leased again")
	e.settle(second, queue.Settlement{})
	settled = append(settled, second.Lease)
	again("when its task is gone")
	e.sleep(50 * time.Second)
	for i := range others {
		e.settle(e.claimOne(fmt.Sprintf("other%d.example", i)), queue.Settlement{})
	}
	again("after a while")
	e.empty("a Settle that was repeated left no report")
}

// testForeignLease tests that only a lease that Claim granted is valid.
func testForeignLease(e *env) {
	e.enqueue(message("x", "d.example", "e.example"))
	d, other := e.claimOne("d.example"), e.claimOne("e.example")
	if d.Lease == 0 || other.Lease == 0 || d.Lease == other.Lease {
		e.Errorf("each lease has its own value, and none is zero: got %v and %v", d.Lease, other.Lease)
	}
	for _, forged := range []queue.Lease{0, d.Lease + 1000, other.Lease + 1000} {
		e.checkLost(fmt.Sprintf("Settle under the forged lease %v", forged),
			e.q.Settle(e.ctx, forged, queue.Settlement{}))
	}
	e.settle(d, queue.Settlement{})
	e.settle(other, queue.Settlement{})
	e.empty("both tasks are settled")
}

// testExtend tests that a lease lasts until d after Extend.
func testExtend(e *env) {
	e.enqueue(message("x", "d.example"))
	t := e.claimOne("d.example")
	for range 5 {
		e.sleep(50 * time.Minute)
		if err := e.q.Extend(e.ctx, t.Lease, time.Hour); err != nil {
			e.Fatalf("Extend of a lease that lasts: %v", err)
		}
	}
	e.sleep(59 * time.Minute)
	e.claimNone("d.example", "is under an extended lease")
	e.sleep(time.Minute)
	e.checkLost("Extend of an expired lease", e.q.Extend(e.ctx, t.Lease, time.Hour))
	again := e.claimOne("d.example")
	if again.Attempts != 2 {
		e.Errorf("Extend counts no attempt: got %d, want 2", again.Attempts)
	}
	if err := e.q.Extend(e.ctx, again.Lease, time.Minute); err != nil {
		e.Fatalf("Extend: %v", err)
	}
	e.sleep(time.Minute)
	e.settle(e.claimOne("d.example"), queue.Settlement{})
	e.empty("a task is settled after its lease was shortened")
}

// testSettleDone tests that Settle without Next removes all recipients, whatever their outcomes.
func testSettleDone(e *env) {
	id := e.enqueue(message("x", "d.example", "d.example", "e.example"))
	t := e.claimOne("d.example")
	e.settle(t, queue.Settlement{Results: results(t, smtp.Deferred, smtp.Unknown)})
	e.claimNone("d.example", "is settled for good")
	e.checkBody(id, []byte("x"))
	e.settle(e.claimOne("e.example"), queue.Settlement{})
	if _, err := e.q.Open(e.ctx, id); !errors.Is(err, queue.ErrNotFound) {
		e.Errorf("a message whose last task is settled is gone: Open returns %v, want ErrNotFound", err)
	}
	e.empty("all tasks are settled")
}

// testSettlePartly tests that Settle with Next removes the recipients with a final outcome and keeps the others.
func testSettlePartly(e *env) {
	m := message("x", "d.example", "d.example", "d.example", "d.example", "e.example")
	id := e.enqueue(m)
	t := e.claimOne("d.example")
	next := e.now().Add(time.Hour)
	first := results(t, smtp.Delivered, smtp.Unknown, smtp.Rejected, smtp.Deferred)
	e.settle(t, queue.Settlement{Results: first, Next: next})
	e.sleep(time.Hour)
	want := task(id, m, "d.example", 1, t.Arrival)
	want.Envelope.Recipients = append(want.Envelope.Recipients[1:2:2], want.Envelope.Recipients[3])
	want.Last = append(first[1:2:2], first[3])
	want.Due, want.Attempts = next, 2
	t = e.claimOne("d.example")
	e.checkTask("recipients with a final outcome leave, the others stay with their results", t, want)
	second := results(t, smtp.Deferred, smtp.Delivered)
	e.settle(t, queue.Settlement{Results: second, Next: next})
	want.Envelope.Recipients, want.Last = want.Envelope.Recipients[:1], second[:1]
	want.Due, want.Attempts = t.Arrival, 3 // Next isn't in the future
	t = e.claimOne("d.example")
	e.checkTask("recipients with a final outcome leave, the others stay with their results", t, want)
	e.settle(t, queue.Settlement{Results: results(t, smtp.Rejected), Next: next})
	e.claimNone("d.example", "has no recipient left")
	e.settle(e.claimOne("e.example"), queue.Settlement{})
	e.empty("every recipient had a final outcome")
}

// testSettleWithoutResults tests that Settle without Results keeps the last results.
func testSettleWithoutResults(e *env) {
	e.enqueue(message("x", "d.example", "d.example"))
	t := e.claimOne("d.example")
	e.settle(t, queue.Settlement{Next: e.now()})
	t = e.claimOne("d.example")
	if len(t.Last) != 2 || t.Last[0].Reply != nil || t.Last[1].Reply != nil || len(t.Envelope.Recipients) != 2 {
		e.Errorf("without an attempt, Last has no Reply: got %s", describeResults(t.Last))
	}
	want := t
	want.Last = results(t, smtp.Deferred, smtp.Unknown)
	e.settle(t, queue.Settlement{Results: want.Last, Next: e.now()})
	for n := 3; n < 6; n++ {
		t = e.claimOne("d.example")
		want.Due, want.Attempts = t.Due, n
		e.checkTask("the last results stay", t, want)
		e.settle(t, queue.Settlement{Next: e.now()})
	}
	e.settle(e.claimOne("d.example"), queue.Settlement{})
	e.empty("without Next, all recipients leave")
}

// testSettleWrongResults tests that an invalid Settlement changes nothing.
func testSettleWrongResults(e *env) {
	e.enqueue(message("x", "d.example", "d.example"))
	t := e.claimOne("d.example")
	for _, next := range []time.Time{{}, e.now()} {
		err := e.q.Settle(e.ctx, t.Lease, queue.Settlement{Results: results(t, smtp.Delivered), Next: next})
		if err == nil {
			e.Fatalf("Settle with one result for two recipients: got no error")
		}
	}
	e.claimNone("d.example", "is leased: the settlement failed")
	e.settle(t, queue.Settlement{Results: results(t, smtp.Delivered, smtp.Delivered)})
	e.empty("the lease continued after a settlement that failed")
}

// testSettleUncounted tests that Uncounted takes back one attempt.
func testSettleUncounted(e *env) {
	e.enqueue(message("x", "d.example"))
	for range 3 {
		t := e.claimOne("d.example")
		if t.Attempts != 1 {
			e.Fatalf("Uncounted takes back the attempt: got %d attempts at the next claim, want 1", t.Attempts)
		}
		e.settle(t, queue.Settlement{Next: e.now(), Uncounted: true})
		if tasks := e.claim("d.example", 1, queue.Retried); len(tasks) != 0 {
			e.Errorf("a task without a counted attempt is fresh: got it as class Retried")
		}
	}
	t := e.claimOne("d.example")
	e.settle(t, queue.Settlement{Next: e.now()})
	t = e.claimOne("d.example")
	e.settle(t, queue.Settlement{Next: e.now(), Uncounted: true})
	if t = e.claimOne("d.example"); t.Attempts != 2 {
		e.Errorf("Uncounted takes back one attempt: got %d, want 2", t.Attempts)
	}
}

// testSettleOnce tests that of several Settles under one lease, one succeeds.
func testSettleOnce(e *env) {
	const n = 8
	e.enqueue(message("x", "d.example"))
	t := e.claimOne("d.example")
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			report := message("", "r.example")
			report.Body = slowBody("report", time.Second)
			errs[i] = e.q.Settle(e.ctx, t.Lease, reporting(report))
		})
	}
	wg.Wait()
	settled := 0
	for _, err := range errs {
		if err == nil {
			settled++
			continue
		}
		e.checkSettled("Settle under a lease that another Settle has ended", err)
	}
	reports := e.claim("r.example", n, queue.Any)
	if settled != 1 || len(reports) != 1 {
		e.Errorf("a lease ends with one settlement: got %d successes and %d reports, want 1 of each",
			settled, len(reports))
	}
}

// testSettleSlowly tests that a Settle that takes longer than its lease succeeds, or another Claim does, and never
// both.
func testSettleSlowly(e *env) {
	if e.h.Advance != nil {
		e.lack("a settlement that takes longer than its lease", "Harness.Advance is set")
	}
	e.enqueue(message("x", "d.example"))
	t := e.claimOne("d.example")
	var claimed []queue.Task
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(90 * time.Minute)
		claimed = e.claim("d.example", 1, queue.Any)
	})
	report := message("", "r.example")
	report.Body = slowBody("report", 2*time.Hour)
	err := e.q.Settle(e.ctx, t.Lease, reporting(report))
	wg.Wait()
	claimed = append(claimed, e.claim("d.example", 1, queue.Any)...)
	reports := e.claim("r.example", 1, queue.Any)
	if err == nil && (len(claimed) != 0 || len(reports) != 1) || err != nil &&
		(len(claimed) != 1 || len(reports) != 0) {
		e.Errorf("a settlement succeeds or changes nothing: Settle returned %v, with %d later claims and %d reports",
			err, len(claimed), len(reports))
	}
}

// testExtendWhileSettling tests that a lease can be extended while a Settle is in progress.
func testExtendWhileSettling(e *env) {
	if e.h.Advance != nil {
		e.lack("a settlement that fails while its lease is extended", "Harness.Advance is set")
	}
	e.enqueue(message("x", "d.example"))
	t := e.claimOne("d.example")
	var wg sync.WaitGroup
	wg.Go(func() {
		time.Sleep(10 * time.Minute)
		if err := e.q.Extend(e.ctx, t.Lease, 3*time.Hour); err != nil {
			e.Errorf("Extend while a Settle is in progress: got %v, want nil", err)
		}
	})
	report := message("", "r.example")
	report.Body = io.MultiReader(slowBody("report", 20*time.Minute), iotest.ErrReader(errBroken))
	if err := e.q.Settle(e.ctx, t.Lease, reporting(report)); err == nil {
		e.Fatalf("a settlement whose report can't be read: got no error")
	}
	wg.Wait()
	time.Sleep(2 * time.Hour)
	e.settle(t, queue.Settlement{})
}
