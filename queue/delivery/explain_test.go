package delivery

import (
	"context"
	"errors"
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
		if got, err := r.Explain(t.Context(), before); err != nil || got[0].Why != "No Runner is running." || r.Activity().Running {
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
			{"to@dead.test", "Its site is down: 451 deferred", 20 * time.Minute, nil},
			{"to@grey.test", "It was deferred: 450 deferred", time.Hour, nil},
			{"to@suspended.test", "Delivery to suspended.test is suspended.", 3 * time.Hour, nil},
			{"to@paced.test", "Its site has reached its rate: 1 per 1h0m0s.", time.Hour, nil},
			{"to@narrow.test", "Its site has reached its limit of tasks in flight: 1.", 0, nil},
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
