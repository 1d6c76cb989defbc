package delivery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// joinLane makes a lane of x.test, which has mail.
func joinLane(m *machine, destination string, owner int) {
	t := m.target(queue.Lane{Destination: destination, Owner: queue.Owner(owner)})
	m.join(t, Site{Name: "x.test"})
	m.ready(t)
}

// runLanes has the lanes of m send until end, or until told says no. Each has mail without end, which is accepted. change
// may be nil.
func runLanes(m *machine, now, end time.Time, change func(*queue.Task, time.Time),
	told func(*queue.Task, plan, time.Time) bool) {
	for now.Before(end) {
		m.at(now)
		for _, w := range m.pick(20-m.held, now) {
			for range w.Max {
				task := rateTask(int(w.Owner), smtp.OriginCode)
				task.Destination = w.Destination
				if change != nil {
					change(task, now)
				}
				f, p := claim(m, task, now)
				v := verdict{}
				if p.step == stepAttempt {
					v = verdict{sign: 1, taken: true, final: true}
				}
				if m.done(f, v, p.next, now); !told(task, p, now) {
					return
				}
			}
		}
		m.settleTurn(false)
		next := m.next(true)
		if next.IsZero() {
			return
		}
		now = later(now.Add(time.Millisecond), next)
	}
}

// TestTwoGates: mail that two rates count is sent, too, though other mail waits for each of them all the time.
func TestTwoGates(t *testing.T) {
	for _, lanes := range []int{1, 2, 3, 10} {
		m, r := rateMachine()
		refusedBy(m, r, rateTask(9, smtp.OriginCode), overSPF, "")
		bySender := m.learnt.find(m.learnt.sites["x.test"], meterKey{name: m.names.id("s.test"), kind: bySPF})
		key := meterKey{name: m.names.id("192.0.2.1"), kind: bySource}
		byAddress := m.putMeter("x.test", newMeter(key, Recovery{}, 0, tally{}, m.mono))
		for _, o := range []*meter{bySender, byAddress} { // one message a second
			o.closed, o.window, o.fresh, o.level, o.steady, o.tat = false, 0, false, 1, mostSteady, m.mono
		}
		owner := 0
		for i := range lanes {
			for _, kind := range []string{"address", "sender", "both"} {
				owner++
				joinLane(m, fmt.Sprintf("%s.d%d.test", kind, i), owner)
			}
		}
		sent := map[string]int{}
		kindOf := func(task *queue.Task) string { kind, _, _ := strings.Cut(task.Destination, "."); return kind }
		runLanes(m, machineNow, machineNow.Add(2*time.Hour), func(task *queue.Task, _ time.Time) {
			switch kindOf(task) {
			case "address":
				task.Envelope.From = "a@other.test"
			case "sender":
				task.Ref = "192.0.2.99"
			}
		}, func(task *queue.Task, p plan, _ time.Time) bool {
			if p.step == stepAttempt {
				sent[kindOf(task)]++
			}
			return true
		})
		if sent["both"] < sent["address"]/8 || sent["address"] < 5000 || sent["sender"] < 5000 {
			t.Errorf("%d lanes of each: got %v sent", lanes, sent)
		}
	}
}

// TestGateOther: a lane has left the gate, and its next task is one that the rate doesn't count. The next lane goes on.
func TestGateOther(t *testing.T) {
	m, r := rateMachine()
	refusedBy(m, r, rateTask(9, smtp.OriginCode), overAddress, "") // nothing is sent for five minutes
	joinLane(m, "first.test", 1)
	second := machineNow.Add(290 * time.Second)
	var sent time.Time
	change := func(task *queue.Task, now time.Time) {
		if task.Destination == "first.test" && now.After(machineNow.Add(2*time.Minute)) {
			task.Ref = "192.0.2.99"
		}
	}
	note := func(task *queue.Task, p plan, now time.Time) bool {
		if task.Destination == "second.test" && p.step == stepAttempt {
			sent = now
		}
		return sent.IsZero()
	}
	runLanes(m, machineNow, second, change, note)
	joinLane(m, "second.test", 2)
	runLanes(m, second, machineNow.Add(time.Hour), change, note)
	if got := sent.Sub(machineNow); got < 5*time.Minute || got > 5*time.Minute+20*time.Second {
		t.Errorf("the second lane sent after %v, want as soon as the pause of 5m has ended", got)
	}
}

