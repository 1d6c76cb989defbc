package queue

import (
	"context"
	"io"
	"iter"
	"time"
)

// Keyer is a [Queue] that stores messages with a Key, each once. A program that doesn't know whether its Enqueue has
// succeeded, because it crashed or the connection to it broke, repeats it with the same Key.
//
// A Key belongs to the Tenant of its message: two Tenants, or a Tenant and messages without one, may use the same. The
// Queue remembers it for at least 24 hours from the Enqueue on, unless it states another time, and for at most twice as
// long. In this time, an Enqueue of a message with this Key stores nothing, and returns the ID of the first message. So
// it is after the first message was delivered, returned or removed, and after a restart or a crash.
//
// The reverse-path and the addresses of the recipients must be those of the first message, octet by octet and in any
// order. Otherwise the error is ErrKeyReused. Nothing else is compared: a repeated message has another Date. The Queue
// needn't read its Body.
//
// Of several Enqueues of a Key at a time, one stores its message. The others wait until that is durable, or their ctx
// ends. If it fails, another one stores its message. So no ID is returned whose message isn't durable.
//
// The Queue bounds the number of Keys. When there are as many, a message with a new Key is refused with ErrKeysFull. A
// step of the wall clock while the Queue is open ends no Key early.
type Keyer interface {
	// EnqueueOnce is Enqueue, and reports whether the message repeats an earlier one, whose ID it then returns. Enqueue
	// does the same for a message with a Key. Without a Key, the message never repeats one.
	EnqueueOnce(ctx context.Context, m Message) (id ID, repeats bool, err error)
}

// Importer is a [Queue] that takes over messages of another Queue, with the state that their tasks have there. Package
// drain moves a whole Queue in this way.
type Importer interface {
	// Import stores a message as [Keyer].EnqueueOnce does. It is durable when Import returns. Its tasks have the state
	// that in.Tasks have, and IDs, Owners and Leases of this Queue.
	Import(ctx context.Context, in Import) (id ID, repeats bool, err error)
}

// Import is a message of another Queue.
type Import struct {
	// Tasks are all tasks of the message, as [Lister].List returned them, with the same envelope but for the
	// recipients. A Deaths counts as in Task. If Held is true, the HeldFor of the first one is kept. A time set by
	// Settlement.OverdueFrom is forgotten: the next Settle may set it again. Recipients of a report task that aren't in
	// another task are settled.
	Tasks []Task

	// Body, Key and Held are as in Message. Without a Key, each Import stores a message. If Held is false, the message
	// isn't held, whatever the State of Tasks.
	Body io.Reader
	Key  string
	Held bool
}

// Sharer is a [Queue] that keeps small records for the Runners of its store, so that they share the limits of sites,
// tenants and sources: see "Limits that Runners share" in the doc of the package. A record has a name and some octets,
// which the Queue doesn't read.
type Sharer interface {
	// Share calls f with the records that have these names, and with the time of the store, which is the same at all of
	// its Queues. f changes the map: it puts, replaces or deletes records that have one of these names. Then Share
	// stores the records that have changed. f must not keep or change octets that it gets, must not block, and must not
	// call the Queue. A record without octets is none.
	//
	// All calls at all Queues on the store have their effects one after another, as if none were concurrent, and at
	// once. So Share may call f several times, each time with the present records; the last call counts. The records
	// are durable when Share returns. They are kept when a Queue is closed, and when no Queue is open.
	//
	// If Share returns nil, it has called f.
	//
	// If f returns an error, Share stores nothing and returns that error; so it does if f puts a record under another
	// name. After another error, it may not be known whether the records are stored. A name has up to 255 octets of
	// UTF-8 without NUL, a record up to 1 MB, and a call has up to 1,000 names.
	Share(ctx context.Context, names []string, f func(now time.Time, records map[string][]byte) error) error
}

// Waker is a [Queue] that announces due tasks, so that a Runner needn't ask for them.
type Waker interface {
	// Watch registers f. The Queue calls f with a lane and a time whenever the lane may have a task due at that time,
	// earlier than announced before. If the time is zero, it may be due at once. The causes are Enqueue, Settle with a
	// Next or with reports, a lease that expires, Release, Flush, Hasten, and Remove with reports. A Claim that returns
	// fewer tasks than a Want asks for announces the next task of that Want's class, even if it is due already.
	//
	// f is called concurrently, and before the call that is the cause returns. If that was a call at another Queue on
	// the same store, f is called within the lag that the store states. It may be called more often than necessary. f
	// must not block, and must not call the Queue. The zero Lane means that a Runner must ask for the Lanes: the Queue
	// was closed or is broken, and Lanes returns the error, or announcements may be missing. stop unregisters f. If f
	// panics, the Queue recovers from it. If f is nil, nothing is registered.
	//
	// Announcements are hints: a Runner that misses one finds the task when it next calls Lanes.
	Watch(f func(l Lane, due time.Time)) (stop func())
}

// Lister is a [Queue] that lists its tasks.
type Lister interface {
	// List yields every task that f selects, leased and held ones too, in the order in which their messages arrived.
	// The tasks of a message are adjacent. Lease is zero. A task is as it is when it is yielded. Tasks that arrive,
	// leave or change during the iteration may be missing; every other one is yielded once.
	//
	// A page may end after the tasks of any message. The next page begins with the ID of that message as f.After. The
	// Queue works on between two tasks.
	List(ctx context.Context, f Filter) iter.Seq2[Task, error]
}

