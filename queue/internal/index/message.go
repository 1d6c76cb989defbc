package index

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/postrider/postrider/internal/clip"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Message is a message of a store, without its body.
type Message struct {
	ID         uint64
	Arrival    int64
	NotBefore  int64 // AtOnce if there is none
	Notice     int64
	Deadline   int64
	Size       int64
	Sum        uint32 // of the body; only spool sets it
	Priority   int8
	Owner      queue.Owner // set by Index.Add
	Ref        string
	Tenant     string
	Origin     smtp.Origin
	FromDomain string
	About      queue.ID
	Held       bool // from the start; after Add, the Index knows
	HeldFor    string
	Envelope   smtp.Envelope
	Dests      []string // in the order of their first recipients; a task's num is an index of it
	Dest       []uint32 // Dest[i] is the index in Dests of Envelope.Recipients[i]
	grouped    [][]int  // by Dests, the indexes of their recipients; set by Group if there are several
}

// Group makes Initial take the time of one destination's recipients, not of all. The Message must not change any more.
func (s *Message) Group() {
	if len(s.Dests) < 2 {
		return
	}
	s.grouped = make([][]int, len(s.Dests))
	counts := make([]int, len(s.Dests))
	for _, num := range s.Dest {
		counts[num]++
	}
	all := make([]int, len(s.Dest))
	for num, n := range counts {
		s.grouped[num], all = all[:0:n], all[n:]
	}
	for i, num := range s.Dest {
		s.grouped[num] = append(s.grouped[num], i)
	}
}

// recipients returns the indexes of the recipients of a destination.
func (s *Message) recipients(num uint32) (of []int) {
	if s.grouped != nil {
		return slices.Clone(s.grouped[num])
	}
	for i, n := range s.Dest {
		if n == num {
			of = append(of, i)
		}
	}
	return of
}

// onceReader is a Body that can be read once. BeginReading returns an error if that was done.
type onceReader interface{ BeginReading() error }

