package queue

import (
	"sync"
	"time"
)

// watchers are those who asked to be told when work comes up.
type watchers struct {
	mu    sync.Mutex
	funcs map[*func(string, time.Time)]struct{}
}

// Watch implements [Waker]. A lease is told of when it is granted or extended, with the time at which it
// expires: what isn't settled by then can be claimed again.
func (w *watchers) Watch(f func(destination string, due time.Time)) (stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.funcs == nil {
		w.funcs = map[*func(string, time.Time)]struct{}{}
	}
	w.funcs[&f] = struct{}{}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.funcs, &f)
	}
}

// tell says that each destination may have something due by then. No lock of the queue is held.
func (w *watchers) tell(due time.Time, destinations ...string) {
	w.mu.Lock()
	funcs := make([]func(string, time.Time), 0, len(w.funcs))
	for f := range w.funcs {
		funcs = append(funcs, *f)
	}
	w.mu.Unlock()
	for _, f := range funcs {
		for _, name := range destinations {
			f(name, due)
		}
	}
}

// tellNew tells of a message that came in.
func (w *watchers) tellNew(s *stored) { w.tell(fromNano(min(s.due, s.overdue(false))), s.dests...) }

// tellClaimed tells of the leases of a Claim, which all expire at one time.
func tellClaimed[M, S any](w *watchers, tasks []claimed[M, S]) {
	var names []string
	for i, c := range tasks {
		// The tasks of one Want stand together.
		if i == 0 || c.task.Lease.Destination != tasks[i-1].task.Lease.Destination {
			names = append(names, c.task.Lease.Destination)
		}
	}
	if len(names) > 0 {
		w.tell(tasks[0].task.Lease.Expires, names...)
	}
}
