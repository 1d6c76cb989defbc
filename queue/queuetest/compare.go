package queuetest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

func eqTime(a, b time.Time) bool { return a.IsZero() == b.IsZero() && a.Sub(b).Abs() < precision }

// checkTask compares two tasks, except for their Leases and Only. If want has no Owner, that isn't compared.
func (e *env) checkTask(what string, got, want queue.Task) {
	e.Helper()
	got.Lease, want.Lease, got.Only, want.Only = 0, 0, false, false
	if want.Owner == 0 {
		got.Owner = 0
	}
	for _, t := range []*queue.Task{&got, &want} {
		// Without a Reply, a Result has no meaning.
		t.Last = slices.Clone(t.Last)
		for i := range t.Last {
			if t.Last[i].Reply == nil {
				t.Last[i] = smtp.Result{}
			}
		}
	}
	if e.h.Advance != nil && got.Arrival.Sub(want.Arrival).Abs() < time.Minute {
		// Outside a bubble, the clock moves between Enqueue and here.
		if want.Due.Equal(want.Arrival) {
			want.Due = got.Arrival
		}
		want.Arrival = got.Arrival
	}
	same, env := got, *got.Envelope
	same.Envelope = &env
	for _, at := range []struct {
		got  *time.Time
		want time.Time
	}{
		{&same.Arrival, want.Arrival}, {&same.Due, want.Due},
		{&same.NotBefore, want.NotBefore}, {&same.NoticeAt, want.NoticeAt}, {&same.Deadline, want.Deadline},
		{&env.By.Time, want.Envelope.By.Time}, {&env.HoldUntil, want.Envelope.HoldUntil},
	} {
		if eqTime(*at.got, at.want) {
			*at.got = at.want
		}
	}
	if !reflect.DeepEqual(same, want) {
		e.Errorf("%s:\ngot  %s\nwant %s", what, describe(got), describe(want))
	}
}

// task returns the task that a new message has for a destination, claimed once.
func task(id queue.ID, m queue.Message, destination string, size int, arrival time.Time) queue.Task {
	env := *m.Envelope
	env.Recipients = nil
	for i, r := range m.Envelope.Recipients {
		if m.Destinations[i] == destination {
			env.Recipients = append(env.Recipients, r)
		}
	}
	due := m.NotBefore
	if due.IsZero() {
		due = arrival
	}
	return queue.Task{
		ID: id, Destination: destination,
		State:    queue.Leased,
		Envelope: &env,
		Last:     make([]smtp.Result, len(env.Recipients)),
		Arrival:  arrival, NotBefore: m.NotBefore, Due: due, NoticeAt: m.NoticeAt, Deadline: m.Deadline,
		Attempts: 1, Size: int64(size), Priority: m.Priority, Ref: m.Ref, Tenant: m.Tenant,
		Origin: m.Origin, FromDomain: m.FromDomain, About: m.About, HeldFor: m.HeldFor,
	}
}

// results returns a Result for each recipient of a task.
func results(t queue.Task, outcomes ...smtp.Outcome) []smtp.Result {
	rs := make([]smtp.Result, len(outcomes))
	for i, o := range outcomes {
		address := t.Envelope.Recipients[i].Address
		rs[i] = smtp.Result{
			Recipient: address, Outcome: o, Stage: smtp.StageRcpt, Reason: smtp.Other + smtp.Reason(i%6),
			Reply: smtp.NewReply(450, "4.2.1", "try "+address+" later\nor never"),
			Host:  "mx.example.net", Addr: "192.0.2.1:25", TLS: "TLS 1.3", Policy: "sts:1", Source: "192.0.2.9",
			Relayed: i%2 == 0, DSN: i%2 == 1, DeliverBy: i%2 == 1, Local: i%3 == 0,
		}
	}
	return rs
}

func describe(t queue.Task) string {
	return fmt.Sprintf("%+v\n     to %+v\n     last %s", t, *t.Envelope, describeResults(t.Last))
}

func describeResults(rs []smtp.Result) string {
	var b strings.Builder
	for _, r := range rs {
		fmt.Fprintf(&b, "%+v %v; ", r, r.Reply)
	}
	return b.String()
}
