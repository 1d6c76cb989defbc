package queuetest

import (
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// modelPart is what one settlement added to a report task of the model.
type modelPart struct {
	due        time.Time
	attempts   int
	recipients []smtp.Recipient
	last       []smtp.Result
	delayed    []bool
}

func (t *modelTask) isReport() bool { return t.Destination == queue.ReportDestination }

// refill makes the report task of its parts. It returns when it is due after a restart, and the attempts of the parts.
func (t *modelTask) refill() (stored time.Time, attempts int) {
	env := *t.Envelope
	env.Recipients, t.Last, t.Delayed = nil, nil, nil
	for i, p := range t.parts {
		env.Recipients = append(env.Recipients, p.recipients...)
		t.Last, t.Delayed = append(t.Last, p.last...), append(t.Delayed, p.delayed...)
		if attempts = max(attempts, p.attempts); i == 0 || p.due.Before(stored) {
			stored = p.due
		}
	}
	t.Envelope = &env
	return stored, attempts
}

// owes adds to a settlement what it owes.
func (m *model) owes(t *modelTask, s *queue.Settlement) {
	if t.isReport() || m.rand.IntN(2) == 0 {
		return
	}
	s.ReportAt = m.within(time.Hour)
	for i, r := range t.Last {
		if len(s.Results) > 0 {
			r = s.Results[i]
		}
		if m.rand.IntN(3) > 0 {
			s.Owed = append(s.Owed, queue.Owed{Recipient: i, Result: r, Delayed: m.rand.IntN(2) == 0})
		}
	}
}

// owed adds to the report task what a settlement owes.
func (m *model) owed(t *modelTask, s queue.Settlement) {
	p := modelPart{due: s.ReportAt}
	for _, o := range s.Owed {
		p.recipients = append(p.recipients, t.Envelope.Recipients[o.Recipient])
		p.last, p.delayed = append(p.last, o.Result), append(p.delayed, o.Delayed)
	}
	if len(p.recipients) == 0 {
		return
	}
	for _, other := range m.tasks {
		if other.ID == t.ID && other.isReport() {
			other.parts = append(other.parts, p)
			stored, _ := other.refill()
			if p.due.Before(other.Due) {
				other.Due = p.due
			}
			other.note(stored)
			return
		}
	}
	r := &modelTask{Task: t.Task, parts: []modelPart{p}}
	r.Destination, r.NoticeAt, r.Attempts = queue.ReportDestination, time.Time{}, 0
	r.Due, _ = r.refill()
	first := slices.IndexFunc(m.tasks, func(other *modelTask) bool { return other.ID == t.ID })
	m.tasks = slices.Insert(m.tasks, first, r) // before all domains
}

// note notes when the report task may be due after a restart.
func (t *modelTask) note(stored time.Time) {
	if t.before = stored; stored.Equal(t.Due) {
		t.before = time.Time{}
	}
}

// reported applies a Settle of a report task. It reports whether the task stays.
func (m *model) reported(t *modelTask, s queue.Settlement) bool {
	added := t.parts[t.claimed:]
	p := modelPart{due: s.Next, attempts: t.Attempts}
	for i, r := range t.Envelope.Recipients[:t.covered()] {
		result := t.Last[i]
		if len(s.Results) > 0 {
			result = s.Results[i]
		}
		if !s.Next.IsZero() && (len(s.Results) == 0 || !result.Outcome.Final()) {
			p.recipients = append(p.recipients, r)
			p.last, p.delayed = append(p.last, result), append(p.delayed, t.Delayed[i])
		}
	}
	t.parts = slices.Clone(added)
	if len(p.recipients) > 0 {
		t.parts = append(t.parts, p)
	}
	stored, attempts := t.refill()
	t.Due, t.once, t.Attempts = stored, false, attempts
	if len(added) > 0 && m.only(t) && t.Due.After(m.now()) {
		t.Due = m.now()
	}
	t.note(stored)
	return len(t.parts) > 0
}

// covered returns the number of recipients that the lease of a report task is for, or all of another task.
func (t *modelTask) covered() int {
	if !t.isReport() {
		return len(t.Last)
	}
	n := 0
	for _, p := range t.parts[:t.claimed] {
		n += len(p.recipients)
	}
	return n
}

// only reports whether the task is the only one of its message.
func (m *model) only(t *modelTask) bool {
	return !slices.ContainsFunc(m.tasks, func(other *modelTask) bool { return other.ID == t.ID && other != t })
}

// hurry makes the report task of a message due if it is left alone.
func (m *model) hurry(id queue.ID) {
	for _, t := range m.tasks {
		if t.ID == id && t.isReport() && m.only(t) && !m.leased(t) && t.Due.After(m.now()) {
			stored, _ := t.refill()
			t.Due = m.now()
			t.note(stored)
		}
	}
}
