package delivery

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// groupMail makes a message to the members of an alias, whose sender wants to know that it was expanded.
func groupMail(to ...string) queue.Message {
	m := mail(to...)
	group := smtp.Recipient{Address: "group@here.test", Notify: smtp.NotifySuccess}
	m.Envelope.Recipients = append(m.Envelope.Recipients, group)
	m.Destinations = append(m.Destinations, queue.ExpandedDestination)
	return m
}

// TestExpanded has mail to an alias: its sender has one report that it was expanded, and nothing is sent to the alias.
// Neither limits nor funcs of sites have to do with it, and what was reported isn't an attempt.
func TestExpanded(t *testing.T) {
	tests := []struct {
		name     string
		change   func(m *queue.Message, r *Runner)
		repaired time.Duration // until then, Report fails
		want     string        // reports
		settled  time.Duration // nothing is left after that
	}{
		{name: "at once", want: "0s: group@here.test expanded: the address stands for several others"},
		{
			name: "later", change: func(m *queue.Message, _ *Runner) { m.NotBefore = time.Now().Add(time.Hour) },
			settled: time.Hour, want: "1h0m0s: group@here.test expanded: the address stands for several others",
		},
		{
			name: "after the deadline", settled: time.Second,
			change: func(m *queue.Message, _ *Runner) {
				m.NoticeAt, m.Deadline = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
			},
			want: "0s: group@here.test expanded: the address stands for several others",
		},
		{
			name: "no reports", change: func(_ *queue.Message, r *Runner) { r.Report = nil },
		},
		{
			name: "null reverse-path", change: func(m *queue.Message, _ *Runner) { m.Envelope.From = "" },
		},
		{ // after 5, 10, 20 and 40 minutes: the waits are longer when the others are settled
			name: "a report that fails", repaired: 30 * time.Minute, settled: 2 * time.Hour,
			want: "40m0s: group@here.test expanded: the address stands for several others",
		},
		{
			name: "a report that fails beyond notice and deadline", repaired: 30 * time.Minute, settled: 2 * time.Hour,
			change: func(m *queue.Message, _ *Runner) {
				m.NoticeAt, m.Deadline = time.Now().Add(time.Minute), time.Now().Add(2*time.Minute)
			},
			want: "40m0s: group@here.test expanded: the address stands for several others",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, tale, j := mem.New(), &tellTale{begun: time.Now(), broken: tt.repaired > 0}, new(journal)
				calls := 0
				about := func(name string) {
					if name == queue.ExpandedDestination {
						t.Errorf("a func is asked about %s", name)
					}
				}
				r := &Runner{
					Queue: q, Sender: byDomain(nil, nil), Events: j.events(),
					Report: func(ctx context.Context, o Occasion) ([]queue.Message, error) {
						calls++
						return tale.report(ctx, o)
					},
					SiteOf:   func(_ context.Context, name string) (Site, error) { about(name); return Site{Name: name}, nil },
					SiteFor:  func(name string) SiteLimits { about(name); return SiteLimits{} },
					SourceOf: func(task *queue.Task) string { about(task.Destination); return "" },
				}
				r.Events.Attempted = func(e Event) { j.add("attempted %s", e.Task.Destination) }
				r.Events.Reported = func(e Event) { j.add("%s %s", e.Kind, e.Task.Destination) }
				m := groupMail("a@x.test")
				if tt.change != nil {
					tt.change(&m, r)
				}
				start(t, r)
				enqueue(t, q, m)
				sleep(tt.repaired)
				tale.mu.Lock()
				tale.broken = false
				tale.mu.Unlock()
				sleep(tt.settled)
				wantEmpty(t, q)
				if got := tale.all(); got != tt.want {
					t.Errorf("got reports\n%s\nwant\n%s", got, tt.want)
				}
				if calls > 6 {
					t.Errorf("got %d calls of Report, want 6 at most", calls)
				}
				got := "\n" + j.all() + "\n"
				for event, want := range map[string]int{
					"attempted x.test": 1, "delivered a@x.test 250": 1, "attempted (expanded)": 0,
					"delivered group@here.test 250": 0, "expanded (expanded)": min(1, len(tt.want)),
				} {
					if n := strings.Count(got, "\n"+event+"\n"); n != want {
						t.Errorf("got %d events %q, want %d; all are%s", n, event, want, got)
					}
				}
			})
		})
	}
}

