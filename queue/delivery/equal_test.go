package delivery

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestEqualOwners has owners who each need the same part of the slots, 80 % in all, which is no whole number of slots.
// Once their sites are known to be fast, no mail waits for a second.
func TestEqualOwners(t *testing.T) {
	for _, tt := range []struct{ owners, places, domains int }{
		{2, 10, 7}, {5, 10, 40}, {5, 20, 200}, {20, 30, 40}, {20, 40, 7}, {20, 100, 7}, {20, 100, 200},
	} {
		t.Run(fmt.Sprintf("%d owners, %d places, %d domains", tt.owners, tt.places, tt.domains), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const known = time.Minute
				var mu sync.Mutex
				put, sent, late, longest := make(map[string]time.Time), 0, 0, time.Duration(0)
				begun, q := time.Now(), mem.New()
				r := &Runner{Queue: q, Concurrency: tt.places, Initial: tt.places}
				r.Sender = smtp.SenderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) ([]smtp.Result, error) {
					mu.Lock()
					at := put[env.Recipients[0].Address]
					if wait := time.Since(at); at.Sub(begun) > known {
						if sent++; wait > time.Second {
							late++
						}
						longest = max(longest, wait)
					}
					mu.Unlock()
					time.Sleep(time.Second)
					return answer(env, smtp.Delivered, 250), nil
				})
				stop := start(t, r)
				each := time.Second / time.Duration(tt.places*8/10)
				for i := range int(2 * known / each) {
					to := fmt.Sprintf("to%d@d%d.test", i, i%tt.domains)
					mu.Lock()
					put[to] = time.Now()
					mu.Unlock()
					m := mail(to)
					m.Tenant = fmt.Sprint("tenant", i%tt.owners)
					enqueue(t, q, m)
					time.Sleep(each)
				}
				time.Sleep(10 * time.Second)
				stop()
				if want := int(known/each) - 1; sent < want || late > 0 {
					t.Errorf("got %d messages, %d of them late, the latest by %v; want %d, none late", sent, late, longest, want)
				}
			})
		})
	}
}
