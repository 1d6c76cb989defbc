package queuetest

import (
	"bytes"
	"cmp"
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
	tasks  []*modelTask // in the order of arrival
	bodies map[queue.ID][]byte
	held   map[queue.ID]bool
	stale  []queue.Lease
	serial int
}

type modelTask struct {
	queue.Task
	settled int         // the least number of attempts after a restart
	lease   queue.Lease // zero if there is none
	expires time.Time   // of the lease
	before  time.Time   // Due before a Flush, and perhaps after a restart; zero if there was no Flush
}

// overdue returns the time of the task's notice or deadline, the earlier one, or the zero time.
func (t *modelTask) overdue() time.Time {
	if t.NoticeAt.IsZero() || !t.Deadline.IsZero() && t.Deadline.Before(t.NoticeAt) {
		return t.Deadline
	}
	return t.NoticeAt
}

// claimable returns the time from which the task can be claimed.
func (t *modelTask) claimable() time.Time {
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
		m.stale = append(m.stale, t.lease)
		t.lease = 0
	}
	return t.lease != 0
}

func (m *model) leases() (tasks []*modelTask) {
	for _, t := range m.tasks {
		if m.leased(t) {
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
	return m.now().Add(time.Duration(m.rand.Int64N(int64(4*time.Hour))) - time.Hour)
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
	msg.Envelope.From = []string{"", "a@example.com", "A@example.com", "a@EXAMPLE.com", "a@example.org"}[m.rand.IntN(5)]
	msg.NotBefore, msg.NoticeAt, msg.Deadline = m.soon(), m.soon(), m.soon()
	msg.Priority = int8(m.rand.IntN(19) - 9)
	msg.Ref, msg.Tenant = fmt.Sprint(m.serial), fmt.Sprint("tenant ", m.serial%3)
	msg.Origin = smtp.Origin(m.rand.IntN(5))
	return msg, body
}

// arrive adds a message to the model.
func (m *model) arrive(id queue.ID, msg queue.Message, body []byte) {
	var seen []string
	for _, d := range msg.Destinations {
		if slices.Contains(seen, d) {
			continue
		}
		seen = append(seen, d)
		t := task(id, msg, d, len(body), m.now())
		t.Attempts = 0
		m.tasks = append(m.tasks, &modelTask{Task: t})
	}
	m.bodies[id] = body
}

// turn is the order of tasks within a Want.
type turn struct {
	lane int // by priority: -1 above zero, 0, or 1 below
	at   time.Time
}

func (a turn) compare(b turn) int { return cmp.Or(cmp.Compare(a.lane, b.lane), a.at.Compare(b.at)) }

func (a turn) String() string { return fmt.Sprintf("%v in lane %d", a.at, a.lane) }

// match reports whether a Want selects the task, and its turn.
func (m *model) match(t *modelTask, class queue.Class) (_ turn, ok bool) {
	at, lane := t.claimable(), -cmp.Compare(t.Priority, 0)
	switch class {
	case queue.Fresh:
		ok = t.Attempts == 0
	case queue.Retried:
		ok = t.Attempts > 0
	case queue.Overdue:
		at, lane = t.overdue(), 0
		ok = !at.IsZero()
	default:
		ok = true
	}
	return turn{lane, at}, ok && !at.After(m.now()) && m.state(t) == queue.Waiting
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

func (m *model) pick() *modelTask {
	leased := m.leases()
	if len(leased) == 0 {
		return nil
	}
	return leased[m.rand.IntN(len(leased))]
}

func (m *model) settlement(t *modelTask) queue.Settlement {
	s := queue.Settlement{Uncounted: m.rand.IntN(8) == 0, Noticed: m.rand.IntN(4) == 0}
	if m.rand.IntN(3) > 0 {
		s.Next = m.now().Add(time.Duration(m.rand.Int64N(int64(2 * time.Hour))))
	}
	if m.rand.IntN(4) > 0 {
		for range t.Envelope.Recipients {
			s.Results = append(s.Results, smtp.Result{})
		}
		var outcomes []smtp.Outcome
		for range s.Results {
			outcomes = append(outcomes, smtp.Outcome(m.rand.IntN(4)))
		}
		s.Results = results(t.Task, outcomes...)
	}
	return s
}

// settled applies a Settle to the model.
func (m *model) settled(t *modelTask, s queue.Settlement) {
	m.stale = append(m.stale, t.lease)
	t.lease = 0
	if s.Uncounted {
		t.Attempts--
	}
	t.settled, t.before = t.Attempts, time.Time{}
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
	if len(last) == 0 {
		m.tasks = slices.DeleteFunc(m.tasks, func(o *modelTask) bool { return o == t })
		if !slices.ContainsFunc(m.tasks, func(o *modelTask) bool { return o.ID == t.ID }) {
			delete(m.bodies, t.ID)
			delete(m.held, t.ID)
			if _, err := m.q.Open(m.ctx, t.ID); !errors.Is(err, queue.ErrNotFound) {
				m.Errorf("Open of a message whose last task is settled: got %v, want ErrNotFound", err)
			}
		}
	}
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
