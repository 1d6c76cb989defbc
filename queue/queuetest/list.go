package queuetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

func (e *env) needLister() {
	if _, ok := e.q.(queue.Lister); !ok {
		e.lack("List", "the Queue is no Lister")
	}
}

// list returns all that List yields, with the tasks of a message sorted by Destination.
func (e *env) list(f queue.Filter) (tasks []queue.Task) {
	e.Helper()
	for t, err := range e.q.(queue.Lister).List(e.ctx, f) {
		if err != nil {
			e.Fatalf("List(%+v): got %v", f, err)
		}
		i := len(tasks)
		for i > 0 && tasks[i-1].ID == t.ID && tasks[i-1].Destination > t.Destination {
			i--
		}
		tasks = slices.Insert(tasks, i, t)
	}
	return tasks
}

// checkState checks the State of all tasks of a message.
func (e *env) checkState(when string, id queue.ID, want queue.State) {
	e.Helper()
	if _, ok := e.q.(queue.Lister); !ok {
		e.note("the State of a task "+when, "the Queue is no Lister")
		return
	}
	tasks := e.list(queue.Filter{ID: id})
	if len(tasks) == 0 {
		e.Errorf("List yields the tasks of a message %s: got none of %s", when, id)
	}
	for _, t := range tasks {
		if t.State != want {
			e.Errorf("a task %s is %v: List yields message %s for %s as %v", when, want, id, t.Destination, t.State)
		}
	}
}

// testList tests that List yields every task once, in the order of arrival, with its State.
func testList(e *env) {
	e.needLister()
	var want []queue.Task
	for i := range 20 {
		m, size := message("body", "d.example", "e.example", "d.example"), 4
		if i%3 == 0 {
			m, size = full(e.now()), 6
		}
		arrival := e.now()
		id := e.enqueue(m)
		for _, d := range []string{"d.example", "e.example", "one.example", "smarthost"} {
			t := task(id, m, d, size, arrival)
			if len(t.Envelope.Recipients) > 0 {
				t.Attempts, t.State = 0, queue.Waiting
				want = append(want, t)
			}
		}
		e.sleep(time.Minute)
	}
	leased := e.claim("d.example", 5, queue.Any)
	deferred := e.claim("e.example", 1, queue.Any)[0]
	next := e.now().Add(time.Hour)
	e.settle(deferred, queue.Settlement{Results: results(deferred, smtp.Deferred), Next: next})
	for i, w := range want {
		for _, t := range leased {
			if t.ID == w.ID && t.Destination == w.Destination {
				want[i].Attempts, want[i].State = 1, queue.Leased
			}
		}
		if deferred.ID == w.ID && deferred.Destination == w.Destination {
			want[i].Attempts, want[i].Due, want[i].Last = 1, next, results(deferred, smtp.Deferred)
		}
	}
	for i, t := range e.list(queue.Filter{}) {
		if i == len(want) {
			e.Fatalf("List yields every task once: got %s more", describe(t))
		}
		e.checkTask("List yields every task, in the order of arrival", t, want[i])
	}
	if n := len(e.list(queue.Filter{})); n != len(want) {
		e.Errorf("List yields every task: got %d, want %d", n, len(want))
	}
	for range e.q.(queue.Lister).List(e.ctx, queue.Filter{}) {
		break // stops the iteration early
	}
	e.sleep(time.Hour)
	e.checkState("whose lease has expired", leased[0].ID, queue.Waiting)
}

// lets reports whether a Filter selects a task. It ignores After, which depends on the order of arrival.
func lets(f queue.Filter, t queue.Task) bool {
	local, domain, _ := strings.Cut(t.Envelope.From, "@")
	wantLocal, wantDomain, _ := strings.Cut(f.Sender, "@")
	switch {
	case f.ID != "" && t.ID != f.ID,
		f.Destination != "" && t.Destination != f.Destination,
		f.State != 0 && t.State != f.State,
		f.Ref != "" && t.Ref != f.Ref,
		f.Tenant != "" && t.Tenant != f.Tenant,
		!slices.ContainsFunc(t.Envelope.Recipients, func(r smtp.Recipient) bool {
			local, domain, _ := strings.Cut(r.Address, "@")
			wantLocal, wantDomain, _ := strings.Cut(f.Recipient, "@")
			return (f.Domain == "" || strings.EqualFold(domain, f.Domain)) &&
				(f.Recipient == "" || local == wantLocal && strings.EqualFold(domain, wantDomain))
		}),
		!f.ArrivedAfter.IsZero() && !t.Arrival.After(f.ArrivedAfter),
		!f.ArrivedBefore.IsZero() && !t.Arrival.Before(f.ArrivedBefore):
		return false
	case f.Sender == "<>":
		return t.Envelope.From == ""
	case f.Sender != "":
		return local == wantLocal && strings.EqualFold(domain, wantDomain)
	}
	return true
}

// checkFilter compares the tasks that List yields with those of all that f selects. from is the index of the first task
// after f.After.
func (e *env) checkFilter(f queue.Filter, all []queue.Task, from int) {
	e.Helper()
	var want []queue.Task
	for i, t := range all {
		if i >= from && lets(f, t) {
			want = append(want, t)
		}
	}
	got := e.list(f)
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			e.Fatalf("List yields all tasks that its Filter selects: with %+v, %s is missing", f, describe(want[i]))
		case i >= len(want):
			e.Fatalf("List yields no other tasks than its Filter selects: with %+v, got %s", f, describe(got[i]))
		}
		e.checkTask(fmt.Sprintf("List(%+v) yields the tasks that the Filter selects", f), got[i], want[i])
		if e.Failed() {
			e.FailNow() // the other tasks would repeat it
		}
	}
}

