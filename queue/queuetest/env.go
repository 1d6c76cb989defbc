package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// env is a test with a Queue of its own, and helpers that fail the test.
type env struct {
	*testing.T
	h      Harness
	q      queue.Queue
	ctx    context.Context
	passed time.Duration // by Harness.Advance
	lacks  *string       // the reason of a skip
	noted  []string      // parts that were left out
}

// lack skips the test, because the Queue or the Harness lacks something that it needs.
func (e *env) lack(what, why string) {
	e.Helper()
	reason := "not tested: " + what + ", since " + why
	if e.lacks != nil {
		*e.lacks = reason
	}
	e.Skip(reason)
}

// note logs once that a part of the test is left out, because the Queue or the Harness lacks something.
func (e *env) note(what, why string) {
	e.Helper()
	reason := "not tested: " + what + ", since " + why
	if !slices.Contains(e.noted, reason) {
		e.noted = append(e.noted, reason)
		e.Log(reason)
	}
}

func (e *env) now() time.Time { return time.Now().Add(e.passed) }

func (e *env) sleep(d time.Duration) {
	e.Helper()
	if e.h.Advance == nil {
		time.Sleep(d)
		return
	}
	e.h.Advance(d)
	e.passed += d
}

func (e *env) needReopen() {
	if e.h.Reopen == nil {
		e.lack("restarts", "Harness.Reopen is nil")
	}
}

func (e *env) reopen() {
	e.Helper()
	e.q = e.h.Reopen(e.T, e.q)
}

// message returns a message with one recipient for each destination.
func message(body string, destinations ...string) queue.Message {
	env := smtp.NewEnvelope("sender@example.com")
	for i, d := range destinations {
		env.Recipients = append(env.Recipients, smtp.Recipient{Address: string(rune('a'+i)) + "@" + d})
	}
	return queue.Message{
		Envelope: env, Destinations: destinations, Body: strings.NewReader(body),
		Ref: "order 17", Tenant: "tenant/2", Origin: smtp.OriginAllowed, FromDomain: "from.example", About: "b0unce-7",
	}
}

func (e *env) enqueue(m queue.Message) queue.ID {
	e.Helper()
	id, err := e.q.Enqueue(e.ctx, m)
	if err != nil {
		e.Fatalf("Enqueue: %v", err)
	}
	if strings.Trim(string(id), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" || id == "" {
		e.Fatalf("an ID consists of ASCII letters, digits and \"-\": got %q", id)
	}
	return id
}

// claim claims tasks of one destination for an hour.
func (e *env) claim(destination string, n int, class queue.Class) []queue.Task {
	e.Helper()
	tasks, err := e.q.Claim(e.ctx, []queue.Want{{Destination: destination, Max: n, Class: class}}, time.Hour)
	if err != nil {
		e.Fatalf("Claim: %v", err)
	}
	return tasks
}

// claimOne claims the only due task of a destination.
func (e *env) claimOne(destination string) queue.Task {
	e.Helper()
	tasks := e.claim(destination, 10, queue.Any)
	if len(tasks) != 1 {
		e.Fatalf("Claim for %s: got %d tasks, want 1", destination, len(tasks))
	}
	return tasks[0]
}

func (e *env) claimNone(destination, why string) {
	e.Helper()
	if tasks := e.claim(destination, 10, queue.Any); len(tasks) != 0 {
		e.Fatalf("Claim leases no task that %s: got %d tasks of %s, want none", why, len(tasks), destination)
	}
}

func (e *env) settle(t queue.Task, s queue.Settlement) {
	e.Helper()
	if err := e.q.Settle(e.ctx, t.Lease, s); err != nil {
		e.Fatalf("Settle: %v", err)
	}
}

// destinations returns the destinations with due tasks, by name.
func (e *env) destinations(within time.Duration) map[string]queue.Destination {
	e.Helper()
	got := map[string]queue.Destination{}
	for d, err := range e.q.Destinations(e.ctx, within) {
		if err != nil {
			e.Fatalf("Destinations: %v", err)
		}
		if _, ok := got[d.Name]; ok {
			e.Fatalf("Destinations yields each destination once: got %s twice", d.Name)
		}
		got[d.Name] = d
	}
	return got
}

