package queuetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/queue"
)

// testRandom tests that the Queue behaves like a model of it.
func testRandom(e *env) { random(e) }

// testHandlesRandom tests that two Queues on one store behave like one.
func testHandlesRandom(e *env) {
	a, b := e.pair()
	random(a, b)
}

// random does random operations, each at one of the Queues of a store.
func random(all ...*env) {
	e := all[0]
	seed := e.h.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	defer func() {
		if e.Failed() {
			e.Logf("to repeat it, set Harness.Seed to %d", seed)
		}
	}()
	m := &model{
		env: e, all: all, rand: rand.New(rand.NewPCG(seed, 0)),
		bodies: map[queue.ID][]byte{}, held: map[queue.ID]bool{},
	}
	m.lackSome()
	m.learnOwners()
	defer m.watchAll()()
	steps := []struct {
		name   string
		weight int
		run    func()
	}{
		{"enqueue", 10, m.enqueue},
		{"enqueue that fails", 1, m.enqueueFails},
		{"enqueue that repeats", 2, m.enqueueAgain},
		{"claim", 12, m.claim},
		{"settle", 16, m.settle},
		{"settle that fails", 1, m.settleFails},
		{"stale settle", 2, m.settleStale},
		{"extend", 2, m.extend},
		{"pass time", 5, m.pass},
		{"lanes", 4, m.lanes},
		{"list", 1, m.list},
		{"open", 3, m.open},
		{"hold", 2, m.hold},
		{"release", 2, m.release},
		{"flush", 1, m.flush},
		{"remove", 1, m.remove},
		{"remove that fails", 1, m.removeFails},
		{"stats", 2, m.stats},
		{"reopen", 1, m.reopen},
	}
	total := 0
	for _, s := range steps {
		total += s.weight
	}
	for i := range 3000 / len(all) {
		if len(all) > 1 {
			m.lag()
			m.env = all[m.rand.IntN(len(all))]
		}
		n := m.rand.IntN(total)
		for _, s := range steps {
			if n -= s.weight; n < 0 {
				s.run()
				if e.Failed() {
					e.Fatalf("after step %d, %s", i, s.name)
				}
				break
			}
		}
	}
}

// lackSome logs the steps that are left out.
func (m *model) lackSome() {
	_, keys := m.q.(queue.Keyer)
	_, lists := m.q.(queue.Lister)
	_, holds := m.q.(queue.Holder)
	_, flushes := m.q.(queue.Flusher)
	_, removes := m.q.(queue.Remover)
	_, counts := m.q.(queue.Stater)
	for _, part := range []struct {
		does      bool
		what, why string
	}{
		{keys, "Keys among random operations", "the Queue is no Keyer"},
		{lists, "List among random operations", "the Queue is no Lister"},
		{holds, "Hold and Release among random operations", "the Queue is no Holder"},
		{flushes, "Flush among random operations", "the Queue is no Flusher"},
		{removes, "Remove among random operations", "the Queue is no Remover"},
		{counts, "Stats among random operations", "the Queue is no Stater"},
		{m.h.Reopen != nil, "restarts among random operations", "Harness.Reopen is nil"},
	} {
		if !part.does {
			m.note(part.what, part.why)
		}
	}
}

func (m *model) enqueue() {
	if len(m.tasks) > 200 {
		return
	}
	msg, body := m.message()
	if _, ok := m.q.(queue.Keyer); ok && m.rand.IntN(4) == 0 {
		m.enqueueKeyed(msg, body)
		return
	}
	m.arrive(m.env.enqueue(msg), msg, body)
}

func (m *model) enqueueFails() {
	msg, body := m.message()
	if _, ok := m.q.(queue.Keyer); ok {
		msg.Key = "fails"
	}
	msg.Body = iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(append(body, "xx"...))))
	if _, err := m.q.Enqueue(m.ctx, msg); err == nil {
		m.Errorf("Enqueue of a body that fails: got no error")
	}
}

