package queuetest

import (
	"fmt"
	"slices"
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
		want.Last, want.Due, want.Attempts = rs, next, 2
		e.checkTask("each recipient has its own Result", e.claimOne(d), want)
	}
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
		},
		Destinations: []string{"one.example", "smarthost", "one.example"},
		Body:         newBody([]byte("body\r\n")),
		NotBefore:    now.Add(time.Hour + 1),
		NoticeAt:     now.Add(96*time.Hour + 2),
		Deadline:     now.Add(120*time.Hour + 3),
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
	e.checkDestinations(59 * time.Minute)
	due := queue.Destination{Name: "d.example", Due: m.NotBefore, Fresh: 1}
	e.checkDestinations(61*time.Minute, due)
	e.claimNone("d.example", "is not yet due")
	e.sleep(59 * time.Minute)
	e.claimNone("d.example", "is not yet due")
	e.sleep(time.Minute)
	e.checkDestinations(0, due)
	if tasks := e.claim("other.example", 10, queue.Any); len(tasks) != 0 {
		e.Errorf("Claim leases only the tasks of a Want: got %d tasks for another destination", len(tasks))
	}
	if tasks := e.claim("d.example", 0, queue.Any); len(tasks) != 0 {
		e.Errorf("Claim leases at most Max: got %d tasks, want 0", len(tasks))
	}
	got := e.claimOne("d.example")
	e.checkDestinations(24 * time.Hour) // leased tasks don't count
	e.settle(got, queue.Settlement{Results: results(got, smtp.Deferred), Next: e.now().Add(30 * time.Minute)})
	e.claimNone("d.example", "was deferred")
	e.sleep(30 * time.Minute)
	e.checkDestinations(0, queue.Destination{Name: "d.example", Due: start.Add(90 * time.Minute), Retried: 1})
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
	wants := []queue.Want{{Destination: "d.example", Max: 4}, {Destination: "e.example", Max: 2}}
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
	e.checkDestinations(0,
		queue.Destination{Name: "d.example", Due: start.Add(40 * time.Minute), Fresh: 2},
		queue.Destination{Name: "e.example", Due: arrivalOf(tasks, "e.example"), Fresh: 1})
	e.checkDestinations(5*time.Minute,
		queue.Destination{Name: "d.example", Due: start.Add(40 * time.Minute), Fresh: 3},
		queue.Destination{Name: "e.example", Due: arrivalOf(tasks, "e.example"), Fresh: 1})
}

func arrivalOf(tasks []queue.Task, destination string) time.Time {
	for _, t := range tasks {
		if t.Destination == destination {
			return t.Due
		}
	}
	return time.Time{}
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

// testPriority tests that Claim returns priorities above zero first, then zero, then below zero.
func testPriority(e *env) {
	start := e.now()
	priorities := []int8{0, -9, 3, -1, 9, 0, 1} // the first is the earliest due
	var ids []queue.ID
	for i, priority := range priorities {
		m := message("x", "d.example")
		m.Priority = priority
		m.NotBefore = start.Add(time.Duration(i+1) * time.Minute)
		m.NoticeAt = start.Add(100*time.Hour - time.Duration(i)*time.Minute)
		ids = append(ids, e.enqueue(m))
	}
	later := message("x", "d.example")
	later.Priority, later.NotBefore = 9, start.Add(50*time.Hour)
	e.enqueue(later)
	want := []int{2, 4, 6, 0, 5, 1, 3}
	// claim claims twice, and defers the tasks.
	claim := func(what string, class queue.Class, want []int) {
		e.Helper()
		tasks := e.claim("d.example", 4, class)
		tasks = append(tasks, e.claim("d.example", 10, class)...)
		var got []int
		for _, t := range tasks {
			i := slices.Index(ids, t.ID)
			got = append(got, i)
			next := e.now().Add(time.Duration(i+1) * time.Minute)
			e.settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: next})
		}
		if !slices.Equal(got, want) {
			e.Errorf("higher priority comes first: %s, of messages with the priorities %v in the order of Due, "+
				"Claim returns %v, want %v", what, priorities, got, want)
		}
		e.sleep(time.Hour)
	}
	e.sleep(150 * time.Second)
	claim("when only two are due", queue.Any, []int{0, 1})
	e.sleep(time.Hour)
	claim("of class Fresh", queue.Fresh, []int{2, 4, 6, 5, 3})
	claim("of class Retried", queue.Retried, want)
	claim("of any class", queue.Any, want)
	if _, ok := e.q.(queue.Holder); !ok {
		e.note("the order of released tasks", "the Queue is no Holder")
	} else {
		e.hold(ids...)
		e.release(ids...)
		claim("after Hold and Release", queue.Any, want)
	}
	if e.h.Reopen == nil {
		e.note("the order after a restart", "Harness.Reopen is nil")
	} else {
		e.reopen()
		claim("after a restart", queue.Any, want)
	}
	e.sleep(start.Add(200 * time.Hour).Sub(e.now()))
	claim("of class Overdue, which ignores the priority", queue.Overdue, []int{6, 5, 4, 3, 2, 1, 0})
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
	if d := e.destinations(0)["d.example"]; d.Fresh != 2 || d.Retried != 1 {
		e.Errorf("Destinations counts fresh and retried tasks: got %d and %d, want 2 and 1", d.Fresh, d.Retried)
	}
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
	e.checkDestinations(3 * time.Hour)
	e.checkDestinations(5*time.Hour,
		queue.Destination{Name: "d.example", Due: m.NoticeAt, Overdue: m.NoticeAt, Retried: 1})
	e.claimNone("d.example", "is not yet due")
	e.sleep(4 * time.Hour)

	other := message("y", "d.example") // due, and not overdue
	other.Deadline = m.Deadline.Add(time.Hour)
	e.enqueue(other)
	tasks := e.claim("d.example", 10, queue.Overdue)
	if len(tasks) != 1 || tasks[0].ID != first.ID {
		e.Fatalf("Overdue tasks have a notice or a deadline that is due: got %d tasks, want 1", len(tasks))
	}
	if t := tasks[0]; !t.NoticeAt.Equal(m.NoticeAt) || !t.Due.Equal(next) || t.Attempts != 2 {
		e.Errorf("a Task has its own times and attempts: got notice %v, due %v, attempts %d; want %v, %v, 2",
			t.NoticeAt, t.Due, t.Attempts, m.NoticeAt, next)
	}
	e.settle(tasks[0], queue.Settlement{Next: next, Noticed: true, Uncounted: true})

	e.settle(e.claimOne("d.example"), queue.Settlement{})
	e.claimNone("d.example", "has had its notice")
	e.checkDestinations(7*time.Hour,
		queue.Destination{Name: "d.example", Due: m.Deadline, Overdue: m.Deadline, Retried: 1})
	e.sleep(6 * time.Hour)
	last := e.claimOne("d.example")
	if !last.NoticeAt.IsZero() || !last.Deadline.Equal(m.Deadline) || last.Attempts != 2 {
		e.Errorf("a noticed task has no notice due: got notice %v, deadline %v, attempts %d; want none, %v, 2",
			last.NoticeAt, last.Deadline, last.Attempts, m.Deadline)
	}
	if len(last.Last) != 1 || last.Last[0].Reply == nil || last.Last[0].Reply.Code != 450 {
		e.Errorf("without Results, the last results stay: got %s", describeResults(last.Last))
	}
	e.settle(last, queue.Settlement{})
	e.empty("an expired task was settled")
}
