package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strconv"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Queue stores mail until each recipient is settled. The unit of work is a [Task]: one message × one destination.
//
// A Queue decides nothing: it returns the tasks that are due. A delivery.Runner decides which of them it claims, and
// when a task is due again. A Queue that can do more implements [Waker], [Lister], [Holder], [Flusher], [Remover] or
// [Stater].
//
// # Rules for all methods
//
//   - Methods are called concurrently.
//   - A Queue keeps no reference to an argument after the call. The caller may change everything that it gets.
//   - If ctx has ended before the call, the call changes nothing and returns the error of ctx. If ctx ends during the
//     call, the call may still succeed.
//   - A call that returns an error has changed nothing, unless its doc says otherwise. After [ErrBroken], it is not
//     known whether the change was made.
//   - Errors wrap the sentinel errors of this package, or are them. After a Close, all methods return [ErrClosed].
//   - Durable data survives a crash of the process and of the machine. A store in memory keeps the other rules.
//   - Times are stored to the nanosecond, from the year 1678 to 2261. Times outside are moved to the nearest one
//     inside.
type Queue interface {
	// Enqueue stores m. When it returns without an error, the envelope and the body are durable. It reads m.Body to its
	// end. An error of m.Body is wrapped.
	Enqueue(ctx context.Context, m Message) (ID, error)

	// Destinations yields each destination with a task that is due within the given time from now, once, in any order.
	// A task is due at the earliest of its Due, NoticeAt and Deadline. Leased and held tasks don't count. Changes
	// during the iteration may be seen or not. An error ends the iteration.
	Destinations(ctx context.Context, within time.Duration) iter.Seq2[Destination, error]

	// Claim leases tasks that are due, at most Max for each Want, and counts an attempt for each of them. Leased and
	// held tasks are not claimed. If nothing is due, it returns no tasks and no error.
	//
	// Tasks with a Priority above zero come first, then those with zero, then those below; within each group, the
	// earliest due comes first. With class Overdue, the earliest notice or deadline comes first, whatever the Priority.
	// A task that isn't due doesn't delay another one.
	//
	// A task has one lease at a time. A lease ends by Settle, when it expires, or when the process that has it opens
	// the Queue again. Then the task can be claimed again. A restart may forget an attempt that wasn't settled.
	Claim(ctx context.Context, wants []Want, lease time.Duration) ([]Task, error)

	// Extend changes the end of the lease to d from now, later or earlier. It also works while a Settle under the same
	// lease is in progress. If the lease has ended, it returns ErrLeaseLost.
	Extend(ctx context.Context, l Lease, d time.Duration) error

	// Settle ends the lease and stores the result of the task in one commit, with the reports as new messages. If the
	// lease has ended, or another Settle ends it, it returns ErrLeaseLost. If s is invalid, or a report can't be read
	// or stored, it returns an error, and the lease continues. An error of a report's Body is wrapped.
	//
	// With reports, the commit is durable when Settle returns. Without, it may become durable a little later, within a
	// second for example. A crash before that undoes it, and the task is sent again. A message is removed with its last
	// task.
	Settle(ctx context.Context, l Lease, s Settlement) error

	// Open returns the body of a message. It can be opened any number of times, until the last task of the message is
	// settled or the message is removed. If there is no message with this ID, it returns ErrNotFound.
	Open(ctx context.Context, id ID) (Body, error)
}

// Sentinel errors of a Queue.
var (
	ErrLeaseLost = errors.New("queue: lease lost")
	ErrNotFound  = errors.New("queue: no such message")
	ErrClosed    = errors.New("queue: closed")

	// ErrBroken means that the store has failed, and that its content on the disk is not known. Enqueue, Claim, Settle,
	// and the abilities that change something return it until the store is opened again.
	ErrBroken = errors.New("queue: the store failed and must be opened again")
)

// ID names a message within its queue. It consists of ASCII letters, digits and "-". No ID is used a second time.
type ID string

// Body is the body of a stored message. It can be read at any offset, concurrently, until Close.
type Body interface {
	smtp.Content
	io.Closer
}

