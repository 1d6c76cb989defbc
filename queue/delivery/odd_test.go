package delivery

import (
	"context"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestOddValues sets each field to a value that nobody wants: it is an error of Check, or the Runner delivers what a
// host takes, leaves alone what one defers, and ends.
func TestOddValues(t *testing.T) {
	const longest, most = time.Duration(math.MaxInt64), math.MaxInt
	tests := []struct {
		name string
		set  func(*Runner)
		want string // the error of Check; "": none
	}{
		{"Concurrency", func(r *Runner) { r.Concurrency = most }, "Concurrency is 9223372036854775807: it must be at most 1000000"},
		{"Concurrency, negative", func(r *Runner) { r.Concurrency = math.MinInt }, "Concurrency is -9223372036854775808"},
		{"Initial", func(r *Runner) { r.Initial = most }, ""},
		{"Site.Concurrency", func(r *Runner) { r.Site.Concurrency = most }, "Site.Concurrency is 9223372036854775807"},
		{"Site.Initial", func(r *Runner) { r.Site.Initial = most }, ""},
		{"Site.Rate, slow", func(r *Runner) { r.Site.Rate = Rate{1, longest} }, ""},
		{"Site.Rate, fast", func(r *Runner) { r.Site.Rate = Rate{most, 1} }, ""},
		{"Recovery.Start", func(r *Runner) { r.Site.Recovery.Start = 1000 }, ""},
		{"Recovery.Start, large", func(r *Runner) { r.Site.Recovery.Start = 1001 }, "Site.Recovery.Start is 1001: it must be at most 1000"},
		{"Recovery.Step, large", func(r *Runner) { r.Site.Recovery.Step = most }, "Site.Recovery.Step is 9223372036854775807"},
		{"Learned", func(r *Runner) { r.Learned = []LearnedRate{{Site: "x", Of: "moon"}} }, ""},
		{"Learned, no site", func(r *Runner) { r.Learned = []LearnedRate{{Of: "address", Level: 1}} }, "Learned[0].Site is empty"},
		{"Learned, PerHour", func(r *Runner) { r.Learned = []LearnedRate{{Site: "x", PerHour: -4}} }, "Learned[0].PerHour is -4"},
		{"Learned, Level", func(r *Runner) { r.Learned = []LearnedRate{{Site: "x", Level: math.NaN()}} }, "Learned[0].Level is NaN"},
		{"Source", func(r *Runner) { r.Source = Rate{1, longest} }, ""},
		{"Tenant, half", func(r *Runner) { r.Tenant = Rate{1, 0} }, "Tenant is {Messages: 1, Per: 0s}"},
		{"SiteFor", func(r *Runner) {
			r.SiteFor = func(string) SiteLimits {
				return SiteLimits{most, most, Rate{-1, longest}, Recovery{longest, most, most}}
			}
		}, ""},
		{"SiteFor, negative", func(r *Runner) {
			r.SiteFor = func(string) SiteLimits {
				return SiteLimits{math.MinInt, -1, Rate{math.MinInt, -1}, Recovery{math.MinInt64, -1, -1}}
			}
		}, ""},
		{"SiteOf, empty", func(r *Runner) { r.SiteOf = func(context.Context, string) (Site, error) { return Site{}, nil } }, ""},
		{"Retry", func(r *Runner) { r.Retry = []time.Duration{longest} }, ""},
		{"Retry, negative", func(r *Runner) { r.Retry = []time.Duration{math.MinInt64} }, "Retry[0] is -2562047h47m16.854775808s"},
		{"RetryAfter", func(r *Runner) { r.RetryAfter = map[smtp.Reason][]time.Duration{smtp.Other: {longest}} }, ""},
		{"MaxProbeWait", func(r *Runner) { r.MaxProbeWait = longest }, ""},
		{"PollInterval", func(r *Runner) { r.PollInterval = longest }, ""},
		{"Lease", func(r *Runner) { r.Lease = longest }, ""},
		{"Grace", func(r *Runner) { r.Grace = longest }, ""},
		{"Grace, negative", func(r *Runner) { r.Grace = math.MinInt64 }, ""},
		{"SettleTimeout", func(r *Runner) { r.SettleTimeout = longest }, ""},
		{"Events.Buffer", func(r *Runner) { r.Events.Buffer = most }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := mem.New()
				enqueue(t, q, mail("ok@x.test"), mail("later@y.test"))
				var mu sync.Mutex
				sent := make(map[string]int)
				r := &Runner{
					Queue: q, Retry: []time.Duration{longest}, SourceOf: func(*queue.Task) string { return "ip" },
					Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
						mu.Lock()
						defer mu.Unlock()
						to := env.Recipients[0].Address
						sent[to]++
						if to == "later@y.test" {
							return answer(env, smtp.Deferred, 451)
						}
						return answer(env, smtp.Delivered, 250)
					}),
				}
				tt.set(r)
				err := r.Check()
				if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), "delivery: "+tt.want) {
					t.Fatalf("got error %v, want %q", err, tt.want)
				}
				if err != nil {
					return
				}
				r.Concurrency = 1
				stop := start(t, r)
				sleep(30 * time.Minute)
				if sent["ok@x.test"] > 1 || sent["later@y.test"] > 1 || len(sent) == 0 {
					t.Errorf("got sends %v, want one of each at most", sent)
				}
				r.Flush(t.Context(), "")
				r.Suspend(time.Unix(1<<40, 0), "x.test")
				r.Activity()
				stop()
			})
		})
	}
	// The funcs of no Run.
	var r Runner
	if n := r.Suspend(time.Time{}); n != 0 || r.Missed() != 0 || r.Activity().Running {
		t.Errorf("got %d names, %d events missed, %+v, want the zero Runner to know nothing", n, r.Missed(), r.Activity())
	}
	if _, err := r.Cancel(t.Context(), queue.Filter{}, ""); err == nil {
		t.Error("Cancel without a Queue: got no error")
	}
	if err := r.Run(t.Context()); err == nil {
		t.Error("Run without a Queue: got no error")
	}
}

// TestOddTimes: times of a message beyond those that a Queue knows.
func TestOddTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		far := time.Unix(1<<40, 0)
		m := mail("to@x.test")
		m.NotBefore, m.NoticeAt, m.Deadline = time.Unix(-1<<40, 0), far, far
		never := mail("to@x.test")
		never.NotBefore = far
		enqueue(t, q, m, never)
		sends := 0
		start(t, &Runner{Queue: q, Sender: senderFunc(
			func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
				sends++
				return answer(env, smtp.Delivered, 250)
			})})
		sleep(time.Hour)
		if got := len(held(t, q)); sends != 1 || got != 1 {
			t.Errorf("got %d sends and %d tasks left, want one of each", sends, got)
		}
	})
}

// TestOddOccasions: what isn't there is no recipient to report on, and no result to advise about.
func TestOddOccasions(t *testing.T) {
	task := queue.Task{Envelope: smtp.NewEnvelope("ann@source.test", "bob@next.test")}
	for _, o := range []*Occasion{{}, {Task: task}, {Results: make([]smtp.Result, 1)}, {Task: task, Results: make([]smtp.Result, 1)}} {
		for _, i := range []int{math.MinInt, -1, 0, 1, math.MaxInt} {
			if got := o.Kind(i); got != "" {
				t.Errorf("got %q of recipient %d, want none", got, i)
			}
		}
	}
	if got := Advice(nil); got != "" {
		t.Errorf("got the advice %q about no result, want none", got)
	}
}
