package delivery

import (
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
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
	woken  map[queue.Lane]time.Time // when each may first have something due; zero: now
	asked  bool                     // the queue asks to be listed again
	failed bool                     // the queue failed, and works again
	done   []outcome
	sited  []sited
}

// sited is the site of a destination.
type sited struct {
	destination string
	site        Site
}

// outcome is the end of a task's delivery.
type outcome struct {
	flight  *flight
	verdict verdict
	lapse   time.Time // when its lease ends; zero: it is settled
	exited  bool      // the worker is gone with it
}

func newInbox() *inbox {
	return &inbox{signal: make(chan struct{}, 1), news: news{woken: make(map[queue.Lane]time.Time)}}
}

// wake is for Waker.Watch.
func (in *inbox) wake(l queue.Lane, due time.Time) {
	if l == (queue.Lane{}) {
		in.relist()
		return
	}
	in.mu.Lock()
	if known, ok := in.woken[l]; !ok || due.Before(known) {
		in.woken[l] = due
	}
	in.mu.Unlock()
	in.ring()
}

// relist notes that the Queue asks for a list.
func (in *inbox) relist() {
	in.mu.Lock()
	in.asked = true
	in.mu.Unlock()
	in.ring()
}

// recovered notes that the Queue works again after a failure.
func (in *inbox) recovered() {
	in.mu.Lock()
	in.failed = true
	in.mu.Unlock()
	in.ring()
}

// finish notes that a delivery has ended.
func (in *inbox) finish(o outcome) {
	in.mu.Lock()
	in.done = append(in.done, o)
	in.mu.Unlock()
	in.ring()
}

// found notes the site of a destination.
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
		n.woken = make(map[queue.Lane]time.Time)
	}
	clear(n.woken)
	clear(n.done)
	n.done, n.sited = n.done[:0], n.sited[:0]
	n.asked, n.failed = false, false
	in.mu.Lock()
	defer in.mu.Unlock()
	*n, in.news = in.news, *n
}