// Filter selects tasks: those that match all fields that aren't zero.
type Filter struct {
	// ID is the message's. An ID that the Queue doesn't have matches nothing.
	ID ID

	// After selects the messages that arrived after this one, which may have left. An ID that the Queue never had may
	// be an error.
	After ID

	// Destination is the task's.
	Destination string

	// Recipient is the address of a recipient of the task that isn't settled. The local part is compared octet by
	// octet, the domain as an A-label.
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

// Holder is a [Queue] that can hold messages.
//
// Both methods skip IDs of messages that aren't in the Queue. If none of the messages is, they return ErrNotFound.
// After any other error, some of the messages may have changed. Both methods can be repeated.
type Holder interface {
	// Hold keeps all tasks of these messages from being claimed until Release, even when a notice or a deadline is due.
	// It is durable when it returns. A task that is leased can still be settled and extended. At the end of its lease,
	// unless it was settled, it is held. Holding a held message is no error.
	Hold(ctx context.Context, ids ...ID) error

	// Release ends Hold. It is durable when it returns. Tasks that became due meanwhile are due now, and a [Waker]
	// announces them. The Deaths of tasks that are held become 0. Releasing a message that isn't held is no error.
	Release(ctx context.Context, ids ...ID) error
}

// ReasonHolder is a [Holder] that stores why messages are held, as the HeldFor of their tasks.
//
// HeldFor is the reason of the last HoldFor since the last Release or, before any, that of the Message. HoldFor of a
// held message replaces it. It is empty after a Release, and after a Hold of a message that wasn't held. A Hold of a
// message that is held already doesn't change it.
//
// A Queue that wraps a ReasonHolder and has a Hold of its own needs a HoldFor of its own, too: a hold with a reason
// calls HoldFor alone.
type ReasonHolder interface {
	Holder

	// HoldFor is Hold for a reason, which is for people. The Queue stores at most MaxHeldFor octets of the reason; a
	// longer one ends in "…". If the reason is empty, HoldFor is Hold.
	HoldFor(ctx context.Context, reason string, ids ...ID) error
}

// HeldFor returns why a task of q is held, which is the HeldFor of the task. It returns "" if the task isn't held, or
// if no reason is known.
//
// A Queue that is no [ReasonHolder] keeps the HeldFor of a Message after its Release, and knows no reason of a later
// hold. A task that was attempted there has been released. So HeldFor returns "" for it.
func HeldFor(q Queue, t *Task) string {
	if _, ok := q.(ReasonHolder); t.State != Held || t.Attempts > 0 && !ok {
		return ""
	}
	return t.HeldFor
}

// Flusher is a [Queue] that can bring retries forward.
type Flusher interface {
	// Flush makes the waiting tasks of the destination that have a counted attempt, and are due later than after from
	// now, due at once. It returns their number. An empty destination means all. A [Waker] announces them. Tasks that
	// were never attempted, and leased and held ones, keep their times, and so do notices and deadlines.
	//
	// A Runner calls it with the longest wait of its schedules, for retries that were put off by a clock that was
	// ahead.
	//
	// It needn't be durable: after a restart, a task may be due at its former time. Tasks that change during the call
	// may be missing. After an error, n counts the tasks that were brought forward before it.
	Flush(ctx context.Context, destination string, after time.Duration) (n int, err error)
}

// Hastener is a [Queue] that can bring the retries of single messages forward.
type Hastener interface {
	// Hasten does for all tasks of these messages what [Flusher].Flush does for those of a destination, with an after
	// of 0. It returns the number of tasks that it made due. IDs of messages that aren't in the Queue are skipped. If
	// none of the messages is, it returns ErrNotFound. After another error, some of the tasks may be due.
	Hasten(ctx context.Context, ids ...ID) (n int, err error)
}

// Remover is a [Queue] that can remove messages that aren't settled.
type Remover interface {
	// Remove removes these messages, whatever the State of their tasks, and stores the reports as new messages, in one
	// commit, which is durable when it returns. Other calls may see parts of it before. It reads the Bodies of the
	// reports before it changes anything.
	//
	// The leases on their tasks end: Extend and Settle return ErrLeaseLost, even a Settle that is in progress, and its
	// reports aren't stored. A delivery that is in progress may still succeed.
	//
	// IDs of messages that aren't in the Queue are skipped. If none of the messages is, it returns ErrNotFound and
	// stores no report. An error of a report's Body is wrapped.
	Remove(ctx context.Context, ids []ID, reports ...Message) error
}

// Stater is a [Queue] that counts its contents.
type Stater interface {
	// Stats returns the counts. They may be up to a minute old. Stats is called every few seconds, so it must take far
	// less time than that.
	Stats(ctx context.Context) (Stats, error)
}

// Stats counts the contents of a Queue.
type Stats struct {
	Messages     int
	Tasks        int
	Destinations int // with a task, whatever its State

	Waiting, Leased, Held int // tasks by State

	// Octets is the size of all bodies. A store may include envelopes and results.
	Octets int64

	// Oldest is the Arrival of the message that arrived first. If zero, there are no messages.
	Oldest time.Time
}
