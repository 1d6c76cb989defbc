package queuetest

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// pair returns e and a test of a second Queue on the same store.
func (e *env) pair() (a, b *env) {
	e.Helper()
	if e.h.Handle == nil {
		e.lack("a store that several Queues share", "Harness.Handle is nil")
	}
	b = e.at(e.h.Handle(e.t, e.q))
	e.lag()
	return e, b
}

// at returns e for another Queue on the same store.
func (e *env) at(q queue.Queue) *env {
	return &env{TB: e.TB, t: e.t, h: e.h, q: q, ctx: e.ctx, clock: e.clock, lacks: e.lacks}
}

// delay returns Harness.Lag or its default.
func (e *env) delay() time.Duration { return cmp.Or(e.h.Lag, time.Second) }

// lag waits until a call at one Queue has its effect at the others.
func (e *env) lag() { time.Sleep(e.delay()) }

// either claims the only due task of a destination, at one of two Queues, a first. It returns the Queue that has it.
func either(a, b *env, destination string) (*env, queue.Task) {
	a.Helper()
	for range 2 {
		for _, e := range []*env{a, b} {
			tasks := e.claim(destination, 10, queue.Any)
			if len(tasks) > 1 {
				e.Fatalf("Claim for %s: got %d tasks, want 1", destination, len(tasks))
			}
			if len(tasks) == 1 {
				return e, tasks[0]
			}
		}
		a.lag()
	}
	a.Fatalf("each due task can be claimed at one or more Queues of a store: none can claim the one of %s, %v later",
		destination, a.delay())
	return nil, queue.Task{}
}

// neither checks that no task of a destination can be claimed at one of two Queues.
func neither(a, b *env, destination, why string) {
	a.Helper()
	a.claimNone(destination, why)
	b.claimNone(destination, why)
}

// spread enqueues a message at by, and waits until both Queues have it. Both learn its lanes.
func spread(by, other *env, m queue.Message) queue.ID {
	by.Helper()
	id := by.enqueue(m)
	by.lag()
	by.lanes()
	other.lanes()
	return id
}

// names returns n destinations, so that each Queue may have some of them.
func names(prefix string, n int) (destinations []string) {
	for i := range n {
		destinations = append(destinations, fmt.Sprintf("%s%d.example", prefix, i))
	}
	return destinations
}

// testHandles tests that the Queues of a store have the same messages.
func testHandles(e *env) {
	a, b := e.pair()
	ids := map[queue.ID]bool{}
	for i, d := range names("d", 8) {
		by, other := a, b
		if i%2 == 1 {
			by, other = b, a
		}
		m := full(e.now())
		m.Destinations = []string{d, "other.example", d}
		id := spread(by, other, m)
		if ids[id] {
			e.Errorf("an ID names one message of the store: got %s from both Queues", id)
		}
		ids[id] = true
		e.sleep(2 * time.Hour)
		other.checkBody(id, []byte("body\r\n"))
		if _, ok := other.q.(queue.Lister); !ok {
			e.note("List at another Queue", "the Queue is no Lister")
		} else if tasks := other.list(queue.Filter{ID: id}); len(tasks) != 2 {
			e.Errorf("List yields what another Queue has stored: got %d tasks of %s, want 2", len(tasks), id)
		}
		has, t := either(other, by, d)
		e.checkTask("a Task has every field of the Message, at each Queue of the store", t,
			task(id, m, d, 6, t.Arrival))
		has.settle(t, queue.Settlement{Results: results(t, smtp.Deferred, smtp.Delivered), Next: e.now()})
		e.lag()
		want := task(id, m, d, 6, t.Arrival)
		want.Due, want.Attempts = t.Arrival, 2
		want.Envelope.Recipients, want.Last = want.Envelope.Recipients[:1], results(t, smtp.Deferred)
		if has == other {
			has, t = either(by, other, d)
		} else {
			has, t = either(other, by, d)
		}
		e.checkTask("a Queue has the settlements of the others", t, want)
		has.settle(t, queue.Settlement{})
		e.lag()
		neither(a, b, d, "is settled for good")
		has, t = either(a, b, "other.example")
		has.settle(t, queue.Settlement{})
		e.lag()
		for _, x := range []*env{a, b} {
			if _, err := x.q.Open(e.ctx, id); !errors.Is(err, queue.ErrNotFound) {
				e.Errorf("a settled message is gone at each Queue: Open returns %v, want ErrNotFound", err)
			}
		}
	}
	a.empty("all tasks are settled")
	b.empty("all tasks are settled")
}

