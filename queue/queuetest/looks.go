package queuetest

import (
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/queue"
)

// looks are the times at which a Runner that only follows the announcements of a Waker looks for tasks of a lane. A
// Claim forgets those that have passed.
type looks struct {
	mu    sync.Mutex
	at    map[*env]map[queue.Lane][]time.Time
	zero  map[*env]time.Time // of all lanes
	stops []func()
}

// watchAll registers a Watch at each Queue. It returns a func that ends all of them.
func (m *model) watchAll() (stop func()) {
	m.looks.mu.Lock()
	m.looks.at, m.looks.zero = map[*env]map[queue.Lane][]time.Time{}, map[*env]time.Time{}
	m.looks.mu.Unlock()
	for _, e := range m.all {
		q, ok := e.q.(queue.Waker)
		if !ok {
			continue
		}
		start := map[queue.Lane][]time.Time{}
		for l, d := range e.lanes() {
			start[l] = []time.Time{d.Due}
		}
		m.looks.mu.Lock()
		m.looks.at[e] = start
		m.looks.mu.Unlock()
		m.looks.stops = append(m.looks.stops, q.Watch(func(l queue.Lane, due time.Time) {
			m.looks.mu.Lock()
			defer m.looks.mu.Unlock()
			if (l == queue.Lane{}) {
				m.looks.zero[e] = due
				return
			}
			start[l] = append(start[l], due)
		}))
	}
	return func() {
		for _, stop := range m.looks.stops {
			stop()
		}
	}
}

// look is before a Claim of these Wants: only what is announced during it, and later, makes the Runner look again.
func (m *model) look(e *env, wants ...queue.Want) {
	m.looks.mu.Lock()
	defer m.looks.mu.Unlock()
	for _, w := range wants {
		if at := m.looks.at[e]; at != nil && w.Class == queue.Any && w.Max > 0 {
			at[w.Lane] = slices.DeleteFunc(at[w.Lane], func(t time.Time) bool { return !t.After(m.now()) })
		}
	}
}

// lookAgain is after a Claim that returned as many tasks as wanted: the lane may have more.
func (m *model) lookAgain(l queue.Lane) {
	m.looks.mu.Lock()
	defer m.looks.mu.Unlock()
	for _, at := range m.looks.at {
		at[l] = append(at[l], m.now())
	}
}

// checkLooks checks that each lane with a task that is due was announced as due, at one of the Queues.
func (m *model) checkLooks(lanes map[queue.Lane]queue.LaneDue) {
	m.Helper()
	m.looks.mu.Lock()
	defer m.looks.mu.Unlock()
	if len(m.looks.at) == 0 {
		m.note("Watch among random operations", "the Queue is no Waker")
		return
	}
	for l, d := range lanes {
		if d.Due.After(m.now()) {
			continue
		}
		told := false
		for e, at := range m.looks.at {
			_, zero := m.looks.zero[e]
			told = told || zero || slices.ContainsFunc(at[l], func(t time.Time) bool { return !t.After(m.now()) })
		}
		if !told {
			m.Errorf("Watch announces every time at which a lane may have a task due: not that of %+v", d)
		}
	}
}
