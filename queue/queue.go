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

// Queue keeps mail until every recipient has been dealt with. The unit of work is a [Task]: one
// message × one destination. [Mem] and [Spool] are Queues; queuetest.Run holds any other to the rules
// below. What more it can do, a Queue shows by being a [Waker], [Lister], [Holder], [Flusher], [Remover] or [Stater].
//
// All methods may be called concurrently. A Queue keeps nothing that it was given past the call, and what it
// returns is the caller's. It chooses nothing: what is claimed, and when it is tried again, is for
// [Runner] to say.
type Queue interface {
	// Enqueue stores m and returns once all of it is durable, envelope and body. On an error, from
	// m.Body included, nothing is stored. The error of m.Body comes back wrapped.
	Enqueue(ctx context.Context, m Message) (ID, error)

	// Destinations lists what is due within the given time from now, in no particular order.
	// Held and leased tasks don't count. What changes meanwhile may be in it or not.
	Destinations(ctx context.Context, within time.Duration) iter.Seq2[Destination, error]

	// Claim leases tasks that are due and not held, for each Want at most as many as it says. Those of a
	// Priority above zero come first, then those of zero, then those below, and of each the earliest due; of class Overdue, the
	// earliest overdue, whatever their Priority. What isn't due yet keeps nothing back. A task is under one
	// lease at a time; a lease ends by Settle or by its expiry, after which the task can be claimed anew. Claim
	// counts the attempt. No tasks and no error: nothing is due.
	Claim(ctx context.Context, wants []Want, lease time.Duration) ([]Task, error)

	// Extend makes the lease last until d from now. ErrLeaseLost: it had ended.
	Extend(ctx context.Context, l Lease, d time.Duration) error

	// Settle ends the lease with what came of the task, as one commit. ErrLeaseLost: the lease had
	// ended, and nothing was changed. If s has reports, all is durable when Settle returns; otherwise
	// it is written, and durable soon after. A message whose last task is settled for good is gone.
	Settle(ctx context.Context, l Lease, s Settlement) error

	// Open gives the body, as often as it is asked, until the message's last task is settled or it is removed.
	// ErrNotFound: there is no such message.
	Open(ctx context.Context, id ID) (Body, error)
}

// Sentinel errors of a Queue.
var (
	ErrLeaseLost = errors.New("queue: lease lost")
	ErrNotFound  = errors.New("queue: no such message")
	ErrClosed    = errors.New("queue: closed")

	// ErrBroken says that the store has failed so that nobody knows what it holds. Nothing is taken or
	// handed out until it has been opened again.
	ErrBroken = errors.New("queue: the store failed and must be opened again")
)

// ID names a message within its queue. It holds ASCII letters, digits and "-" only.
type ID string

// Body is a stored message. Close releases it.
type Body interface {
	smtp.Content
	io.Closer
}

// Message is a mail on its way in. postrider.Relay.Prepare makes one.
type Message struct {
	Envelope *smtp.Envelope

	// Destinations[i] is where Envelope.Recipients[i] goes: the name of an explicit route, or a
	// domain as an A-label. Recipients with one destination make one task.
	Destinations []string

	// Body is read to its end, once. It is the content as it goes out, CRLF throughout.
	Body io.Reader

	// NotBefore is when it may first be sent. If zero, at once.
	NotBefore time.Time

	// NoticeAt is when a delay notice falls due. If zero, none does.
	NoticeAt time.Time

	// Deadline is when it is given up. If zero, never.
	Deadline time.Time

	// Priority is that of MT-PRIORITY, -9 to 9, higher is sooner (RFC 6710). Claim tells apart what is above zero, zero, and
	// below; all else goes by when it is due. Where there is always more of the higher than a site takes, the lower waits for
	// ever, without a try and so without a report.
	Priority int8

	// Ref is the application's own reference, and Tenant the name of the customer that the message belongs to. The Queue
	// stores both, and uses them only in a Filter.
	Ref, Tenant string

	// Origin is how the message came in, and FromDomain the domain of its From header field as an A-label: "" if there
	// isn't exactly one. The Queue stores both.
	Origin     smtp.Origin
	FromDomain string
}

// MakeTransactional is for mail that is useless after a while, such as a code to log in with. It sets the Deadline to that
// time from now, raises Priority to at least 1 and removes the delay notice. The default schedule then tries it sooner.
func (m *Message) MakeTransactional(within time.Duration) {
	m.Deadline, m.NoticeAt = time.Now().Add(within), time.Time{}
	m.Priority = max(m.Priority, 1)
}

// Destination is a name with something due.
type Destination struct {
	Name string

	// Due is when the first of its tasks may be claimed: the earliest of their times to be tried,
	// their delay notices and their deadlines.
	Due time.Time

	// Overdue is when the first of its delay notices or deadlines comes. If zero, there is none.
	Overdue time.Time

	// Fresh counts its tasks due within the time asked of which no attempt counts, Retried the others.
	Fresh, Retried int
}

// Want is one wish of a Claim.
type Want struct {
	Destination string
	Max         int // tasks at most
	Class       Class
}

// Class says which of a destination's due tasks are meant.
type Class uint8

const (
	Any     Class = iota
	Fresh         // of which no attempt counts: never claimed, or settled as Uncounted
	Retried       // all others
	Overdue       // whose delay notice or deadline has come, whether or not they are due to be tried
)

// Lease is the right to settle a task, as a fencing token: a later lease on the same task makes an earlier one void. Only
// the Queue that granted it knows what it means. Zero is no lease.
type Lease uint64

// Task is a message × a destination, as Claim or List returns it.
type Task struct {
	ID          ID     // of its message
	Destination string // with the ID, the task's name
	Lease       Lease  // if from a Claim
	State       State  // Leased, if from a Claim

	// Envelope has the recipients of this destination that aren't settled.
	Envelope *smtp.Envelope

	// Last[i] is the last Result of Envelope.Recipients[i]. Its Reply is nil before the first attempt.
	Last []smtp.Result

	Arrival  time.Time // when Enqueue took the message
	Due      time.Time // when it is tried; later than now if a notice or the deadline made it claimable
	NoticeAt time.Time // when its delay notice falls due; zero: none, or it was sent
	Deadline time.Time // when it is given up; zero: never
	Attempts int       // claims that counted, this one included
	Size     int64     // octets of the body
	Priority int8      // see Message, as all below

	Ref, Tenant string
	Origin      smtp.Origin
	FromDomain  string
}

// State says what may be done with a task.
type State uint8

const (
	Waiting State = 1 + iota // to be claimed when it is due
	Leased                   // claimed, and not settled; if its message is held, Held from the end of the lease on
	Held                     // not to be claimed until it is released
)

// String gives the name of the state, "waiting" say.
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

// MarshalText gives what String gives.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what String gives for the three states.
func (s *State) UnmarshalText(text []byte) error {
	for _, known := range []State{Waiting, Leased, Held} {
		if known.String() == string(text) {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("queue: %q is no state of a task", text)
}

// Settlement is what came of a task.
type Settlement struct {
	// Results has one for each recipient of the Task's Envelope, in its order, or none where none
	// was tried: then the last ones stand.
	Results []smtp.Result

	// Next is when to try again. Recipients whose Outcome is final leave the queue and the others
	// stay. If zero, all leave: the task is done.
	Next time.Time

	// Uncounted takes back the attempt that Claim counted: nothing was tried.
	Uncounted bool

	// Noticed says that the delay notice went out, or that none is owed: it doesn't fall due again.
	Noticed bool

	// Reports are new messages that become durable with this settlement, or not at all.
	Reports []Message
}
