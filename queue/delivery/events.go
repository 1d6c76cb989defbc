package delivery

import (
	"cmp"
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Events are told what happens to the mail, what became of a recipient once the queue has recorded it: one call a
// recipient and attempt. A process that ends in between tells nothing, so the queue and not the events is what
// to count on. Any func may be nil.
//
// They are called one at a time, in the order in which things happened to a task, by a goroutine that does nothing else. A func
// that takes its time holds up no mail: up to Buffer events wait for it, and further ones are dropped and counted by
// [Runner.Missed]. Run returns when the last that waits has been told.
type Events struct {
	Attempted func(Event) // an attempt begins; Result and Next say nothing
	Delivered func(Event) // a host has taken it
	Deferred  func(Event) // it is tried again at Next
	Unknown   func(Event) // it may have been taken; it is tried again at Next
	Rejected  func(Event) // for good
	Expired   func(Event) // given up at the deadline; Result is the last there was
	Cancelled func(Event) // taken out by [Runner.Cancel] or [Runner.Purge]; Result is the last there was, and its Reply may be nil

	Reported func(Event) // a report about Task is in the queue; Result says nothing

	// Buffer is how many events may wait. If zero, 1024.
	Buffer int
}

// Then gives Events that call the funcs of e, and then those of next. Buffer is the larger of the two.
func (e Events) Then(next Events) Events {
	both := func(f, g func(Event)) func(Event) {
		switch {
		case f == nil:
			return g
		case g == nil:
			return f
		}
		return func(x Event) { f(x); g(x) }
	}
	return Events{
		Attempted: both(e.Attempted, next.Attempted),
		Delivered: both(e.Delivered, next.Delivered),
		Deferred:  both(e.Deferred, next.Deferred),
		Unknown:   both(e.Unknown, next.Unknown),
		Rejected:  both(e.Rejected, next.Rejected),
		Expired:   both(e.Expired, next.Expired),
		Cancelled: both(e.Cancelled, next.Cancelled),
		Reported:  both(e.Reported, next.Reported),
		Buffer:    max(e.Buffer, next.Buffer),
	}
}

const defaultBuffer = 1024

// Event is what happened to one recipient, or to all of Task in one of Attempted.
type Event struct {
	Time   time.Time  // when it happened
	Task   queue.Task // as it was claimed; what it points to must not be changed
	Result smtp.Result
	Report *smtp.Envelope // of Reported: that of the report, which must not be changed
	Kind   string         // of Reported: "failed", "delayed" or "delivered", the worst that the report is about
	Next   time.Time      // when the task is tried again, for what is still open; zero: never
}

// of gives the func for a result, nil if there is none. done says that the task isn't tried again.
func (e *Events) of(outcome smtp.Outcome, done bool) func(Event) {
	switch {
	case outcome == smtp.Delivered:
		return e.Delivered
	case outcome == smtp.Rejected:
		return e.Rejected
	case done:
		return e.Expired
	case outcome == smtp.Unknown:
		return e.Unknown
	}
	return e.Deferred
}

// Missed returns how many events were dropped, because the funcs of Events took too long.
func (r *Runner) Missed() uint64 {
	r.teller.mu.Lock()
	defer r.teller.mu.Unlock()
	return r.teller.missed
}

// teller calls the funcs of Events, in a goroutine that is there while one waits.
type teller struct {
	mu      sync.Mutex
	waiting []telling
	missed  uint64
	busy    chan struct{} // closed when the goroutine ends; nil: there is none
}

type telling struct {
	tell func(Event)
	e    Event
}

// tell has f called with e, unless f is nil or too many wait.
func (r *Runner) tell(f func(Event), e Event) {
	if f == nil {
		return
	}
	e.Time = time.Now()
	t := &r.teller
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) >= cmp.Or(r.Events.Buffer, defaultBuffer) {
		t.missed++
		return
	}
	t.waiting = append(t.waiting, telling{f, e})
	if t.busy == nil {
		t.busy = make(chan struct{})
		go t.run(t.busy, r.logger())
	}
}

func (t *teller) run(ended chan struct{}, logger *slog.Logger) {
	defer close(ended)
	var batch []telling
	for {
		clear(batch)
		t.mu.Lock()
		batch, t.waiting = t.waiting, batch[:0]
		if len(batch) == 0 {
			t.busy = nil
			t.mu.Unlock()
			return
		}
		t.mu.Unlock()
		for _, x := range batch {
			x.call(logger)
		}
	}
}

// call calls the func. One that panics is logged: who only looks on can't end the process.
func (x *telling) call(logger *slog.Logger) {
	defer func() {
		if p := recover(); p != nil {
			logTask(context.Background(), logger, slog.LevelError, "event func panics", &x.e.Task, slog.Any("panic", p),
				slog.String("stack", string(debug.Stack())))
		}
	}()
	x.tell(x.e)
}

// wait returns when all has been told that waits now.
func (t *teller) wait() {
	t.mu.Lock()
	busy := t.busy
	t.mu.Unlock()
	if busy != nil {
		<-busy
	}
}
