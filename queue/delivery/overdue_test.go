package delivery

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestOverdueMany has the deadlines of a thousand messages come while their mail isn't sent: of one lane, or of as many
// lanes of one site. All are given up soon, and not one each time that the lanes are looked at.
func TestOverdueMany(t *testing.T) {
	for _, tt := range []struct {
		name  string
		sites int // destinations
		setup func(r *Runner)
		reply smtp.Result
	}{
		{"suspended", 1, func(r *Runner) { r.Suspend(time.Now().Add(100*time.Hour), "x0.test") }, smtp.Result{}},
		{"down", 1, func(*Runner) {}, smtp.Result{Stage: smtp.StageConnect, Reply: smtp.NewReply(451, "4.4.1", "no answer"),
			Local: true, Reason: smtp.Network}},
		{"refused for its rate", 1, func(*Runner) {}, smtp.Result{Stage: smtp.StageConnect,
			Reply: smtp.NewReply(421, "4.7.28", "too much mail"), Reason: smtp.RateLimited}},
		{"a thousand destinations", 1000, func(r *Runner) { r.Suspend(time.Now().Add(100*time.Hour), "mx.test") }, smtp.Result{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := mem.New()
				r := &Runner{Queue: q, Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
					result := tt.reply
					result.Recipient = env.Recipients[0].Address
					return []smtp.Result{result}
				})}
				if tt.sites > 1 {
					r.SiteOf = func(context.Context, string) (Site, error) { return Site{Name: "mx.test"}, nil }
				}
				start(t, r)
				tt.setup(r)
				for i := range 1000 {
					m := mail(fmt.Sprintf("to%d@x%d.test", i, i%tt.sites))
					m.Deadline = time.Now().Add(10 * time.Minute)
					enqueue(t, q, m)
				}
				sleep(10*time.Minute - time.Second)
				if n := len(held(t, q)); n < 900 {
					t.Errorf("%d messages are left before the deadline, want nearly all", n)
				}
				sleep(recheck + time.Minute)
				if n := len(held(t, q)); n > 0 {
					t.Errorf("%d of 1000 messages are left after their deadline", n)
				}
			})
		})
	}
}
