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

// Message is a message of a store, without its body.
type Message struct {
	ID         uint64
	Arrival    int64
	Due        int64 // of the first attempt
	Notice     int64
	Deadline   int64
	Size       int64
	Sum        uint32 // of the body; only spool sets it
	Priority   int8
	Ref        string
	Tenant     string
	Origin     smtp.Origin
	FromDomain string
	About      queue.ID
	Envelope   smtp.Envelope
	Dests      []string // in the order of their first recipients; a task's num is an index of it
	Dest       []uint32 // Dest[i] is the index in Dests of Envelope.Recipients[i]
}

// NewMessage checks m and copies its fields. It doesn't read the body.
func NewMessage(m queue.Message) (*Message, error) {
	switch {
	case m.Envelope == nil || len(m.Envelope.Recipients) == 0:
		return nil, errors.New("the message has no recipient")
	case len(m.Destinations) != len(m.Envelope.Recipients):
		return nil, fmt.Errorf("the message has %d recipients and %d destinations: each recipient needs one",
			len(m.Envelope.Recipients), len(m.Destinations))
	case slices.Contains(m.Destinations, ""):
		return nil, errors.New("the message has a recipient without destination")
	case m.Body == nil:
		return nil, errors.New("the message has no body")
	}
	s := &Message{
		Due: Never, Notice: Never, Deadline: Never,
		Priority: m.Priority, Ref: m.Ref, Tenant: m.Tenant, Origin: m.Origin, FromDomain: m.FromDomain, About: m.About,
		Envelope: *m.Envelope,
		Dest:     make([]uint32, len(m.Destinations)),
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

// Arrive sets the ID and the arrival. A message without NotBefore is due at its arrival.
func (s *Message) Arrive(id uint64, now time.Time) {
	s.ID, s.Arrival = id, ToNano(now)
	if s.Due == Never {
		s.Due = s.Arrival
	}
}

// Overdue returns the time of the notice or the deadline, the earlier one; if noticed, of the deadline.
func (s *Message) Overdue(noticed bool) int64 {
	if noticed {
		return s.Deadline
	}
	return min(s.Notice, s.Deadline)
}

// Progress is what a store keeps of a task besides its times: the recipients that are left and their last results.
type Progress struct {
	Noticed    bool
	Recipients []int         // not settled, as indexes of Envelope.Recipients
	Last       []smtp.Result // one for each of Recipients
}

// Initial returns the Progress of a task that was never settled.
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

// After returns the Progress after a settlement. If it has no recipients, the task is done.
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

// Fill sets the fields of t that the Index didn't set.
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

// CheckSettlement returns an error if s is invalid for a task with this number of recipients.
func CheckSettlement(s *queue.Settlement, recipients int) error {
	if len(s.Results) != 0 && len(s.Results) != recipients {
		return fmt.Errorf("the settlement has %d results for %d recipients", len(s.Results), recipients)
	}
	return nil
}

// SettlesAll reports whether s leaves no recipient.
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

// AttemptsAfter returns the attempts of a task after s, which had n before.
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

// FormatID returns the text form of the number of a message.
func FormatID(n uint64) queue.ID { return queue.ID(strconv.FormatUint(n, 36)) }

// ParseID is the reverse of FormatID. ok is false for a text that FormatID doesn't return.
func ParseID(id queue.ID) (n uint64, ok bool) {
	n, err := strconv.ParseUint(string(id), 36, 64)
	return n, err == nil && FormatID(n) == id
}

// ToNano returns t in Unix nanoseconds, or the nearest time that fits. It never returns Never.
func ToNano(t time.Time) int64 {
	switch year := t.Year(); {
	case year > 2261:
		return Never - 1
	case year < 1678:
		return math.MinInt64
	}
	return t.UnixNano()
}

// FromNano is the reverse of ToNano. It returns the zero time for Never.
func FromNano(n int64) time.Time {
	if n == Never {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// BytesBody is a queue.Body in memory.
type BytesBody struct{ *bytes.Reader }

// Close does nothing.
func (BytesBody) Close() error { return nil }

// BodyError wraps an error of a message's Body.
func BodyError(err error) error { return fmt.Errorf("reading the body: %w", err) }
