package queuetest

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testDeaths tests that attempts which weren't settled count after a crash, and that the tasks of a process that ended
// are claimed apart.
func testDeaths(e *env) {
	switch {
	case e.h.Kill == nil:
		e.lack("crashes", "Harness.Kill is nil")
	case e.h.NoDeaths:
		e.lack("deaths", "Harness.NoDeaths is true")
	}
	kill := func() {
		e.q = e.h.Kill(e.t, e.q)
		e.sleep(2 * time.Hour) // until a lease that survives has ended
	}
	check := func(what string, t queue.Task, attempts, deaths int) {
		e.Helper()
		if t.Attempts != attempts || t.Deaths != deaths {
			e.Errorf("%s: got %d attempts and %d deaths of %s, want %d and %d",
				what, t.Attempts, t.Deaths, t.Destination, attempts, deaths)
		}
	}
	retry := func(t queue.Task) queue.Settlement {
		return queue.Settlement{Results: results(t, smtp.Deferred), Next: e.now()}
	}

	for i := range 10 {
		e.enqueue(message("bystander", fmt.Sprintf("b%d.example", i)))
	}
	killer := e.enqueue(message("killer", "killer.example"))
	e.enqueue(message("settled", "settled.example"))
	e.enqueue(message("handed back", "back.example"))
	e.enqueue(message("untouched", "untouched.example"))
	claim := func() []queue.Task {
		e.Helper()
		var wants []queue.Want
		for _, l := range e.lanesOf("killer.example") {
			wants = append(wants, queue.Want{Lane: l, Max: 1})
		}
		for i := range 10 {
			for _, l := range e.lanesOf(fmt.Sprintf("b%d.example", i)) {
				wants = append(wants, queue.Want{Lane: l, Max: 1})
			}
		}
		tasks, err := e.q.Claim(e.ctx, wants, time.Hour)
		if err != nil {
			e.Fatalf("Claim: %v", err)
		}
		return tasks
	}
	t := e.claimOne("settled.example")
	e.settle(t, retry(t))
	e.settle(e.claimOne("back.example"), queue.Settlement{Next: e.now(), Uncounted: true})
	if n := len(claim()); n != 11 {
		e.Fatalf("Claim: got %d tasks, want 11", n)
	}
	kill()

	t = e.claimOne("settled.example")
	check("a settled task has no death", t, 2, 0)
	e.settle(t, queue.Settlement{})
	t = e.claimOne("back.example")
	check("a task that was handed back has no attempt and no death", t, 1, 0)
	e.settle(t, queue.Settlement{})
	t = e.claimOne("untouched.example")
	check("a task that wasn't claimed has no death", t, 1, 0)
	e.settle(t, queue.Settlement{})

	few := claim()
	if len(few) != 8 || few[0].ID != killer {
		e.Fatalf("of 11 tasks with one death: got %d claimed, want 8 with the first one", len(few))
	}
	for _, t := range few {
		check("a task that was leased when the process ended has an attempt and a death", t, 2, 1)
	}
	if more := claim(); len(more) > 0 {
		e.Fatalf("at most 8 tasks with one death have a lease: got %d more", len(more))
	}
	e.settle(few[7], retry(few[7]))
	e.settle(few[6], queue.Settlement{Uncounted: true, Next: e.now()})
	if more := claim(); len(more) == 0 {
		e.Errorf("the next tasks can be claimed when others are settled: got none")
	}
	kill()

	// Six have two deaths, and each is claimed alone among them.
	alone := e.claimOne("killer.example")
	check("the second death", alone, 3, 2)
	for _, t := range claim() {
		if t.Deaths > 0 {
			e.Errorf("a task with two deaths is the only one with deaths that has a lease: got %s, with %d deaths",
				describe(t), t.Deaths)
		}
		e.settle(t, queue.Settlement{})
	}
	kill()

	t = e.claimOne("killer.example")
	check("the third death", t, 4, 3)
	if _, ok := e.q.(queue.Holder); !ok {
		e.note("Release of a task with deaths", "the Queue is no Holder")
	} else {
		e.hold(killer)
		e.settle(t, queue.Settlement{Uncounted: true, Next: e.now()})
		e.claimNone("killer.example", "is held")
		kill()
		e.release(killer)
		t = e.claimOne("killer.example")
		check("Release sets the deaths to 0", t, 4, 0)
	}
	e.settle(t, queue.Settlement{})
	for deadline := 0; ; deadline++ {
		tasks := claim()
		if len(tasks) == 0 {
			break
		}
		for _, t := range tasks {
			if t.Deaths > 2 {
				e.Errorf("a task that was leased at two deaths: got %d deaths of %s", t.Deaths, describe(t))
			}
			e.settle(t, queue.Settlement{})
		}
		if deadline > 20 {
			e.Fatalf("settled tasks come again")
		}
	}
	e.empty("all tasks were settled")
}
