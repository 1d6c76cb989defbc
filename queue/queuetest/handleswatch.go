package queuetest

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testHandlesWatch tests that a Waker announces what another Queue has changed.
func testHandlesWatch(e *env) {
	a, b := e.pair()
	if _, ok := e.q.(queue.Waker); !ok {
		e.lack("Watch", "the Queue is no Waker")
	}
	watchers := map[*env]*watcher{}
	for _, x := range []*env{a, b} {
		w, stop := x.watch()
		defer stop()
		watchers[x] = w
	}
	const n = 4
	_, holds := e.q.(queue.Holder)
	_, flushes := e.q.(queue.Flusher)
	_, removes := e.q.(queue.Remover)
	for i, order := range [][2]*env{{a, b}, {b, a}} {
		by, other := order[0], order[1]
		// check checks that the Queue that claims these tasks has announced them, and settles them.
		check := func(what string, due time.Time, destinations ...string) {
			e.Helper()
			e.sleep(max(0, due.Sub(e.now())))
			e.lag()
			told := map[*env]*watcher{} // before the Claims, which announce lanes, too
			for x, w := range watchers {
				told[x] = w.copy()
			}
			for _, d := range destinations {
				has, t := either(other, by, d)
				told[has].checkWithin(has, what+", at one of the Queues", d, due, e.delay())
				has.settle(t, queue.Settlement{})
			}
		}
		// claim claims a task of each destination. Those that other may claim, it claims.
		claim := func(destinations ...string) (has []*env, tasks []queue.Task) {
			e.lag()
			for _, d := range destinations {
				x, t := either(by, other, d)
				has, tasks = append(has, x), append(tasks, t)
			}
			return has, tasks
		}
		add := func(prefix string, notBefore time.Time) (ids []queue.ID, destinations []string) {
			destinations = names(fmt.Sprint(prefix, i), n)
			watchers[a].forget()
			watchers[b].forget()
			for _, d := range destinations {
				m := message("x", d)
				m.NotBefore = notBefore
				ids = append(ids, by.enqueue(m))
			}
			return ids, destinations
		}
		_, now := add("now", time.Time{})
		check("Enqueue", e.now(), now...)
		at := e.now().Add(time.Hour)
		_, later := add("later", at)
		check("an enqueued message's NotBefore", at, later...)
		_, next := add("next", time.Time{})
		has, tasks := claim(next...)
		at = e.now().Add(2 * time.Hour)
		reports := names(fmt.Sprint("report", i), n)
		for j, t := range tasks {
			s := queue.Settlement{Results: results(t, smtp.Deferred), Next: at}
			s.Reports = []queue.Message{message("report", reports[j])}
			has[j].settle(t, s)
		}
		check("Settle with reports", e.now(), reports...)
		check("Settle with a Next", at, next...)
		_, expiring := add("expiring", time.Time{})
		_, tasks = claim(expiring...)
		check("a lease that expires", e.now().Add(time.Hour), expiring[:len(tasks)]...)
		if !holds {
			e.note("Watch after Release", "the Queue is no Holder")
		} else {
			ids, released := add("released", time.Time{})
			by.hold(ids...)
			e.lag()
			watchers[a].forget()
			watchers[b].forget()
			by.release(ids...)
			check("Release", e.now(), released...)
		}
		if !flushes {
			e.note("Watch after Flush", "the Queue is no Flusher")
		} else {
			_, flushed := add("flushed", time.Time{})
			has, tasks := claim(flushed...)
			later := e.now().Add(48 * time.Hour)
			for j, t := range tasks {
				has[j].settle(t, queue.Settlement{Results: results(t, smtp.Deferred), Next: later})
			}
			e.lag()
			by.flush("with retries of two Queues", "", n)
			check("Flush", e.now(), flushed...)
		}
		if !removes {
			e.note("Watch after Remove", "the Queue is no Remover")
		} else {
			ids, _ := add("removed", time.Time{})
			reports := names(fmt.Sprint("about", i), n)
			for j, d := range reports {
				by.remove(ids[j:j+1], message("report", d))
			}
			check("Remove with reports", e.now(), reports...)
		}
	}
	a.empty("all tasks are settled")
}
