package delivery

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestExplain asks why messages wait, each for another cause.
func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		r := &Runner{Queue: q, Grace: -1, Retry: []time.Duration{time.Hour}, SiteFor: func(site string) SiteLimits {
			switch site {
			case "paced.test":
				return SiteLimits{Rate: Rate{1, time.Hour}}
			case "narrow.test":
				return SiteLimits{Concurrency: 1}
			}
			return SiteLimits{}
		}}
		r.SourceOf = func(*queue.Task) string { return "ip" }
		r.Sender = senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			switch _, domain, _ := strings.Cut(env.Recipients[0].Address, "@"); domain {
			case "dead.test":
				results := answer(env, smtp.Deferred, 451)
				results[0].Stage, results[0].Local = smtp.StageConnect, true
				return results
			case "grey.test":
				return answer(env, smtp.Deferred, 450)
			case "lost.test":
				return answer(env, smtp.Unknown, 451)
			case "narrow.test":
				return take(24*time.Hour)(ctx, env, c)
			}
			return answer(env, smtp.Delivered, 250)
		})
		send := func(to string, change ...func(*queue.Message)) queue.ID {
			m := mail(to)
			for _, f := range change {
				f(&m)
			}
			id, err := q.Enqueue(t.Context(), m)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		before := send("to@x.test")
		if got, err := r.Explain(t.Context(), before); err != nil || got[0].Why != "No Runner is running, so nothing is sent." || r.Activity().Running {
			t.Errorf("without Run: got %+v, %v", got, err)
		}
		begun := time.Now()
		r.Suspend(begun.Add(3*time.Hour), "suspended.test") // before Run, too
		stop := start(t, r)
		for range 5 {
			send("to@dead.test")
		}
		send("to@paced.test")
		send("to@narrow.test")
		sleep(time.Minute)
		tests := []struct {
			to, want string
			until    time.Duration // from begun; zero: not known
			change   func(*queue.Message)
		}{
			{"to@dead.test", "Its site dead.test is down: 451 deferred", 20 * time.Minute, nil},
			{"to@grey.test", "It was deferred: 450 deferred", time.Hour, nil},
			{"to@lost.test", "It may have been delivered: 451 unknown", time.Hour, nil},
			{"to@suspended.test", "Delivery to suspended.test is suspended.", 3 * time.Hour, nil},
			{"to@paced.test", "Its site paced.test has reached its rate: 1 per hour.", time.Hour, nil},
			{"to@narrow.test", "Its site narrow.test gets no more messages at a time than 1 now.", 0, nil},
			{"to@later.test", "It is scheduled for later.", 5 * time.Hour, func(m *queue.Message) { m.NotBefore = begun.Add(5 * time.Hour) }},
		}
		for _, tt := range tests {
			if tt.change == nil {
				tt.change = func(*queue.Message) {}
			}
			id := send(tt.to, tt.change)
			sleep(time.Millisecond)
			got, err := r.Explain(t.Context(), id)
			if err != nil || len(got) != 1 || got[0].Why != tt.want {
				t.Errorf("%s: got %+v, %v, want %q", tt.to, got, err, tt.want)
				continue
			}
			until := got[0].Until.Sub(begun)
			if tt.until == 0 && !got[0].Until.IsZero() || tt.until > 0 && (until < tt.until*8/10 || until > tt.until*12/10) {
				t.Errorf("%s: got it to wait until %v, want about %v", tt.to, until, tt.until)
			}
		}
		narrow, err := r.Explain(t.Context(), send("to@narrow.test"))
		if err != nil || narrow[0].Site.Name != "narrow.test" || narrow[0].Limits.Concurrency != 1 || narrow[0].Source != "ip" {
			t.Errorf("got %+v, %v, want the site, its limits and the source", narrow, err)
		}
		a := r.Activity()
		if !a.Running || a.Down != 1 || a.InFlight != 1 || len(r.Suspended()) != 1 {
			t.Errorf("got %+v and %v suspended, want one site down, one task in flight and one suspended", a, r.Suspended())
		}
		if _, err := r.Explain(t.Context(), before); !errors.Is(err, queue.ErrNotFound) {
			t.Errorf("a message that is gone: got %v, want ErrNotFound", err)
		}
		stop()
	})
}

