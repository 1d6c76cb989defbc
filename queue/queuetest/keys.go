package queuetest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
)

func (e *env) needKeyer() {
	if _, ok := e.q.(queue.Keyer); !ok {
		e.lack("Keys", "the Queue is no Keyer")
	}
}

// keyTime returns Harness.KeyTime or its default.
func (e *env) keyTime() time.Duration { return cmp.Or(e.h.KeyTime, 24*time.Hour) }

// keyed is message with a Key.
func keyed(key, body string, destinations ...string) queue.Message {
	m := message(body, destinations...)
	m.Key = key
	return m
}

// once calls EnqueueOnce for a message that must be stored.
func (e *env) once(m queue.Message) queue.ID {
	e.Helper()
	id, repeats, err := e.q.(queue.Keyer).EnqueueOnce(e.ctx, m)
	if err != nil || repeats {
		e.Fatalf("EnqueueOnce stores a message with a new Key: got %s, repeats: %v, and %v", id, repeats, err)
	}
	return id
}

// again checks that a message repeats the one with this ID.
func (e *env) again(when string, m queue.Message, want queue.ID) {
	e.Helper()
	id, repeats, err := e.q.(queue.Keyer).EnqueueOnce(e.ctx, m)
	if err != nil || id != want || !repeats {
		e.Fatalf("EnqueueOnce of a known Key %s returns the ID of the first message: got %s, repeats: %v, and %v; want"+
			" %s", when, id, repeats, err, want)
	}
}

// testKey tests that a message with a known Key isn't stored again.
func testKey(e *env) {
	if _, ok := e.q.(queue.Keyer); !ok {
		if id, err := e.q.Enqueue(e.ctx, keyed("order 17", "x", "d.example")); err == nil {
			e.Errorf("a Queue that is no Keyer refuses a message with a Key: got ID %s and no error", id)
		}
		e.empty("the message was refused")
		return
	}
	first := e.once(keyed("order 17", "first", "d.example", "e.example"))
	retry := func() queue.Message {
		m := keyed("order 17", "second", "d.example", "e.example")
		m.Ref, m.FromDomain, m.Priority, m.Deadline = "another", "another.example", 3, e.now().Add(time.Hour)
		slices.Reverse(m.Envelope.Recipients)
		slices.Reverse(m.Destinations)
		return m
	}
	e.again("at once", retry(), first)
	if id := e.enqueue(retry()); id != first {
		e.Errorf("Enqueue of a known Key returns the ID of the first message: got %s, want %s", id, first)
	}
	e.checkBody(first, []byte("first"))

	tenant, none, long := retry(), retry(), retry()
	tenant.Tenant, none.Tenant, long.Key = "tenant/3", "", strings.Repeat("\xff\x00 ", 85)
	shift := retry() // whose Tenant and Key are the same octets in a row
	shift.Tenant, shift.Key = "tenant/2order", " 17"
	others := map[queue.ID]bool{first: true}
	for _, m := range []queue.Message{tenant, none, long, shift} {
		others[e.once(m)] = true
	}
	for range 2 { // without a Key, each is another message
		m := retry()
		m.Key = ""
		others[e.once(m)] = true
	}
	if len(others) != 7 {
		e.Errorf("a Key belongs to its Tenant: got %d messages, want 7", len(others))
	}
	for _, d := range []string{"d.example", "e.example"} {
		tasks := e.claim(d, 20, queue.Any)
		if len(tasks) != 7 {
			e.Errorf("a message that repeats another isn't stored: got %d tasks, want 7", len(tasks))
		}
		for _, t := range tasks {
			e.settle(t, queue.Settlement{})
		}
	}
	e.again("after its message was delivered", retry(), first)
	if r, ok := e.q.(queue.Remover); !ok {
		e.note("a Key whose message was removed", "the Queue is no Remover")
	} else {
		removed := e.once(keyed("removed", "x", "d.example"))
		if err := r.Remove(e.ctx, []queue.ID{removed}); err != nil {
			e.Fatalf("Remove: %v", err)
		}
		e.again("after its message was removed", keyed("removed", "y", "d.example"), removed)
	}
	e.empty("all messages are settled, and no other was stored")
}