// Message is a message to be stored. postrider.Relay.Prepare makes one. A Queue doesn't check addresses, Body and
// Priority.
type Message struct {
	// Envelope must have a recipient.
	Envelope *smtp.Envelope

	// Destinations[i] is the destination of Envelope.Recipients[i]: the name of an explicit route, or a domain as an
	// A-label. It must not be empty. Recipients with the same destination share a task.
	Destinations []string

	// Body is read once, to its end. It is the content as it is sent, with CRLF at the end of each line.
	Body io.Reader

	// NotBefore is the earliest time of the first attempt, and may be in the past. If zero, the time of Enqueue. It
	// must be before the Deadline: otherwise the first attempt is at the Deadline.
	NotBefore time.Time

	// NoticeAt is the time at which a delay notice is due. If zero, there is no notice.
	NoticeAt time.Time

	// Deadline is the time at which the recipients that are still open fail. If zero, there is no deadline.
	Deadline time.Time

	// Priority is the priority by MT-PRIORITY, -9 to 9; higher is sooner (RFC 6710). Claim distinguishes three groups:
	// above zero, zero, and below. As long as a destination always has due tasks of a higher group, the lower groups
	// wait, without an attempt and without a report.
	Priority int8

	// Ref is the application's own reference, and Tenant the name of the customer that the message belongs to. The
	// Queue stores both, and uses them only in a Filter.
	Ref, Tenant string

	// Origin is the source of the message, and FromDomain the domain of its From header field as an A-label. FromDomain
	// is empty unless there is exactly one. The Queue stores both.
	Origin     smtp.Origin
	FromDomain string

	// About is the ID of the message that this one reports on. If empty, it is no report. The Queue stores it.
	About ID
}

// MakeTransactional prepares a message that is useless after a while, for example a login code. It sets the Deadline to
// that time from now, raises Priority to at least 1, and removes the delay notice. The default schedule retries such a
// message sooner.
func (m *Message) MakeTransactional(within time.Duration) {
	m.Deadline, m.NoticeAt = time.Now().Add(within), time.Time{}
	m.Priority = max(m.Priority, 1)
}

// Destination is a destination with tasks that are due.
type Destination struct {
	Name string

	// Due is the time at which its first task can be claimed: the earliest Due, NoticeAt or Deadline of its tasks.
	Due time.Time

	// Overdue is the earliest NoticeAt or Deadline of its tasks. If zero, none of them has one.
	Overdue time.Time

	// Fresh counts the due tasks without a counted attempt, Retried the other due tasks.
	Fresh, Retried int
}

// Want is one part of a Claim: up to Max tasks of one destination.
type Want struct {
	Destination string
	Max         int
	Class       Class
}

// Class selects among the due tasks of a destination.
type Class uint8

const (
	Any     Class = iota // all
	Fresh                // without a counted attempt: never claimed, or settled as Uncounted each time
	Retried              // with a counted attempt
	Overdue              // at or after NoticeAt or Deadline, even before Due
)

// Lease is the right to settle a task. It is a fencing token: a later lease on the same task makes it void. Its value
// has a meaning only for the Queue that granted it. The zero Lease is never granted.
type Lease uint64

// Task is a message × a destination, as Claim and List return it. ID and Destination together name it.
type Task struct {
	ID          ID
	Destination string
	Lease       Lease // zero unless from Claim
	State       State // Leased if from Claim

	// Envelope has the recipients of this destination that aren't settled.
	Envelope *smtp.Envelope

	// Last[i] is the last Result of Envelope.Recipients[i]. Before the first attempt, its Reply is nil.
	Last []smtp.Result

	Arrival  time.Time // of the message: the time of Enqueue
	Due      time.Time // of the next attempt; in the future if NoticeAt or Deadline made the task claimable
	NoticeAt time.Time // of the delay notice; zero if there is none, or it was sent
	Deadline time.Time // zero if there is none
	Attempts int       // counted claims, this one included
	Size     int64     // of the body, in octets

	// These are the Message's.
	Priority    int8
	Ref, Tenant string
	Origin      smtp.Origin
	FromDomain  string
	About       ID
}

// State is the state of a task in its Queue.
type State uint8

const (
	Waiting State = 1 + iota // can be claimed when it is due
	Leased                   // claimed and not settled; if its message is held, Held follows at the end of the lease
	Held                     // can't be claimed until Release
)

// String returns the state in lower case: "waiting", "leased" or "held".
func (s State) String() string {
	switch s {
	case Waiting:
		return "waiting"
	case Leased:
		return "leased"
	case Held:
		return "held"
	}
	return "State(" + strconv.Itoa(int(s)) + ")"
}

// MarshalText returns the same as String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state as String returns it. A name that isn't known is an error.
func (s *State) UnmarshalText(text []byte) error {
	for _, known := range []State{Waiting, Leased, Held} {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("queue: state %.64q: no such state; there are waiting, leased, held", text)
}

// Settlement is the result of a task, for [Queue.Settle].
type Settlement struct {
	// Results has one Result for each recipient of the Task's Envelope, in the same order. If empty, nothing was
	// attempted, and the recipients keep their last results.
	Results []smtp.Result

	// Next is the time of the next attempt. Recipients with a final Outcome leave the queue; the others stay. If zero,
	// all recipients leave, and the task is removed.
	Next time.Time

	// Uncounted takes back the attempt that Claim counted, because nothing was attempted.
	Uncounted bool

	// Noticed clears the NoticeAt of the task: the delay notice was sent, or none is owed.
	Noticed bool

	// Reports are new messages, stored in the same commit.
	Reports []Message
}
