package queuetest

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testKeeps tests that a Task has every field of the Message.
func testKeeps(e *env) {
	m := full(e.now())
	before := e.now()
	id := e.enqueue(m)
	e.sleep(24 * time.Hour)
	for _, d := range []string{"one.example", "smarthost"} {
		got := e.claimOne(d)
		if got.Arrival.Before(before.Add(-time.Second)) || got.Arrival.After(before.Add(time.Minute)) {
			e.Errorf("Arrival is the time of Enqueue: got %v, want about %v", got.Arrival, before)
		}
		e.checkTask("a Task has every field of the Message", got, task(id, m, d, len("body\r\n"), got.Arrival))
	}
	e.checkBody(id, []byte("body\r\n"))
}

// testManyRecipients tests that a task has the recipients of its destination, however many there are.
func testManyRecipients(e *env) {
	var destinations []string
	for i := range 1000 {
		destinations = append(destinations, fmt.Sprintf("d%d.example", i*i%10))
	}
	m := message("x", destinations...)
	for i := range m.Envelope.Recipients {
		m.Envelope.Recipients[i].Address = fmt.Sprintf("recipient%d@%s", i, destinations[i])
	}
	id := e.enqueue(m)
	next := e.now()
	for i := range 10 {
		d := fmt.Sprintf("d%d.example", i)
		tasks := e.claim(d, 10, queue.Any)
		want := task(id, m, d, 1, time.Time{})
		if len(want.Envelope.Recipients) == 0 {
			if len(tasks) != 0 {
				e.Errorf("%s: got %d tasks, want none, because it has no recipient", d, len(tasks))
			}
			continue
		}
		if len(tasks) != 1 {
			e.Fatalf("%s: recipients of one destination share a task: got %d", d, len(tasks))
		}
		want.Arrival, want.Due = tasks[0].Arrival, tasks[0].Due
		e.checkTask("each destination has its own recipients", tasks[0], want)
		var outcomes []smtp.Outcome
		for range want.Envelope.Recipients {
			outcomes = append(outcomes, smtp.Deferred)
		}
		rs := results(tasks[0], outcomes...)
		e.settle(tasks[0], queue.Settlement{Results: rs, Next: next})
		want.Last, want.Attempts = rs, 2
		e.checkTask("each recipient has its own Result", e.claimOne(d), want)
	}
}

// testPrecision tests that times are kept to the microsecond.
func testPrecision(e *env) {
	for i, digits := range []time.Duration{1, 999, 1000, 1499, 123_456_789, 999_499_500, 999_999_999} {
		d := fmt.Sprintf("d%d.example", i)
		e.sleep(digits.Truncate(precision)) // so that Arrival has digits, too
		arrival := e.now()
		m := message("x", d)
		m.NotBefore, m.NoticeAt = arrival.Add(time.Hour+digits), arrival.Add(2*time.Hour+digits)
		m.Deadline = arrival.Add(30*time.Hour + digits)
		id := e.enqueue(m)
		e.checkLanes(queue.LaneDue{Lane: queue.Lane{Destination: d}, Due: m.NotBefore, Overdue: m.NoticeAt})
		e.sleep(m.NotBefore.Add(-2 * precision).Truncate(precision).Sub(e.now()))
		if e.h.Advance == nil {
			e.claimNone(d, "is due in two microseconds")
		}
		e.sleep(4 * precision)
		want := task(id, m, d, 1, arrival)
		t := e.claimOne(d)
		e.checkTask("times are kept to the microsecond", t, want)
		want.Due = e.now().Add(time.Hour + digits)
		e.settle(t, queue.Settlement{Next: want.Due, Noticed: true})
		if _, ok := e.q.(queue.Lister); ok {
			want.NoticeAt, want.State = time.Time{}, queue.Waiting
			for _, t := range e.list(queue.Filter{ID: id}) {
				e.checkTask("times of a settled task are kept to the microsecond", t, want)
			}
		}
		e.sleep(want.Due.Add(2 * precision).Truncate(precision).Sub(e.now()))
		t = e.claimOne(d)
		if err := e.q.Extend(e.ctx, t.Lease, time.Hour+digits); err != nil {
			e.Fatalf("Extend: %v", err)
		}
		if e.h.Advance == nil {
			e.sleep((time.Hour + digits - 2*precision).Truncate(precision))
			e.claimNone(d, "is leased for another two microseconds")
			e.sleep(4 * precision)
			t = e.claimOne(d)
		}
		e.settle(t, queue.Settlement{})
	}
	e.empty("all tasks are settled")
}

