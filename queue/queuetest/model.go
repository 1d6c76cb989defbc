package queuetest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// model is a Queue as simple as can be, to compare with.
type model struct {
	*env
	rand   *rand.Rand
	tasks  []*modelTask // in the order of arrival, those of a message sorted by Destination
	bodies map[queue.ID][]byte
	held   map[queue.ID]bool
	stale  []granted
	done   []granted // that were settled
	owners map[string]queue.Owner
	serial int
	keys   []modelKey
	all    []*env // the Queues on the store
	looks  looks
}

// granted is a lease with the Queue that granted it.
type granted struct {
	at    *env
	lease queue.Lease
}

type modelTask struct {
	queue.Task
	lease   queue.Lease // zero if there is none
	at      *env        // that granted the lease
	expires time.Time   // of the lease
	foreign bool        // the lease is from before a restart
	before  time.Time   // Due before a Flush, and perhaps after a restart; zero if there was no Flush
	parts   []modelPart // of a report task
	claimed int         // of these, those that the lease is for
	doubted time.Time   // OverdueFrom of the last settlement
	once    bool        // it is due at once
}

// overdue returns the time of the task's notice or deadline, the earlier one, or the zero time. Neither comes before
// NotBefore.
func (t *modelTask) overdue() time.Time {
	if t.isReport() {
		return time.Time{}
	}
	at := t.NoticeAt
	if at.IsZero() || !t.Deadline.IsZero() && t.Deadline.Before(at) {
		at = t.Deadline
	}
	for _, from := range []time.Time{t.NotBefore, t.doubted} {
		if !at.IsZero() && at.Before(from) {
			at = from
		}
	}
	return at
}

// claimable returns the time from which the task can be claimed, the zero time if it is due at once.
func (t *modelTask) claimable() time.Time {
	if t.once {
		return time.Time{}
	}
	if at := t.overdue(); !at.IsZero() && at.Before(t.Due) {
		return at
	}
	return t.Due
}

// state returns the State of the task.
func (m *model) state(t *modelTask) queue.State {
	switch {
	case m.leased(t):
		return queue.Leased
	case m.held[t.ID]:
		return queue.Held
	}
	return queue.Waiting
}

// leased reports whether the task has a lease.
func (m *model) leased(t *modelTask) bool {
	if t.lease != 0 && !m.now().Before(t.expires) {
		m.stale = append(m.stale, granted{t.at, t.lease})
		t.lease = 0
	}
	return t.lease != 0
}

