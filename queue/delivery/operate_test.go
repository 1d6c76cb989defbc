package delivery

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestSuspend counts the names that are known, and keeps those that aren't.
func TestSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		j := new(journal)
		r := &Runner{Queue: q, Events: j.events(), Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			results := answer(env, smtp.Deferred, 451)
			if env.Recipients[0].Address == "to@y.test" { // something that is remembered of its site
				results[0].Reason, results[0].Stage = smtp.Network, smtp.StageConnect
			}
			return results
		})}
		r.SiteOf = func(_ context.Context, destination string) (Site, error) { return Site{Name: "mx." + destination}, nil }
		r.Learned = []LearnedRate{{Site: "rate.test", Of: "address", Level: 100, Used: time.Now()}}
		end := time.Now().Add(time.Hour)
		if known := r.Suspend(end, "x.test"); known != 0 {
			t.Errorf("without Run: got %d names known, want 0", known)
		}
		r.Suspend(time.Time{}, "x.test")
		enqueue(t, q, mail("to@x.test", "to@y.test"))
		start(t, r)
		sleep(time.Second)
		for _, tt := range []struct {
			name  string
			names []string
			want  int
		}{
			{"a destination", []string{"x.test"}, 1},
			{"a site", []string{"mx.y.test"}, 1},
			{"a site without mail that has a learned rate", []string{"rate.test"}, 1},
			{"a typo", []string{"z.test"}, 0},
			{"some", []string{"x.test", "z.test", "y.test"}, 2},
			{"one twice", []string{"x.test", "x.test"}, 1},
			{"none", nil, 0},
		} {
			if known := r.Suspend(end, tt.names...); known != tt.want {
				t.Errorf("%s: got %d names known, want %d", tt.name, known, tt.want)
			}
		}
		want := []string{"mx.y.test", "rate.test", "x.test", "y.test", "z.test"}
		if got := slices.Sorted(maps.Keys(r.Suspended())); !slices.Equal(got, want) || !r.Suspended()["z.test"].Equal(end) {
			t.Errorf("got %v suspended, want %v until %v", r.Suspended(), want, end)
		}
		if known := r.Suspend(time.Now(), "mx.y.test", "y.test"); known != 2 || len(r.Suspended()) != 3 {
			t.Errorf("got %d names known and %v suspended, want two and three", known, r.Suspended())
		}
		enqueue(t, q, mail("new@x.test", "new@y.test", "new@z.test"))
		sleep(time.Minute)
		slices.Sort(j.lines)
		if got, want := j.all(), "deferred new@y.test 451\ndeferred to@x.test 451\ndeferred to@y.test 451"; got != want {
			t.Errorf("got events\n%s\nwant\n%s", got, want)
		}
		sleep(time.Hour)
		if got := r.Suspended(); len(got) != 0 {
			t.Errorf("got %v suspended after the end, want none", got)
		}
	})
}

// TestFlush has a deferred task, a site that is down whose mail is all due, and names that nothing waits under.
func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		j := new(journal)
		start := func(r *Runner) *Runner { start(t, r); return r }
		r := start(&Runner{
			Queue: q, Site: SiteLimits{Concurrency: 1}, Retry: []time.Duration{3 * time.Hour}, Events: j.events(),
			SiteOf: func(_ context.Context, destination string) (Site, error) { return Site{Name: "mx." + destination}, nil },
			Sender: smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
				results := answer(env, smtp.Deferred, 451)
				if env.Recipients[0].Address == "to@down.test" {
					results[0].Stage, results[0].Local, results[0].Reason = smtp.StageConnect, true, smtp.Network
				}
				return results, nil
			}),
		})
		enqueue(t, q, mail("to@x.test"), mail("to@down.test"))
		sleep(time.Minute)
		enqueue(t, q, mail("to@down.test"), mail("to@down.test"))
		sleep(time.Minute)
		for _, site := range r.Activity().Sites {
			wait, down := time.Until(site.DownUntil), site.Name == "mx.down.test"
			if site.DownUntil.IsZero() == down || down && (wait <= 0 || wait > time.Hour) {
				t.Errorf("%s: got it down for %v", site.Name, wait)
			}
		}
		for _, tt := range []struct {
			name         string
			tasks, sites int
		}{
			{"x.test", 1, 0},
			{"mx.x.test", 0, 0},
			{"typo.test", 0, 0},
			{"down.test", 1, 1},
			{"mx.down.test", 0, 1},
			{"", 3, 1},
		} {
			tasks, sites, err := r.Flush(t.Context(), tt.name)
			if tasks != tt.tasks || sites != tt.sites || err != nil {
				t.Errorf("%q: got %d tasks, %d sites and %v; want %d and %d", tt.name, tasks, sites, err, tt.tasks, tt.sites)
			}
			sleep(time.Minute)
		}
		want := map[string]int{"deferred to@x.test 451": 3, "deferred to@down.test 451": 4}
		got := map[string]int{}
		for _, line := range j.lines {
			got[line]++
		}
		if !maps.Equal(got, want) {
			t.Errorf("got events %v, want %v", got, want)
		}
	})
}