// testKeyRefused tests that what can't be stored under its Key is an error, stores nothing, and leaves the Key to
// others.
func testKeyRefused(e *env) {
	e.needKeyer()
	first := e.once(keyed("order 17", "first", "d.example", "e.example"))
	sender, fewer := keyed("order 17", "x", "d.example", "e.example"), keyed("order 17", "x", "d.example")
	sender.Envelope.From = "another@example.com"
	for what, m := range map[string]queue.Message{
		"another reverse-path": sender,
		"fewer recipients":     fewer,
		"more recipients":      keyed("order 17", "x", "d.example", "e.example", "f.example"),
		"other recipients":     keyed("order 17", "x", "d.example", "f.example"),
	} {
		if id, err := e.q.Enqueue(e.ctx, m); !errors.Is(err, queue.ErrKeyReused) {
			e.Errorf("Enqueue of a known Key with %s: got %s and %v, want ErrKeyReused", what, id, err)
		}
	}
	if _, err := e.q.Enqueue(e.ctx, keyed(strings.Repeat("k", queue.MaxKey+1), "x", "d.example")); err == nil {
		e.Errorf("Enqueue with a Key of %d octets: got no error", queue.MaxKey+1)
	}
	for _, bad := range []func(*queue.Message){
		func(m *queue.Message) { m.Body = failAfter(10, errBroken) },
		func(m *queue.Message) { m.Body = failAfter(500_000, errBroken) },
		func(m *queue.Message) { m.NotBefore, m.Deadline = e.now().Add(2*time.Hour), e.now().Add(time.Hour) },
		func(m *queue.Message) { m.Destinations = nil },
	} {
		m := keyed("order 18", "x", "f.example")
		bad(&m)
		if id, err := e.q.Enqueue(e.ctx, m); err == nil {
			e.Errorf("Enqueue of an invalid message with a Key: got ID %s and no error", id)
		}
	}
	after := e.once(keyed("order 18", "after", "f.example"))
	e.checkBody(after, []byte("after"))

	t := e.claimOne("f.example")
	if err := e.q.Settle(e.ctx, t.Lease, reporting(keyed("report", "x", "r.example"))); err == nil {
		e.Errorf("Settle with a report that has a Key: got no error")
	}
	if r, ok := e.q.(queue.Remover); !ok {
		e.note("Remove with a report that has a Key", "the Queue is no Remover")
	} else if err := r.Remove(e.ctx, []queue.ID{first}, keyed("report", "x", "r.example")); err == nil {
		e.Errorf("Remove with a report that has a Key: got no error")
	}
	e.settle(t, queue.Settlement{})
	for _, d := range []string{"d.example", "e.example"} {
		e.settle(e.claimOne(d), queue.Settlement{})
	}
	e.empty("what was refused isn't stored")
}

// testKeyTime tests how long a Key is remembered.
func testKeyTime(e *env) {
	e.needKeyer()
	m := func() queue.Message { return keyed("order 17", "x", "d.example") }
	first := e.once(m())
	e.settle(e.claimOne("d.example"), queue.Settlement{})
	e.sleep(e.keyTime() - time.Minute)
	e.again("before its time is over", m(), first) // which doesn't make it longer
	if e.h.Step == nil {
		e.note("Keys and steps of the clock", "Harness.Step is nil")
	} else {
		e.h.Step(e.q, 10*e.keyTime())
		e.again("after the clock was set forward", m(), first)
		e.h.Step(e.q, -30*e.keyTime())
		e.again("after the clock was set back", m(), first)
	}
	e.sleep(e.keyTime() + time.Minute)
	second := e.once(m())
	if second == first {
		e.Errorf("a Key that is forgotten gets another message: got %s again", second)
	}
	e.again("that had been forgotten", m(), second)
	e.settle(e.claimOne("d.example"), queue.Settlement{})
	e.empty("all messages are settled")
}

// testKeyTogether tests that of concurrent Enqueues of one Key one stores its message, whichever fail.
func testKeyTogether(e *env) {
	e.needKeyer()
	e.together("together.example", e)
	e.settle(e.claimOne("together.example"), queue.Settlement{})
	e.empty("the only message is settled")
}

// together enqueues one Key many times at once at some Queues of a store. Some of the bodies fail, and some calls end
// by their ctx.
func (e *env) together(destination string, at ...*env) {
	const callers = 64
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	var mu sync.Mutex
	stored := 0
	ids := map[queue.ID]int{}
	var wg sync.WaitGroup
	for i := range callers {
		m := keyed(destination, "", destination)
		m.Body = newBody(bytes.Repeat([]byte("x"), 1000))
		during, by, fails := e.ctx, at[i%len(at)], false
		switch {
		case i%4 == 0: // before the others
			m.Body, fails = failAfter(int64(i*10_000), errBroken), true
		case i%8 == 1:
			during, fails = ctx, true
		}
		wg.Go(func() {
			id, repeats, err := by.q.(queue.Keyer).EnqueueOnce(during, m)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				ids[id]++
				if !repeats {
					stored++
				}
			case !fails:
				e.Errorf("EnqueueOnce of a Key that others store: got %v", err)
			}
		})
	}
	wg.Go(cancel)
	wg.Wait()
	if stored != 1 || len(ids) != 1 {
		e.Errorf("one of concurrent Enqueues of a Key stores its message, and all return its ID: got %d that stored"+
			" one, and the IDs %v", stored, ids)
	}
}