// testListFilters tests that List yields the tasks that its Filter selects, and no others.
func testListFilters(e *env) {
	e.needLister()
	senders := []string{
		"", "sender@example.com", "Sender@example.com", "sender@EXAMPLE.com", "sender@example.org",
		"example.com@sender",
	}
	var ids []queue.ID
	for i := range 36 {
		m := message("x", [][]string{
			{"d.example"}, {"d.example", "e.example"}, {"f.example", "d.example", "e.example"},
		}[i%3]...)
		m.Envelope.From = senders[i%len(senders)]
		ids = append(ids, e.enqueue(m))
		e.sleep(time.Minute)
	}
	for _, t := range e.claim("d.example", 10, queue.Any) {
		if t.ID != ids[0] {
			e.settle(t, queue.Settlement{Next: e.now().Add(time.Hour)})
		}
	}
	leased := e.claim("e.example", 7, queue.Any)
	if h, ok := e.q.(queue.Holder); !ok {
		e.note("the State Held in a Filter", "the Queue is no Holder")
	} else if err := h.Hold(e.ctx, leased[0].ID, ids[20], ids[21], ids[22]); err != nil {
		e.Fatalf("Hold of existing messages: got %v, want nil", err)
	}
	all := e.list(queue.Filter{})
	first, middle := all[0].Arrival, all[len(all)/2].Arrival
	filters := []queue.Filter{
		{ID: ids[5]}, {ID: ids[5], Destination: "f.example"}, {ID: ids[5], Destination: "g.example"},
		{ID: "nosuch"}, {ID: "../x"}, {ID: ids[5], State: queue.Held},
		{Destination: "d.example"}, {Destination: "f.example"}, {Destination: "D.example"}, {Destination: "g.example"},
		{ArrivedAfter: middle}, {ArrivedBefore: middle},
		{ArrivedAfter: middle.Add(-precision)}, {ArrivedBefore: middle.Add(precision)},
		{ArrivedAfter: first}, {ArrivedBefore: first},
		{ArrivedBefore: e.now().Add(time.Hour)}, {ArrivedAfter: e.now().Add(time.Hour)},
		{ArrivedAfter: all[10].Arrival, ArrivedBefore: all[30].Arrival},
		{State: queue.Waiting}, {State: queue.Leased}, {State: queue.Held}, {State: 77},
		{Destination: "e.example", State: queue.Leased}, {Destination: "d.example", State: queue.Leased},
		{Destination: "e.example", Sender: "sender@example.com", ArrivedAfter: first, State: queue.Waiting},
		{ID: ids[5], Sender: "<>"}, {ID: ids[5], ArrivedBefore: first},
	}
	for _, s := range append(senders[1:], "<>", "sender@example.net", "SENDER@example.com", "sender", "@example.com") {
		filters = append(filters, queue.Filter{Sender: s}, queue.Filter{Sender: s, Destination: "e.example"})
	}
	for _, f := range filters {
		e.checkFilter(f, all, 0)
		for _, n := range []int{0, 1, len(ids) / 2, len(ids) - 1} {
			f.After = ids[n]
			from := len(all)
			for from > 0 && slices.Index(ids, all[from-1].ID) > n {
				from--
			}
			e.checkFilter(f, all, from)
		}
	}
}

// testListPages tests that the pages of List together yield every task once.
func testListPages(e *env) {
	e.needLister()
	const page = 5
	var ids []queue.ID // in the order of arrival
	arrive := func() {
		ids = append(ids, e.enqueue(message("x", []string{"d.example", "e.example", "f.example"}[:1+len(ids)%3]...)))
	}
	for range 60 {
		arrive()
	}
	gone := map[queue.ID]bool{}
	leave := func(id queue.ID) {
		for _, d := range []string{"d.example", "e.example", "f.example"} {
			for _, t := range e.claim(d, 1000, queue.Any) {
				if t.ID == id {
					e.settle(t, queue.Settlement{})
				} else {
					e.settle(t, queue.Settlement{Next: e.now(), Uncounted: true})
				}
			}
		}
		gone[id] = true
	}
	in := len(ids)
	var got []queue.ID
	tasks := map[queue.ID]int{}
	for f := (queue.Filter{}); ; f.After = got[len(got)-1] {
		seen := len(got)
		for t, err := range e.q.(queue.Lister).List(e.ctx, f) {
			if err != nil {
				e.Fatalf("List(%+v) yields the next page: got %v", f, err)
			}
			id := t.ID
			if len(got) == 0 || got[len(got)-1] != id {
				if len(got) == seen+page {
					break // at the end of a message's tasks
				}
				if slices.Contains(got, id) {
					e.Fatalf("List yields each task once, and the tasks of a message adjacent: "+
						"with After %q, message %s comes again", f.After, id)
				}
				got = append(got, id)
			}
			tasks[id]++
		}
		if len(got) == seen {
			break
		}
		// The last message of the page leaves, one before it, and one after it. Others arrive.
		leave(got[len(got)-1])
		leave(got[len(got)-page/2])
		if i := slices.Index(ids, got[len(got)-1]) + page/2; i < in {
			leave(ids[i])
		}
		if len(ids) < in+20 {
			arrive()
			arrive()
		}
	}
	last := -1
	for _, id := range got {
		if i := slices.Index(ids, id); i <= last {
			e.Errorf("List yields the order of arrival, across pages too: message %s is out of order", id)
		} else {
			last = i
		}
	}
	for i, id := range ids[:in] {
		if n := tasks[id]; n != 1+i%3 && !gone[id] {
			e.Errorf("a message that stays is on one of the pages: got %d tasks of message %s, want %d", n, id, 1+i%3)
		}
	}
}
