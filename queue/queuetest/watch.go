package queuetest

import (
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// watcher records the calls of Watch.
type watcher struct {
	mu     sync.Mutex
	events []event
}

// event is a call: at look, a Runner would look for due tasks.
type event struct {
	lane queue.Lane
	look time.Time
}

// watch registers a watcher. It returns nil if the Queue is no Waker.
func (e *env) watch() (w *watcher, stop func()) {
	q, ok := e.q.(queue.Waker)
	if !ok {
		return nil, func() {}
	}
	w = &watcher{}
	return w, q.Watch(func(l queue.Lane, due time.Time) {
		w.mu.Lock()
		defer w.mu.Unlock()
		look := e.now()
		if due.After(look) {
			look = due
		}
		w.events = append(w.events, event{l, look})
	})
}

// is reports whether the call makes a Runner look for tasks of the destination.
func (v event) is(destination string) bool {
	return v.lane.Destination == destination || v.lane == queue.Lane{}
}

// told reports whether f returns true for one of the calls.
func (w *watcher) told(f func(event) bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.events, f)
}

// check checks that a lane of the destination was announced for that time since the last forget. If w is nil, it checks
// nothing.
func (w *watcher) check(e *env, what, destination string, due time.Time) {
	e.Helper()
	w.checkWithin(e, what, destination, due, time.Second)
}

// checkWithin is check for an announcement that may be late.
func (w *watcher) checkWithin(e *env, what, destination string, due time.Time, late time.Duration) {
	e.Helper()
	if w == nil {
		e.note("Watch after "+what, "the Queue is no Waker")
		return
	}
	if !w.told(func(v event) bool {
		return v.is(destination) && !v.look.Before(due.Add(-precision)) && !v.look.After(due.Add(late))
	}) {
		w.mu.Lock()
		defer w.mu.Unlock()
		e.Errorf("Watch announces %s: %s has a task due at %v, and the announcements are %v",
			what, destination, due, w.events)
	}
}

// copy returns a watcher with the calls so far.
func (w *watcher) copy() *watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &watcher{events: slices.Clone(w.events)}
}

func (w *watcher) forget() {
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = nil
}

// testWatch tests that a Waker announces every time at which a task may be due.
func testWatch(e *env) {
	w, stop := e.watch()
	if w == nil {
		e.lack("Watch", "the Queue is no Waker")
	}
	start := e.now()
	check := func(what, destination string, due time.Time) {
		e.Helper()
		w.check(e, what, destination, due)
		lanes := e.lanesOf(destination)
		w.mu.Lock()
		for _, v := range w.events {
			if v.lane.Destination == destination && !slices.Contains(lanes, v.lane) {
				e.Errorf("Watch announces %s: got %+v, want a lane of %v", what, v.lane, lanes)
			}
		}
		w.mu.Unlock()
		w.forget()
	}
	e.enqueue(message("x", "d.example"))
	check("Enqueue", "d.example", start)
	scheduled := message("x", "NotBefore")
	scheduled.NotBefore, scheduled.NoticeAt = start.Add(time.Hour), start.Add(time.Minute)
	e.enqueue(scheduled)
	check("an enqueued message's NotBefore", "NotBefore", scheduled.NotBefore)
	for i, name := range []string{"NoticeAt", "Deadline"} {
		m := message("x", name)
		at := start.Add(time.Duration(i+1) * time.Hour)
		if i == 0 {
			m.NoticeAt = at
		} else {
			m.Deadline = at
		}
		e.enqueue(m)
		t := e.claimOne(name)
		w.forget()
		e.settle(t, queue.Settlement{Next: start.Add(4 * time.Hour)})
		check("the "+name+" of a task that is put off", name, at)
	}
	e.enqueue(message("x", "two.example"))
	later := message("x", "two.example")
	later.NotBefore = start.Add(90 * time.Minute)
	e.enqueue(later)
	w.forget()
	e.claimOne("two.example") // ten are wanted
	check("a Claim that returns fewer tasks than wanted", "two.example", later.NotBefore)
	e.enqueue(message("x", "two.example"))
	again := e.claimOne("two.example")
	next := start.Add(time.Hour)
	e.settle(again, queue.Settlement{Results: results(again, smtp.Deferred), Next: next})
	e.enqueue(message("x", "two.example"))
	w.forget()
	e.claim("two.example", 10, queue.Retried) // only a fresh one is there
	check("a Claim that returns fewer tasks of a class than wanted", "two.example", next)
	t := e.claimOne("d.example")
	expires := e.now().Add(time.Hour)
	e.sleep(time.Hour)
	check("a lease that expires", "d.example", expires)
	t = e.claimOne("d.example")
	if err := e.q.Extend(e.ctx, t.Lease, 3*time.Hour); err != nil {
		e.Fatal(err)
	}
	extended := e.now().Add(3 * time.Hour)
	e.sleep(3 * time.Hour)
	check("an extended lease that expires", "d.example", extended)
	t = e.claimOne("d.example")
	next = e.now().Add(time.Minute)
	e.settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: next,
		Reports: []queue.Message{message("report", "r.example")}})
	w.check(e, "Settle with a Next", "d.example", next)
	check("Settle with reports", "r.example", e.now())
	stop()
	e.enqueue(message("x", "d.example"))
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.events) > 0 {
		e.Errorf("stop ends Watch: got %v after it", w.events)
	}
}