// TestFlushMessages flushes messages by a filter: one that is deferred, beside another one of its destination; one that
// waits for a site that is down; and some for which nothing is to be done. A suspension and a rate go on.
func TestFlushMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		j := new(journal)
		r := &Runner{
			Queue: q, Retry: []time.Duration{3 * time.Hour}, Events: j.events(),
			SiteOf: func(_ context.Context, destination string) (Site, error) { return Site{Name: "mx." + destination}, nil },
			SiteFor: func(site string) SiteLimits {
				if site == "mx.slow.test" {
					return SiteLimits{Rate: Rate{Messages: 1, Per: 12 * time.Hour}}
				}
				return SiteLimits{}
			},
			Sender: smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
				results := answer(env, smtp.Deferred, 451)
				if strings.HasSuffix(env.Recipients[0].Address, "@down.test") {
					results[0].Stage, results[0].Local, results[0].Reason = smtp.StageConnect, true, smtp.Network
				}
				return results, nil
			}),
		}
		start(t, r)
		later := mail("later@x.test")
		later.NotBefore = time.Now().Add(24 * time.Hour)
		id := func(recipient string) queue.ID {
			for task, err := range q.List(t.Context(), queue.Filter{Recipient: recipient}) {
				if err != nil {
					t.Fatal(err)
				}
				return task.ID
			}
			t.Fatalf("there is no mail for %s", recipient)
			return ""
		}
		enqueue(t, q, mail("a@x.test", "a@y.test"), mail("b@x.test"), mail("c@slow.test"), mail("d@still.test"), later)
		for i := range 8 {
			enqueue(t, q, mail(fmt.Sprintf("%d@down.test", i)))
		}
		sleep(time.Minute)
		r.Suspend(time.Now().Add(24*time.Hour), "still.test")
		sleep(time.Second)
		for _, tt := range []struct {
			name            string
			f               queue.Filter
			messages, sites int
			want            string
		}{
			{"one of two", queue.Filter{ID: id("a@x.test")}, 1, 0, "deferred a@x.test 451\ndeferred a@y.test 451"},
			{"by a recipient", queue.Filter{Recipient: "b@x.test"}, 1, 0, "deferred b@x.test 451"},
			{"a rate goes on", queue.Filter{ID: id("c@slow.test")}, 1, 0, ""},
			{"a suspension goes on", queue.Filter{ID: id("d@still.test")}, 1, 0, ""},
			{"never attempted", queue.Filter{ID: id("later@x.test")}, 0, 0, ""},
			{"no such message", queue.Filter{ID: "nosuch"}, 0, 0, ""},
			{"its site is down", queue.Filter{ID: id("1@down.test")}, 1, 1, "deferred 451"},
			{"its site is down, and it is due", queue.Filter{Recipient: "9@down.test"}, 0, 1, "deferred 451"},
		} {
			j.lines = nil
			if tt.f.Recipient == "9@down.test" {
				enqueue(t, q, mail("9@down.test"))
				sleep(time.Second)
			}
			messages, sites, err := r.FlushMessages(t.Context(), tt.f)
			if messages != tt.messages || sites != tt.sites || err != nil {
				t.Errorf("%s: got %d messages, %d sites and %v; want %d and %d", tt.name, messages, sites, err, tt.messages, tt.sites)
			}
			sleep(time.Minute)
			slices.Sort(j.lines)
			got := j.all()
			if tt.sites > 0 { // which message is the probe isn't said
				got = regexp.MustCompile(` \d@down.test`).ReplaceAllString(got, "")
			}
			if got != tt.want {
				t.Errorf("%s: got events\n%s\nwant\n%s", tt.name, got, tt.want)
			}
		}
	})
}

