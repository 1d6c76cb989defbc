package delivery

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// deferred are the last results of a task of which one was deferred.
var deferred = []smtp.Result{
	{Outcome: smtp.Delivered, Reply: smtp.NewReply(250, "", "ok")}, {},
	{Outcome: smtp.Deferred, Reply: smtp.NewReply(450, "", "busy")},
}

// TestExplainTask says why tasks wait that aren't due.
func TestExplainTask(t *testing.T) {
	now := machineNow
	soon := now.Add(time.Hour)
	const mine = "1" // the ID of what this Runner is sending
	tests := []struct {
		name  string
		task  queue.Task
		want  string // its beginning
		until time.Time
	}{
		{"due", queue.Task{State: queue.Waiting, Due: now}, "", time.Time{}},
		{"held", queue.Task{State: queue.Held, Due: soon, Deaths: maxDeaths - 1}, "It is held until it is released.", time.Time{}},
		{"held for a reason", queue.Task{State: queue.Held, HeldFor: "a first mail"},
			"It is held until it is released. The reason: a first mail.", time.Time{}},
		{"held for a question", queue.Task{State: queue.Held, HeldFor: "spam?"},
			"It is held until it is released. The reason: spam?", time.Time{}},
		{"in quarantine", queue.Task{State: queue.Held, Deaths: maxDeaths}, "It is quarantined: the process has ended 3 times", time.Time{}},
		{"being sent", queue.Task{ID: mine, State: queue.Leased, Due: now}, "It is being sent.", time.Time{}},
		{"being sent, not due", queue.Task{ID: mine, State: queue.Leased, Due: soon}, "It is being sent.", time.Time{}},
		{"leased by another", queue.Task{State: queue.Leased, Due: now}, "It is leased, and isn't being sent by this Runner: ", time.Time{}},
		{"a report, leased by another", queue.Task{Destination: queue.ReportDestination, State: queue.Leased},
			"It is leased, and isn't being reported by this Runner: ", time.Time{}},
		{"scheduled", queue.Task{State: queue.Waiting, Due: soon, NotBefore: soon}, "It is scheduled for later.", soon},
		{"handed back", queue.Task{State: queue.Waiting, Due: soon}, "It was put off before its first attempt.", soon},
		{"deferred", queue.Task{State: queue.Waiting, Due: soon, Last: deferred}, "It was deferred: 450 busy", soon},
		{"tried, with no reply of those that are open", queue.Task{State: queue.Waiting, Due: soon, Last: deferred[:1]}, "It was deferred: no reply is known.", soon},
		{"a report", queue.Task{Destination: queue.ReportDestination, State: queue.Waiting, Due: now, Attempts: 1}, "", time.Time{}},
		{"a report that waits", queue.Task{Destination: queue.ReportDestination, State: queue.Waiting, Due: soon},
			"Its report waits for the other destinations of the message.", soon},
		{"a report under way", queue.Task{Destination: queue.ReportDestination, ID: mine, State: queue.Leased, Due: now}, "It is being reported.", time.Time{}},
		{"a report under way, not due", queue.Task{Destination: queue.ReportDestination, ID: mine, State: queue.Leased, Due: soon},
			"It is being reported.", time.Time{}},
		{"an alias under way", queue.Task{Destination: queue.ExpandedDestination, ID: mine, State: queue.Leased}, "It is being reported.", time.Time{}},
		{"an alias whose report failed", queue.Task{Destination: queue.ExpandedDestination, State: queue.Waiting, Due: soon},
			"Its report couldn't be composed", soon},
		{"an alias, scheduled", queue.Task{Destination: queue.ExpandedDestination, State: queue.Waiting, Due: soon, NotBefore: soon},
			"It is scheduled for later.", soon},
		{"an alias in quarantine", queue.Task{Destination: queue.ExpandedDestination, State: queue.Held, Attempts: maxReports},
			"It is quarantined: its report", time.Time{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := explainTask(&tt.task, tt.task.ID == mine, now)
			if !strings.HasPrefix(got.why, tt.want) || tt.want == "" && got.why != "" || !got.until.Equal(tt.until) {
				t.Errorf("got %q until %v, want %q until %v", got.why, got.until, tt.want, tt.until)
			}
		})
	}
}

