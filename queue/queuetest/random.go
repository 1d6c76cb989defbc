package queuetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/queue"
)

// testRandom tests that the Queue behaves like a model of it.
func testRandom(e *env) {
	seed := e.h.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	defer func() {
		if e.Failed() {
			e.Logf("to repeat it, set Harness.Seed to %d", seed)
		}
	}()
	m := &model{env: e, rand: rand.New(rand.NewPCG(seed, 0)), bodies: map[queue.ID][]byte{}, held: map[queue.ID]bool{}}
	m.lackSome()
	steps := []struct {
		name   string
		weight int
		run    func()
	}{
		{"enqueue", 10, m.enqueue},
		{"enqueue that fails", 1, m.enqueueFails},
		{"claim", 12, m.claim},
		{"settle", 16, m.settle},
		{"settle that fails", 1, m.settleFails},
		{"stale settle", 2, m.settleStale},
		{"extend", 2, m.extend},
		{"pass time", 5, m.pass},
		{"destinations", 4, m.destinations},
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
	for i := range 3000 {
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
	_, lists := m.q.(queue.Lister)
	_, holds := m.q.(queue.Holder)
	_, flushes := m.q.(queue.Flusher)
	_, removes := m.q.(queue.Remover)
	_, counts := m.q.(queue.Stater)
	for _, part := range []struct {
		does      bool
		what, why string
	}{
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
	m.arrive(m.env.enqueue(msg), msg, body)
}

func (m *model) enqueueFails() {
	msg, body := m.message()
	msg.Body = iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader(append(body, "xx"...))))
	if _, err := m.q.Enqueue(m.ctx, msg); err == nil {
		m.Errorf("Enqueue of a body that fails: got no error")
	}
}

func (m *model) claim() {
	var wants []queue.Want
	for i := range 4 {
		if m.rand.IntN(2) == 0 {
			wants = append(wants, queue.Want{
				Destination: fmt.Sprintf("d%d.example", i), Max: m.rand.IntN(5), Class: queue.Class(m.rand.IntN(4)),
			})
		}
	}
	lease := time.Duration(m.rand.Int64N(int64(time.Hour)))
	got, err := m.q.Claim(m.ctx, wants, lease)
	if err != nil {
		m.Fatalf("Claim: %v", err)
	}
	for _, w := range wants {
		var due []turn
		for _, t := range m.tasks {
			if at, ok := m.match(t, w.Class); ok && t.Destination == w.Destination {
				due = append(due, at)
			}
		}
		slices.SortFunc(due, turn.compare)
		due = due[:min(len(due), w.Max)]
		for _, g := range got {
			if g.Destination != w.Destination {
				continue
			}
			t := m.find(g)
			if t == nil {
				m.Fatalf("Claim(%+v): got a task that doesn't exist: %s", w, describe(g))
			}
			at, ok := m.match(t, w.Class)
			if !ok || len(due) == 0 || at.compare(due[0]) != 0 {
				m.Fatalf("Claim(%+v) returns due tasks, higher priority first, then the earliest: "+
					"got one due at %v, want %v; %s", w, at, due, describe(g))
			}
			due = due[1:]
			t.Attempts++
			t.lease, t.expires = g.Lease, m.now().Add(lease)
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
	m.checkLost("Settle under a stale lease", m.q.Settle(m.ctx, l, queue.Settlement{}))
	m.checkLost("Extend of a stale lease", m.q.Extend(m.ctx, l, time.Hour))
}

func (m *model) extend() {
	if t := m.pick(); t != nil {
		d := time.Duration(m.rand.Int64N(int64(time.Hour)))
		if err := m.q.Extend(m.ctx, t.lease, d); err != nil {
			m.Errorf("Extend: %v", err)
		}
		t.expires = m.now().Add(d)
	}
}

func (m *model) pass() { m.sleep(time.Duration(m.rand.Int64N(int64(20 * time.Minute)))) }

func (m *model) destinations() {
	within := time.Duration(m.rand.Int64N(int64(2 * time.Hour)))
	limit := m.now().Add(within)
	want := map[string]queue.Destination{}
	for _, t := range m.tasks {
		if m.state(t) != queue.Waiting {
			continue
		}
		d, ok := want[t.Destination]
		d.Name = t.Destination
		at := t.claimable()
		if !ok || at.Before(d.Due) {
			d.Due = at
		}
		if o := t.overdue(); !o.IsZero() && (d.Overdue.IsZero() || o.Before(d.Overdue)) {
			d.Overdue = o
		}
		switch {
		case at.After(limit):
		case t.Attempts == 0:
			d.Fresh++
		default:
			d.Retried++
		}
		want[d.Name] = d
	}
	var due []queue.Destination
	for _, d := range want {
		if d.Fresh+d.Retried > 0 {
			due = append(due, d)
		}
	}
	m.checkDestinations(within, due...)
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
		if t.Attempts < m.tasks[i].Attempts && t.Attempts >= m.tasks[i].settled {
			m.tasks[i].Attempts = t.Attempts // a restart may lose an attempt that wasn't settled
		}
		want := m.tasks[i].Task
		want.State = m.state(m.tasks[i])
		m.checkTask("List", t, want)
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
		func() { f.ArrivedBefore = like.Arrival.Add(1) },
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
	if _, ok := m.q.(queue.Lister); !ok || m.h.Reopen == nil {
		return
	}
	m.env.reopen()
	m.forget()
	for _, t := range m.leases() {
		m.stale = append(m.stale, t.lease)
		t.lease = 0
	}
	m.list()
}
