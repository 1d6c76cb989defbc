package queue

import (
	"cmp"
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
// when a task is due again. A Queue that can do more implements [Keyer], [Importer], [Sharer], [Waker], [Lister],
// [Holder], [Flusher], [Hastener], [Remover] or [Stater].
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
//   - Times are stored to the microsecond at least, from the year 1678 to 2261. A Queue may round a time to the next
//     microsecond before or after it. Times outside are moved to the nearest one inside.
type Queue interface {
	// Enqueue stores m. When it returns without an error, the envelope and the body are durable. It reads m.Body to its
	// end. An error of m.Body is wrapped.
	Enqueue(ctx context.Context, m Message) (ID, error)

	// Lanes yields each lane with a task that waits, due or not yet due, once, in any order. Leased and held tasks
	// don't count, nor do tasks that must wait for others with Deaths: see Claim. Changes during the iteration may be
	// seen or not; a lane that loses its last task and gets another one may be yielded twice. An error ends the
	// iteration.
	Lanes(ctx context.Context) iter.Seq2[LaneDue, error]

	// Claim leases tasks that are due, at most Max for each Want, and counts an attempt for each of them. A task is due
	// at the earliest of its Due, NoticeAt and Deadline, the last two not before its NotBefore. Leased and held tasks
	// are not claimed. Within a lane, tasks that are due at once come first, in the order of their arrival, and then
	// the earliest due; with class Overdue, the earliest notice or deadline. A task that isn't due doesn't delay
	// another one.
	//
	// Claim may return fewer tasks than are due, or none, for reasons of the Queue. A [Waker] then announces the lane
	// again, with a time that is due. So no tasks and no error doesn't mean that nothing is due.
	//
	// A task has one lease at a time. A lease ends by Settle or Remove, or when it expires. If the Queue is closed, or
	// its process ends, its leases end or continue until they expire; a store states which. Then the task can be
	// claimed again. The attempt counts.
	//
	// If the process ends while it has a lease, without closing the Queue, that is a death of the task: Task.Deaths is
	// one higher at its next claim. A lease that has expired without another claim may count as well, and does in a
	// Queue whose leases outlive the process. Settle sets Deaths to 0, unless Uncounted is true, and so does Release
	// for a held task. A crash of the machine may undo the last attempts and deaths. A Queue that keeps nothing has no
	// Deaths.
	//
	// Tasks with Deaths are claimed apart from each other, as one of them may end the process again: at most 8 with one
	// death have a lease at a time, and a task with more is the only one of them.
	Claim(ctx context.Context, wants []Want, lease time.Duration) ([]Task, error)

	// Extend changes the end of the lease to d from now, later or earlier. It also works while a Settle under the same
	// lease is in progress. If the lease has ended, it returns ErrLeaseLost.
	Extend(ctx context.Context, l Lease, d time.Duration) error

	// Settle ends the lease and stores the result of the task in one commit, with the reports as new messages. It
	// reads the Bodies of the reports before it changes anything: until all of them are read, the lease can expire,
	// and other calls aren't delayed. If s is invalid, or a report can't be read or stored, Settle returns an error,
	// and the lease continues. An error of a report's Body is wrapped.
	//
	// If the lease has ended, Settle returns ErrLeaseLost; if a Settle under the same lease has succeeded, it returns
	// ErrSettled. A caller that doesn't know what became of a Settle can so repeat it. A Queue remembers a lease that
	// it has settled for at least a minute, or until it has settled 10,000 others; after that, and after the Queue is
	// opened again, it may return ErrLeaseLost.
	//
	// With Reports or Owed, and for a report task, the commit is durable when Settle returns. Otherwise it may become
	// durable a little later, within a second for example. A crash before that undoes it, and the task is sent again. A
	// message is removed with its last task.
	Settle(ctx context.Context, l Lease, s Settlement) error

	// Open returns the body of a message. It can be opened any number of times, until the last task of the message is
	// settled or the message is removed. If there is no message with this ID, it returns ErrNotFound.
	//
	// A Body that is open when its message leaves the Queue can be read to its end, until Close; or each read after
	// that returns an error that wraps ErrNotFound. It never returns other octets.
	Open(ctx context.Context, id ID) (Body, error)
}

// Sentinel errors of a Queue.
var (
	ErrLeaseLost = errors.New("queue: lease lost")
	ErrSettled   = errors.New("queue: settled already") // under the same lease
	ErrNotFound  = errors.New("queue: no such message")
	ErrClosed    = errors.New("queue: closed")

	// ErrBroken means that the store has failed, and that its content on the disk is not known. Enqueue, Claim, Settle,
	// and the abilities that change something return it until the store is opened again.
	ErrBroken = errors.New("queue: the store failed and must be opened again")

	// ErrKeyReused means that an earlier message of this Tenant has the Key, and another reverse-path or other
	// recipients. Nothing was stored.
	ErrKeyReused = errors.New("queue: the Key is that of a message with another reverse-path or other recipients")

	// ErrKeysFull means that the Queue remembers as many Keys as it may. Nothing was stored. It passes: the oldest Key
	// is forgotten when its time is over.
	ErrKeysFull = errors.New("queue: no room for another Key")
)

// ID names a message within its queue. It consists of ASCII letters, digits and "-". No ID is used a second time.
type ID string

// Body is the body of a stored message. It can be read at any offset, concurrently, until Close.
type Body interface {
	smtp.Content
	io.Closer
}

// Lane names the tasks that are listed, announced and claimed together: those of one destination, one owner and one
// group of priorities. No task is in the zero Lane.
type Lane struct {
	Destination string
	Owner       Owner
	Priority    int8 // the sign of the Message's Priority: 1, 0 or -1
}

// Owner is a number for the owner of a message: for its Tenant or, without one, for its reverse-path, compared octet by
// octet. Messages of one owner have the same number. 0 is the number of messages with the null reverse-path and no
// Tenant, and of no others. Two other owners may have the same number by chance. The numbers may change when the Queue
// is opened again. So an Owner serves to share capacity fairly, and for nothing else.
type Owner uint16

// LaneDue is a lane with a task that waits.
type LaneDue struct {
	Lane

	// Due is the time at which its first task can be claimed: the earliest Due, NoticeAt or Deadline of its tasks. If
	// zero, at once.
	Due time.Time

	// Overdue is the earliest NoticeAt or Deadline of its tasks. If zero, none of them has one.
	Overdue time.Time
}

// Want is one part of a Claim: up to Max tasks of one lane.
type Want struct {
	Lane
	Max   int
	Class Class
}

// Class selects among the due tasks of a lane.
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
//
// A task is due at once if its message has no NotBefore, after a Settle with a Next that isn't in the future, and after
// Flush or Hasten. Its Due is then the Arrival, or the present time if the clock was ahead at the Arrival.
type Task struct {
	ID          ID
	Destination string
	Owner       Owner
	Lease       Lease // zero unless from Claim
	State       State // Leased if from Claim

	// Envelope has the recipients of this destination that aren't settled.
	Envelope *smtp.Envelope

	// Last[i] is the last Result of Envelope.Recipients[i]. Before the first attempt, its Reply is nil.
	Last []smtp.Result

	// Delayed[i] is the Delayed of Envelope.Recipients[i] in a report task. It is nil in any other task.
	Delayed []bool

	// Only is true if the message has no other task. It stays true, unless a Settlement of this task has Owed and Next:
	// then a report task is added.
	Only bool

	Arrival  time.Time // of the message: the time of Enqueue
	Due      time.Time // of the next attempt; in the future if NoticeAt or Deadline made the task claimable
	NoticeAt time.Time // of the delay notice; zero if there is none, it was sent, or this is a report task
	Deadline time.Time // zero if there is none; a report task isn't claimed for it
	Attempts int       // counted claims, this one included
	Deaths   int       // claims in a row that ended with the process: see Claim
	Size     int64     // of the body, in octets

	// These are the Message's.
	NotBefore   time.Time
	Priority    int8
	Ref, Tenant string
	Origin      smtp.Origin
	FromDomain  string
	About       ID

	// HeldFor is why the message is held, if a reason was given: that of the Message or, in a [ReasonHolder], of a
	// later HoldFor. If the Queue is no ReasonHolder, the HeldFor of the Message stays after a Release: see [HeldFor].
	HeldFor string
}

// Lane returns the lane of the task.
func (t *Task) Lane() Lane { return Lane{t.Destination, t.Owner, int8(cmp.Compare(t.Priority, 0))} }

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

	// Next is the time of the next attempt. Recipients with a final Outcome leave the queue; the others stay. If it
	// isn't in the future, the task is due at once, even if the clock is set back. If zero, all recipients leave, and
	// the task is removed.
	Next time.Time

	// OverdueFrom keeps NoticeAt and Deadline from making the task due before this time, because the clock is doubted.
	// The next Settle ends that. If zero, they make it due at their own times.
	OverdueFrom time.Time

	// Uncounted takes back the attempt that Claim counted, because nothing was attempted.
	Uncounted bool

	// Noticed clears the NoticeAt of the task: the delay notice was sent, or none is owed.
	Noticed bool

	// Reports are new messages, stored in the same commit.
	Reports []Message

	// Owed are recipients whose sender is owed a report that isn't composed yet. They are added to the report task of
	// the message in the same commit. It must be empty in a Settlement of a report task.
	Owed []Owed

	// ReportAt is when the report task is due for the recipients in Owed. If zero, at once.
	ReportAt time.Time
}