// TestMachineExplain says why tasks wait that are due.
func TestMachineExplain(t *testing.T) {
	now := machineNow
	mailOf := func(m *machine, owner queue.Owner, destination string, of Site) *target {
		lane := queue.Lane{Destination: destination, Owner: owner}
		target := m.target(lane)
		m.join(target, of)
		m.ready(target)
		return target
	}
	fill := func(m *machine, places int) {
		for _, w := range m.pick(places, now) {
			for range w.Max {
				claim(m, taskOf(w.Lane, 1), now)
			}
		}
		m.settleTurn(false)
	}
	tests := []struct {
		name  string
		setup func(m *machine) queue.Lane
		task  queue.Task // its Last and Deaths
		want  string
	}{
		{"not known", func(m *machine) queue.Lane { return toLane("a") }, queue.Task{}, "It is due."},
		{"without a site", func(m *machine) queue.Lane { m.target(toLane("a")); return toLane("a") }, queue.Task{}, "It is due."},
		{"its turn", func(m *machine) queue.Lane { return mailOf(m, 0, "a", Site{Name: "a"}).Lane }, queue.Task{}, "It waits for its turn."},
		{"apart", func(m *machine) queue.Lane { return mailOf(m, 0, "a", Site{Name: "a"}).Lane }, queue.Task{Deaths: 1},
			"It waits for its turn, apart from other tasks that the process has ended with."},
		{"a site with one place left", func(m *machine) queue.Lane {
			l := mailOf(m, 0, "a", Site{Name: "a"}).Lane
			fill(m, 2)
			return l
		}, queue.Task{}, "It waits for its turn."},
		{"a full site", func(m *machine) queue.Lane {
			l := mailOf(m, 0, "a", Site{Name: "a"}).Lane
			fill(m, 9)
			return l
		}, queue.Task{}, "Its site a gets no more messages at a time than 3 now."},
		{"tried before, at a site that is probed", func(m *machine) queue.Lane {
			l := mailOf(m, 0, "new", Site{Name: "new"}).Lane
			fill(m, 1)
			return l
		}, queue.Task{Last: deferred}, "Its site new gets no more messages at a time than 1 now."},
		{"fresh, at a site that is probed", func(m *machine) queue.Lane {
			l := mailOf(m, 0, "new", Site{Name: "new"}).Lane
			fill(m, 1)
			return l
		}, queue.Task{}, "It waits for its turn."},
		{"an owner with its share", func(m *machine) queue.Lane {
			m.slots.end(&m.owner(2).slots, m.mono) // others get things done
			m.slots.end(&m.owner(2).slots, m.mono)
			for i := range 22 { // one more than three quarters of 28 places
				name := fmt.Sprint("site", i)
				trust(m, name)
				mailOf(m, 1, name, Site{Name: name})
			}
			fill(m, 28)
			return queue.Lane{Destination: "site21", Owner: 1}
		}, queue.Task{}, "As many messages of its tenant or sender are being sent as its share is: 18."},
		{"a full host", func(m *machine) queue.Lane {
			addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1")}
			mailOf(m, 0, "a", Site{Name: "a", Addrs: addrs})
			fill(m, 3)
			l := mailOf(m, 0, "b", Site{Name: "b", Addrs: addrs}).Lane
			fill(m, 3) // one place is left
			return l
		}, queue.Task{}, "The address of its host gets as many messages at a time as it may, for other sites too."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := testMachine(machineConfig{})
			l := tt.setup(m)
			tt.task.Destination, tt.task.Owner = l.Destination, l.Owner
			if got := m.explain(&tt.task, now); got.why != tt.want || !got.until.IsZero() {
				t.Errorf("got %q until %v, want %q", got.why, got.until, tt.want)
			}
		})
	}
}

// TestMachineExplainBlock says what blocks a task: the site, what its owner was told there, or a suspension. What ends
// last is the cause. Only what isn't over counts.
func TestMachineExplainBlock(t *testing.T) {
	const site, own, suspended = "Its site a is down: 451 no answer", "Its site a refuses mail of this sender for now: 450 4.7.1 not you",
		"Delivery to a is suspended."
	const hour = time.Hour
	tests := []struct {
		name                 string
		site, own, suspended time.Duration // from now; 0: over, or not there
		want                 string
		until                time.Duration
	}{
		{"nothing", 0, 0, 0, "", 0},
		{"the site", hour, 0, 0, site, hour},
		{"its owner", 0, hour, 0, own, hour},
		{"its owner, for longer", hour, 2 * hour, 0, own, 2 * hour},
		{"its owner, for as long", hour, hour, 0, site, hour},
		{"the site, for longer", 2 * hour, hour, 0, site, 2 * hour},
		{"a suspension", 0, 0, hour, suspended, hour},
		{"a suspension, for as long", hour, hour, hour, suspended, hour},
		{"a suspension, for a shorter time", hour, 2 * hour, hour, own, 2 * hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := testMachine(machineConfig{})
			m.wake(toLane("a"), machineNow, machineNow)
			p := m.targets[toLane("a")].party
			p.own = &standing{until: m.mono + int64(tt.own), result: refused.result}
			p.site.standing.until, p.site.standing.result = m.mono+int64(tt.site), failed.result
			if tt.suspended > 0 {
				m.suspend([]string{"a"}, machineNow.Add(tt.suspended), machineNow)
			}
			got := m.explainBlock(taskOf(toLane("a"), 1), "a", machineNow)
			if wantUntil := machineNow.Add(tt.until); got.why != tt.want || tt.want != "" && !got.until.Equal(wantUntil) {
				t.Errorf("got %q until %v, want %q until %v", got.why, got.until, tt.want, wantUntil)
			}
			if about := Advice(&failed.result); tt.want == site && (!strings.HasPrefix(got.advice, about) ||
				!strings.HasSuffix(got.advice, "A flush tries one now.")) {
				t.Errorf("got the advice %q, want that about the reply, %q, and about the probe", got.advice, about)
			}
			if got, want := m.anyDown(), tt.site > 0 || tt.own > 0; got != want {
				t.Errorf("got a site that is down: %v, want %v", got, want)
			}
			if got := m.explainBlock(&queue.Task{Destination: "a", Owner: 9}, "a", machineNow); tt.own > max(tt.site, tt.suspended) && got.why == own {
				t.Error("what one owner was told blocks another")
			}
		})
	}
}

// TestExplainSuspensionShared asks one of several Runners about a destination that it has suspended.
func TestExplainSuspensionShared(t *testing.T) {
	for _, shared := range []bool{false, true} {
		m := testMachine(machineConfig{})
		if shared {
			m.shared = &sharing{}
		}
		m.suspend([]string{"a"}, machineNow.Add(time.Hour), machineNow)
		got := m.explainBlock(&queue.Task{Destination: "a"}, "a", machineNow).advice
		if strings.Contains(got, "Other Runners") != shared {
			t.Errorf("shared %v: got the advice %q", shared, got)
		}
	}
}
