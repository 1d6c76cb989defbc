package queue

import (
	"time"

	"github.com/postrider/postrider/smtp"
)

// Events are told what became of each recipient, once the queue has recorded it: one call a
// recipient and attempt. A process that ends in between tells nothing, so the queue and not the events is what
// to count on. Any func may be nil.
//
// They are called from the goroutines that deliver, several at once. A func that blocks holds up the delivery
// that it is called from and its place in the limits; whoever needs time passes the event on and returns.
type Events struct {
	Delivered func(Event) // a host has taken it
	Deferred  func(Event) // it is tried again at Next
	Unknown   func(Event) // it may have been taken; it is tried again at Next
	Rejected  func(Event) // for good
	Expired   func(Event) // given up at the deadline; Result is the last there was
}

// Event is what became of one recipient.
type Event struct {
	Task   Task // as it was claimed; what it points to must not be changed
	Result smtp.Result
	Next   time.Time // when the task is tried again, for what is still open; zero: never
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