func (m *model) claim() {
	var wants []queue.Want
	for _, l := range m.laneNames() {
		if m.rand.IntN(3) == 0 {
			wants = append(wants, queue.Want{Lane: l, Max: m.rand.IntN(5), Class: queue.Class(m.rand.IntN(4))})
		}
	}
	lease := m.millis(time.Hour)
	m.look(m.env, wants...)
	news, stop := m.watch()
	got, err := m.q.Claim(m.ctx, wants, lease)
	stop()
	if err != nil {
		m.Fatalf("Claim: %v", err)
	}
	for _, w := range wants {
		var of []queue.Task
		by := map[queue.ID]*env{}
		add := func(e *env, tasks []queue.Task) {
			for _, t := range tasks {
				if t.Lane() == w.Lane {
					of = append(of, t)
					by[t.ID] = e
				}
			}
		}
		add(m.env, got)
		for _, e := range m.all { // a Claim may be short, and tasks may be another Queue's
			if rest := w; len(of) < w.Max && (e != m.env || m.more(news, w.Lane)) {
				rest.Max -= len(of)
				m.look(e, rest)
				add(e, e.claimFor(rest, lease))
			}
		}
		if len(of) == w.Max {
			m.lookAgain(w.Lane)
		}
		var due []time.Time
		for _, t := range m.tasks {
			if at, ok := m.match(t, w.Class); ok && t.Lane() == w.Lane {
				due = append(due, at)
			}
		}
		slices.SortFunc(due, time.Time.Compare)
		due = due[:min(len(due), w.Max)]
		for _, g := range of {
			t := m.find(g)
			if t == nil {
				m.Fatalf("Claim(%+v): got a task that doesn't exist: %s", w, describe(g))
			}
			at, ok := m.match(t, w.Class)
			if !ok || len(due) == 0 || !eqTime(at, due[0]) {
				m.Fatalf("Claim(%+v) returns due tasks, the earliest first: got one due at %v, want %v; %s",
					w, at, due, describe(g))
			}
			due = due[1:]
			t.Attempts++
			t.lease, t.expires, t.at, t.foreign = g.Lease, m.now().Add(lease), by[g.ID], false
			t.claimed = len(t.parts)
			if g.Only != m.only(t) {
				m.Fatalf("Only says that the message has no other task: got %v for %s", g.Only, describe(g))
			}
			m.checkTask(fmt.Sprintf("Claim(%+v)", w), g, t.Task)
		}
		if len(due) > 0 {
			m.Fatalf("Claim(%+v) returns all due tasks up to Max: %v are missing", w, due)
		}
	}
}

func (m *model) settle() {
	t := m.pick()
	if t == nil {
		return
	}
	s := m.settlement(t)
	var reports []queue.Message
	var bodies [][]byte
	if m.rand.IntN(5) == 0 && len(m.tasks) < 200 {
		for range 1 + m.rand.IntN(2) {
			msg, body := m.message()
			reports, bodies = append(reports, msg), append(bodies, body)
		}
	}
	s.Reports = reports
	m.env.settle(queue.Task{Lease: t.lease}, s)
	m.settled(t, s)
	for i, r := range reports {
		m.findReport(r, bodies[i])
	}
}

func (m *model) settleFails() {
	t := m.pick()
	if t == nil {
		return
	}
	s := m.settlement(t)
	bad := message("", "d0.example")
	bad.Body = failAfter(m.rand.Int64N(500_000), errBroken)
	good, _ := m.message()
	s.Reports = []queue.Message{good, bad}
	if err := m.q.Settle(m.ctx, t.lease, s); err == nil {
		m.Errorf("Settle with a report that fails: got no error")
	}
}

func (m *model) settleStale() {
	m.leases()
	if len(m.stale) == 0 {
		return
	}
	l := m.stale[m.rand.IntN(len(m.stale))]
	m.checkLost("Settle under a stale lease", l.at.q.Settle(m.ctx, l.lease, queue.Settlement{}))
	m.checkLost("Extend of a stale lease", l.at.q.Extend(m.ctx, l.lease, time.Hour))
	if len(m.done) == 0 {
		return
	}
	// The Queue may have forgotten that it has settled the lease.
	l = m.done[m.rand.IntN(len(m.done))]
	if err := l.at.q.Settle(m.ctx, l.lease, queue.Settlement{}); !errors.Is(err, queue.ErrSettled) {
		m.checkLost("Settle under a lease that was settled", err)
	}
	m.checkLost("Extend of a lease that was settled", l.at.q.Extend(m.ctx, l.lease, time.Hour))
}

