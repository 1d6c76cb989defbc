package delivery

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Events are called for what happens to the mail. An event for a recipient comes after the queue has recorded it, once
// for each attempt. A process that ends in between calls none: what must not be missed is in the queue. Any func may be
// nil.
//
// One goroutine makes all calls, in the order in which things happened to a task. A slow func delays no mail: up to
// Buffer events wait for it, and further ones are dropped and counted by [Runner.Missed]. Run returns after the last
// event that waits. A func that panics is logged, and changes nothing.
type Events struct {
	// Attempted: an attempt begins. There is no Result yet.
	Attempted func(Event)

	// Delivered: a host has accepted the message for the recipient.
	Delivered func(Event)

	// Deferred: the recipient is tried again at Next.
	Deferred func(Event)

	// Unknown: a host may have accepted the message. The recipient is tried again at Next.
	Unknown func(Event)

	// Rejected: the recipient has failed.
	Rejected func(Event)

	// Expired: the recipient has failed at the Deadline. Result is the last one.
	Expired func(Event)

	// Cancelled: the message was removed by [Runner.Cancel] or [Runner.Purge]. Result is the last one of the recipient;
	// its Reply may be nil.
	Cancelled func(Event)

	// Quarantined: the message of Task is held. The process has ended several times while it had Task, or Task is a
	// report task whose report has failed too often. See "Quarantine" at Runner. There is no Result.
	Quarantined func(Event)

	// Reported: a report about Task is in the queue. There is no Result. A report about several destinations has a Task
	// with the Destination queue.ReportDestination and the recipients of all of them.
	Reported func(Event)

	// Buffer is how many events may wait. If zero, 1024.
	Buffer int
}

// Then returns Events that call the funcs of e, and after each the one of next. Buffer is the larger of the two.
func (e Events) Then(next Events) Events {
	both := func(f, g func(Event)) func(Event) {
		switch {
		case f == nil:
			return g
		case g == nil:
			return f
		}
		return func(x Event) {
			defer g(x) // also if f panics
			f(x)
		}
	}
	return Events{
		Attempted:   both(e.Attempted, next.Attempted),
		Delivered:   both(e.Delivered, next.Delivered),
		Deferred:    both(e.Deferred, next.Deferred),
		Unknown:     both(e.Unknown, next.Unknown),
		Rejected:    both(e.Rejected, next.Rejected),
		Expired:     both(e.Expired, next.Expired),
		Cancelled:   both(e.Cancelled, next.Cancelled),
		Quarantined: both(e.Quarantined, next.Quarantined),
		Reported:    both(e.Reported, next.Reported),
		Buffer:      max(e.Buffer, next.Buffer),
	}
}

const defaultBuffer = 1024

// EventType is what an [Event] is about.
type EventType string

// The types of events. Each but EventDelayed is that of the func of [Events] with its name.
const (
	EventAttempted   EventType = "attempted"
	EventDelivered   EventType = "delivered"
	EventDeferred    EventType = "deferred"
	EventUnknown     EventType = "unknown"
	EventRejected    EventType = "rejected"
	EventExpired     EventType = "expired"
	EventCancelled   EventType = "cancelled"
	EventQuarantined EventType = "quarantined"
	EventReported    EventType = "reported"

	// EventDelayed: the delay notice fell due for the recipient, which is open. Runner.Outbox alone has such events.
	EventDelayed EventType = "delayed"
)

// Event is what happened to one recipient of a task, or to the task for Attempted, Quarantined and Reported.
type Event struct {
	Type EventType

	// Time is when it happened.
	Time time.Time

	// Task is the task as it was claimed, with its ID, Ref and Tenant. Don't change its Envelope and its Last.
	Task queue.Task

	// Result is the recipient's, with its Reason.
	Result smtp.Result

	// Next is when the open recipients of Task are tried again. If zero, they aren't.
	Next time.Time

	// Report is the envelope of a report that is about the message Task.ID, and must not be changed. Kind is the worst
	// that it reports: "failed", "delayed", "relayed", "expanded" or "delivered". Both are for Reported alone.
	Report *smtp.Envelope
	Kind   string
}

// typeOf returns the type of the event for a result. done is true if the task isn't tried again.
func typeOf(outcome smtp.Outcome, done bool) EventType {
	switch {
	case outcome == smtp.Delivered:
		return EventDelivered
	case outcome == smtp.Rejected:
		return EventRejected
	case done:
		return EventExpired
	case outcome == smtp.Unknown:
		return EventUnknown
	}
	return EventDeferred
}

// of returns the func for a type, nil if there is none.
func (e *Events) of(t EventType) func(Event) {
	switch t {
	case EventAttempted:
		return e.Attempted
	case EventDelivered:
		return e.Delivered
	case EventDeferred:
		return e.Deferred
	case EventUnknown:
		return e.Unknown
	case EventRejected:
		return e.Rejected
	case EventExpired:
		return e.Expired
	case EventCancelled:
		return e.Cancelled
	case EventQuarantined:
		return e.Quarantined
	case EventReported:
		return e.Reported
	}
	return nil
}

// Missed returns how many events were dropped, because the funcs of Events took too long.
func (r *Runner) Missed() uint64 {
	r.teller.mu.Lock()
	defer r.teller.mu.Unlock()
	return r.teller.missed
}

// teller calls the funcs of Events in one goroutine, which exists while an event waits.
type teller struct {
	mu      sync.Mutex
	waiting line[telling]
	missed  uint64
	busy    chan struct{} // closed when none waits; nil: there is no goroutine
}

type telling struct {
	tell func(Event)
	e    Event
}

// tellEvent queues a call of the func of Events for e, if there is one.
func (r *Runner) tellEvent(e Event) { r.tell(r.Events.of(e.Type), e) }

// tell queues a call of f with e, unless f is nil or too many events wait.
func (r *Runner) tell(f func(Event), e Event) {
	if f == nil {
		return
	}
	e.Time = r.time()
	t := &r.teller
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting.len() >= cmp.Or(r.Events.Buffer, defaultBuffer) {
		t.missed++
		return
	}
	t.waiting.push(telling{f, e})
	if t.busy == nil {
		t.busy = make(chan struct{})
		go r.tellAll()
	}
}

// tellAll calls the funcs of all events that wait. If a func ends the goroutine, as t.Fatal does, another goroutine
// calls the rest.
func (r *Runner) tellAll() {
	over := false
	defer func() {
		if !over {
			go r.tellAll()
		}
	}()
	for {
		x, ok := r.teller.next()
		if !ok {
			over = true
			return
		}
		r.call(context.Background(), "event func", &x.e.Task, func() error {
			x.tell(x.e)
			return nil
		})
	}
}

// next removes the event that is next. ok is false if none waits.
func (t *teller) next() (x telling, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if x, ok = t.waiting.pop(); !ok {
		close(t.busy)
		t.busy = nil
	}
	return x, ok
}

// wait returns after the last event that waits now.
func (t *teller) wait() {
	t.mu.Lock()
	busy := t.busy
	t.mu.Unlock()
	if busy != nil {
		<-busy
	}
}
