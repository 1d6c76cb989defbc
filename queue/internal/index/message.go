package index

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Message is a message as a queue keeps it, without the body.
type Message struct {
	ID         uint64
	Arrival    int64
	Due        int64 // when it may first be sent
	Notice     int64
	Deadline   int64
	Size       int64
	Sum        uint32 // the body's checksum, where the queue keeps one
	Priority   int8
	Ref        string
	Tenant     string
	Origin     smtp.Origin
	FromDomain string
	About      queue.ID
	Envelope   smtp.Envelope
	Dests      []string // in the order of their first recipients; a task's num is its place here
	Dest       []uint32 // dest[i] is the place in dests of envelope.Recipients[i]
}

// NewMessage copies what m says, but for the body.
func NewMessage(m queue.Message) (*Message, error) {
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
	s := &Message{
		Due: Never, Notice: Never, Deadline: Never,
		Priority: m.Priority, Ref: m.Ref, Tenant: m.Tenant, Origin: m.Origin, FromDomain: m.FromDomain, About: m.About, Envelope: *m.Envelope,
		Dest: make([]uint32, len(m.Destinations)),
	}
	s.Envelope.Recipients = slices.Clone(m.Envelope.Recipients)
	if !m.NotBefore.IsZero() {
		s.Due = ToNano(m.NotBefore)
	}
	if !m.NoticeAt.IsZero() {
		s.Notice = ToNano(m.NoticeAt)
	}
	if !m.Deadline.IsZero() {
		s.Deadline = ToNano(m.Deadline)
	}
	nums := map[string]uint32{}
	for i, name := range m.Destinations {
		num, ok := nums[name]
		if !ok {
			num = uint32(len(s.Dests))
			nums[name] = num
			s.Dests = append(s.Dests, name)
		}
		s.Dest[i] = num
	}
	return s, nil
}

// Arrive says when the message came and, where it may be sent at once, that it falls due with that.
func (s *Message) Arrive(id uint64, now time.Time) {
	s.ID, s.Arrival = id, ToNano(now)
	if s.Due == Never {
		s.Due = s.Arrival
	}
}

// Overdue is when the notice or, once that is out of the way, the deadline falls due.
func (s *Message) Overdue(noticed bool) int64 {
	if noticed {
		return s.Deadline
	}
	return min(s.Notice, s.Deadline)
}

// Progress is what a task remembers from one attempt to the next.
type Progress struct {
	Noticed    bool
	Recipients []int         // those not settled, by their places in the envelope
	Last       []smtp.Result // one for each of recipients
}

// Initial is the state of a task that was never settled.
func (s *Message) Initial(num uint32) *Progress {
	st := &Progress{}
	for i, n := range s.Dest {
		if n == num {
			st.Recipients = append(st.Recipients, i)
		}
	}
	st.Last = make([]smtp.Result, len(st.Recipients))
	for i, r := range st.Recipients {
		st.Last[i].Recipient = s.Envelope.Recipients[r].Address
	}
	return st
}

// After is the state that a settlement makes of st; without recipients, the task is done.
func (st *Progress) After(s queue.Settlement) *Progress {
	next := &Progress{Noticed: st.Noticed || s.Noticed}
	if s.Next.IsZero() {
		return next
	}
	if len(s.Results) == 0 {
		next.Recipients, next.Last = st.Recipients, st.Last
		return next
	}
	for i, result := range s.Results {
		if !result.Outcome.Final() {
			next.Recipients = append(next.Recipients, st.Recipients[i])
			next.Last = append(next.Last, cloneResult(result))
		}
	}
	return next
}

// Fill completes a Task of which the index has told its part.
func (s *Message) Fill(t *queue.Task, st *Progress) {
	env := s.Envelope
	env.Recipients = make([]smtp.Recipient, len(st.Recipients))
	t.Last = make([]smtp.Result, len(st.Recipients))
	for i, r := range st.Recipients {
		env.Recipients[i] = s.Envelope.Recipients[r]
		t.Last[i] = cloneResult(st.Last[i])
	}
	t.Envelope = &env
	t.Arrival = FromNano(s.Arrival)
	if !st.Noticed {
		t.NoticeAt = FromNano(s.Notice)
	}
	t.Deadline = FromNano(s.Deadline)
	t.Size, t.Priority, t.Ref, t.Tenant = s.Size, s.Priority, s.Ref, s.Tenant
	t.Origin, t.FromDomain, t.About = s.Origin, s.FromDomain, s.About
}

// CheckSettlement says what is wrong with a settlement of a task with so many recipients.
func CheckSettlement(s *queue.Settlement, recipients int) error {
	if len(s.Results) != 0 && len(s.Results) != recipients {
		return fmt.Errorf("the settlement has %d results for %d recipients", len(s.Results), recipients)
	}
	return nil
}

// SettlesAll reports whether the settlement leaves no recipient to try.
func SettlesAll(s *queue.Settlement) bool {
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

// AttemptsAfter is what the settlement leaves of a task's attempts.
func AttemptsAfter(s *queue.Settlement, n int) int {
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

// FormatID and parseID are the text form of the number that a Mem or a Spool gives a message.
func FormatID(n uint64) queue.ID { return queue.ID(strconv.FormatUint(n, 36)) }

func ParseID(id queue.ID) (n uint64, ok bool) {
	n, err := strconv.ParseUint(string(id), 36, 64)
	return n, err == nil && FormatID(n) == id
}

// ToNano and fromNano turn times into Unix nanoseconds; never is the zero time.
func ToNano(t time.Time) int64 {
	switch year := t.Year(); {
	case year > 2261:
		return Never - 1
	case year < 1678:
		return math.MinInt64
	}
	return t.UnixNano()
}

func FromNano(n int64) time.Time {
	if n == Never {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// BytesBody is a Body in memory.
type BytesBody struct{ *bytes.Reader }

func (BytesBody) Close() error { return nil }

// errBody says that it was the message's own reader that failed.
func BodyError(err error) error { return fmt.Errorf("reading the body: %w", err) }
