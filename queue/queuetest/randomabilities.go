package queuetest

import (
	"slices"
	"strconv"
	"time"

	"github.com/postrider/postrider/queue"
)

// These are the steps of testRandom for the optional abilities.

// modelKey is a message that was stored with a Key.
type modelKey struct {
	msg queue.Message
	id  queue.ID
	at  time.Time
}

func (m *model) enqueueKeyed(msg queue.Message, body []byte) {
	if m.h.MaxKeys > 0 && len(m.keys) >= m.h.MaxKeys {
		return
	}
	msg.Key = strconv.Itoa(m.serial)
	id := m.once(msg)
	m.arrive(id, msg, body)
	m.keys = append(m.keys, modelKey{msg, id, m.now()})
}

// enqueueAgain repeats a message, which may have left.
func (m *model) enqueueAgain() {
	m.keys = slices.DeleteFunc(m.keys, func(k modelKey) bool { return m.now().Sub(k.at) >= 2*m.keyTime() })
	if len(m.keys) == 0 {
		return
	}
	k := m.keys[m.rand.IntN(len(m.keys))]
	k.msg.Body = newBody([]byte("another"))
	if m.now().Sub(k.at) >= m.keyTime() {
		return // it may be forgotten
	}
	m.again("among random operations", k.msg, k.id)
}

func (m *model) hold() {
	if ids := m.some(); len(ids) > 1 && len(m.held) < 10 {
		if _, ok := m.q.(queue.Holder); ok {
			reason := []string{"", "a reason", "another reason"}[m.rand.IntN(3)]
			if m.keepsReasons() {
				m.env.holdFor(reason, ids...)
			} else {
				m.env.hold(ids...)
			}
			for _, id := range ids[1:] {
				if reason != "" || !m.held[id] {
					m.setReason(id, reason)
				}
				m.held[id] = true
			}
		}
	}
}

func (m *model) release() {
	ids := m.some()
	for _, t := range m.tasks { // in the order of arrival, so that a seed repeats
		if id := t.ID; m.held[id] && m.rand.IntN(3) == 0 {
			ids = append(ids, id)
		}
	}
	if _, ok := m.q.(queue.Holder); ok && len(ids) > 1 {
		m.env.release(ids...)
		for _, id := range ids {
			delete(m.held, id)
			m.setReason(id, "")
		}
	}
}

// setReason notes why a message is held.
func (m *model) setReason(id queue.ID, reason string) {
	for _, t := range m.tasks {
		if t.ID == id && m.keepsReasons() {
			t.HeldFor = reason
		}
	}
}

func (m *model) flush() {
	q, ok := m.q.(queue.Flusher)
	if _, lists := m.q.(queue.Lister); !ok || !lists {
		return
	}
	destination := ""
	if m.rand.IntN(4) > 0 {
		destination = m.destination()
	}
	after := time.Duration(0)
	if m.rand.IntN(2) == 0 {
		after = m.millis(2 * time.Hour)
	}
	limit := m.now().Add(after)
	var want []*modelTask
	for _, t := range m.tasks {
		if destination != "" && t.Destination != destination {
			continue
		}
		if m.state(t) == queue.Waiting && t.Attempts > 0 && !t.once && t.Due.After(limit) {
			want = append(want, t)
		}
	}
	n, err := q.Flush(m.ctx, destination, after)
	if err != nil || n != len(want) {
		m.Fatalf("Flush(%q) returns the number of tasks that it made due: got %d and %v, want %d",
			destination, n, err, len(want))
	}
	type name struct {
		id          queue.ID
		destination string
	}
	due := map[name]time.Time{}
	for _, t := range m.env.list(queue.Filter{}) {
		due[name{t.ID, t.Destination}] = t.Due
	}
	for _, t := range want {
		if t.before.IsZero() {
			t.before = t.Due
		}
		t.Due, t.once = due[name{t.ID, t.Destination}], true
		if !eqTime(t.Due, t.Arrival) {
			m.Fatalf("Flush(%q) makes waiting retries due at once: got %v, want the Arrival, %v; %s",
				destination, t.Due, t.Arrival, describe(t.Task))
		}
	}
}

// forget undoes a Flush in the model where a restart has undone it in the Queue.
func (m *model) forget() {
	for _, got := range m.env.list(queue.Filter{}) {
		if t := m.find(got); t != nil && !t.before.IsZero() {
			if eqTime(got.Due, t.before) {
				t.Due, t.once = t.before, false
			}
			t.before = time.Time{}
		}
	}
}

func (m *model) remove() {
	ids := m.some()
	if _, ok := m.q.(queue.Remover); !ok || len(ids) == 1 {
		return
	}
	var reports []queue.Message
	var bodies [][]byte
	if _, ok := m.q.(queue.Lister); ok && m.rand.IntN(2) == 0 && len(m.tasks) < 200 {
		msg, body := m.message()
		reports, bodies = append(reports, msg), append(bodies, body)
	}
	m.env.remove(ids, reports...)
	for _, t := range m.tasks {
		if m.leased(t) && slices.Contains(ids, t.ID) {
			m.stale = append(m.stale, granted{t.at, t.lease})
		}
	}
	m.tasks = slices.DeleteFunc(m.tasks, func(t *modelTask) bool { return slices.Contains(ids, t.ID) })
	for _, id := range ids[1:] {
		delete(m.bodies, id)
		delete(m.held, id)
	}
	m.checkGone("after Remove", ids[1:]...)
	for i, r := range reports {
		m.findReport(r, bodies[i])
	}
}

func (m *model) removeFails() {
	r, ok := m.q.(queue.Remover)
	if !ok {
		return
	}
	bad := message("", "d0.example")
	bad.Body = failAfter(m.rand.Int64N(500_000), errBroken)
	good, _ := m.message()
	if err := r.Remove(m.ctx, m.some(), good, bad); err == nil {
		m.Errorf("Remove with a report that fails: got no error")
	}
}

func (m *model) stats() {
	if _, ok := m.q.(queue.Stater); !ok {
		return
	}
	ago := m.counts()
	if m.diffStats(ago, ago) == "" {
		return
	}
	m.sleep(time.Minute)
	if diff := m.diffStats(ago, m.counts()); diff != "" {
		m.Errorf("Stats counts the contents: among random operations,\n%s", diff)
	}
}

// counts returns the Stats of the model.
func (m *model) counts() queue.Stats {
	s := queue.Stats{Messages: len(m.bodies), Tasks: len(m.tasks)}
	destinations := map[string]bool{}
	for _, t := range m.tasks {
		destinations[t.Destination] = true
		switch m.state(t) {
		case queue.Waiting:
			s.Waiting++
		case queue.Leased:
			s.Leased++
		case queue.Held:
			s.Held++
		}
	}
	s.Destinations = len(destinations)
	for _, body := range m.bodies {
		s.Octets += int64(len(body))
	}
	if len(m.tasks) > 0 {
		s.Oldest = m.tasks[0].Arrival
	}
	return s
}