// TestActivityLearned: a site without mail that has a learned rate is listed, with its limits.
func TestActivityLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		limits := SiteLimits{Concurrency: 7, Initial: 3}
		r := &Runner{
			Queue: mem.New(), Sender: take(0), SiteFor: func(string) SiteLimits { return limits },
			Learned: []LearnedRate{{Site: "rate.test", Of: "address", Level: 100, Used: time.Now()}},
		}
		start(t, r)
		sleep(time.Second)
		sites := r.Activity().Sites
		if len(sites) != 1 || sites[0].Name != "rate.test" || sites[0].Limits.Concurrency != 7 || sites[0].Window != 3 ||
			len(sites[0].Rates) != 1 {
			t.Errorf("got sites %+v, want rate.test with its rate and %+v", sites, limits)
		}
	})
}

// TestExplainLeased: a Runner says of its own tasks alone that they are being sent.
func TestExplainLeased(t *testing.T) {
	const sent, leased = "It is being sent.", "It is leased, and isn't being sent by this Runner: "
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		first := &Runner{Queue: q, Sender: take(time.Hour), Concurrency: 1}
		start(t, first)
		id, err := q.Enqueue(t.Context(), mail("to@x.test"))
		if err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		second := &Runner{Queue: q, Sender: take(time.Hour)}
		check := func(name string, r *Runner, want string) {
			t.Helper()
			got, err := r.Explain(t.Context(), id)
			if err != nil || len(got) != 1 || got[0].Task.State != queue.Leased || !strings.HasPrefix(got[0].Why, want) {
				t.Errorf("%s: got %+v and %v, want %q", name, got, err, want)
			}
		}
		check("the one that sends it", first, sent)
		check("one that doesn't run", second, leased)
		start(t, second)
		enqueue(t, q, mail("other@x.test")) // the first has no place for it
		sleep(time.Second)
		if n := second.Activity().InFlight; n != 1 {
			t.Fatalf("got %d tasks in flight at the second, want the other message", n)
		}
		check("another one, which sends another message there", second, leased)
	})
}

// TestExplainBlock asks about a deferred task whose destination or site is blocked: what ends last is the cause.
func TestExplainBlock(t *testing.T) {
	const deferred, suspended = "It was deferred: 451 deferred", " is suspended."
	tests := []struct {
		name    string
		suspend map[string]time.Duration
		want    string
		until   time.Duration
	}{
		{"nothing", nil, deferred, time.Hour},
		{"the destination", map[string]time.Duration{"x.test": 3 * time.Hour}, "Delivery to x.test" + suspended, 3 * time.Hour},
		{"the site", map[string]time.Duration{"mx.test": 3 * time.Hour}, "Delivery to mx.test" + suspended, 3 * time.Hour},
		{"both, the site for longer", map[string]time.Duration{"x.test": 3 * time.Hour, "mx.test": 4 * time.Hour},
			"Delivery to mx.test" + suspended, 4 * time.Hour},
		{"until before the next try", map[string]time.Duration{"x.test": 10 * time.Minute}, deferred, time.Hour},
		{"another", map[string]time.Duration{"y.test": 3 * time.Hour}, deferred, time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := mem.New()
				r := &Runner{
					Queue: q, Retry: []time.Duration{time.Hour},
					SiteOf: func(context.Context, string) (Site, error) { return Site{Name: "mx.test"}, nil },
					Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
						return answer(env, smtp.Deferred, 451)
					}),
				}
				start(t, r)
				id, err := q.Enqueue(t.Context(), mail("to@x.test"))
				if err != nil {
					t.Fatal(err)
				}
				sleep(time.Second)
				begun := time.Now()
				for name, length := range tt.suspend {
					r.Suspend(begun.Add(length), name)
				}
				got, err := r.Explain(t.Context(), id)
				if err != nil || len(got) != 1 || got[0].Why != tt.want {
					t.Fatalf("got %+v, %v, want %q", got, err, tt.want)
				}
				if until := got[0].Until.Sub(begun); until < tt.until*8/10 || until > tt.until*12/10 {
					t.Errorf("got it to wait for %v, want about %v", until, tt.until)
				}
			})
		})
	}
}

