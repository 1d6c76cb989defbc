package queue

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/postrider/postrider/smtp"
)

// stored is a message as a queue keeps it, without the body.
type stored struct {
	id       uint64
	arrival  int64
	due      int64 // when it may first be sent
	notice   int64
	deadline int64
	size     int64
	sum      uint32 // the body's checksum, where the queue keeps one
	priority int8
	ref      string
	tenant   string
	envelope smtp.Envelope
	dests    []string // in the order of their first recipients; a task's num is its place here
	dest     []uint32 // dest[i] is the place in dests of envelope.Recipients[i]
}

// newStored copies what m says, but for the body.
func newStored(m Message) (*stored, error) {
	switch {
	case m.Envelope == nil || len(m.Envelope.Recipients) == 0:
		return nil, errors.New("the message has no recipient")
	case len(m.Destinations) != len(m.Envelope.Recipients):
		return nil, fmt.Errorf("the message has %d recipients and %d destinations", len(m.Envelope.Recipients), len(m.Destinations))
	case slices.Contains(m.Destinations, ""):
		return nil, errors.New("the message has a recipient without destination")
	case m.Body == nil:
		return nil, errors.New("the message has no body")
	}
	s := &stored{
		due: never, notice: never, deadline: never,
		priority: m.Priority, ref: m.Ref, tenant: m.Tenant, envelope: *m.Envelope,
		dest: make([]uint32, len(m.Destinations)),
	}
	s.envelope.Recipients = slices.Clone(m.Envelope.Recipients)
	if !m.NotBefore.IsZero() {
		s.due = toNano(m.NotBefore)
	}
	if !m.NoticeAt.IsZero() {
		s.notice = toNano(m.NoticeAt)
	}
	if !m.Deadline.IsZero() {
		s.deadline = toNano(m.Deadline)
	}
	nums := map[string]uint32{}
	for i, name := range m.Destinations {
		num, ok := nums[name]
		if !ok {
			num = uint32(len(s.dests))
			nums[name] = num
			s.dests = append(s.dests, name)
		}
		s.dest[i] = num
	}
	return s, nil
}

// arrive says when the message came and, where it may be sent at once, that it falls due with that.
func (s *stored) arrive(id uint64, now time.Time) {
	s.id, s.arrival = id, toNano(now)
	if s.due == never {
		s.due = s.arrival
	}
}

// overdue is when the notice or, once that is out of the way, the deadline falls due.
func (s *stored) overdue(noticed bool) int64 {
	if noticed {
		return s.deadline
	}
	return min(s.notice, s.deadline)
}

// state is what a task remembers from one attempt to the next.
type state struct {
	noticed    bool
	recipients []int         // those not settled, by their places in the envelope
	last       []smtp.Result // one for each of recipients
}

// initial is the state of a task that was never settled.
func (s *stored) initial(num uint32) *state {
	st := &state{}
	for i, n := range s.dest {
		if n == num {
			st.recipients = append(st.recipients, i)
		}
	}
	st.last = make([]smtp.Result, len(st.recipients))
	for i, r := range st.recipients {
		st.last[i].Recipient = s.envelope.Recipients[r].Address
	}
	return st
}

// after is the state that a settlement makes of st; without recipients, the task is done.
func (st *state) after(s Settlement) *state {
	next := &state{noticed: st.noticed || s.Noticed}
	if s.Next.IsZero() {
		return next
	}
	if len(s.Results) == 0 {
		next.recipients, next.last = st.recipients, st.last
		return next
	}
	for i, result := range s.Results {
		if !result.Outcome.Final() {
			next.recipients = append(next.recipients, st.recipients[i])
			next.last = append(next.last, cloneResult(result))
		}
	}
	return next
}

// fill completes a Task of which the index has told its part.
func (s *stored) fill(t *Task, st *state) {
	env := s.envelope
	env.Recipients = make([]smtp.Recipient, len(st.recipients))
	t.Last = make([]smtp.Result, len(st.recipients))
	for i, r := range st.recipients {
		env.Recipients[i] = s.envelope.Recipients[r]
		t.Last[i] = cloneResult(st.last[i])
	}
	t.Envelope = &env
	t.Arrival = fromNano(s.arrival)
	if !st.noticed {
		t.NoticeAt = fromNano(s.notice)
	}
	t.Deadline = fromNano(s.deadline)
	t.Size, t.Priority, t.Ref, t.Tenant = s.size, s.priority, s.ref, s.tenant
}

// check says what is wrong with a settlement of a task with so many recipients.
func (s *Settlement) check(recipients int) error {
	if len(s.Results) != 0 && len(s.Results) != recipients {
		return fmt.Errorf("the settlement has %d results for %d recipients", len(s.Results), recipients)
	}
	return nil
}

// final reports whether the settlement leaves no recipient to try.
func (s *Settlement) final() bool {
	if s.Next.IsZero() {
		return true
	}
	for _, result := range s.Results {
		if !result.Outcome.Final() {
			return false
		}
	}
	return len(s.Results) > 0
}

// attempts is what the settlement leaves of a task's attempts.
func (s *Settlement) attempts(n int) int {
	if s.Uncounted {
		return n - 1
	}
	return n
}

func cloneResult(r smtp.Result) smtp.Result {
	if r.Reply != nil {
		reply := *r.Reply
		r.Reply = &reply
	}
	return r
}

// formatID and parseID are the text form of the number that a Mem or a Spool gives a message.
func formatID(n uint64) ID { return ID(strconv.FormatUint(n, 36)) }

func parseID(id ID) (n uint64, ok bool) {
	n, err := strconv.ParseUint(string(id), 36, 64)
	return n, err == nil && formatID(n) == id
}

// toNano and fromNano turn times into Unix nanoseconds; never is the zero time.
func toNano(t time.Time) int64 {
	switch year := t.Year(); {
	case year > 2261:
		return never - 1
	case year < 1678:
		return math.MinInt64
	}
	return t.UnixNano()
}

func fromNano(n int64) time.Time {
	if n == never {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// bytesBody is a Body in memory.
type bytesBody struct{ *bytes.Reader }

func (bytesBody) Close() error { return nil }

// errBody says that it was the message's own reader that failed.
func errBody(err error) error { return fmt.Errorf("reading the body: %w", err) }
