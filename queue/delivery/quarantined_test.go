package delivery

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

// TestQuarantineOperated has quarantined messages, and one that an operator holds: the operations find those that are
// quarantined, after a restart too, and release, cancel or purge one of them. Only Cancel calls Report.
func TestQuarantineOperated(t *testing.T) {
	tests := []struct {
		op, want string
		do       func(r *Runner, f queue.Filter) (int, error)
	}{
		{"release", "", func(r *Runner, f queue.Filter) (int, error) { return r.Release(context.Background(), f) }},
		{"purge", "", func(r *Runner, f queue.Filter) (int, error) { return r.Purge(context.Background(), f) }},
		{"cancel", "0s: b@killer.test failed: bad for us", func(r *Runner, f queue.Filter) (int, error) {
			return r.Cancel(context.Background(), f, "bad for us")
		}},
		// The killer is the report about a@x.test; b@killer.test has the message.
		{"release report", "0s: a@x.test failed: rejected", func(r *Runner, f queue.Filter) (int, error) {
			return r.Release(context.Background(), f)
		}},
		{"purge report", "", func(r *Runner, f queue.Filter) (int, error) { return r.Purge(context.Background(), f) }},
		{"cancel report", "0s: a@x.test failed: rejected", func(r *Runner, f queue.Filter) (int, error) {
			return r.Cancel(context.Background(), f, "bad for us")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				killer := "killer.test"
				if strings.HasSuffix(tt.op, "report") {
					killer = queue.ReportDestination
				}
				q, disk := killedThrice(t, killer)
				tale := &tellTale{}
				runner := func() *Runner {
					return &Runner{Queue: q, Report: tale.report, Sender: byDomain(nil, nil)}
				}
				stop := start(t, runner())
				sleep(time.Second)
				stop()
				if err := q.Close(); err != nil {
					t.Fatal(err)
				}
				q = openOn(t, disk)
				r := runner()
				start(t, r)
				sleep(time.Second)
				ids := quarantined(t, q, killer)
				if len(ids) != 1 {
					t.Fatalf("got %v quarantined, want one", ids)
				}
				all, err := r.Explain(t.Context(), ids[0])
				if err != nil || !slices.ContainsFunc(all, func(e Explanation) bool { return strings.Contains(e.Why, "quarantined") }) {
					t.Errorf("Explain: got %+v and %v", all, err)
				}
				tale.begun = time.Now()
				if n, err := tt.do(r, queue.Filter{ID: ids[0]}); n != 1 || err != nil {
					t.Errorf("got %d and %v, want 1", n, err)
				}
				sleep(time.Minute)
				if left := held(t, q); len(left) != 1 || left[0].Destination != "operator.test" {
					t.Errorf("got %+v left, want what the operator holds", left)
				}
				if got := tale.all(); got != tt.want {
					t.Errorf("got reports\n%s\nwant\n%s", got, tt.want)
				}
			})
		})
	}
}

// quarantined returns the messages whose task of that destination is quarantined, as an operator finds them.
func quarantined(t *testing.T, q *spool.Spool, destination string) (ids []queue.ID) {
	t.Helper()
	n := 0
	for task, err := range q.List(t.Context(), queue.Filter{State: queue.Held}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if task.Deaths == 0 {
			continue
		}
		if task.Destination != destination || task.Deaths != maxDeaths {
			t.Errorf("got %d deaths of %s, want %d of %s alone", task.Deaths, task.Destination, maxDeaths, destination)
		}
		ids = append(ids, task.ID)
	}
	if stats, err := q.Stats(t.Context()); err != nil || stats.Held != n {
		t.Errorf("Stats: got %+v and %v, want %d held", stats, err, n)
	}
	return ids
}

// killedThrice returns a spool whose process has ended three times while it had the task of that destination, of a
// message to x.test and killer.test. If the destination is that of report tasks, x.test has rejected the message. Beside
// it, an operator holds a message.
func killedThrice(t *testing.T, destination string) (q *spool.Spool, disk spool.FS) {
	t.Helper()
	files := crashfs.New[spool.File](nil)
	q = openOn(t, files)
	enqueue(t, q, mail("a@x.test", "b@killer.test"), mail("c@operator.test"))
	if err := q.Hold(t.Context(), held(t, q)[2].ID); err != nil {
		t.Fatal(err)
	}
	if destination == queue.ReportDestination {
		task := claimFrom(t, q, "x.test")
		rejected := answer(task.Envelope, smtp.Rejected, 550)
		err := q.Settle(t.Context(), task.Lease, queue.Settlement{Results: rejected, Owed: []queue.Owed{{Result: rejected[0]}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range maxDeaths {
		claimFrom(t, q, destination)
		files = files.After("killed", nil)
		q = openOn(t, files)
	}
	return q, files
}

// openOn opens the spool on a disk.
func openOn(t *testing.T, disk spool.FS) *spool.Spool {
	t.Helper()
	q, err := (&spool.Options{FS: disk}).Open("memory")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// claimFrom claims the first task of a destination.
func claimFrom(t *testing.T, q queue.Queue, destination string) queue.Task {
	t.Helper()
	for d, err := range q.Lanes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Destination == destination {
			tasks, err := q.Claim(t.Context(), []queue.Want{{Lane: d.Lane, Max: 1}}, time.Hour)
			if err != nil || len(tasks) != 1 {
				t.Fatalf("Claim: got %+v and %v", tasks, err)
			}
			return tasks[0]
		}
	}
	t.Fatalf("nothing waits for %s", destination)
	return queue.Task{}
}
