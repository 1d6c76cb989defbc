package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// awaits returns how many tasks wait for slots, and how many may be in flight.
func (m *fleetMember) awaits() (n, places int) {
	m.Runner.mu.Lock()
	defer m.Runner.mu.Unlock()
	m.withMachine(func(m *machine) { n, places = len(m.shared.awaits), m.places })
	return n, places
}

// TestSharedRateSlots has tenants with slow rates and much mail beside mail that needs 80 % of the slots. That mail
// waits no longer than without them, and what waits for its rate has an eighth of the slots at most.
func TestSharedRateSlots(t *testing.T) {
	for _, runners := range []int{1, 3} {
		for _, tt := range []struct {
			name              string
			tenants, messages int
		}{{"none", 0, 0}, {"1 tenant", 1, 10000}, {"100 tenants", 100, 60}} {
			t.Run(fmt.Sprintf("%d Runners, %s", runners, tt.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const places = 40
					var mu sync.Mutex
					var waits []time.Duration
					f := rateFleet(t, func(r *Runner) {
						r.Concurrency, r.Initial = places, places
						r.TenantFor = func(name string) Rate {
							if strings.HasPrefix(name, "slow") {
								return Rate{1, time.Minute}
							}
							return Rate{}
						}
					})
					put := make(map[string]time.Time)
					f.work = func(_ context.Context, env *smtp.Envelope) []smtp.Result {
						to := env.Recipients[0].Address
						if strings.HasPrefix(to, "slow") {
							return answer(env, smtp.Delivered, 250)
						}
						mu.Lock()
						if at, ok := put[to]; ok {
							waits = append(waits, time.Since(at))
						}
						mu.Unlock()
						time.Sleep(time.Second)
						return answer(env, smtp.Delivered, 250)
					}
					for i := range tt.tenants * tt.messages {
						f.put(fmt.Sprintf("slow%d@d%d.test", i, i%40), fmt.Sprintf("slow%d", i%tt.tenants), "", 0)
					}
					for range runners {
						f.start()
					}
					sleep(10 * time.Second)
					each := time.Second / time.Duration(runners*places*8/10)
					most := 0
					for i := range int(2 * time.Minute / each) {
						to := fmt.Sprintf("to%d@d%d.test", i, i%40)
						if i > int(time.Minute/each) { // by then, the sites are known to be fast
							mu.Lock()
							put[to] = time.Now()
							mu.Unlock()
						}
						f.put(to, fmt.Sprintf("good%d", i%5), "", 0)
						sleep(each)
						for _, r := range f.all {
							n, places := r.awaits()
							if most = max(most, n); n > places/8 {
								t.Fatalf("%d tasks wait for their rate, want %d at most", n, places/8)
							}
						}
					}
					sleep(10 * time.Second)
					mu.Lock()
					defer mu.Unlock()
					slices.Sort(waits)
					p50, p99 := waits[len(waits)/2], waits[len(waits)*99/100]
					t.Logf("%d messages waited %v, p99 %v; %d waited for their rate at a time", len(waits), p50, p99, most)
					if p99 > time.Second {
						t.Errorf("mail without a rate waited %v (p99), want a second at most", p99)
					}
				})
			})
		}
	}
}

// TestSharedRateAwait has a task wait for its slot: Explain tells of it, and a Runner that stops hands it back at once.
func TestSharedRateAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := rateFleet(t, func(r *Runner) { r.Tenant = Rate{40, time.Minute} })
		for i := range 10 {
			f.put(fmt.Sprintf("to%d@d%d.test", i, i), "shop", "", 0)
		}
		r := f.start()
		sleep(2900 * time.Millisecond)
		if n, _ := r.awaits(); n == 0 {
			t.Fatal("no task waits for its rate")
		}
		const want = "It waits for its turn at the rate of the tenant shop: 40 per minute."
		told := 0
		leased := held(t, f.store)
		for _, task := range leased {
			all, err := r.Explain(t.Context(), task.ID)
			if err != nil {
				t.Fatal(err)
			}
			if all[0].Task.State == queue.Leased && all[0].Why == want {
				told++
			}
		}
		if n, _ := r.awaits(); told != n {
			t.Errorf("%d explanations say %q, want %d", told, want, n)
		}
		sent, begun := len(f.times("")), time.Now()
		r.stop()
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("Run ended after %v, want at once", took)
		}
		if n := len(f.times("")); n != sent {
			t.Errorf("%d messages were sent by a Runner that stops", n-sent)
		}
		for _, task := range held(t, f.store) {
			if task.State != queue.Waiting || task.Attempts != 0 {
				t.Errorf("got a task %v with %d attempts, want it waiting with none", task.State, task.Attempts)
			}
		}
	})
}
