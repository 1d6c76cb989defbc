package index

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/queue"
)

// Watchers implements queue.Waker for a store.
type Watchers struct {
	mu   sync.Mutex                 // held to change list
	list atomic.Pointer[[]*watcher] // replaced as a whole, so that Tell needs no lock
}

type watcher struct {
	f func(l queue.Lane, due time.Time)
}

// Watch implements [queue.Waker]. It also announces a lease when it is granted or extended, with the time at which it
// expires, because the task can be claimed again then.
func (w *Watchers) Watch(f func(l queue.Lane, due time.Time)) (stop func()) {
	if f == nil {
		return func() {}
	}
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

// Tell announces that each lane may have a task due at that time. The store's lock must not be held.
func (w *Watchers) Tell(due time.Time, lanes ...queue.Lane) {
	for _, to := range w.all() {
		for _, l := range lanes {
			to.tell(l, due)
		}
	}
}

// tell calls f, which only looks on: its panic can't make an Enqueue fail whose message is stored already.
func (w *watcher) tell(l queue.Lane, due time.Time) {
	defer func() { recover() }() // an announcement is a hint, which a Runner may miss
	w.f(l, due)
}

// TellNew announces a message that was added, unless it is held.
func (w *Watchers) TellNew(s *Message) {
	if s.Held {
		return
	}
	for _, name := range s.Dests {
		w.Tell(fromDue(min(s.NotBefore, s.Overdue(false))), s.Lane(name))
	}
}

// TellDue announces a task that can be claimed from then on.
func (w *Watchers) TellDue(due int64, l queue.Lane) {
	w.Tell(fromDue(due), l)
}

// TellComing announces tasks that can be claimed at their times.
func (w *Watchers) TellComing(next []Coming) {
	for _, c := range next {
		w.Tell(c.at, c.lane)
	}
}

// TellClaimed announces the leases of a Claim, which expire at the same time, and the tasks that come next.
func TellClaimed[M, S any](w *Watchers, tasks []Task[M, S], expire time.Time, next []Coming) {
	w.TellComing(next)
	var lanes []queue.Lane
	for i := range tasks {
		// The tasks of a Want are adjacent.
		if i == 0 || tasks[i].Lane != tasks[i-1].Lane {
			lanes = append(lanes, tasks[i].Lane)
		}
	}
	w.Tell(expire, lanes...)
}
