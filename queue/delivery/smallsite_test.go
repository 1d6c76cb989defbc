package delivery

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestSharedRateSmallSite has tenants with a rate at a site that takes few tasks at a time: they leave the places there
// to a tenant without one.
func TestSharedRateSmallSite(t *testing.T) {
	for _, tt := range []struct{ most, runners, slow int }{{2, 1, 1}, {2, 2, 10}, {3, 4, 10}, {8, 4, 10}} {
		t.Run(fmt.Sprintf("%d at a time, %d Runners, %d tenants", tt.most, tt.runners, tt.slow), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := rateFleet(t, func(r *Runner) {
					r.Site = SiteLimits{Concurrency: tt.most, Initial: tt.most}
					r.TenantFor = func(name string) Rate {
						if strings.HasPrefix(name, "slow") {
							return Rate{30, time.Minute}
						}
						return Rate{}
					}
				})
				f.work = func(_ context.Context, env *smtp.Envelope) []smtp.Result {
					if strings.HasPrefix(env.Recipients[0].Address, "good") {
						time.Sleep(time.Second)
					}
					return answer(env, smtp.Delivered, 250)
				}
				for i := range 2000 {
					f.put(fmt.Sprintf("slow%d@x.test", i), fmt.Sprint("slow", i%tt.slow), "", 0)
					f.put(fmt.Sprintf("good%d@x.test", i), "good", "", 0)
				}
				for range tt.runners {
					f.start()
				}
				sleep(2 * time.Minute)
				good := 0
				f.mu.Lock()
				defer f.mu.Unlock()
				for to := range f.to {
					if strings.HasPrefix(to, "good") {
						good++
					}
				}
				if want := tt.most * 120 * 8 / 10; good < want {
					t.Errorf("got %d messages of a tenant without a rate sent, want %d", good, want)
				}
			})
		})
	}
}