// leases returns the tasks with a lease that can be settled.
func (m *model) leases() (tasks []*modelTask) {
	for _, t := range m.tasks {
		if m.leased(t) && !t.foreign {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

func (m *model) destination() string { return fmt.Sprintf("d%d.example", m.rand.IntN(4)) }

// soon returns a time around now, or zero for one call in four.
func (m *model) soon() time.Time {
	if m.rand.IntN(4) == 0 {
		return time.Time{}
	}
	return m.within(4 * time.Hour).Add(-time.Hour)
}

// within returns a time within d from now. It is to the nanosecond, and half a millisecond from any time that is now:
// the model passes whole milliseconds only. So it is in the past or not, however the Queue rounds it.
func (m *model) within(d time.Duration) time.Time {
	const half = time.Millisecond / 2
	return m.now().Add(m.millis(d) + half + time.Duration(m.rand.IntN(1000)))
}

// millis returns a number of milliseconds below d.
func (m *model) millis(d time.Duration) time.Duration {
	return time.Duration(m.rand.Int64N(d.Milliseconds())) * time.Millisecond
}

func (m *model) message() (queue.Message, []byte) {
	m.serial++
	n := m.rand.IntN(2000)
	if m.rand.IntN(30) == 0 {
		n = 400_000
	}
	body := bytes.Repeat([]byte{byte(m.serial)}, n)
	var destinations []string
	for range 1 + m.rand.IntN(4) {
		destinations = append(destinations, m.destination())
	}
	msg := message("", destinations...)
	msg.Body = newBody(body)
	msg.Envelope.From = senders[m.rand.IntN(len(senders))]
	msg.NotBefore, msg.NoticeAt, msg.Deadline = m.soon(), m.soon(), m.soon()
	if !msg.Deadline.IsZero() && !msg.NotBefore.Before(msg.Deadline) {
		msg.Deadline = msg.NotBefore.Add(time.Millisecond + m.millis(time.Hour))
	}
	msg.Priority = int8(m.rand.IntN(19) - 9)
	msg.Ref, msg.Tenant = fmt.Sprint(m.serial), tenants[m.rand.IntN(3)]
	msg.Origin = smtp.Origin(m.rand.IntN(5))
	if _, ok := m.q.(queue.Holder); ok && len(m.held) < 10 && m.rand.IntN(10) == 0 {
		msg.Held, msg.HeldFor = true, "a check"
	}
	return msg, body
}

var (
	senders = []string{"", "a@example.com", "A@example.com", "a@EXAMPLE.com", "a@example.org"}
	tenants = []string{"", "tenant 1", "a@example.com"}
)

// learnOwners finds out the numbers of the owners.
func (m *model) learnOwners() {
	m.owners = map[string]queue.Owner{}
	for _, from := range senders {
		m.owners["from "+from] = m.ownerOf(from, "")
	}
	for _, tenant := range tenants[1:] {
		m.owners[tenant] = m.ownerOf("", tenant)
	}
	for _, t := range m.tasks {
		t.Owner = m.owner(t.Envelope.From, t.Tenant)
	}
}

// ownerOf returns the Owner of the messages with this reverse-path and this Tenant, at all Queues.
func (m *model) ownerOf(from, tenant string) queue.Owner {
	if len(m.all) == 1 {
		return m.env.ownerOf(from, tenant)
	}
	msg := message("x", "owner.example")
	msg.Envelope.From, msg.Tenant = from, tenant
	id := m.env.enqueue(msg)
	m.lag()
	has, t := either(m.all[0], m.all[1], "owner.example")
	for _, e := range m.all {
		if _, ok := e.q.(queue.Lister); !ok {
			m.lack("random operations at two Queues", "the Queue is no Lister")
		}
		for _, other := range e.list(queue.Filter{ID: id}) {
			if other.Owner != t.Owner {
				m.lack("random operations at two Queues", "an Owner has another number at each")
			}
		}
	}
	has.settle(t, queue.Settlement{})
	m.lag()
	return t.Owner
}

func (m *model) owner(from, tenant string) queue.Owner {
	if tenant != "" {
		return m.owners[tenant]
	}
	return m.owners["from "+from]
}

// laneNames returns the lanes that there can be, each once, in a fixed order.
func (m *model) laneNames() (lanes []queue.Lane) {
	var owners []queue.Owner
	for _, from := range senders {
		for _, tenant := range tenants {
			if o := m.owner(from, tenant); !slices.Contains(owners, o) {
				owners = append(owners, o)
			}
		}
	}
	for i := range 5 {
		destination := fmt.Sprintf("d%d.example", i)
		if i == 4 {
			destination = queue.ReportDestination
		}
		for _, o := range owners {
			for priority := range 3 {
				lanes = append(lanes, queue.Lane{
					Destination: destination, Owner: o, Priority: int8(priority - 1),
				})
			}
		}
	}
	return lanes
}

// arrive adds a message to the model.
func (m *model) arrive(id queue.ID, msg queue.Message, body []byte) {
	for _, d := range slices.Compact(slices.Sorted(slices.Values(msg.Destinations))) {
		t := task(id, msg, d, len(body), m.now())
		t.Attempts, t.Owner = 0, m.owner(msg.Envelope.From, msg.Tenant)
		m.tasks = append(m.tasks, &modelTask{Task: t, once: t.NotBefore.IsZero()})
	}
	m.bodies[id] = body
	if msg.Held {
		m.held[id] = true
	}
}

// match reports whether a Want of this class selects the task, and at what time it has its turn.
func (m *model) match(t *modelTask, class queue.Class) (at time.Time, ok bool) {
	at = t.claimable()
	switch class {
	case queue.Fresh:
		ok = t.Attempts == 0
	case queue.Retried:
		ok = t.Attempts > 0
	case queue.Overdue:
		at = t.overdue()
		ok = !at.IsZero()
	default:
		ok = true
	}
	return at, ok && !at.After(m.now()) && m.state(t) == queue.Waiting
}

// find returns the model's task with the ID and Destination of got.
func (m *model) find(got queue.Task) *modelTask {
	for _, t := range m.tasks {
		if t.ID == got.ID && t.Destination == got.Destination {
			return t
		}
	}
	return nil
}

// pick picks a task with a lease, and goes on at the Queue that granted it.
func (m *model) pick() *modelTask {
	leased := m.leases()
	if len(leased) == 0 {
		return nil
	}
	t := leased[m.rand.IntN(len(leased))]
	m.env = t.at
	return t
}

func (m *model) settlement(t *modelTask) queue.Settlement {
	s := queue.Settlement{Uncounted: m.rand.IntN(8) == 0, Noticed: m.rand.IntN(4) == 0}
	switch m.rand.IntN(8) {
	case 0, 1:
	case 2:
		s.Next = m.within(2 * time.Hour).Add(-2 * time.Hour)
	default:
		s.Next = m.within(2 * time.Hour)
	}
	if m.rand.IntN(6) == 0 {
		s.OverdueFrom = m.within(2 * time.Hour)
	}
	if m.rand.IntN(4) > 0 {
		for range t.covered() {
			s.Results = append(s.Results, smtp.Result{})
		}
		var outcomes []smtp.Outcome
		for range s.Results {
			outcomes = append(outcomes, smtp.Outcome(m.rand.IntN(4)))
		}
		s.Results = results(t.Task, outcomes...)
	}
	m.owes(t, &s)
	return s
}

// settled applies a Settle to the model.
func (m *model) settled(t *modelTask, s queue.Settlement) {
	m.done = append(m.done, granted{t.at, t.lease})
	t.lease = 0
	if s.Uncounted {
		t.Attempts--
	}
	if t.isReport() {
		m.left(t, m.reported(t, s))
		return
	}
	m.owed(t, s)
	t.before, t.doubted = time.Time{}, s.OverdueFrom
	if s.Noticed {
		t.NoticeAt = time.Time{}
	}
	env := *t.Envelope
	env.Recipients = nil
	var last []smtp.Result
	for i, r := range t.Envelope.Recipients {
		result := t.Last[i]
		if len(s.Results) > 0 {
			result = s.Results[i]
			if result.Outcome.Final() {
				continue
			}
		}
		if !s.Next.IsZero() {
			env.Recipients, last = append(env.Recipients, r), append(last, result)
		}
	}
	t.Envelope, t.Last, t.Due = &env, last, s.Next
	if t.once = !t.Due.After(m.now()); t.once {
		t.Due = t.Arrival
	}
	m.left(t, len(last) > 0)
}

// left removes a task that was settled unless it stays.
func (m *model) left(t *modelTask, stays bool) {
	if stays {
		return
	}
	m.tasks = slices.DeleteFunc(m.tasks, func(o *modelTask) bool { return o == t })
	if !slices.ContainsFunc(m.tasks, func(o *modelTask) bool { return o.ID == t.ID }) {
		delete(m.bodies, t.ID)
		delete(m.held, t.ID)
		if _, err := m.q.Open(m.ctx, t.ID); !errors.Is(err, queue.ErrNotFound) {
			m.Errorf("Open of a message whose last task is settled: got %v, want ErrNotFound", err)
		}
	}
	m.hurry(t.ID)
}

// findReport finds the ID of a new report and adds it to the model.
func (m *model) findReport(r queue.Message, body []byte) {
	if _, ok := m.q.(queue.Lister); !ok {
		m.lack("random operations with reports", "the Queue is no Lister")
	}
	for _, t := range m.env.list(queue.Filter{}) {
		if t.Ref == r.Ref {
			m.arrive(t.ID, r, body)
			return
		}
	}
	m.Errorf("a report is stored with its settlement: the one with Ref %s is missing", r.Ref)
}

// lastIndex returns the index of the last task of a message.
func lastIndex(tasks []queue.Task, id queue.ID) (last int) {
	for i, t := range tasks {
		if t.ID == id {
			last = i
		}
	}
	return last
}

// some returns IDs of messages in the Queue, and one that isn't.
func (m *model) some() []queue.ID {
	ids := []queue.ID{"nosuch"}
	for range 1 + m.rand.IntN(3) {
		if len(m.tasks) > 0 {
			ids = append(ids, m.tasks[m.rand.IntN(len(m.tasks))].ID)
		}
	}
	return ids
}