// testHandlesClaims tests that a task has one lease at a time, at whichever Queue.
func testHandlesClaims(e *env) {
	const workers, messages = 8, 256
	a, b := e.pair()
	for i := range messages {
		[]*env{a, b}[i%2].enqueue(message("x", fmt.Sprintf("d%d.example", i%8)))
	}
	e.lag()
	var mu sync.Mutex
	claims := map[queue.ID]int{}
	var wg sync.WaitGroup
	for w := range 2 * workers {
		x := []*env{a, b}[w%2]
		wg.Go(func() {
			for idle, turns := 0, 0; idle < 2 && turns < 2*messages; turns++ {
				n := 0
				for i := range 8 {
					for _, t := range x.claim(fmt.Sprintf("d%d.example", (i+w)%8), 1+w%3, queue.Any) {
						n++
						mu.Lock()
						claims[t.ID]++
						mu.Unlock()
						if err := x.q.Settle(e.ctx, t.Lease, queue.Settlement{}); err != nil {
							e.Errorf("Settle: %v", err)
						}
					}
				}
				if idle++; n > 0 {
					idle = 0
				}
				x.lag()
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
		e.Errorf("each due task can be claimed at one or more Queues of a store: got %d of %d", len(claims), messages)
	}
	a.empty("all tasks are settled")
	b.empty("all tasks are settled")
}

// testHandlesLeases tests that a lease of one Queue ends at its end, and a later one makes it void, at whichever Queue.
func testHandlesLeases(e *env) {
	a, b := e.pair()
	for i, d := range names("d", 8) {
		by, other := a, b
		if i%2 == 1 {
			by, other = b, a
		}
		spread(by, other, message("x", d))
		first, t := either(by, other, d)
		stale := func(when string) {
			e.Helper()
			e.checkLost("Extend "+when, first.q.Extend(e.ctx, t.Lease, time.Hour))
			e.checkLost("Settle "+when, first.q.Settle(e.ctx, t.Lease, reporting(message("report", "r.example"))))
		}
		if first == other {
			by, other = other, by
		}
		e.sleep(59 * time.Minute)
		neither(other, by, d, "is leased")
		if err := by.q.Extend(e.ctx, t.Lease, 2*time.Hour); err != nil {
			e.Fatalf("Extend of a lease that lasts: %v", err)
		}
		e.sleep(119 * time.Minute)
		neither(other, by, d, "is under an extended lease")
		e.sleep(time.Minute)
		second, again := either(other, by, d)
		if again.Attempts != 2 {
			e.Errorf("each claim counts an attempt, at whichever Queue: got %d, want 2", again.Attempts)
		}
		stale("under a lease with a later lease on the task, at another Queue")
		second.settle(again, queue.Settlement{Results: results(again, smtp.Deferred), Next: e.now()})
		stale("under a lease that ended long ago")
		e.lag()
		third, last := either(by, other, d)
		stale("under a lease that ended long ago")
		third.settle(last, queue.Settlement{})
	}
	a.empty("no stale settlement left a report")
	b.empty("no stale settlement left a report")
}

// testHandlesSettleSlowly tests that either a Settle that outlasts its lease succeeds, or a Claim at another Queue.
func testHandlesSettleSlowly(e *env) {
	if e.h.Advance != nil {
		e.lack("a settlement that takes longer than its lease", "Harness.Advance is set")
	}
	a, b := e.pair()
	for _, d := range names("d", 4) {
		spread(a, b, message("x", d))
		has, t := either(a, b, d)
		other := a
		if has == a {
			other = b
		}
		var claimed []queue.Task
		var wg sync.WaitGroup
		wg.Go(func() {
			time.Sleep(90 * time.Minute)
			claimed = append(other.claim(d, 1, queue.Any), has.claim(d, 1, queue.Any)...)
		})
		report := message("", "r.example")
		report.Body = slowBody("report", 2*time.Hour)
		err := has.q.Settle(e.ctx, t.Lease, reporting(report))
		wg.Wait()
		e.sleep(2 * time.Hour)
		e.lag()
		claimed = append(claimed, append(a.claim(d, 1, queue.Any), b.claim(d, 1, queue.Any)...)...)
		reports := append(a.claim("r.example", 1, queue.Any), b.claim("r.example", 1, queue.Any)...)
		if (err == nil) != (len(claimed) == 0) || (err == nil) != (len(reports) == 1) {
			e.Errorf("a settlement succeeds or changes nothing: Settle returned %v, "+
				"with %d later claims and %d reports", err, len(claimed), len(reports))
		}
	}
}

// testHandlesOperate tests that Hold, Release, Flush, Hasten and Remove change the tasks of all Queues of a store.
func testHandlesOperate(e *env) {
	a, b := e.pair()
	for i, d := range names("d", 8) {
		by, other := a, b
		if i%2 == 1 {
			by, other = b, a
		}
		id := spread(by, other, message("x", d))
		if _, ok := e.q.(queue.Holder); !ok {
			e.note("Hold at another Queue", "the Queue is no Holder")
		} else {
			if other.hold(id); e.keepsReasons() {
				other.holdFor("a reason", id)
			}
			e.lag()
			neither(by, other, d, "is held")
			if by.checkState("held at another Queue", id, queue.Held); e.keepsReasons() {
				by.checkReason("held at another Queue", id, "a reason")
			}
			by.release(id)
			e.lag()
			other.checkState("released at another Queue", id, queue.Waiting)
		}
		has, t := either(other, by, d)
		has.settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: e.now().Add(24 * time.Hour)})
		e.lag()
		_, flushes := e.q.(queue.Flusher)
		_, hastens := e.q.(queue.Hastener)
		switch {
		case !flushes:
			e.note("Flush at another Queue", "the Queue is no Flusher")
		case !hastens:
			e.note("Hasten at another Queue", "the Queue is no Hastener")
		}
		switch {
		case hastens && (i < 4 || !flushes):
			if n, err := by.q.(queue.Hastener).Hasten(e.ctx, id); n != 1 || err != nil {
				e.Errorf("Hasten of a retry of another Queue: got %d and %v, want 1", n, err)
			}
			e.lag()
		case flushes:
			by.flush("with a retry of another Queue", d, 1)
			e.lag()
		default:
			e.sleep(24 * time.Hour)
		}
		has, t = either(other, by, d)
		if _, ok := e.q.(queue.Remover); !ok {
			e.note("Remove at another Queue", "the Queue is no Remover")
			has.settle(t, queue.Settlement{})
			continue
		}
		remover := a
		if has == a {
			remover = b
		}
		remover.remove([]queue.ID{id}, message("report", "r.example"))
		e.checkLost("Settle under a lease on a task that another Queue has removed",
			has.q.Settle(e.ctx, t.Lease, reporting(message("report", "r.example"))))
		e.checkLost("Extend of a lease on a task that another Queue has removed",
			has.q.Extend(e.ctx, t.Lease, time.Hour))
		e.lag()
		a.checkGone("after Remove at one of the Queues", id)
		b.checkGone("after Remove at one of the Queues", id)
		has, t = either(a, b, "r.example")
		has.settle(t, queue.Settlement{})
	}
	a.empty("all tasks were removed or settled")
	b.empty("all tasks were removed or settled")
}

// testHandlesClose tests that a Close of one Queue leaves the others, which can claim all tasks then.
func testHandlesClose(e *env) {
	a, b := e.pair()
	c, ok := a.q.(io.Closer)
	if !ok {
		e.lack("Close of one of several Queues", "the Queue has no method Close() error")
	}
	w, stop := b.watch()
	defer stop()
	destinations := names("d", 8)
	ids := map[string]queue.ID{}
	leased := map[string]queue.Task{}
	for i, d := range destinations {
		ids[d] = a.enqueue(message("x", d))
		if i%2 == 0 {
			e.lag()
			if tasks := a.claim(d, 10, queue.Any); len(tasks) > 0 { // otherwise it is the other Queue's
				leased[d] = tasks[0]
			}
		}
	}
	start := e.now()
	if err := c.Close(); err != nil {
		e.Errorf("Close of one of several Queues: got %v", err)
	}
	if _, err := a.q.Enqueue(e.ctx, message("x", "d.example")); !errors.Is(err, queue.ErrClosed) {
		e.Errorf("Enqueue after Close: got %v, want ErrClosed", err)
	}
	for _, t := range leased {
		if err := a.q.Settle(e.ctx, t.Lease, queue.Settlement{}); !errors.Is(err, queue.ErrClosed) {
			e.Errorf("Settle after Close: got %v, want ErrClosed", err)
		}
	}
	e.lag()
	for _, d := range destinations {
		if _, ok := leased[d]; !ok {
			t := b.claimOne(d)
			if t.Attempts != 1 {
				e.Errorf("a task of a closed Queue is unchanged: got %d attempts, want 1", t.Attempts)
			}
			b.checkBody(ids[d], []byte("x"))
			b.settle(t, queue.Settlement{})
		}
	}
	e.sleep(time.Hour) // the leases may have ended before
	e.lag()
	for d := range leased {
		t := b.claimOne(d)
		if t.ID != ids[d] || t.Attempts != 2 {
			e.Errorf("a lease of a closed Queue ends: got %s, want a task of %s in its second attempt",
				describe(t), ids[d])
		}
		w.checkWithin(b, "a task of a Queue that was closed", d, start, time.Hour+e.delay())
		b.settle(t, queue.Settlement{})
	}
	b.empty("all tasks are settled")
}