func (m *model) extend() {
	if t := m.pick(); t != nil {
		d := m.millis(time.Hour)
		if err := m.q.Extend(m.ctx, t.lease, d); err != nil {
			m.Errorf("Extend: %v", err)
		}
		t.expires = m.now().Add(d)
	}
}

func (m *model) pass() { m.sleep(m.millis(20 * time.Minute)) }

// lanes compares the lanes.
func (m *model) lanes() {
	want := map[queue.Lane]queue.LaneDue{}
	for _, t := range m.tasks {
		if m.state(t) != queue.Waiting {
			continue
		}
		l := t.Lane()
		d, ok := want[l]
		d.Lane = l
		if at := t.claimable(); !ok || at.Before(d.Due) {
			d.Due = at
		}
		if o := t.overdue(); !o.IsZero() && (d.Overdue.IsZero() || o.Before(d.Overdue)) {
			d.Overdue = o
		}
		want[l] = d
	}
	m.checkLooks(want)
	got := map[queue.Lane]queue.LaneDue{}
	for _, e := range m.all { // each may have a part of the lanes
		maps.Copy(got, e.lanes())
	}
	for l, w := range want {
		if g, ok := got[l]; !ok || !eqTime(g.Due, w.Due) || !eqTime(g.Overdue, w.Overdue) {
			m.Errorf("Lanes: got %+v, want %+v", g, w)
		}
	}
	if len(got) != len(want) {
		m.Errorf("Lanes yields the lanes with a task that waits: got %d, want %d", len(got), len(want))
	}
}

// list compares all tasks, and those that one Filter selects.
func (m *model) list() {
	if _, ok := m.q.(queue.Lister); !ok {
		return
	}
	all := m.env.list(queue.Filter{})
	for i, t := range all {
		if i == len(m.tasks) {
			m.Fatalf("List yields every task once: got %s more", describe(t))
		}
		want := m.tasks[i].Task
		want.State = m.state(m.tasks[i])
		m.checkTask("List", t, want)
		if t.Only != m.only(m.tasks[i]) {
			m.Errorf("Only says that the message has no other task: got %v for %s", t.Only, describe(t))
		}
	}
	if len(all) != len(m.tasks) {
		m.Errorf("List yields every task: got %d, want %d", len(all), len(m.tasks))
	}
	if len(all) == 0 || m.Failed() {
		return
	}
	like, after := all[m.rand.IntN(len(all))], all[m.rand.IntN(len(all))].ID
	var f queue.Filter
	from := 0
	for _, set := range []func(){
		func() { f.ID = like.ID },
		func() { f.Destination = like.Destination },
		func() {
			if f.Sender = like.Envelope.From; f.Sender == "" {
				f.Sender = "<>"
			}
		},
		func() { f.State = like.State },
		func() { f.Ref = like.Ref },
		func() { f.Tenant = like.Tenant },
		func() { f.Recipient = like.Envelope.Recipients[0].Address },
		func() { _, f.Domain, _ = strings.Cut(like.Envelope.Recipients[0].Address, "@") },
		func() { f.ArrivedAfter = like.Arrival.Add(-time.Hour) },
		func() { f.ArrivedBefore = like.Arrival.Add(precision) },
		func() {
			f.After = after
			from = 1 + lastIndex(all, after)
		},
	} {
		if m.rand.IntN(3) == 0 {
			set()
		}
	}
	m.checkFilter(f, all, from)
}

func (m *model) open() {
	if len(m.tasks) > 0 {
		id := m.tasks[m.rand.IntN(len(m.tasks))].ID
		m.checkBody(id, m.bodies[id])
	}
}

func (m *model) reopen() {
	if _, ok := m.q.(queue.Lister); !ok || m.h.Reopen == nil || len(m.all) > 1 {
		return
	}
	m.env.reopen()
	m.watchAll()
	m.forget()
	for _, t := range m.leases() {
		if m.h.LeasesSurvive {
			t.foreign = true
			continue
		}
		m.stale = append(m.stale, granted{t.at, t.lease})
		t.lease = 0
	}
	m.learnOwners()
	m.list()
}