// full returns a message with a value in every field.
func full(now time.Time) queue.Message {
	return queue.Message{
		Envelope: &smtp.Envelope{
			From: "sender@example.com",
			Recipients: []smtp.Recipient{
				{Address: "a@one.example", Notify: smtp.NotifySuccess | smtp.NotifyDelay,
					ORCPT: "rfc822;first@example.org"},
				{Address: "jörg@two.example", Notify: smtp.NotifyNever},
				{Address: "c@one.example"},
			},
			Body: smtp.Body8BitMIME, UTF8: true, Size: 12345, Ret: smtp.RetHeaders, EnvID: "env id+1", Auth: "<>",
			By:       smtp.DeliverBy{Time: now.Add(2*time.Hour + 456789), Return: true, Trace: true},
			Priority: -7, HoldUntil: now.Add(time.Hour + 123456), RequireTLS: true, TLSOptional: true,
		},
		Destinations: []string{"one.example", "smarthost", "one.example"},
		Body:         newBody([]byte("body\r\n")),
		NotBefore:    now.Add(time.Hour + 123456),
		NoticeAt:     now.Add(96*time.Hour + 234567),
		Deadline:     now.Add(120*time.Hour + 345678),
		Priority:     -9,
		Ref:          "order 4711",
		Tenant:       "tenant/1",
		Origin:       smtp.OriginAuthenticated,
		FromDomain:   "xn--bcher-kva.example",
	}
}

// testDueTimes tests that a task is listed and claimed when it is due, and not before.
func testDueTimes(e *env) {
	start := e.now()
	m := message("later", "d.example")
	m.NotBefore = start.Add(time.Hour)
	e.enqueue(m)
	e.checkLanes(due("d.example", m.NotBefore))
	e.claimNone("d.example", "is not yet due")
	e.sleep(59 * time.Minute)
	e.claimNone("d.example", "is not yet due")
	e.sleep(time.Minute)
	for l := range e.lanes() {
		for _, other := range []queue.Lane{
			{Destination: "other.example", Owner: l.Owner},
			{Destination: l.Destination, Owner: l.Owner + 1},
			{Destination: l.Destination, Owner: l.Owner, Priority: 1},
			{Destination: l.Destination, Owner: l.Owner, Priority: -1},
			{},
		} {
			e.claimLane(other, 10, queue.Any)
		}
	}
	if tasks := e.claim("d.example", 0, queue.Any); len(tasks) != 0 {
		e.Errorf("Claim leases at most Max: got %d tasks, want 0", len(tasks))
	}
	got := e.claimOne("d.example")
	e.checkLanes() // leased tasks don't count
	e.settle(got, queue.Settlement{Results: results(got, smtp.Deferred), Next: e.now().Add(30 * time.Minute)})
	e.claimNone("d.example", "was deferred")
	e.sleep(30 * time.Minute)
	e.checkLanes(due("d.example", start.Add(90*time.Minute)))
	e.settle(e.claimOne("d.example"), queue.Settlement{})
	e.empty("a task is settled without Next")
}

