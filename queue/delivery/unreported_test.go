package delivery

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestUnreported has a Report that always fails, whatever the report is about. What happened is settled and told at
// once, and nothing is sent again. Once no other task of the message is left, the report is tried 30 times in about 3
// days. Then the message is held and told once. Released, it has one more try.
func TestUnreported(t *testing.T) {
	const rejected, deferred = smtp.Rejected, smtp.Deferred
	tests := []struct {
		name    string
		to      []string
		out     map[string]smtp.Outcome
		change  func(m *queue.Message, r *Runner)
		events  string
		reports string // as soon as they can be composed
	}{
		{
			name: "one destination rejects", to: []string{"a@x.test", "b@x.test"},
			out:    map[string]smtp.Outcome{"x.test": rejected},
			events: "rejected a@x.test 550\nrejected b@x.test 550", reports: "a@x.test failed: rejected, b@x.test failed: rejected",
		},
		{
			name: "two destinations reject", to: []string{"a@x.test", "b@y.test"},
			out:    map[string]smtp.Outcome{"x.test": rejected, "y.test": rejected},
			events: "rejected a@x.test 550\nrejected b@y.test 550", reports: "a@x.test failed: rejected, b@y.test failed: rejected",
		},
		{
			name: "not merged", to: []string{"a@x.test", "b@y.test"},
			out:    map[string]smtp.Outcome{"x.test": rejected, "y.test": rejected},
			change: func(_ *queue.Message, r *Runner) { r.ReportDelay = -1 },
			events: "rejected a@x.test 550\nrejected b@y.test 550", reports: "a@x.test failed: rejected, b@y.test failed: rejected",
		},
		{
			name: "delayed, and expires", to: []string{"a@x.test"}, out: map[string]smtp.Outcome{"x.test": deferred},
			change: func(m *queue.Message, r *Runner) {
				m.NoticeAt, m.Deadline = time.Now(), time.Now().Add(30*time.Second)
				r.Retry = []time.Duration{time.Hour}
			},
			events: "deferred a@x.test 451\nexpired a@x.test 451", reports: "a@x.test failed: deferred",
		},
		{
			name: "panics", to: []string{"a@x.test"}, out: map[string]smtp.Outcome{"x.test": rejected},
			change: func(_ *queue.Message, r *Runner) {
				report := r.Report
				r.Report = func(ctx context.Context, o Occasion) ([]queue.Message, error) {
					reports, err := report(ctx, o)
					if err != nil {
						panic("boom")
					}
					return reports, nil
				}
			},
			events: "rejected a@x.test 550", reports: "a@x.test failed: rejected",
		},
		{
			name: "can't be stored", to: []string{"a@x.test"}, out: map[string]smtp.Outcome{"x.test": rejected},
			change: func(_ *queue.Message, r *Runner) {
				report := r.Report
				r.Report = func(ctx context.Context, o Occasion) ([]queue.Message, error) {
					if reports, err := report(ctx, o); err == nil {
						return reports, nil
					}
					return []queue.Message{{Envelope: smtp.NewEnvelope("")}}, nil
				}
			},
			events: "rejected a@x.test 550", reports: "a@x.test failed: rejected",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, tale, j := mem.New(), &tellTale{begun: time.Now(), broken: true}, new(journal)
				var log strings.Builder
				var quarantined []queue.Task
				r := &Runner{Queue: q, Report: tale.report, Sender: byDomain(tt.out, nil), Logger: textLogger(&log), Events: j.events()}
				r.Events.Quarantined = func(e Event) { quarantined = append(quarantined, e.Task) }
				m := mail(tt.to...)
				if tt.change != nil {
					tt.change(&m, r)
				}
				start(t, r)
				enqueue(t, q, m)
				sleep(30 * time.Minute)
				if tasks := held(t, q); len(tasks) != 1 || tasks[0].Destination != queue.ReportDestination {
					t.Fatalf("got %+v, want a report task alone", tasks)
				}
				all, err := r.Explain(t.Context(), held(t, q)[0].ID)
				if err != nil || !strings.Contains(all[0].Why, "couldn't be composed or stored") {
					t.Errorf("Explain: got %+v and %v, want that the report failed", all, err)
				}
				sleep(5 * 24 * time.Hour)
				events := strings.Split(j.all(), "\n")
				slices.Sort(events)
				if got := strings.Join(events, "\n"); got != tt.events {
					t.Errorf("got events\n%s\nwant\n%s", got, tt.events)
				}
				if n := strings.Count(log.String(), "report fails"); n < 30 || n > 33 {
					t.Errorf("got %d lines about a report that fails, want about 30", n)
				}
				if n := strings.Count(log.String(), "level=ERROR msg=quarantined reports=30"); n != 1 || len(quarantined) != 1 {
					t.Errorf("got %d lines and %d events of a quarantine, want one of each", n, len(quarantined))
				}
				tasks := held(t, q)
				if len(tasks) != 1 || tasks[0].State != queue.Held || tasks[0].Attempts != 30 {
					t.Fatalf("got %+v, want one task, held after 30 tries", tasks)
				}
				if all, err = r.Explain(t.Context(), tasks[0].ID); err != nil || !strings.Contains(all[0].Why, "quarantined: its report") {
					t.Errorf("Explain: got %+v and %v, want that it is quarantined", all, err)
				}

				tale.mu.Lock()
				tale.broken, tale.begun = false, time.Now()
				tale.mu.Unlock()
				if n, err := r.Release(t.Context(), queue.Filter{State: queue.Held}); n != 1 || err != nil {
					t.Errorf("Release: got %d and %v, want 1", n, err)
				}
				sleep(time.Second)
				wantEmpty(t, q)
				if got, want := tale.all(), "0s: "+tt.reports; got != want {
					t.Errorf("got reports\n%s\nwant\n%s", got, want)
				}
			})
		})
	}
}

