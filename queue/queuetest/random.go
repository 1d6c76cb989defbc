package queuetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// testRandom does what comes and compares with a model, which is lists and no more.
func testRandom(e *env) {
	seed := e.h.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	defer func() {
		if e.Failed() {
			e.Logf("this was seed %d: set Harness.Seed to see it again", seed)
		}
	}()
	m := &model{env: e, rand: rand.New(rand.NewPCG(seed, 0)), bodies: map[queue.ID][]byte{}}
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

// model is what a Queue should be.
type model struct {
	*env
	rand   *rand.Rand
	tasks  []*modelTask // in the order of arrival
	bodies map[queue.ID][]byte
	stale  []queue.Lease
	serial int
}

type modelTask struct {
	queue.Task
	settled int         // the attempts that a restart keeps at least
	lease   queue.Lease // the zero Lease: none
}

// overdue is when the task's notice or deadline comes, the zero time never.
func (t *modelTask) overdue() time.Time {
	if t.NoticeAt.IsZero() || !t.Deadline.IsZero() && t.Deadline.Before(t.NoticeAt) {
		return t.Deadline
	}
	return t.NoticeAt
}

// claimable is when the task can be claimed.
func (t *modelTask) claimable() time.Time {
	if at := t.overdue(); !at.IsZero() && at.Before(t.Due) {
		return at
	}
	return t.Due
}

// leased reports whether the lease holds.
func (m *model) leased(t *modelTask) bool {
	if t.lease != (queue.Lease{}) && !m.now().Before(t.lease.Expires) {
		m.stale = append(m.stale, t.lease)
		t.lease = queue.Lease{}
	}
	return t.lease != queue.Lease{}
}

func (m *model) held() (tasks []*modelTask) {
	for _, t := range m.tasks {
		if m.leased(t) {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

func (m *model) destination() string { return fmt.Sprintf("d%d.example", m.rand.IntN(4)) }

// soon is a time around now; one in four is zero.
func (m *model) soon() time.Time {
	if m.rand.IntN(4) == 0 {
		return time.Time{}
	}
	return m.now().Add(time.Duration(m.rand.Int64N(int64(4*time.Hour))) - time.Hour)
}

func (m *model) message() (queue.Message, []byte) {
	m.serial++
	n := m.rand.IntN(2000)
	if m.rand.IntN(30) == 0 {
		n = 400_000
	}
	body := bytes.Repeat([]byte{byte(m.serial)}, n)
	var destinations []string
	for range 1 + m.rand.IntN(4) {
		destinations = append(destinations, m.destination())
	}
	msg := message("", destinations...)
	msg.Body = newBody(body)
	msg.NotBefore, msg.NoticeAt, msg.Deadline = m.soon(), m.soon(), m.soon()
	msg.Priority = int8(m.rand.IntN(19) - 9)
	msg.Ref = fmt.Sprint(m.serial)
	return msg, body
}

// arrive adds a message to the model.
func (m *model) arrive(id queue.ID, msg queue.Message, body []byte) {
	var seen []string
	for _, d := range msg.Destinations {
		if slices.Contains(seen, d) {
			continue
		}
		seen = append(seen, d)
		t := task(id, msg, d, len(body), m.now())
		t.Attempts = 0
		m.tasks = append(m.tasks, &modelTask{Task: t})
	}
	m.bodies[id] = body
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

// match says whether a Want gets the task, and what it is ordered by.
func (m *model) match(t *modelTask, class queue.Class) (at time.Time, ok bool) {
	at = t.claimable()
	switch class {
	case queue.Fresh:
		ok = t.Attempts == 0
	case queue.Retried:
		ok = t.Attempts > 0
	case queue.Overdue:
		at = t.overdue()
		ok = !at.IsZero()
	default:
		ok = true
	}
	return at, ok && !at.After(m.now()) && !m.leased(t)
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
		var due []time.Time
		for _, t := range m.tasks {
			if at, ok := m.match(t, w.Class); ok && t.Lease.Destination == w.Destination {
				due = append(due, at)
			}
		}
		sort.Slice(due, func(i, j int) bool { return due[i].Before(due[j]) })
		due = due[:min(len(due), w.Max)]
		for _, g := range got {
			if g.Lease.Destination != w.Destination {
				continue
			}
			t := m.find(g.Lease)
			if t == nil {
				m.Fatalf("Claim(%+v): got a task that is gone or never was: %s", w, describe(g))
			}
			at, ok := m.match(t, w.Class)
			if !ok || len(due) == 0 || !at.Equal(due[0]) {
				m.Fatalf("Claim(%+v) gives what is due, the earliest first: got what is due at %v, want %v; %s", w, at, due, describe(g))
			}
			due = due[1:]
			t.Attempts++
			t.lease = g.Lease
			m.checkTask(fmt.Sprintf("Claim(%+v)", w), g, t.Task)
		}
		if len(due) > 0 {
			m.Fatalf("Claim(%+v) gives all that is due up to Max: %v are missing", w, due)
		}
	}
}

// find gives the model's task of a lease.
func (m *model) find(l queue.Lease) *modelTask {
	for _, t := range m.tasks {
		if t.Lease.ID == l.ID && t.Lease.Destination == l.Destination {
			return t
		}
	}
	return nil
}

func (m *model) pick() *modelTask {
	held := m.held()
	if len(held) == 0 {
		return nil
	}
	return held[m.rand.IntN(len(held))]
}

func (m *model) settlement(t *modelTask) queue.Settlement {
	s := queue.Settlement{Uncounted: m.rand.IntN(8) == 0, Noticed: m.rand.IntN(4) == 0}
	if m.rand.IntN(3) > 0 {
		s.Next = m.now().Add(time.Duration(m.rand.Int64N(int64(2 * time.Hour))))
	}
	if m.rand.IntN(4) > 0 {
		for range t.Envelope.Recipients {
			s.Results = append(s.Results, smtp.Result{})
		}
		var outcomes []smtp.Outcome
		for range s.Results {
			outcomes = append(outcomes, smtp.Outcome(m.rand.IntN(4)))
		}
		s.Results = results(t.Task, outcomes...)
	}
	return s
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

// settled has the model do what Settle does.
func (m *model) settled(t *modelTask, s queue.Settlement) {
	m.stale = append(m.stale, t.lease)
	t.lease = queue.Lease{}
	if s.Uncounted {
		t.Attempts--
	}
	t.settled = t.Attempts
	if s.Noticed {
		t.NoticeAt = time.Time{}
	}
	env := *t.Envelope
	env.Recipients = nil
	var last []smtp.Result
	for i, r := range t.Envelope.Recipients {
		result := t.Last[i]
		if len(s.Results) > 0 {
			result = s.Results[i]
			if result.Outcome.Final() {
				continue
			}
		}
		if !s.Next.IsZero() {
			env.Recipients, last = append(env.Recipients, r), append(last, result)
		}
	}
	t.Envelope, t.Last, t.Due = &env, last, s.Next
	if len(last) == 0 {
		m.tasks = slices.DeleteFunc(m.tasks, func(o *modelTask) bool { return o == t })
		if !slices.ContainsFunc(m.tasks, func(o *modelTask) bool { return o.Lease.ID == t.Lease.ID }) {
			delete(m.bodies, t.Lease.ID)
			if _, err := m.q.Open(m.ctx, t.Lease.ID); err != queue.ErrNotFound {
				m.Errorf("Open of a message whose last task is settled: got %v, want ErrNotFound", err)
			}
		}
	}
}

// findReport learns the ID that a report got.
func (m *model) findReport(r queue.Message, body []byte) {
	l, ok := m.q.(queue.Lister)
	if !ok {
		m.lack("random operations with reports", "the Queue is no Lister")
	}
	for t, err := range l.List(m.ctx) {
		if err != nil {
			m.Fatalf("List: %v", err)
		}
		if t.Ref == r.Ref {
			m.arrive(t.Lease.ID, r, body)
			return
		}
	}
	m.Errorf("a report becomes a message with its settlement: the one with Ref %s isn't there", r.Ref)
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
	m.held()
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
		t.lease.Expires = m.now().Add(d)
	}
}

func (m *model) pass() { m.sleep(time.Duration(m.rand.Int64N(int64(20 * time.Minute)))) }

func (m *model) destinations() {
	within := time.Duration(m.rand.Int64N(int64(2 * time.Hour)))
	limit := m.now().Add(within)
	want := map[string]queue.Destination{}
	for _, t := range m.tasks {
		if m.leased(t) {
			continue
		}
		d, ok := want[t.Lease.Destination]
		d.Name = t.Lease.Destination
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

func (m *model) list() {
	l, ok := m.q.(queue.Lister)
	if !ok {
		return
	}
	i := 0
	for t, err := range l.List(m.ctx) {
		if err != nil {
			m.Fatalf("List: %v", err)
		}
		if i == len(m.tasks) {
			m.Fatalf("List gives every task once: got %s more", describe(t))
		}
		if t.Attempts < m.tasks[i].Attempts && t.Attempts >= m.tasks[i].settled {
			m.tasks[i].Attempts = t.Attempts // a restart may forget what wasn't settled
		}
		m.checkTask("List", t, m.tasks[i].Task)
		i++
	}
	if i != len(m.tasks) {
		m.Errorf("List gives every task: got %d, want %d", i, len(m.tasks))
	}
}

func (m *model) open() {
	if len(m.tasks) > 0 {
		id := m.tasks[m.rand.IntN(len(m.tasks))].Lease.ID
		m.checkBody(id, m.bodies[id])
	}
}

func (m *model) reopen() {
	if _, ok := m.q.(queue.Lister); !ok || m.h.Reopen == nil {
		return
	}
	m.env.reopen()
	for _, t := range m.held() {
		m.stale = append(m.stale, t.lease)
		t.lease = queue.Lease{}
	}
	m.list()
}