// TestExplainHeld asks about a held task whose site is suspended: it waits for Release.
func TestExplainHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		r := &Runner{Queue: q, Sender: take(0)}
		start(t, r)
		r.Suspend(time.Now().Add(time.Hour), "x.test")
		id, err := q.Enqueue(t.Context(), mail("to@x.test"))
		if err != nil {
			t.Fatal(err)
		}
		if err := q.Hold(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		sleep(time.Second)
		got, err := r.Explain(t.Context(), id)
		if err != nil || len(got) != 1 || got[0].Why != "It is held until it is released." || !got[0].Until.IsZero() {
			t.Errorf("got %+v, %v, want that it is held", got, err)
		}
	})
}

// TestExplainHeldFor asks about tasks that are held for a reason. In a Queue that keeps no later reason, the first one is
// out of date after an attempt.
func TestExplainHeldFor(t *testing.T) {
	type plain interface { // without HoldFor
		queue.Queue
		queue.Lister
		queue.Holder
	}
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		old := &Runner{Queue: struct{ plain }{staleReasons{q}}}
		r := &Runner{Queue: q, Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
			return answer(env, smtp.Deferred, 451)
		})}
		m := mail("to@x.test")
		m.Held, m.HeldFor = true, "a check"
		id, err := q.Enqueue(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		check := func(when string, r *Runner, want string) {
			t.Helper()
			got, err := r.Explain(t.Context(), id)
			if err != nil || len(got) != 1 || got[0].Why != "It is held until it is released."+want {
				t.Errorf("%s: got %+v, %v, want that it is held, and%s", when, got, err, want)
			}
		}
		check("stored held", r, " The reason: a check.")
		check("stored held, in a queue without reasons", old, " The reason: a check.")
		if n, err := r.HoldFor(t.Context(), queue.Filter{}, "ticket 4711!"); n != 1 || err != nil {
			t.Fatalf("got %d and %v", n, err)
		}
		check("held for another reason", r, " The reason: ticket 4711!")
		start(t, r)
		if n, err := r.Release(t.Context(), queue.Filter{}); n != 1 || err != nil {
			t.Fatalf("got %d and %v", n, err)
		}
		sleep(time.Second)
		if n, err := r.Hold(t.Context(), queue.Filter{}); n != 1 || err != nil {
			t.Fatalf("got %d and %v", n, err)
		}
		check("held again", r, "")
		check("held again, in a queue without reasons", old, "")
	})
}

// staleReasons is a Queue whose tasks have the HeldFor of their message, whatever has happened since.
type staleReasons struct{ *mem.Queue }

func (q staleReasons) List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Task, error] {
	return func(yield func(queue.Task, error) bool) {
		for t, err := range q.Queue.List(ctx, f) {
			if t.HeldFor = "a check"; !yield(t, err) {
				return
			}
		}
	}
}

// TestSlowEvents has a func that takes a day for each event: mail doesn't wait, and what is missed is counted.
func TestSlowEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		var told []string
		slow := Events{Buffer: 10, Delivered: func(e Event) {
			told = append(told, e.Result.Recipient)
			time.Sleep(24 * time.Hour)
		}}
		chained := 0
		r := &Runner{Queue: q, Sender: take(0), Events: slow.Then(Events{Delivered: func(Event) { chained++ }})}
		stop := start(t, r)
		for range 100 {
			enqueue(t, q, mail("to@x.test"))
			sleep(time.Second)
		}
		wantEmpty(t, q)
		if got := r.Missed(); got != 89 {
			t.Errorf("got %d events missed, want all but one that is told and ten that wait", got)
		}
		stop()
		if len(told) != 11 || chained != 11 {
			t.Errorf("got %d and %d events told when Run has returned, want 11", len(told), chained)
		}
	})
}
