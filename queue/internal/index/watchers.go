package index

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Watchers implements queue.Waker for a store.
type Watchers struct {
	mu   sync.Mutex                 // held to change list
	list atomic.Pointer[[]*watcher] // replaced as a whole, so that Tell needs no lock
}

type watcher struct {
	f func(destination string, due time.Time)
}

// Watch implements [queue.Waker]. It also announces a lease when it is granted or extended, with the time at which it
// expires, because the task can be claimed again then.
func (w *Watchers) Watch(f func(destination string, due time.Time)) (stop func()) {
	added := &watcher{f}
	w.change(func(list []*watcher) []*watcher { return append(list, added) })
	return func() {
		w.change(func(list []*watcher) []*watcher {
			return slices.DeleteFunc(list, func(other *watcher) bool { return other == added })
		})
	}
}

// all returns the registered funcs.
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

// Tell announces that each destination may have a task due at that time. The store's lock must not be held.
func (w *Watchers) Tell(due time.Time, destinations ...string) {
	for _, to := range w.all() {
		for _, name := range destinations {
			to.f(name, due)
		}
	}
}

// TellNew announces a new message.
func (w *Watchers) TellNew(s *Message) { w.Tell(FromNano(min(s.Due, s.Overdue(false))), s.Dests...) }

// TellClaimed announces the leases of a Claim, which expire at the same time, and the tasks that come next.
func TellClaimed[M, S any](w *Watchers, tasks []Task[M, S], expire time.Time, next []coming) {
	for _, c := range next {
		w.Tell(c.at, c.name)
	}
	var names []string
	for i, c := range tasks {
		// The tasks of a Want are adjacent.
		if i == 0 || c.Task.Destination != tasks[i-1].Task.Destination {
			names = append(names, c.Task.Destination)
		}
	}
	if len(names) > 0 {
		w.Tell(expire, names...)
	}
}
