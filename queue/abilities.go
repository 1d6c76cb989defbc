package queue

import (
	"context"
	"iter"
	"time"
)

// Waker is implemented by a Queue that can say when work comes up, so that Runner needn't ask.
type Waker interface {
	// Watch has f called with a destination and the earliest time at which it may have something due,
	// each time that this may have become earlier: by Enqueue, by a Settle with a Next or with reports, by
	// an expired lease, by Release, by Flush and by a Remove with reports. A Claim that gives less than a
	// Want asks for tells when the destination has more of its class.
	//
	// It may be called concurrently, before the call that caused it returns, and once too often; it must not
	// block or call the Queue. A Queue that has been closed, or is broken, calls it with an empty
	// destination, so that a Runner asks and hears of it. stop ends it.
	Watch(f func(destination string, due time.Time)) (stop func())
}

// Lister is implemented by a Queue that can show what it holds.
type Lister interface {
	// List gives every task that f lets through, held and leased ones too, in the order in which their
	// messages arrived; those of one message stand together. Each is as it is when its turn comes. What
	// arrives, leaves or changes meanwhile may be in it or not; all else is in it, once. Lease is zero.
	//
	// It can be broken off and taken up again: where the tasks of a message end, with that message's ID
	// as f.After. Nothing keeps the Queue from going on with its work between two tasks.
	List(ctx context.Context, f Filter) iter.Seq2[Task, error]
}

// Filter selects tasks for List: those that match all of its fields that aren't zero.
type Filter struct {
	// ID is the message's. An ID that the Queue doesn't have matches nothing.
	ID ID

	// After is the ID of an earlier message in the order of arrival, which may be gone. An ID that the Queue never had may
	// be an error.
	After ID

	// Destination is the task's.
	Destination string

	// Recipient is the address of a recipient of the task that isn't settled. The local part is compared octet by octet,
	// the domain as an A-label.
	Recipient string

	// Domain is the domain of a recipient of the task that isn't settled, compared as an A-label.
	Domain string

	// Sender is the message's reverse-path, "<>" for the null one. It is compared like Recipient.
	Sender string

	// Ref and Tenant are the message's.
	Ref, Tenant string

	// ArrivedAfter and ArrivedBefore are times between which the message arrived, both excluded.
	ArrivedAfter, ArrivedBefore time.Time

	// State is the task's.
	State State
}

// Holder is implemented by a Queue that can keep a message back.
//
// IDs of messages that aren't there are passed over. ErrNotFound: none is there, and nothing was
// changed. After another error, some may have been dealt with and others not; both calls can be repeated.
type Holder interface {
	// Hold keeps these messages back until Release, durably when it returns: none of their tasks is
	// claimable, so none is tried, gets its delay notice or is given up, whatever comes due. One that is
	// leased can still be settled or extended, and is held if it comes back, by a Settle with a Next or by
	// the end of its lease. To hold what is held is no error.
	Hold(ctx context.Context, ids ...ID) error

	// Release undoes Hold, durably when it returns. What came due meanwhile is due now, and a Waker
	// tells of it. To release what isn't held is no error.
	Release(ctx context.Context, ids ...ID) error
}

// Flusher is implemented by a Queue that can bring forward what waits to be tried again.
type Flusher interface {
	// Flush makes due now every task of the destination that waits and of which an attempt counts, "" meaning
	// those of all destinations, and gives how many it brought forward. What was scheduled or put off and never
	// tried, what is held or leased, delay notices and deadlines keep their times. A Waker tells of it.
	//
	// It need not be durable: after a crash or a restart, a task may be due when it was before. What
	// changes meanwhile is brought forward or not. On an error, n counts what was by then.
	Flush(ctx context.Context, destination string) (n int, err error)
}

// Remover is implemented by a Queue that can take out a message that nobody has settled.
type Remover interface {
	// Remove takes these messages out, whatever the State of their tasks, and puts the reports in, as one
	// commit, durable when it returns: after a crash, all of it was done or nothing. Others may see a part
	// of it before it returns.
	//
	// Leases on their tasks are void from then on: ErrLeaseLost, for a Settle that is on its way, too,
	// whose reports aren't stored. What is being sent may be delivered none the less.
	//
	// IDs of messages that aren't there are passed over. ErrNotFound: none is there, and no report is
	// stored. On another error, from the Body of a report included, which comes back wrapped, nothing was done;
	// but on ErrBroken nobody knows.
	Remove(ctx context.Context, ids []ID, reports ...Message) error
}

// Stater is implemented by a Queue that can count what it holds.
type Stater interface {
	// Stats counts what is there. It is asked every few seconds, and must not take long.
	Stats(ctx context.Context) (Stats, error)
}

// Stats is how much a Queue holds.
type Stats struct {
	Messages     int
	Tasks        int
	Destinations int // that have a task, whatever its State

	Waiting, Leased, Held int // tasks, by their State

	// Octets is what the bodies of the messages take. What is kept beside them, envelopes say, may be
	// counted in.
	Octets int64

	// Oldest is when the message that came first arrived. If zero, there is none.
	Oldest time.Time
}
