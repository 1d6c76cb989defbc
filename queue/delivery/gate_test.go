package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// TestGateOwners: owners take turns at a rate that counts the mail of all, so 300 destinations at a site don't help one.
// None of the first messages of the others is put off for long, either.
func TestGateOwners(t *testing.T) {
	const others, lanes, most = 4, 300, 100
	m, r := rateMachine()
	now := machineNow
	if refusedBy(m, r, rateTask(9, smtp.OriginCode), overSPF, "") == nil {
		t.Fatal("got no attempt")
	}
	for _, own := range m.learnt["x.test"].more {
		t.Fatalf("got more than one rate: %+v", own)
	}
	add := func(destination string, owner int) {
		of := m.target(queue.Lane{Destination: destination, Owner: queue.Owner(owner)})
		m.join(of, Site{Name: "x.test"})
		m.ready(of)
	}
	for i := range lanes {
		add(fmt.Sprintf("d%d.test", i), 1)
	}
	for i := range others {
		add("x.test", 2+i)
	}
	sent, all := map[queue.Owner]int{}, 0
	for range 100_000 {
		m.at(now)
		for _, w := range m.pick(20-m.held, now) {
			for range w.Max {
				task := rateTask(int(w.Owner), smtp.OriginCode)
				task.Destination = w.Destination
				f, p := claim(m, task, now)
				if w.Owner > 1 && p.next.Sub(now) > 20*time.Minute {
					t.Fatalf("got mail of owner %d put off for %v", w.Owner, p.next.Sub(now))
				}
				v := verdict{}
				if p.step == stepAttempt {
					v = verdict{sign: 1, taken: true, final: true}
					sent[w.Owner]++
					all++
				}
				m.done(f, v, time.Time{}, now)
			}
		}
		m.settleTurn(false)
		next := m.next(true)
		if next.IsZero() || all >= most {
			break
		}
		now = later(now.Add(time.Millisecond), next)
	}
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