// TestGateOwners: owners take turns at a rate that counts the mail of all, so 300 destinations at a site don't help one.
// None of the first messages of the others is put off for long, either.
func TestGateOwners(t *testing.T) {
	const others, lanes, most = 4, 300, 100
	m, r := rateMachine()
	now := machineNow
	if refusedBy(m, r, rateTask(9, smtp.OriginCode), overSPF, "") == nil {
		t.Fatal("got no attempt")
	}
	for _, own := range m.learnt.more {
		t.Fatalf("got more than one rate: %+v", own)
	}
	for i := range lanes {
		joinLane(m, fmt.Sprintf("d%d.test", i), 1)
	}
	for i := range others {
		joinLane(m, "x.test", 2+i)
	}
	sent, all := map[queue.Owner]int{}, 0
	runLanes(m, now, now.Add(24*time.Hour), nil, func(task *queue.Task, p plan, now time.Time) bool {
		if task.Owner > 1 && p.next.Sub(now) > 20*time.Minute {
			t.Fatalf("got mail of owner %d put off for %v", task.Owner, p.next.Sub(now))
		}
		if p.step == stepAttempt {
			sent[task.Owner]++
			all++
		}
		return all < most
	})
	for owner := range queue.Owner(others) {
		if n := sent[2+owner]; n < most/(others+1)/2 {
			t.Errorf("got %d of %d messages sent for owner %d of %d, want its part: %v", n, all, 2+owner, others+1, sent)
		}
	}
}

// TestGateBefore: the turns before that of a lane are those that it then waits for.
func TestGateBefore(t *testing.T) {
	m, _ := rateMachine()
	g := m.gateOf(new(meter))
	var waiting []*target
	for i, owner := range []queue.Owner{1, 1, 1, 2, 3, 3, 2, 1} {
		of := &target{Lane: queue.Lane{Destination: fmt.Sprint(i), Owner: owner}}
		waiting = append(waiting, of)
		g.push(of)
	}
	g.order.push(mustPop(t, &g.order)) // owner 2 is the next one
	want := map[*target]int{}
	for _, of := range waiting {
		want[of] = g.before(of)
	}
	for i := range waiting {
		of, ok := g.pop()
		if !ok || want[of] != i {
			t.Errorf("turn %d: got the lane %+v, want the one that has %d before it", i, of.Lane, want[of])
		}
	}
	if _, ok := g.pop(); ok || !g.isEmpty() {
		t.Error("got a lane more")
	}
}

func mustPop[T any](t *testing.T, l *line[T]) T {
	t.Helper()
	x, ok := l.pop()
	if !ok {
		t.Fatal("the line is empty")
	}
	return x
}

// TestGateTurn: of tasks that were claimed together, those after the one with which the lane begins to wait have the
// same reason as the first ones. A suspension is the reason only if there is one.
func TestGateTurn(t *testing.T) {
	for _, tt := range []struct {
		name    string
		suspend []string
		want    string
	}{{"a rate", nil, "rate"}, {"a rate and a suspension", []string{"x.test"}, "site"}} {
		m, r := rateMachine()
		refusedBy(m, r, rateTask(9, smtp.OriginCode), overSPF, "")
		joinLane(m, "d.test", 1)
		if wants := m.pick(20, machineNow); len(wants) != 1 {
			t.Fatalf("%s: got wants %+v, want one of the lane", tt.name, wants)
		}
		m.suspend(tt.suspend, machineNow.Add(time.Hour), machineNow)
		task := rateTask(1, smtp.OriginCode)
		task.Destination = "d.test"
		for i := range 2 * looks {
			if _, p := claim(m, task, machineNow); p.step != stepPostpone || p.why != tt.want {
				t.Errorf("%s: task %d: got %+v, want it to be put off for %q", tt.name, i, p, tt.want)
			}
		}
		if tt.suspend == nil && !m.target(queue.Lane{Destination: "d.test", Owner: 1}).waits {
			t.Error("got a lane that doesn't wait, want one that does")
		}
	}
}