// TestUnreportedAgain has a report that fails on after a release: the message is held again after one try.
func TestUnreportedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, tale, tries := mem.New(), &tellTale{broken: true}, 0
		r := &Runner{Queue: q, Sender: byDomain(map[string]smtp.Outcome{"x.test": smtp.Rejected}, nil)}
		r.Report = func(ctx context.Context, o Occasion) ([]queue.Message, error) {
			tries++
			return tale.report(ctx, o)
		}
		start(t, r)
		enqueue(t, q, mail("a@x.test"))
		sleep(4 * 24 * time.Hour)
		tries = 0
		if n, err := r.Release(t.Context(), queue.Filter{State: queue.Held}); n != 1 || err != nil {
			t.Fatalf("Release: got %d and %v, want 1", n, err)
		}
		sleep(24 * time.Hour)
		if tasks := held(t, q); tries != 1 || len(tasks) != 1 || tasks[0].State != queue.Held {
			t.Errorf("got %d tries, and %+v, want one, and it held again", tries, tasks)
		}
	})
}

// TestUnreportedBeside has reports that fail about one destination while another is retried for longer than 3 days: the
// message isn't held meanwhile. The queue can't hold, so it goes on with the report once an hour.
func TestUnreportedBeside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tale, q := &tellTale{broken: true}, mem.New()
		var log lockedText
		r := &Runner{
			Queue: struct{ queue.Queue }{q}, Report: tale.report, Logger: textLogger(&log),
			Sender: byDomain(map[string]smtp.Outcome{"x.test": smtp.Rejected, "y.test": smtp.Deferred}, nil),
		}
		start(t, r)
		m := mail("a@x.test", "b@y.test")
		m.Deadline = time.Now().Add(4 * 24 * time.Hour)
		enqueue(t, q, m)
		sleep(95 * time.Hour)
		if tasks := held(t, q); len(tasks) != 2 || tasks[0].State == queue.Held || tasks[1].State == queue.Held {
			t.Fatalf("got %+v, want what is retried and the report, both not held", tasks)
		}
		if text := log.take(); strings.Contains(text, "quarantined") {
			t.Errorf("got log\n%s\nwant none of a quarantine", text)
		}
		sleep(4 * 24 * time.Hour)
		log.take()
		sleep(10*time.Hour + 30*time.Minute)
		if n := strings.Count(log.take(), "message can't be quarantined"); n < 10 || n > 11 {
			t.Errorf("got %d lines in ten hours that it can't be held, want 10", n)
		}
	})
}