// testKeyKept tests that a Key survives a restart and a crash, with its message or without.
func testKeyKept(e *env) {
	e.needKeyer()
	m := func(key string) queue.Message { return keyed(key, strings.Repeat("x", 3000), key+".example") }
	gone, there := e.once(m("gone")), e.once(m("there"))
	e.settle(e.claimOne("gone.example"), queue.Settlement{})
	check := func(when string) {
		e.Helper()
		e.again(when, m("gone"), gone)
		e.again(when, m("there"), there)
		other := m("there")
		other.Envelope.From = "another@example.com"
		if _, err := e.q.Enqueue(e.ctx, other); !errors.Is(err, queue.ErrKeyReused) {
			e.Errorf("Enqueue of a known Key with another reverse-path %s: got %v, want ErrKeyReused", when, err)
		}
	}
	if e.h.Reopen == nil && e.h.Kill == nil {
		e.lack("Keys after a restart", "Harness.Reopen and Harness.Kill are nil")
	}
	for range 3 {
		if e.h.Reopen == nil {
			e.note("Keys after a restart", "Harness.Reopen is nil")
		} else {
			e.reopen()
			check("after a restart")
		}
		if e.h.Kill == nil {
			e.note("Keys after a crash", "Harness.Kill is nil")
		} else {
			e.q = e.h.Kill(e.t, e.q)
			e.forgetLanes()
			check("after a crash")
		}
		for range 60 { // what a store may tidy up
			e.enqueue(m("other"))
			if t := e.claim("other.example", 1, queue.Any); len(t) == 1 {
				e.settle(t[0], queue.Settlement{})
			}
		}
		e.sleep(e.keyTime() / 8)
	}
	e.settle(e.claimOne("there.example"), queue.Settlement{})
	e.sleep(2 * e.keyTime())
	if e.h.Reopen != nil {
		e.reopen()
	}
	e.once(m("gone"))
	e.settle(e.claimOne("gone.example"), queue.Settlement{})
	e.empty("all messages are settled")
}

// testKeysFull tests that the number of Keys is bounded.
func testKeysFull(e *env) {
	e.needKeyer()
	if e.h.MaxKeys == 0 {
		e.lack("the bound of Keys", "Harness.MaxKeys is 0")
	}
	m := func(i int) queue.Message { return keyed(fmt.Sprint(i), "x", "d.example") }
	var ids []queue.ID
	for i := range e.h.MaxKeys {
		ids = append(ids, e.once(m(i)))
	}
	for range 2 {
		if _, err := e.q.Enqueue(e.ctx, m(e.h.MaxKeys)); !errors.Is(err, queue.ErrKeysFull) {
			e.Errorf("a new Key beyond MaxKeys is refused: got %v, want ErrKeysFull", err)
		}
	}
	for i, id := range ids {
		e.again("beside as many as there may be", m(i), id)
	}
	e.enqueue(message("x", "d.example")) // mail without a Key isn't bounded
	e.sleep(2 * e.keyTime())
	e.once(m(e.h.MaxKeys))
	tasks := e.claim("d.example", e.h.MaxKeys+10, queue.Any)
	if want := e.h.MaxKeys + 2; len(tasks) != want {
		e.Errorf("what was refused isn't stored: got %d tasks, want %d", len(tasks), want)
	}
	for _, t := range tasks {
		e.settle(t, queue.Settlement{})
	}
	e.empty("all messages are settled")
}

// testHandlesKeys tests that a Key is known at all Queues of a store.
func testHandlesKeys(e *env) {
	e.needKeyer()
	a, b := e.pair()
	first := a.once(keyed("order 17", "x", "d.example"))
	b.again("at another Queue", keyed("order 17", "y", "d.example"), first)
	e.together("together.example", a, b)
	e.lag()
	for _, d := range []string{"d.example", "together.example"} {
		has, t := either(a, b, d)
		has.settle(t, queue.Settlement{})
	}
	b.again("of a message that was delivered", keyed("order 17", "y", "d.example"), first)
	a.empty("all messages are settled")
}
