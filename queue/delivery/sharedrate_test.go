package delivery

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// rateFleet is a fleet whose hosts take all mail at once. A Ref is the source of a message.
func rateFleet(t *testing.T, set func(*Runner)) *fleet {
	f := newFleet(t, func() *Runner {
		r := &Runner{SourceOf: func(t *queue.Task) string { return t.Ref }}
		set(r)
		return r
	})
	f.work = func(_ context.Context, env *smtp.Envelope) []smtp.Result { return answer(env, smtp.Delivered, 250) }
	return f
}

// put enqueues a message of a tenant from a source.
func (f *fleet) put(to, tenant, source string, deadline time.Duration) {
	m := mail(to)
	m.Tenant, m.Ref = tenant, source
	if deadline > 0 {
		m.Deadline = time.Now().Add(deadline)
	}
	enqueue(f.t, f.store, m)
}

// TestSharedRateOthers has a source with a low rate and much mail in lanes in which other mail comes, from a source
// without one. That mail isn't held up, and no mail is past its deadline for long.
func TestSharedRateOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := rateFleet(t, func(r *Runner) {
			r.SourceFor = func(source string) Rate {
				if source == "192.0.2.9" {
					return Rate{}
				}
				return Rate{10, time.Hour}
			}
		})
		for i := range 300 {
			f.put(fmt.Sprintf("to%d@d%d.test", i, i%3), "shop", "192.0.2.1", 3*time.Hour)
		}
		for range 3 {
			f.start()
		}
		for i := range 60 {
			sleep(time.Minute)
			for d := range 3 {
				f.put(fmt.Sprintf("other%d@d%d.test", i, d), "shop", "192.0.2.9", 0)
			}
			sleep(time.Minute)
			f.mu.Lock()
			for d := range 3 {
				if f.to[fmt.Sprintf("other%d@d%d.test", i, d)] != 1 {
					t.Errorf("after %d minutes: got other mail held up for a minute", 2*i)
				}
			}
			f.mu.Unlock()
		}
		sleep(time.Hour + 10*time.Minute)
		if n := len(held(t, f.store)); n > 0 {
			t.Errorf("got %d messages left 10 minutes after their deadline, want none", n)
		}
	})
}

// TestSharedRateLifted has a rate end: what waits for it goes within an hour.
func TestSharedRateLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lifted atomic.Bool
		f := rateFleet(t, func(r *Runner) {
			r.TenantFor = func(string) Rate {
				if lifted.Load() {
					return Rate{}
				}
				return Rate{1, time.Hour}
			}
		})
		for i := range 100 {
			f.put(fmt.Sprintf("to%d@d%d.test", i, i%3), "shop", "192.0.2.1", 0)
		}
		for range 3 {
			f.start()
		}
		sleep(10 * time.Minute)
		lifted.Store(true)
		sleep(time.Hour + time.Minute)
		if n := len(held(t, f.store)); n > 0 {
			t.Errorf("got %d messages left an hour after the rate ended, want none", n)
		}
	})
}