// TestExpandedUnreported has a report of an expansion that fails for good. The members get the mail, and it is tried
// every 5 minutes while one of them is open, beyond notice and deadline. Then the message is quarantined.
func TestExpandedUnreported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, calls := mem.New(), 0
		var quarantined []time.Duration
		begun := time.Now()
		r := &Runner{
			Queue: q, Sender: byDomain(map[string]smtp.Outcome{"y.test": smtp.Deferred}, nil),
			Report: func(_ context.Context, o Occasion) ([]queue.Message, error) {
				if o.Kind(0) != kindExpanded {
					return nil, nil
				}
				calls++
				return nil, errFault
			},
			Events: Events{Quarantined: func(Event) { quarantined = append(quarantined, time.Since(begun)) }},
		}
		m := groupMail("a@x.test", "b@y.test")
		m.NoticeAt, m.Deadline = begun.Add(time.Hour), begun.Add(24*time.Hour)
		start(t, r)
		enqueue(t, q, m)
		sleep(23*time.Hour + 57*time.Minute)
		if want := 24 * 12; calls < want-1 || calls > want+1 {
			t.Errorf("got %d calls of Report in 24 hours, want %d", calls, want)
		}
		var states []string
		for _, task := range held(t, q) {
			states = append(states, fmt.Sprint(task.Destination, " ", task.State))
		}
		if got, want := strings.Join(states, ", "), "y.test waiting, (expanded) waiting"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		why, err := r.Explain(t.Context(), held(t, q)[0].ID)
		if err != nil || why[1].Why != "Its report couldn't be composed or stored, and is tried again." {
			t.Errorf("Explain: got %+v and %v", why, err)
		}
		sleep(5 * 24 * time.Hour)
		tasks := held(t, q)
		if len(tasks) != 1 || tasks[0].Destination != queue.ExpandedDestination || tasks[0].State != queue.Held ||
			len(quarantined) != 1 || quarantined[0] < 3*24*time.Hour {
			t.Errorf("got %+v, quarantined after %v, want the alias, quarantined after 4 days", tasks, quarantined)
		}
	})
}

// TestExpandedCancel cancels mail to an alias: its members are reported, and not that it was expanded. If it is alone,
// there is nothing to report.
func TestExpandedCancel(t *testing.T) {
	for _, tt := range []struct {
		name string
		to   []string
		want string
	}{
		{"with members", []string{"a@x.test", "b@x.test"}, "0s: a@x.test failed: sold out, b@x.test failed: sold out"},
		{"with one", []string{"a@x.test"}, "0s: a@x.test failed: sold out"},
		{"alone", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, tale, j := mem.New(), &tellTale{begun: time.Now()}, new(journal)
				var destination string
				r := &Runner{Queue: q, Report: func(ctx context.Context, o Occasion) ([]queue.Message, error) {
					destination = o.Task.Destination
					return tale.report(ctx, o)
				}}
				r.Events.Cancelled = func(e Event) { j.add("%s", e.Result.Recipient) }
				m := groupMail(tt.to...)
				enqueue(t, q, m)
				if n, err := r.Cancel(t.Context(), queue.Filter{Sender: m.Envelope.From}, "sold out"); n != 1 || err != nil {
					t.Errorf("Cancel: got %d and %v, want 1", n, err)
				}
				synctest.Wait()
				if got := tale.all(); got != tt.want || tt.to != nil && destination != "x.test" {
					t.Errorf("got %q about %q, want %q about x.test", got, destination, tt.want)
				}
				if got, want := j.all(), strings.Join(tt.to, "\n"); got != want {
					t.Errorf("got events of\n%s\nwant those of\n%s", got, want)
				}
			})
		})
	}
}
