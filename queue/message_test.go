package queue_test

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestMessageTimes postpones messages, or makes them transactional: the distances to notice and deadline stay.
func TestMessageTimes(t *testing.T) {
	const notice, deadline, none = 4 * time.Hour, 120 * time.Hour, -1
	later := func(by time.Duration) func(*queue.Message) {
		return func(m *queue.Message) { m.Postpone(time.Now().Add(by)) }
	}
	tests := []struct {
		name                    string
		notBefore               time.Duration // from now, as all times here; none: zero
		priority                int8
		do                      func(*queue.Message)
		start, notice, deadline time.Duration // wanted
		wantPriority            int8
	}{
		{name: "postponed", notBefore: none, do: later(time.Hour), start: time.Hour, notice: notice + time.Hour, deadline: deadline + time.Hour},
		{name: "postponed again", notBefore: time.Hour, do: later(3 * time.Hour), start: 3 * time.Hour,
			notice: notice + 2*time.Hour, deadline: deadline + 2*time.Hour},
		{name: "earlier", notBefore: 3 * time.Hour, do: later(time.Hour), start: time.Hour,
			notice: notice - 2*time.Hour, deadline: deadline - 2*time.Hour},
		{name: "from a time in the past", notBefore: -time.Hour, do: later(time.Hour), start: time.Hour,
			notice: notice + time.Hour, deadline: deadline + time.Hour},
		{name: "to the past", notBefore: none, do: later(-time.Hour), start: -time.Hour, notice: notice, deadline: deadline},
		{name: "to the past, from later", notBefore: time.Hour, do: later(-time.Hour), start: -time.Hour,
			notice: notice - time.Hour, deadline: deadline - time.Hour},
		{name: "without times", notBefore: none, do: func(m *queue.Message) {
			m.NoticeAt, m.Deadline = time.Time{}, time.Time{}
			m.Postpone(time.Now().Add(time.Hour))
		}, start: time.Hour, notice: none, deadline: none},
		{name: "transactional", notBefore: none, do: func(m *queue.Message) { m.MakeTransactional(time.Minute) },
			start: none, notice: none, deadline: time.Minute, wantPriority: 1},
		{name: "transactional, urgent, later", notBefore: time.Hour, priority: 5,
			do:    func(m *queue.Message) { m.MakeTransactional(time.Minute) },
			start: time.Hour, notice: none, deadline: time.Hour + time.Minute, wantPriority: 5},
		{name: "transactional, bulk, from the past", notBefore: -time.Hour, priority: -5,
			do:    func(m *queue.Message) { m.MakeTransactional(time.Minute) },
			start: -time.Hour, notice: none, deadline: time.Minute, wantPriority: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now := time.Now()
				at := func(d time.Duration) time.Time {
					if d == none {
						return time.Time{}
					}
					return now.Add(d)
				}
				m := queue.Message{NotBefore: at(tt.notBefore), NoticeAt: at(notice), Deadline: at(deadline), Priority: tt.priority}
				tt.do(&m)
				if !m.NotBefore.Equal(at(tt.start)) || !m.NoticeAt.Equal(at(tt.notice)) || !m.Deadline.Equal(at(tt.deadline)) {
					t.Errorf("got not before %v, notice %v, deadline %v, want %v, %v, %v",
						m.NotBefore, m.NoticeAt, m.Deadline, at(tt.start), at(tt.notice), at(tt.deadline))
				}
				if m.Priority != tt.wantPriority {
					t.Errorf("got priority %d, want %d", m.Priority, tt.wantPriority)
				}
			})
		})
	}
}

// TestTaskLane distinguishes three groups of priorities.
func TestTaskLane(t *testing.T) {
	for priority, want := range map[int8]int8{-9: -1, -1: -1, 0: 0, 1: 1, 9: 1} {
		task := queue.Task{Destination: "x.test", Owner: 7, Priority: priority}
		if got, want := task.Lane(), (queue.Lane{Destination: "x.test", Owner: 7, Priority: want}); got != want {
			t.Errorf("priority %d: got %+v, want %+v", priority, got, want)
		}
	}
}

// TestStateText writes states as text, and reads them.
func TestStateText(t *testing.T) {
	for state, want := range map[queue.State]string{queue.Waiting: "waiting", queue.Leased: "leased", queue.Held: "held"} {
		b, err := json.Marshal(state)
		if err != nil || string(b) != `"`+want+`"` || state.String() != want {
			t.Errorf("got %s, %v, and String %q, want %q", b, err, state, want)
		}
		var got queue.State
		if err := json.Unmarshal(b, &got); err != nil || got != state {
			t.Errorf("got %v, %v, want %v", got, err, state)
		}
	}
	if got := queue.State(9).String(); got != "State(9)" {
		t.Errorf("got %q", got)
	}
	state := queue.Held
	if err := state.UnmarshalText([]byte("lost")); err == nil || state != queue.Held {
		t.Errorf("a name that isn't known: got %v, %v, want an error and no change", state, err)
	}
}

// TestHeldFor: in a Queue that forgets no reason, the one of a task that was attempted is of an earlier hold.
func TestHeldFor(t *testing.T) {
	old := struct{ queue.Queue }{}
	keeper := struct {
		queue.Queue
		queue.ReasonHolder
	}{}
	for _, tt := range []struct {
		name     string
		q        queue.Queue
		state    queue.State
		attempts int
		want     string
	}{
		{"held by a ReasonHolder", keeper, queue.Held, 0, "a check"},
		{"held by a ReasonHolder after an attempt", keeper, queue.Held, 1, "a check"},
		{"released by a ReasonHolder that is wrong", keeper, queue.Waiting, 0, ""},
		{"stored held", old, queue.Held, 0, "a check"},
		{"held after an attempt", old, queue.Held, 1, ""},
		{"released", old, queue.Waiting, 0, ""},
		{"leased", old, queue.Leased, 0, ""},
		{"held, of no Queue", nil, queue.Held, 0, "a check"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			task := queue.Task{State: tt.state, Attempts: tt.attempts, HeldFor: "a check"}
			if got := queue.HeldFor(tt.q, &task); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
