package index

import (
	"errors"
	"fmt"
	"slices"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Imported is the state of a task that comes from another Queue. If Progress has no recipients, the task is done.
type Imported struct {
	Num      uint32 // ReportTask for the report task
	Attempts int
	Deaths   int
	Due      int64
	Overdue  int64
	Progress *Progress
}

// settledDestination is the destination of recipients that have only a report to come (RFC 6761 §6.4). Its task is
// done.
const settledDestination = "settled.invalid"

// ImportedMessage returns the Message to store, from which NewMessage makes one.
func ImportedMessage(in *queue.Import) (queue.Message, error) {
	if len(in.Tasks) == 0 {
		return queue.Message{}, errors.New("the message has no task")
	}
	first := &in.Tasks[0]
	m := queue.Message{
		Body: in.Body, Key: in.Key, Held: in.Held,
		NotBefore: first.NotBefore, Deadline: first.Deadline, Priority: first.Priority,
		Ref: first.Ref, Tenant: first.Tenant, Origin: first.Origin, FromDomain: first.FromDomain, About: first.About,
		HeldFor: first.HeldFor,
	}
	seen := make(map[string]bool)
	env := new(smtp.Envelope)
	var report *queue.Task
	for i := range in.Tasks {
		t := &in.Tasks[i]
		isReport := t.Destination == queue.ReportDestination
		switch {
		case t.Envelope == nil || len(t.Envelope.Recipients) == 0:
			return queue.Message{}, fmt.Errorf("the task for %q has no recipient", t.Destination)
		case len(t.Last) != len(t.Envelope.Recipients) || isReport && len(t.Delayed) != len(t.Last):
			return queue.Message{}, fmt.Errorf("the task for %q has %d last results for %d recipients",
				t.Destination, len(t.Last), len(t.Envelope.Recipients))
		case seen[t.Destination]:
			return queue.Message{}, fmt.Errorf("the message has two tasks for %q", t.Destination)
		}
		seen[t.Destination] = true
		if m.Envelope == nil {
			*env = *t.Envelope
			env.Recipients, m.Envelope = nil, env
		}
		if isReport {
			report = t
			continue
		}
		if !t.NoticeAt.IsZero() {
			m.NoticeAt = t.NoticeAt
		}
		for _, r := range t.Envelope.Recipients {
			env.Recipients, m.Destinations = append(env.Recipients, r), append(m.Destinations, t.Destination)
		}
	}
	if report != nil {
		for i, at := range openRecipients(env.Recipients, report) {
			if at < 0 {
				env.Recipients = append(env.Recipients, report.Envelope.Recipients[i])
				m.Destinations = append(m.Destinations, settledDestination)
			}
		}
	}
	return m, nil
}

// openRecipients returns, for each recipient of a report task, its index in open, the recipients that aren't settled,
// or -1. Only one that is Delayed can be there.
func openRecipients(open []smtp.Recipient, report *queue.Task) []int {
	at := make([]int, len(report.Delayed))
	taken := make(map[int]bool)
	for i, delayed := range report.Delayed {
		at[i] = -1
		if !delayed {
			continue
		}
		for j, r := range open {
			if r == report.Envelope.Recipients[i] && !taken[j] {
				at[i], taken[j] = j, true
				break
			}
		}
	}
	return at
}

// Import returns the states of the tasks of a message that NewMessage has made of ImportedMessage. They are to be
// stored in this order: the message isn't without a task in between.
func (s *Message) Import(in *queue.Import) (states []Imported) {
	s.Arrival = ToNano(in.Tasks[0].Arrival)
	opened, settled := 0, true // the recipients that aren't settled come first
	for i := range in.Tasks {
		if t := &in.Tasks[i]; t.Destination != queue.ReportDestination {
			opened += len(t.Last)
			settled = settled && t.Destination != settledDestination
		}
	}
	place := 0
	for i := range in.Tasks {
		t := &in.Tasks[i]
		st := Imported{Attempts: t.Attempts, Deaths: t.Deaths, Progress: &Progress{}}
		for _, r := range t.Last {
			st.Progress.Last = append(st.Progress.Last, cloneResult(r))
		}
		if t.Destination == queue.ReportDestination {
			st.Num, st.Due, st.Overdue = ReportTask, ToNano(t.Due), Never
			st.Progress.Delayed = slices.Clone(t.Delayed)
			next := opened
			for _, at := range openRecipients(s.Envelope.Recipients[:opened], t) {
				if at < 0 {
					at, next = next, next+1
				}
				st.Progress.Recipients = append(st.Progress.Recipients, at)
			}
			states = append(states, st)
			continue
		}
		if t.Due.After(t.Arrival) || !t.NotBefore.IsZero() {
			st.Due = ToNano(t.Due) // otherwise AtOnce
		}
		st.Num = uint32(slices.Index(s.Dests, t.Destination))
		st.Progress.Noticed = t.NoticeAt.IsZero() && s.Notice != Never
		st.Overdue = s.Overdue(st.Progress.Noticed)
		for range t.Last {
			st.Progress.Recipients = append(st.Progress.Recipients, place)
			place++
		}
		states = append(states, st)
	}
	if settled && opened < len(s.Dest) {
		num := uint32(slices.Index(s.Dests, settledDestination))
		states = append(states, Imported{Num: num, Progress: &Progress{}})
	}
	return states
}

// Imported sets a task of a message, which was just added, to the state that it has in the other Queue. part is for the
// report task.
func (ix *Index[M, S]) Imported(id uint64, st *Imported, state S, part uint32) {
	if st.Num == ReportTask {
		ix.Owe(id, Part[S]{Num: part, Due: st.Due, Attempts: st.Attempts, Deaths: st.Deaths, State: state})
		return
	}
	r := ix.Task(id, st.Num)
	ix.Take(r)
	if len(st.Progress.Recipients) == 0 {
		ix.Drop(r)
		return
	}
	ix.Change(r, st.Due, st.Overdue, st.Attempts, state)
	ix.SetDeaths(r, st.Deaths)
	ix.Put(r)
}
