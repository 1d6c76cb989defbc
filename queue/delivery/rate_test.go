package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// TestForgetRates has a hundred new tenants an hour, each with a rate of one message an hour: those that are as new are
// forgotten, and no others.
func TestForgetRates(t *testing.T) {
	const tenants = 100
	m := testMachine(machineConfig{tenant: func(string) Rate { return Rate{1, time.Hour} }})
	for hour := range 10 {
		m.at(machineNow.Add(time.Duration(hour) * time.Hour)) // the rates of the last hour have just ended
		for _, again := range []bool{false, true} {
			for i := range tenants {
				task := &queue.Task{Tenant: fmt.Sprint(hour, " ", i), Arrival: machineNow, Due: machineNow}
				if at := m.admit(task, machineNow); again != (at > m.mono) {
					t.Fatalf("hour %d, tenant %d, again: %v: got it to wait for %v", hour, i, again, time.Duration(at-m.mono))
				}
			}
		}
		if len(m.rates) > 3*tenants+1 {
			t.Fatalf("hour %d: got %d rates kept", hour, len(m.rates))
		}
	}
	m.at(machineNow.Add(10 * time.Hour))
	if m.forgetRates(); len(m.rates) > tenants { // those of the last hour were told to come back later
		t.Errorf("got %d rates kept in the end, want those of one hour", len(m.rates))
	}
	m.at(machineNow.Add(12 * time.Hour))
	if m.forgetRates(); len(m.rates) > 0 {
		t.Errorf("got %d rates kept when all are as new", len(m.rates))
	}
}

// TestForgetRatesOfTask has a task with a tenant and a source, both new, at each number of rates that are kept: its
// tenant's rate counts it when others are forgotten.
func TestForgetRatesOfTask(t *testing.T) {
	for others := range 150 {
		m := testMachine(machineConfig{
			tenant:   func(string) Rate { return Rate{1, time.Hour} },
			source:   func(string) Rate { return Rate{60, time.Second} },
			sourceOf: func(task *queue.Task) string { return task.Ref },
		})
		m.at(machineNow)
		for i := range others {
			m.admit(&queue.Task{Tenant: fmt.Sprint(i)}, machineNow)
		}
		task := &queue.Task{Tenant: "shop", Ref: "ip"}
		if at := m.admit(task, machineNow); at > m.mono {
			t.Fatalf("%d others: the first message waits", others)
		}
		if at := m.admit(task, machineNow); at <= m.mono {
			t.Fatalf("%d others: the second message doesn't wait", others)
		}
	}
}

// TestLastChance: a message whose deadline has come goes now if its tenant's rate has room now, though later places are
// promised to others. One that has time left comes after those.
func TestLastChance(t *testing.T) {
	for _, tt := range []struct {
		name     string
		deadline time.Duration // from the time at which it is asked
		goes     bool
	}{{"time left", time.Minute, false}, {"its deadline has come", -time.Second, true}} {
		t.Run(tt.name, func(t *testing.T) {
			m := testMachine(machineConfig{tenant: func(string) Rate { return Rate{1, time.Minute} }})
			m.at(machineNow)
			task := &queue.Task{Tenant: "shop", Arrival: machineNow, Due: machineNow}
			for range 3 { // one goes, two are told to come back in one and in two minutes
				m.admit(task, machineNow)
			}
			now := machineNow.Add(90 * time.Second)
			m.at(now)
			task.Deadline = now.Add(tt.deadline)
			if at := m.admit(task, now); (at <= m.mono) != tt.goes {
				t.Errorf("got it to go now: %t, want %t", at <= m.mono, tt.goes)
			}
		})
	}
}

// TestAdmitTurns has more mail than the rate of its tenant allows: each message is told its own turn, one after the other
// with none left out.
func TestAdmitTurns(t *testing.T) {
	m := testMachine(machineConfig{tenant: func(string) Rate { return Rate{6, time.Hour} }})
	task := &queue.Task{Tenant: "shop", Arrival: machineNow, Due: machineNow}
	m.at(machineNow)
	if at := m.admit(task, machineNow); at > m.mono {
		t.Fatal("the first message waits")
	}
	for i := range int64(6) { // until what is promised at most
		got, want := m.admit(task, machineNow)-m.mono, (i+1)*int64(10*time.Minute)
		if got < want-slack || got > want {
			t.Errorf("message %d: got a wait of %v, want %v", i+1, time.Duration(got), time.Duration(want))
		}
	}
}
