package queuetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testPriority tests that lanes divide tasks by priorities above zero, zero, and below, and keep their order.
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
	// claim claims twice, with the highest lane first, and defers the tasks.
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
			e.Errorf("a lane has one group of priorities, and its earliest due comes first: %s, of messages with "+
				"the priorities %v in the order of Due, got %v, want %v", what, priorities, got, want)
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
	claim("of class Overdue", queue.Overdue, []int{6, 4, 2, 5, 0, 3, 1})
}

// ownerOf returns the Owner of the messages with this reverse-path and this Tenant.
func (e *env) ownerOf(from, tenant string) queue.Owner {
	e.Helper()
	m := message("x", "owner.example")
	m.Envelope.From, m.Tenant = from, tenant
	e.enqueue(m)
	t := e.claimOne("owner.example")
	e.settle(t, queue.Settlement{})
	return t.Owner
}

// testOwners tests that messages of one Tenant or, without one, of one reverse-path have one Owner.
func testOwners(e *env) {
	const n = 20
	if o := e.ownerOf("", ""); o != 0 {
		e.Errorf("the Owner of a message with the null reverse-path and no Tenant is 0: got %d", o)
	}
	numbers := map[queue.Owner]bool{}
	for i := range n {
		name := fmt.Sprintf("sender%d@example.com", i)
		from, tenant := e.ownerOf(name, ""), e.ownerOf("", name)
		if from == 0 || tenant == 0 {
			e.Errorf("the Owner of a message with a reverse-path or a Tenant isn't 0: got %d and %d", from, tenant)
		}
		if again := e.ownerOf(name, ""); again != from {
			e.Errorf("messages of one reverse-path have one Owner: got %d and %d", from, again)
		}
		if again := e.ownerOf("other@example.com", name); again != tenant {
			e.Errorf("messages of one Tenant have one Owner: got %d and %d", tenant, again)
		}
		numbers[from], numbers[tenant], numbers[e.ownerOf(strings.ToUpper(name), "")] = true, true, true
	}
	if len(numbers) < 2*n {
		e.Errorf("two owners share a number only by chance: got %d numbers for %d owners", len(numbers), 3*n)
	}

	// Two owners at one destination have two lanes, and a task keeps its lane.
	e.enqueue(message("x", "d.example"))
	m := message("y", "d.example")
	m.Envelope.From, m.Tenant = "", ""
	m.Priority = 5
	e.enqueue(m)
	for range 3 {
		lanes := e.lanesOf("d.example")
		if len(lanes) != 2 || len(e.lanes()) != 2 {
			e.Fatalf("each owner has its own lane: got %v, want two", lanes)
		}
		for i, l := range lanes { // with higher priority first
			tasks := e.claimLane(l, 10, queue.Any)
			if len(tasks) != 1 || (l.Owner == 0) != (i == 0) || (l.Priority == 1) != (i == 0) {
				e.Fatalf("a lane has the tasks of one owner: got %d of %+v, want 1", len(tasks), l)
			}
			e.settle(tasks[0], queue.Settlement{Next: e.now()})
		}
	}
	if e.h.Reopen == nil {
		e.note("owners after a restart", "Harness.Reopen is nil")
		return
	}
	e.reopen()
	if len(e.lanes()) != 2 || len(e.claim("d.example", 10, queue.Any)) != 2 {
		e.Errorf("each owner has its own lane after a restart: got %v, want two", e.lanes())
	}
}
