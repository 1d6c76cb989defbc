package queuetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// env is a test with a Queue of its own, and helpers that fail the test.
type env struct {
	testing.TB
	t     *testing.T // for the funcs of h
	h     Harness
	q     queue.Queue
	ctx   context.Context
	clock *clock
	lacks *string  // the reason of a skip
	noted []string // parts that were left out

	mu   sync.Mutex
	seen map[queue.Lane]bool // by Lanes, since the Queue was opened
}

// clock is what Harness.Advance and Harness.Step have added to the time.
type clock struct{ passed time.Duration }

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

func (e *env) now() time.Time { return time.Now().Add(e.clock.passed) }

func (e *env) sleep(d time.Duration) {
	e.Helper()
	if e.h.Advance == nil {
		time.Sleep(d)
		return
	}
	e.h.Advance(d)
	e.clock.passed += d
}

func (e *env) needReopen() {
	if e.h.Reopen == nil {
		e.lack("restarts", "Harness.Reopen is nil")
	}
}

func (e *env) reopen() {
	e.Helper()
	e.q = e.h.Reopen(e.t, e.q)
	e.forgetLanes() // the owners may have other numbers
}

func (e *env) forgetLanes() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = nil
}

// precision is the least to which a Queue stores times. Two times that differ by less than it are the same.
const precision = time.Microsecond

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

// claim claims tasks of one destination for an hour, from its lanes with higher priority first.
func (e *env) claim(destination string, n int, class queue.Class) (tasks []queue.Task) {
	e.Helper()
	for _, l := range e.lanesOf(destination) {
		tasks = append(tasks, e.claimLane(l, n-len(tasks), class)...)
	}
	return tasks
}

func (e *env) claimLane(l queue.Lane, n int, class queue.Class) []queue.Task {
	e.Helper()
	return e.claimFor(queue.Want{Lane: l, Max: n, Class: class}, time.Hour)
}

// maxShort is how many Claims in a row may return no task though some are due.
const maxShort = 20

// claimFor claims the tasks that are due for one Want. While a Claim returns fewer than Max and a Waker announces the
// lane as due, it claims the rest. Without a Waker, it does so while Lanes yields the lane as due.
func (e *env) claimFor(w queue.Want, lease time.Duration) (tasks []queue.Task) {
	e.Helper()
	for short := 0; short < maxShort; short++ {
		news, stop := e.watch()
		got, err := e.q.Claim(e.ctx, []queue.Want{w}, lease)
		stop()
		if err != nil {
			e.Fatalf("Claim: %v", err)
		}
		for _, t := range got {
			if t.Lane() != w.Lane {
				e.Fatalf("Claim leases only the tasks of a Want: got a task of %+v, want %+v", t.Lane(), w.Lane)
			}
		}
		if len(got) > w.Max {
			e.Fatalf("Claim leases at most Max: got %d tasks, want %d", len(got), w.Max)
		}
		tasks = append(tasks, got...)
		if w.Max -= len(got); w.Max == 0 || !e.more(news, w.Lane) {
			break
		}
		if len(got) > 0 {
			short = 0
		}
	}
	return tasks
}

// more reports whether a lane may have more tasks that are due, after a Claim that returned fewer than wanted.
func (e *env) more(news *watcher, l queue.Lane) bool {
	e.Helper()
	if news != nil {
		return news.told(func(v event) bool { return v.is(l.Destination) && !v.look.After(e.now()) })
	}
	d, ok := e.lanes()[l]
	return ok && !d.Due.After(e.now())
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

// lanes returns what Lanes yields.
func (e *env) lanes() map[queue.Lane]queue.LaneDue {
	e.Helper()
	got := map[queue.Lane]queue.LaneDue{}
	for d, err := range e.q.Lanes(e.ctx) {
		if err != nil {
			e.Fatalf("Lanes: %v", err)
		}
		if _, ok := got[d.Lane]; ok {
			e.Fatalf("Lanes yields each lane once: got %+v twice", d.Lane)
		}
		got[d.Lane] = d
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.seen == nil {
		e.seen = map[queue.Lane]bool{}
	}
	for l := range got {
		e.seen[l] = true
	}
	return got
}

// allLanes returns the lanes that were ever seen, in a fixed order with higher priority first. Those that Lanes doesn't
// yield now may have leased and held tasks.
func (e *env) allLanes() []queue.Lane {
	e.Helper()
	e.lanes()
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.SortedFunc(maps.Keys(e.seen), func(a, b queue.Lane) int {
		return cmp.Or(cmp.Compare(a.Destination, b.Destination), cmp.Compare(b.Priority, a.Priority),
			cmp.Compare(a.Owner, b.Owner))
	})
}

// lanesOf returns those of allLanes that have the destination.
func (e *env) lanesOf(destination string) []queue.Lane {
	e.Helper()
	return slices.DeleteFunc(e.allLanes(), func(l queue.Lane) bool { return l.Destination != destination })
}

// due returns a LaneDue to compare with. An overdue time is optional.
func due(destination string, at time.Time, overdue ...time.Time) queue.LaneDue {
	d := queue.LaneDue{Lane: queue.Lane{Destination: destination}, Due: at}
	if len(overdue) > 0 {
		d.Overdue = overdue[0]
	}
	return d
}

// checkLanes compares what Lanes yields, except for owners and priorities: each destination must have one lane.
func (e *env) checkLanes(want ...queue.LaneDue) {
	e.Helper()
	got := map[string]queue.LaneDue{}
	for l, d := range e.lanes() {
		if _, ok := got[l.Destination]; ok {
			e.Errorf("Lanes: got two lanes of %s, want one", l.Destination)
		}
		got[l.Destination] = d
	}
	for _, w := range want {
		g, ok := got[w.Destination]
		if !ok || !eqTime(g.Due, w.Due) || !eqTime(g.Overdue, w.Overdue) {
			e.Errorf("Lanes: got %+v, want %+v", g, w)
		}
		delete(got, w.Destination)
	}
	for name := range got {
		e.Errorf("Lanes: got %s, which has no task that waits", name)
	}
}

// empty checks that no task is left.
func (e *env) empty(why string) {
	e.Helper()
	e.sleep(365 * 24 * time.Hour)
	if got := e.lanes(); len(got) != 0 {
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

// checkSettled checks that the error is ErrSettled.
func (e *env) checkSettled(what string, err error) {
	e.Helper()
	if !errors.Is(err, queue.ErrSettled) {
		e.Fatalf("%s: got %v, want ErrSettled", what, err)
	}
}

// reporting returns a settlement without Next that has reports.
func reporting(reports ...queue.Message) queue.Settlement { return queue.Settlement{Reports: reports} }