// NewMessage checks m and copies its fields. It doesn't read the body, which the caller does next. in is set if m comes
// from another Queue.
func NewMessage(m queue.Message, in *queue.Import) (*Message, error) {
	switch {
	case m.Envelope == nil || len(m.Envelope.Recipients) == 0:
		return nil, errors.New("the message has no recipient")
	case len(m.Destinations) != len(m.Envelope.Recipients):
		return nil, fmt.Errorf("the message has %d recipients and %d destinations: each recipient needs one",
			len(m.Envelope.Recipients), len(m.Destinations))
	case slices.Contains(m.Destinations, ""):
		return nil, errors.New("the message has a recipient without destination")
	case slices.Contains(m.Destinations, queue.ReportDestination):
		return nil, fmt.Errorf("the message has the destination %q: it is reserved", queue.ReportDestination)
	case m.Body == nil:
		return nil, errors.New("the message has no body")
	case !m.Deadline.IsZero() && !m.NotBefore.Before(m.Deadline): // a NotBefore of zero is before any other time
		return nil, fmt.Errorf("NotBefore is %v, and the Deadline is %v: set a NotBefore before the Deadline",
			m.NotBefore, m.Deadline)
	case m.HeldFor != "" && !m.Held && in == nil: // an imported one may have been released
		return nil, errors.New("the message has HeldFor, and Held is false: set both, or neither to send it")
	}
	if b, ok := m.Body.(onceReader); ok {
		if err := b.BeginReading(); err != nil {
			return nil, err
		}
	}
	s := &Message{
		Notice: Never, Deadline: Never,
		Priority: m.Priority, Ref: m.Ref, Tenant: m.Tenant, Origin: m.Origin, FromDomain: m.FromDomain, About: m.About,
		Held: m.Held, HeldFor: CutReason(m.HeldFor),
		Envelope: *m.Envelope,
		Dest:     make([]uint32, len(m.Destinations)),
	}
	if !m.Held { // in a Queue that keeps no reasons, it was released
		s.HeldFor = ""
	}
	s.Envelope.Recipients = slices.Clone(m.Envelope.Recipients)
	if !m.NotBefore.IsZero() {
		s.NotBefore = ToNano(m.NotBefore)
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

// CutReason returns a HeldFor as it is stored.
func CutReason(s string) string { return clip.Text(s, queue.MaxHeldFor) }

// Arrive sets the ID and, unless the message comes from another Queue, the arrival.
func (s *Message) Arrive(id uint64, now time.Time) {
	if s.ID = id; s.Arrival == 0 {
		s.Arrival = ToNano(now)
	}
}

// OverdueAfter returns the time of the notice or the deadline after a settlement.
func (s *Message) OverdueAfter(set *queue.Settlement, noticed bool) int64 {
	overdue := s.Overdue(noticed)
	if overdue != Never {
		overdue = max(overdue, ToNano(set.OverdueFrom))
	}
	return overdue
}

// Overdue returns the time of the notice or the deadline, the earlier one; if noticed, of the deadline. Neither comes
// before NotBefore.
func (s *Message) Overdue(noticed bool) int64 {
	overdue := s.Deadline
	if !noticed {
		overdue = min(overdue, s.Notice)
	}
	return max(overdue, s.NotBefore)
}

// Lane returns the lane of one of the message's tasks. The message must have been added.
func (s *Message) Lane(destination string) queue.Lane {
	return queue.Lane{Destination: destination, Owner: s.Owner, Priority: int8(cmp.Compare(s.Priority, 0))}
}

// Progress is what a store keeps of a task besides its times: the recipients that are left and their last results.
type Progress struct {
	Noticed    bool
	Recipients []int         // not settled, as indexes of Envelope.Recipients
	Last       []smtp.Result // one for each of Recipients
	Delayed    []bool        // one for each of Recipients, in a report task
}

// Initial returns the Progress of a task that was never settled.
func (s *Message) Initial(num uint32) *Progress {
	st := &Progress{Recipients: s.recipients(num)}
	st.Last = make([]smtp.Result, len(st.Recipients))
	for i, r := range st.Recipients {
		st.Last[i].Recipient = s.Envelope.Recipients[r].Address
	}
	return st
}

// After returns the Progress after a settlement. If it has no recipients, the task is done.
func (st *Progress) After(s *queue.Settlement) *Progress {
	next := &Progress{Noticed: st.Noticed || s.Noticed}
	if s.Next.IsZero() {
		return next
	}
	if len(s.Results) == 0 {
		next.Recipients, next.Last, next.Delayed = st.Recipients, st.Last, st.Delayed
		return next
	}
	for i, result := range s.Results {
		if !result.Outcome.Final() {
			next.Recipients = append(next.Recipients, st.Recipients[i])
			next.Last = append(next.Last, cloneResult(result))
			if st.Delayed != nil {
				next.Delayed = append(next.Delayed, st.Delayed[i])
			}
		}
	}
	return next
}

// Owed returns the Progress of the part that a settlement adds to the report task.
func (st *Progress) Owed(s *queue.Settlement) *Progress {
	part := &Progress{}
	for _, o := range s.Owed {
		part.Recipients = append(part.Recipients, st.Recipients[o.Recipient])
		part.Last = append(part.Last, cloneResult(o.Result))
		part.Delayed = append(part.Delayed, o.Delayed)
	}
	return part
}

// ReportAt returns when the recipients that s adds to the report task are due.
func ReportAt(s *queue.Settlement, now time.Time) int64 {
	if s.ReportAt.IsZero() {
		return ToNano(now)
	}
	return ToNano(s.ReportAt)
}

// Merge returns the Progress of a report task with these parts.
func Merge(parts []*Progress) *Progress {
	all := &Progress{Delayed: []bool{}}
	for _, part := range parts {
		all.Recipients = append(all.Recipients, part.Recipients...)
		all.Last = append(all.Last, part.Last...)
		all.Delayed = append(all.Delayed, part.Delayed...)
	}
	return all
}

// Clone returns a copy that shares nothing with st.
func (st *Progress) Clone() *Progress {
	c := &Progress{
		Noticed: st.Noticed, Recipients: slices.Clone(st.Recipients), Last: slices.Clone(st.Last),
		Delayed: slices.Clone(st.Delayed),
	}
	for i := range c.Last {
		c.Last[i] = cloneResult(c.Last[i])
	}
	return c
}

// Bare returns the fields of a queue.Task that the Index has.
func (t *Task[M, S]) Bare() queue.Task {
	task := queue.Task{
		ID: FormatID(t.ID), Destination: t.Lane.Destination, Owner: t.Lane.Owner, State: t.Is, Only: t.Only,
		Due: fromDue(t.Due), Attempts: t.Attempts, Deaths: t.Deaths, HeldFor: t.HeldFor,
	}
	if t.Lease != nil {
		task.Lease = t.Lease.Token()
	}
	return task
}

// Fill sets all fields of task, whose message is s. The task takes over what st has.
func (t *Task[M, S]) Fill(task *queue.Task, s *Message, st *Progress, now time.Time) {
	*task = t.Bare()
	if t.AsStored {
		task.HeldFor = s.HeldFor
	}
	s.Fill(task, st, now)
}

// Fill sets the fields of t that the message has, but HeldFor. It takes over what st has.
func (s *Message) Fill(t *queue.Task, st *Progress, now time.Time) {
	env := s.Envelope
	env.Recipients = make([]smtp.Recipient, len(st.Recipients))
	for i, r := range st.Recipients {
		env.Recipients[i] = s.Envelope.Recipients[r]
	}
	t.Envelope, t.Last, t.Delayed = &env, st.Last, st.Delayed
	t.Arrival, t.NotBefore = FromNano(s.Arrival), fromDue(s.NotBefore)
	if t.Due.IsZero() { // at once
		t.Due = t.Arrival
		if now.Before(t.Due) {
			t.Due = now
		}
	}
	if !st.Noticed && st.Delayed == nil {
		t.NoticeAt = FromNano(s.Notice)
	}
	t.Deadline = FromNano(s.Deadline)
	t.Size, t.Priority, t.Ref, t.Tenant = s.Size, s.Priority, s.Ref, s.Tenant
	t.Origin, t.FromDomain, t.About = s.Origin, s.FromDomain, s.About
}

// CheckSettlement returns an error if s is invalid for a task of that destination with this number of recipients.
func CheckSettlement(s *queue.Settlement, destination string, recipients int) error {
	switch {
	case len(s.Results) != 0 && len(s.Results) != recipients:
		return fmt.Errorf("the settlement has %d results for %d recipients", len(s.Results), recipients)
	case len(s.Owed) != 0 && destination == queue.ReportDestination:
		return errors.New("the settlement of a report task has Owed")
	}
	for _, o := range s.Owed {
		if o.Recipient < 0 || o.Recipient >= recipients {
			return fmt.Errorf("the settlement has Owed for recipient %d of %d", o.Recipient, recipients)
		}
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

// DeathsAfter returns the Deaths of a task after s, which had n before.
func DeathsAfter(s *queue.Settlement, n int) int {
	if s.Uncounted {
		return n
	}
	return 0
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

// Next returns the due time of a task that is settled now with this Next: AtOnce if that isn't in the future.
func Next(next, now time.Time) int64 {
	if !next.After(now) {
		return AtOnce
	}
	return ToNano(next)
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

// fromDue is FromNano for the time of an attempt. It returns the zero time for AtOnce.
func fromDue(n int64) time.Time {
	if n == AtOnce {
		return time.Time{}
	}
	return FromNano(n)
}

// BytesBody is a queue.Body in memory.
type BytesBody struct{ *bytes.Reader }

// Close does nothing.
func (BytesBody) Close() error { return nil }

// BodyError wraps an error of a message's Body.
func BodyError(err error) error { return fmt.Errorf("reading the body: %w", err) }