// checkDestinations compares the destinations with due tasks.
func (e *env) checkDestinations(within time.Duration, want ...queue.Destination) {
	e.Helper()
	got := e.destinations(within)
	for _, w := range want {
		g, ok := got[w.Name]
		if !ok || !g.Due.Equal(w.Due) || !g.Overdue.Equal(w.Overdue) || g.Fresh != w.Fresh || g.Retried != w.Retried {
			e.Errorf("Destinations(%v): got %+v, want %+v", within, g, w)
		}
		delete(got, w.Name)
	}
	for name := range got {
		e.Errorf("Destinations(%v): got %s, which has no due task that isn't leased", within, name)
	}
}

// empty checks that no task is left.
func (e *env) empty(why string) {
	e.Helper()
	e.sleep(365 * 24 * time.Hour)
	if got := e.destinations(0); len(got) != 0 {
		e.Fatalf("%s: got tasks for %v, want none", why, got)
	}
	if _, ok := e.q.(queue.Lister); ok {
		if tasks := e.list(queue.Filter{}); len(tasks) != 0 {
			e.Fatalf("%s: List yields %d tasks, want none; the first is %s", why, len(tasks), describe(tasks[0]))
		}
	}
}

// body reads a message's body to its end.
func (e *env) body(id queue.ID) []byte {
	e.Helper()
	b, err := e.q.Open(e.ctx, id)
	if err != nil {
		e.Fatalf("Open(%s): %v", id, err)
	}
	defer b.Close()
	got, err := io.ReadAll(smtp.NewReader(b))
	if err != nil {
		e.Fatalf("reading the body of %s: %v", id, err)
	}
	if int64(len(got)) != b.Size() {
		e.Fatalf("body of %s: got %d octets, and its Size is %d", id, len(got), b.Size())
	}
	return got
}

func (e *env) checkBody(id queue.ID, want []byte) {
	e.Helper()
	if got := e.body(id); !bytes.Equal(got, want) {
		e.Fatalf("a body is returned unchanged: message %s has %d octets, want %d, or other octets",
			id, len(got), len(want))
	}
}

// checkLost checks that the error is ErrLeaseLost.
func (e *env) checkLost(what string, err error) {
	e.Helper()
	if !errors.Is(err, queue.ErrLeaseLost) {
		e.Fatalf("%s: got %v, want ErrLeaseLost", what, err)
	}
}

// checkTask compares two tasks, except for their Leases.
func (e *env) checkTask(what string, got, want queue.Task) {
	e.Helper()
	got.Lease, want.Lease = 0, 0
	for _, t := range []*queue.Task{&got, &want} {
		for _, at := range []*time.Time{&t.Arrival, &t.Due, &t.NoticeAt, &t.Deadline} {
			*at = at.UTC().Round(0)
		}
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
	if !reflect.DeepEqual(got, want) {
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
		Arrival:  arrival, Due: due, NoticeAt: m.NoticeAt, Deadline: m.Deadline,
		Attempts: 1, Size: int64(size), Priority: m.Priority, Ref: m.Ref, Tenant: m.Tenant,
		Origin: m.Origin, FromDomain: m.FromDomain, About: m.About,
	}
}

// reporting returns a settlement without Next that has reports.
func reporting(reports ...queue.Message) queue.Settlement { return queue.Settlement{Reports: reports} }

// results returns a Result for each recipient of a task.
func results(t queue.Task, outcomes ...smtp.Outcome) []smtp.Result {
	rs := make([]smtp.Result, len(outcomes))
	for i, o := range outcomes {
		address := t.Envelope.Recipients[i].Address
		rs[i] = smtp.Result{
			Recipient: address, Outcome: o, Stage: smtp.StageRcpt, Reason: smtp.Other + smtp.Reason(i%6),
			Reply: smtp.NewReply(450, "4.2.1", "try "+address+" later\nor never"),
			Host:  "mx.example.net", Addr: "192.0.2.1:25", TLS: "TLS 1.3",
			Relayed: i%2 == 0, DSN: i%2 == 1, Local: i%3 == 0,
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
