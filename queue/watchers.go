package queue

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// watchers are those who asked to be told when work comes up.
type watchers struct {
	mu   sync.Mutex                 // of those who change list
	list atomic.Pointer[[]*watcher] // replaced as a whole: tell needs no lock
}

type watcher struct {
	f func(destination string, due time.Time)
}

// Watch implements [Waker]. A lease is told of when it is granted or extended, with the time at which it
// expires: what isn't settled by then can be claimed again.
func (w *watchers) Watch(f func(destination string, due time.Time)) (stop func()) {
	added := &watcher{f}
	w.change(func(list []*watcher) []*watcher { return append(list, added) })
	return func() {
		w.change(func(list []*watcher) []*watcher {
			return slices.DeleteFunc(list, func(other *watcher) bool { return other == added })
		})
	}
}

// all are those who are to be told.
func (w *watchers) all() []*watcher {
	if list := w.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (w *watchers) change(do func([]*watcher) []*watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := do(slices.Clone(w.all()))
	w.list.Store(&list)
}

// tell says that each destination may have something due by then. No lock of the queue is held.
func (w *watchers) tell(due time.Time, destinations ...string) {
	for _, to := range w.all() {
		for _, name := range destinations {
			to.f(name, due)
		}
	}
}

// tellNew tells of a message that came in.
func (w *watchers) tellNew(s *stored) { w.tell(fromNano(min(s.due, s.overdue(false))), s.dests...) }

// tellClaimed tells of the leases of a Claim, which all expire at one time, and of what comes next.
func tellClaimed[M, S any](w *watchers, tasks []claimed[M, S], next []coming) {
	for _, c := range next {
		w.tell(c.at, c.name)
	}
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