// TestUnsupported calls each operation on a Queue without the abilities, and on none.
func TestUnsupported(t *testing.T) {
	ctx := t.Context()
	n := func(_ int, err error) error { return err }
	bare := &Runner{Queue: struct{ queue.Queue }{mem.New()}}
	none := &Runner{}
	for _, tt := range []struct {
		name    string
		do      func(r *Runner) error
		ability string
	}{
		{"flush", func(r *Runner) error { _, _, err := r.Flush(ctx, "x.test"); return err }, "Flusher"},
		{"flush", func(r *Runner) error { _, _, err := r.FlushMessages(ctx, queue.Filter{}); return err }, "Hastener"},
		{"hold", func(r *Runner) error { return n(r.Hold(ctx, queue.Filter{})) }, "Holder"},
		{"hold", func(r *Runner) error { return n(r.HoldFor(ctx, queue.Filter{}, "")) }, "Holder"},
		{"hold", func(r *Runner) error { return n(r.HoldFor(ctx, queue.Filter{}, "a reason")) }, "ReasonHolder"},
		{"release", func(r *Runner) error { return n(r.Release(ctx, queue.Filter{})) }, "Holder"},
		{"purge", func(r *Runner) error { return n(r.Purge(ctx, queue.Filter{})) }, "Remover"},
		{"cancel", func(r *Runner) error { return n(r.Cancel(ctx, queue.Filter{}, "no more")) }, "Remover"},
		{"explain", func(r *Runner) error { _, err := r.Explain(ctx, "1"); return err }, "Lister"},
	} {
		err, want := tt.do(bare), fmt.Sprintf("%s: the Queue is no queue.%s: unsupported operation", tt.name, tt.ability)
		if !errors.Is(err, errors.ErrUnsupported) || err.Error() != want {
			t.Errorf("%s: got %v, want %s", tt.name, err, want)
		}
		err, want = tt.do(none), tt.name+": "+errNoQueue.Error()
		if err == nil || err.Error() != want {
			t.Errorf("%s without a Queue: got %v, want %s", tt.name, err, want)
		}
	}
}

// TestFlushAgain flushes destinations, one after the other, that are being tried: each is tried again at once. No more
// of them than a bound are remembered.
func TestFlushAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		var mu sync.Mutex
		tries := map[string]int{}
		r := &Runner{Queue: q, Retry: []time.Duration{24 * time.Hour}, Sender: senderFunc(
			func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
				time.Sleep(time.Minute)
				mu.Lock()
				defer mu.Unlock()
				tries[env.Recipients[0].Address]++
				return answer(env, smtp.Deferred, 451)
			})}
		start(t, r)
		enqueue(t, q, mail("to@x.test"), mail("to@y.test"), mail("to@z.test"))
		flush := func(name string) {
			if _, _, err := r.Flush(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
		sleep(time.Second)
		flush("x.test")
		flush("y.test")
		sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if want := map[string]int{"to@x.test": 2, "to@y.test": 2, "to@z.test": 1}; !maps.Equal(tries, want) {
			t.Errorf("got tries %v, want %v", tries, want)
		}
		for i := range maxFlushed + 1 {
			flush(fmt.Sprintf("%d.test", i))
		}
		if n := len(r.flushed); n > maxFlushed {
			t.Errorf("got %d destinations remembered, want %d at most", n, maxFlushed)
		}
	})
}

// unlisted is a Queue that can be listed once, or never.
type unlisted struct {
	*mem.Queue
	lists int
}

func (q *unlisted) List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Task, error] {
	if q.lists--; q.lists < 0 {
		return func(yield func(queue.Task, error) bool) { yield(queue.Task{}, errFault) }
	}
	return q.Queue.List(ctx, f)
}

// TestPurgeUnlisted has a message whose tasks can't be listed for the events of their end: it stays.
func TestPurgeUnlisted(t *testing.T) {
	q := &unlisted{Queue: mem.New(), lists: 1}
	enqueue(t, q, mail("to@x.test"))
	r := &Runner{Queue: q, Events: Events{Cancelled: func(e Event) { t.Errorf("got an event of %s", e.Result.Recipient) }}}
	if n, err := r.Purge(t.Context(), queue.Filter{}); n != 0 || !errors.Is(err, errFault) {
		t.Errorf("got %d, %v, want none and the fault of the queue", n, err)
	}
	if n := len(held(t, q.Queue)); n != 1 {
		t.Errorf("got %d tasks left, want 1", n)
	}
}

// TestUnlistable has a Queue that can hold messages, and isn't a Lister.
func TestUnlistable(t *testing.T) {
	r := &Runner{Queue: struct {
		queue.Queue
		queue.Holder
	}{mem.New(), mem.New()}}
	if n, err := r.Hold(t.Context(), queue.Filter{}); n != 0 || !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %d, %v, want none, and ErrUnsupported", n, err)
	}
}
