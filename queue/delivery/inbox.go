package delivery

import (
	"sync"
	"time"
)

// inbox is where a Runner's loop is told what happened. Telling never blocks, and what waits there is bounded
// by the destinations and the tasks in flight.
type inbox struct {
	signal chan struct{} // has one element if there may be news

	mu sync.Mutex
	news
}

// news is what happened.
type news struct {
	woken map[string]time.Time // by destination: when it may first have something due
	done  []outcome
	sited []sited
}

// sited is the site of a destination.
type sited struct{ destination, site string }

// outcome is the end of a task's delivery.
type outcome struct {
	target  *target
	verdict verdict
	lapse   time.Time // when its lease ends; zero: it is settled
	exited  bool      // the worker is gone with it
}

func newInbox() *inbox {
	return &inbox{signal: make(chan struct{}, 1), news: news{woken: make(map[string]time.Time)}}
}

// wake is for Waker.Watch.
func (in *inbox) wake(destination string, due time.Time) {
	in.mu.Lock()
	if known, ok := in.woken[destination]; !ok || due.Before(known) {
		in.woken[destination] = due
	}
	in.mu.Unlock()
	in.ring()
}

// finish says that a delivery is over.
func (in *inbox) finish(o outcome) {
	in.mu.Lock()
	in.done = append(in.done, o)
	in.mu.Unlock()
	in.ring()
}

// found says what site a destination has.
func (in *inbox) found(s sited) {
	in.mu.Lock()
	in.sited = append(in.sited, s)
	in.mu.Unlock()
	in.ring()
}

func (in *inbox) ring() {
	select {
	case in.signal <- struct{}{}:
	default:
	}
}

// keepRoom is how many destinations an emptied map may have had to be used again: clearing a map takes the time
// of the most that it ever had.
const keepRoom = 256

// take empties the inbox into n, whose room is used again.
func (in *inbox) take(n *news) {
	if n.woken == nil || len(n.woken) > keepRoom {
		n.woken = make(map[string]time.Time)
	}
	clear(n.woken)
	clear(n.done)
	n.done, n.sited = n.done[:0], n.sited[:0]
	in.mu.Lock()
	defer in.mu.Unlock()
	*n, in.news = in.news, *n
}
