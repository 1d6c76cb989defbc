package delivery

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// times returns when messages were sent to destinations that begin so, in order.
func (f *fleet) times(prefix string) (all []time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for to, sent := range f.sent {
		if strings.HasPrefix(to, prefix) {
			all = append(all, sent...)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return all
}

// wantWindow checks that there is no time of rate.Per, wherever it begins, in which more messages were sent than the
// docs of Rate allow, and extra ones. sent is sorted.
func wantWindow(t *testing.T, sent []time.Time, rate Rate, extra int) {
	t.Helper()
	const late = int64(200 * time.Millisecond)
	most := rate.Messages + max(1, int((late+rate.every()-1)/rate.every())) + extra
	first := 0
	for i := range sent {
		for sent[i].Sub(sent[first]) >= rate.Per {
			first++
		}
		if n := i - first + 1; n > most {
			t.Fatalf("%d messages went within %v, %v after the first, want %d at most",
				n, rate.Per, sent[first].Sub(sent[0]), most)
		}
	}
}

// wantUse checks that a part of the rate was used between two times.
func wantUse(t *testing.T, sent []time.Time, rate Rate, from, to time.Time, part float64) {
	t.Helper()
	used := 0
	for _, at := range sent {
		if !at.Before(from) && at.Before(to) {
			used++
		}
	}
	whole := float64(rate.Messages) * float64(to.Sub(from)) / float64(rate.Per)
	t.Logf("%d messages of %.0f: %.0f %%", used, whole, 100*float64(used)/whole)
	if float64(used) < part*whole {
		t.Errorf("%d messages went in %v, want %.0f %% of %.0f", used, to.Sub(from), 100*part, whole)
	}
}

// TestSharedRateUse has Runners share the rate of a tenant, of a source, or of both, with more mail than that: nearly all
// of it is used, and never more.
func TestSharedRateUse(t *testing.T) {
	minute := Rate{60, time.Minute}
	for _, tt := range []struct {
		name           string
		tenant, source Rate
		destinations   int
		span           time.Duration
		runners        []int
		part           float64
	}{
		{"tenant", minute, Rate{}, 100, 5 * time.Minute, []int{1, 2, 3, 5}, 0.9},
		{"one destination", minute, Rate{}, 1, 5 * time.Minute, []int{1, 3}, 0.9},
		{"1 a minute", Rate{1, time.Minute}, Rate{}, 100, 30 * time.Minute, []int{1, 3}, 0.9},
		{"6 a minute", Rate{6, time.Minute}, Rate{}, 100, 10 * time.Minute, []int{2, 5}, 0.85},
		{"10 a second", Rate{10, time.Second}, Rate{}, 50, 30 * time.Second, []int{1, 3}, 0.9},
		{"100 a second", Rate{100, time.Second}, Rate{}, 50, 40 * time.Second, []int{1, 3}, 0.9},
		{"source", Rate{}, Rate{20, time.Minute}, 10, 10 * time.Minute, []int{1, 3}, 0.9},
		{"both", minute, minute, 100, 3 * time.Minute, []int{1, 3, 5}, 0.9},
		{"both, the tenant's slower", Rate{600, time.Hour}, minute, 100, 10 * time.Minute, []int{1, 3}, 0.9},
		{"both, the source's slower", minute, Rate{600, time.Hour}, 100, 10 * time.Minute, []int{1, 5}, 0.8},
		{"both, nearly the same", minute, Rate{70, time.Minute}, 100, 3 * time.Minute, []int{1, 3}, 0.5},
	} {
		for _, runners := range tt.runners {
			t.Run(fmt.Sprintf("%s, %d Runners", tt.name, runners), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := rateFleet(t, func(r *Runner) { r.Tenant, r.Source = tt.tenant, tt.source })
					rate := tt.tenant
					if rate.every() < tt.source.every() {
						rate = tt.source
					}
					for i := range 20 + int(1.5*float64(tt.span)/float64(rate.every())) {
						f.put(fmt.Sprintf("to%d@d%d.test", i, i%tt.destinations), "shop", "192.0.2.1", 0)
					}
					for range runners {
						f.start()
					}
					begun := time.Now()
					sleep(tt.span)
					sent := f.times("")
					wantWindow(t, sent, rate, 0)
					wantUse(t, sent, rate, begun.Add(tt.span/10), begun.Add(tt.span), tt.part)
				})
			})
		}
	}
}

// TestSharedRateComeAndGo has Runners start, stop, die, lose the store and its answers, while they share rates. The
// store's clock steps: a step forward gives out slots anew that were given out Ahead of their time.
func TestSharedRateComeAndGo(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 2))
				rate, steps := Rate{60, time.Minute}, 0
				f := rateFleet(t, func(r *Runner) {
					if r.Tenant = rate; seed%2 == 1 {
						r.Source = Rate{70, time.Minute}
					}
				})
				for i := range 2500 {
					f.put(fmt.Sprintf("to%d@d%d.test", i, i%40), "shop", "192.0.2.1", 0)
				}
				alive := []*fleetMember{f.start(), f.start(), f.start()}
				begun := time.Now()
				for range 20 {
					sleep(time.Duration(30+r.IntN(60)) * time.Second)
					i := r.IntN(len(alive))
					switch m := alive[i]; r.IntN(6) {
					case 0, 1:
						m.kill()
						alive[i] = f.start()
					case 2:
						m.stop()
						alive[i] = f.start()
					case 3:
						m.set(true, false)
						sleep(time.Duration(r.IntN(60)) * time.Second)
						m.set(false, false)
					case 4:
						m.set(false, true)
						sleep(time.Duration(r.IntN(60)) * time.Second)
						m.set(false, false)
					case 5:
						f.records.mu.Lock()
						f.records.ahead += time.Duration(r.IntN(7200)-3600) * time.Second
						f.records.mu.Unlock()
						steps++
					}
				}
				sent := f.times("")
				extra := 0
				if steps > 0 {
					extra = 3 // in one time of rate.Per, there is one step at most
				}
				wantWindow(t, sent, rate, extra)
				part := 0.85
				if seed%2 == 1 {
					part = 0.5
				}
				wantUse(t, sent, rate, begun.Add(time.Minute), time.Now(), part)
			})
		})
	}
}