// testOrder tests that Claim returns the earliest due first, and at most Max for each Want.
func testOrder(e *env) {
	start := e.now()
	minutes := []int{50, 10, 30, 20, 60, 40, 5}
	for _, n := range minutes {
		m := message("x", "d.example")
		m.NotBefore = start.Add(time.Duration(n) * time.Minute)
		e.enqueue(m)
	}
	for range 3 {
		e.enqueue(message("x", "e.example"))
	}
	e.sleep(55 * time.Minute)
	wants := []queue.Want{{Lane: e.lanesOf("d.example")[0], Max: 4}, {Lane: e.lanesOf("e.example")[0], Max: 2}}
	tasks, err := e.q.Claim(e.ctx, wants, time.Hour)
	if err != nil {
		e.Fatal(err)
	}
	var order []int
	others := 0
	for _, t := range tasks {
		if t.Destination == "e.example" {
			others++
			continue
		}
		order = append(order, int(t.Due.Sub(start)/time.Minute))
	}
	if !equal(order, []int{5, 10, 20, 30}) || others != 2 {
		e.Errorf("Claim leases the earliest due first, at most Max for each Want: "+
			"got tasks due in %v minutes and %d of the other, want [5 10 20 30] and 2", order, others)
	}
	e.checkLanes(due("d.example", start.Add(40*time.Minute)), due("e.example", time.Time{}))
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// testClasses tests that Fresh and Retried divide tasks by their counted attempts.
func testClasses(e *env) {
	for range 3 {
		e.enqueue(message("x", "d.example"))
	}
	if tasks := e.claim("d.example", 10, queue.Retried); len(tasks) != 0 {
		e.Fatalf("Retried tasks have a counted attempt: got %d new tasks", len(tasks))
	}
	first := e.claim("d.example", 1, queue.Fresh)
	if len(first) != 1 {
		e.Fatalf("Fresh tasks have no counted attempt: got %d tasks, want 1", len(first))
	}
	e.settle(first[0], queue.Settlement{Results: results(first[0], smtp.Deferred), Next: e.now().Add(-time.Hour)})
	tasks := e.claim("d.example", 10, queue.Fresh)
	if len(tasks) != 2 || tasks[0].Attempts != 1 || tasks[1].Attempts != 1 {
		e.Errorf("Fresh tasks have no counted attempt: got %d tasks, want 2 with one attempt each", len(tasks))
	}
	tasks = e.claim("d.example", 10, queue.Retried)
	if len(tasks) != 1 || tasks[0].Attempts != 2 || tasks[0].ID != first[0].ID {
		e.Errorf("Retried tasks have a counted attempt: got %d tasks, want the one that was deferred", len(tasks))
	}
}

// testNoticesAndDeadlines tests that a task can be claimed when its notice or its deadline is due.
func testNoticesAndDeadlines(e *env) {
	start := e.now()
	m := message("x", "d.example")
	m.NoticeAt, m.Deadline = start.Add(4*time.Hour), start.Add(10*time.Hour)
	e.enqueue(m)
	first := e.claimOne("d.example")
	next := start.Add(100 * time.Hour)
	e.settle(first, queue.Settlement{Results: results(first, smtp.Deferred), Next: next})
	e.checkLanes(due("d.example", m.NoticeAt, m.NoticeAt))
	e.claimNone("d.example", "is not yet due")
	e.sleep(4 * time.Hour)

	other := message("y", "d.example") // due, and not overdue
	other.Deadline = m.Deadline.Add(time.Hour)
	e.enqueue(other)
	tasks := e.claim("d.example", 10, queue.Overdue)
	if len(tasks) != 1 || tasks[0].ID != first.ID {
		e.Fatalf("Overdue tasks have a notice or a deadline that is due: got %d tasks, want 1", len(tasks))
	}
	if t := tasks[0]; !eqTime(t.NoticeAt, m.NoticeAt) || !eqTime(t.Due, next) || t.Attempts != 2 {
		e.Errorf("a Task has its own times and attempts: got notice %v, due %v, attempts %d; want %v, %v, 2",
			t.NoticeAt, t.Due, t.Attempts, m.NoticeAt, next)
	}
	e.settle(tasks[0], queue.Settlement{Next: next, Noticed: true, Uncounted: true})

	e.settle(e.claimOne("d.example"), queue.Settlement{})
	e.claimNone("d.example", "has had its notice")
	e.checkLanes(due("d.example", m.Deadline, m.Deadline))
	e.sleep(6 * time.Hour)
	last := e.claimOne("d.example")
	if !last.NoticeAt.IsZero() || !eqTime(last.Deadline, m.Deadline) || last.Attempts != 2 {
		e.Errorf("a noticed task has no notice due: got notice %v, deadline %v, attempts %d; want none, %v, 2",
			last.NoticeAt, last.Deadline, last.Attempts, m.Deadline)
	}
	if len(last.Last) != 1 || last.Last[0].Reply == nil || last.Last[0].Reply.Code != 450 {
		e.Errorf("without Results, the last results stay: got %s", describeResults(last.Last))
	}
	e.settle(last, queue.Settlement{})
	e.empty("an expired task was settled")
}
