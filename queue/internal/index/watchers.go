package index

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Watchers are those who asked to be told when work comes up.
type Watchers struct {
	mu   sync.Mutex                 // of those who change list
	list atomic.Pointer[[]*watcher] // replaced as a whole: tell needs no lock
}

type watcher struct {
	f func(destination string, due time.Time)
}

// Watch implements [queue.Waker]. A lease is told of when it is granted or extended, with the time at which it
// expires: what isn't settled by then can be claimed again.
func (w *Watchers) Watch(f func(destination string, due time.Time)) (stop func()) {
	added := &watcher{f}
	w.change(func(list []*watcher) []*watcher { return append(list, added) })
	return func() {
		w.change(func(list []*watcher) []*watcher {
			return slices.DeleteFunc(list, func(other *watcher) bool { return other == added })
		})
	}
}

// all are those who are to be told.
func (w *Watchers) all() []*watcher {
	if list := w.list.Load(); list != nil {
		return *list
	}
	return nil
}

func (w *Watchers) change(do func([]*watcher) []*watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := do(slices.Clone(w.all()))
	w.list.Store(&list)
}

// Tell says that each destination may have something due by then. No lock of the queue is held.
func (w *Watchers) Tell(due time.Time, destinations ...string) {
	for _, to := range w.all() {
		for _, name := range destinations {
			to.f(name, due)
		}
	}
}

// TellNew tells of a message that came in.
func (w *Watchers) TellNew(s *Message) { w.Tell(FromNano(min(s.Due, s.Overdue(false))), s.Dests...) }

// TellClaimed tells of the leases of a Claim, which expire at one time, and of what comes next.
func TellClaimed[M, S any](w *Watchers, tasks []Task[M, S], expire time.Time, next []coming) {
	for _, c := range next {
		w.Tell(c.at, c.name)
	}
	var names []string
	for i, c := range tasks {
		// The tasks of one Want stand together.
		if i == 0 || c.Task.Destination != tasks[i-1].Task.Destination {
			names = append(names, c.Task.Destination)
		}
	}
	if len(names) > 0 {
		w.Tell(expire, names...)
	}
}