// ReportDestination is the Destination of report tasks. No domain and no route has this name.
//
// A report task collects what is to be reported about several tasks of one message, so that one report has all of it. A
// message has at most one. Settlement.Owed makes it, or adds recipients to it. Its Last has their Results. It is a task
// like any other, with these differences:
//
//   - It is due at the earliest ReportAt of its recipients. When it becomes the only task of its message, it is due at
//     once. A restart may forget the latter.
//   - It has no notice, and no deadline makes it due.
//   - A Settle ends it for the recipients that Claim returned. Recipients that were added since then stay, and the
//     attempts count from zero. With a Next, all stay, and it is due at Next or at the earliest ReportAt of those that
//     were added.
const ReportDestination = "(report)"

// ExpandedDestination is the Destination of recipients that are aliases: the message has the addresses that they stand
// for as other recipients. No domain and no route has this name. Nothing is sent to an alias. A Runner settles the task
// with a report to the sender that the aliases were expanded (RFC 3461 §5.2.7.3), so only an alias whose sender wants
// that report is a recipient. To a Queue, it is a task like any other.
const ExpandedDestination = "(expanded)"

// OnlyReports reports whether nothing is sent to a destination, because its tasks are settled with reports: it is
// ReportDestination or ExpandedDestination.
func OnlyReports(destination string) bool {
	return destination == ReportDestination || destination == ExpandedDestination
}

// Owed is a recipient whose sender is owed a report.
type Owed struct {
	Recipient int         // the index of it in Envelope.Recipients of the Task that is settled
	Result    smtp.Result // what is to be reported
	Delayed   bool        // the recipient isn't settled: the report is a delay notice
}
