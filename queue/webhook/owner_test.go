package webhook

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
)

// TestOwner: the events of each endpoint have an owner, which isn't that of reports, who have the null sender too. The
// rates of tenants don't bound events.
func TestOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		other := *w.hooks.Endpoints[0]
		other.Name = "other"
		w.hooks.Endpoints = append(w.hooks.Endpoints, &other)
		w.runner.TenantFor = func(name string) delivery.Rate {
			if name == "acme" {
				return delivery.Rate{}
			}
			return delivery.Rate{Messages: 1, Per: time.Hour}
		}
		w.runner.Suspend(time.Now().Add(2*time.Minute), "webhook:shop", "webhook:other")
		w.run()
		for i := range 20 {
			w.mail(fmt.Sprintf("bob%d@there.test", i))
		}
		time.Sleep(time.Minute)
		for _, name := range []string{"webhook:shop", "webhook:other"} {
			n := 0
			for task, err := range w.q.List(t.Context(), queue.Filter{Tenant: name}) {
				if n++; err != nil || task.Owner == 0 || task.Destination != name {
					t.Errorf("got an event to %s of the owner %d, %v; want one to %s of another owner than 0", task.Destination,
						task.Owner, err, name)
				}
			}
			if n != 20 {
				t.Errorf("got %d events of the tenant %s, want 20", n, name)
			}
		}
		time.Sleep(2 * time.Minute)
		posts := w.taken()
		if len(posts) != 40 {
			t.Errorf("got %d events in a minute, want 40", len(posts))
		}
		for _, p := range posts {
			if p.event.Data.Tenant != "acme" {
				t.Errorf("got an event about mail of %q, want acme", p.event.Data.Tenant)
			}
		}
	})
}
