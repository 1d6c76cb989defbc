package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/permits"
	"github.com/postrider/postrider/queue/mem"
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

// wantRate checks how many messages were sent since begun.
func (f *fleet) wantRate(rate Rate, begun time.Time, use float64, over int) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	sent := f.sent["x.test"]
	first := 0
	for i := range sent {
		for sent[i].Sub(sent[first]) >= rate.Per {
			first++
		}
		if n := i - first + 1; n > rate.Messages+over {
			f.t.Fatalf("%d messages went in %v, want %d at most", n, rate.Per, rate.Messages+over)
		}
	}
	all := float64(time.Since(begun)) / float64(rate.every())
	if got := float64(len(sent)) / all; got < use {
		f.t.Errorf("%.2f of the rate was used, by Runner %v, want %.2f", got, f.by, use)
	}
}

// TestSharedRateUse has Runners that take mail of the same lanes use the rate of a tenant, or those of a tenant and a
// source.
func TestSharedRateUse(t *testing.T) {
	for _, tt := range []struct {
		rate    Rate
		runners int
		both    bool
		most    int // at a time at the site
		use     float64
	}{
		{Rate{60, time.Minute}, 1, false, 20, 0.98},
		{Rate{60, time.Minute}, 1, true, 1, 0.98},
		{Rate{60, time.Minute}, 2, false, 20, 0.85},
		{Rate{60, time.Minute}, 2, true, 8, 0.85},
		{Rate{60, time.Minute}, 3, true, 2, 0.7},
		{Rate{60, time.Minute}, 3, false, 20, 0.85},
		{Rate{60, time.Minute}, 5, false, 20, 0.85},
		{Rate{60, time.Minute}, 5, false, 1, 0.65},
		{Rate{600, time.Minute}, 3, false, 20, 0.8},
	} {
		t.Run(fmt.Sprintf("%v, %d Runners, %d at a time, two rates %v", tt.rate, tt.runners, tt.most, tt.both), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := rateFleet(t, func(r *Runner) {
					r.Tenant, r.Site.Concurrency = tt.rate, tt.most
					if tt.both {
						r.Source = Rate{2 * tt.rate.Messages, tt.rate.Per}
					}
				})
				for i := range 12 * tt.rate.Messages {
					f.put(fmt.Sprintf("to%d@x.test", i), "shop", "192.0.2.1", 0)
				}
				for range tt.runners {
					f.start()
				}
				begun := time.Now()
				sleep(8 * time.Minute)
				f.wantRate(tt.rate, begun, tt.use, tt.runners+int(2*slack/tt.rate.every()))
			})
		})
	}
}

// TestSharedRateApart has each Runner take mail of its own, as those of a pgqueue do: they use the rate by their mail.
func TestSharedRateApart(t *testing.T) {
	for _, tt := range []struct {
		name  string
		flows []float64 // the mail of each Runner, in parts of the rate
		use   float64
	}{
		{"one has all", []float64{2, 0, 0}, 0.98},
		{"two", []float64{2, 2}, 0.95},
		{"five", []float64{2, 2, 2, 2, 2}, 0.95},
		{"nine to one", []float64{0.9, 0.1}, 0.85},
		{"one with much beside some with little", []float64{2, 0.05, 0.05, 0.02}, 0.8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const minutes = 10
				rate := Rate{60, time.Minute}
				f := rateFleet(t, func(r *Runner) { r.Tenant = rate })
				for k, flow := range tt.flows {
					f.store = mem.New()
					n := int(flow * minutes * float64(rate.Messages))
					for i := range n {
						m := mail(fmt.Sprintf("to%d-%d@x.test", k, i))
						m.Tenant = "shop"
						if flow < 1 {
							m.NotBefore = time.Now().Add(minutes * time.Minute * time.Duration(i) / time.Duration(n))
						}
						enqueue(t, f.store, m)
					}
					f.start()
				}
				begun := time.Now()
				sleep(minutes * time.Minute)
				f.wantRate(rate, begun, tt.use, len(tt.flows))
			})
		})
	}
}

// TestSharedRateComeAndGo has Runners start, stop, die and lose the store while a tenant has a rate: in no time are more
// messages sent than it allows, and one for each Runner of that time.
func TestSharedRateComeAndGo(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 4))
			rate := Rate{12, time.Minute}
			f := rateFleet(t, func(r *Runner) { r.Tenant = rate })
			for i := range 2000 {
				f.put(fmt.Sprintf("to%d@d%d.test", i, i%3), "shop", "", 0)
			}
			alive := []*fleetMember{f.start(), f.start(), f.start()}
			begun := time.Now()
			for range 60 {
				sleep(time.Duration(30+r.IntN(60)) * time.Second)
				i := r.IntN(len(alive))
				switch m := alive[i]; r.IntN(5) {
				case 0:
					m.kill()
					alive[i] = f.start()
				case 1:
					m.stop()
					alive[i] = f.start()
				case 2:
					m.set(true, false)
					sleep(time.Duration(r.IntN(60)) * time.Second)
					m.set(false, false)
				case 3:
					m.set(false, true)
					sleep(time.Duration(r.IntN(60)) * time.Second)
					m.set(false, false)
				case 4:
					f.records.mu.Lock()
					f.records.ahead += time.Duration(r.IntN(7200)-3600) * time.Second
					f.records.mu.Unlock()
				}
			}
			var sent []time.Time
			for d := range 3 {
				sent = append(sent, f.sent[fmt.Sprintf("d%d.test", d)]...)
			}
			took := time.Since(begun)
			use := float64(len(sent)) * float64(rate.every()) / float64(took)
			worst := 0
			slices.SortFunc(sent, time.Time.Compare)
			for _, d := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute} {
				first := 0
				for i := range sent {
					for sent[i].Sub(sent[first]) >= d {
						first++
					}
					worst = max(worst, i-first+1-int(d/time.Duration(rate.every())))
				}
			}
			if worst > 4 || use < 0.8 {
				t.Errorf("seed %d: %.2f of the rate was used, and %d more messages sent than it allows; want 0.8, 4 at most",
					seed, use, worst)
			}
		})
	}
}

// TestSharedRateMoves has a Runner use a rate alone and then send nothing more: another one with mail soon has the rate.
func TestSharedRateMoves(t *testing.T) {
	for _, rate := range []Rate{{60, time.Minute}, {12, time.Minute}, {600, time.Minute}} {
		t.Run(rate.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := rateFleet(t, func(r *Runner) { r.Tenant = rate })
				for k := range 2 {
					f.store = mem.New()
					f.start()
					if k > 0 {
						sleep(5 * time.Second)
					}
					for i := range (k + 1) * rate.Messages {
						f.put(fmt.Sprintf("to%d-%d@x.test", k, i), "shop", "", 0)
					}
					if k == 0 {
						sleep(2 * time.Minute)
					}
				}
				sleep(10*time.Second + 4*time.Duration(rate.every()))
				before := f.count("x.test")
				sleep(time.Minute)
				if got, want := f.count("x.test")-before, rate.Messages*9/10; got < want {
					t.Errorf("a Runner sent %d messages in a minute while the other has none, want %d", got, want)
				}
			})
		})
	}
}

// TestSharedRateFast has rates of more than one message in a tenth of a second.
func TestSharedRateFast(t *testing.T) {
	for _, runners := range []int{1, 3} {
		for _, rate := range []Rate{{20, time.Second}, {200, time.Second}} {
			t.Run(fmt.Sprintf("%v, %d Runners", rate, runners), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := rateFleet(t, func(r *Runner) { r.Tenant = rate })
					for i := range 15 * rate.Messages {
						f.put(fmt.Sprintf("to%d@x.test", i), "shop", "", 0)
					}
					for range runners {
						f.start()
					}
					sleep(12 * time.Second)
					if got, want := f.count("x.test"), 12*rate.Messages*8/10; got < want {
						t.Errorf("got %d messages sent in 12 s, want %d", got, want)
					}
				})
			})
		}
	}
}

// TestSharedRateManyTenants has more tenants at once than some turns have records: the first message of each goes soon.
func TestSharedRateManyTenants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const tenants = 3000
		f := rateFleet(t, func(r *Runner) { r.Tenant = Rate{1, 24 * time.Hour} })
		for i := range 2 * tenants {
			f.put(fmt.Sprintf("to%d@x.test", i), fmt.Sprint("shop", i%tenants), "", 0)
		}
		f.start()
		sleep(30 * time.Second)
		if got := f.count("x.test"); got != tenants {
			t.Errorf("got %d messages sent, want one of each of %d tenants", got, tenants)
		}
	})
}

// TestSharedRateLost has the answer lost of the turn in which a Runner gets the units of a rate that another one has used
// up. It doesn't send with them before the rate allows a message.
func TestSharedRateLost(t *testing.T) {
	m := newMachine(machineConfig{
		shares: func() uint64 { return 2 },
		tenant: func(string) Rate { return Rate{1, time.Minute} },
	})
	now := m.base.Add(time.Minute)
	book := permits.Book{Until: now.Add(time.Minute).UnixNano()}
	records := map[string][]byte{"rate of tenant shop": book.Write(now)}
	task := &queue.Task{Tenant: "shop", Arrival: now, Due: now}
	for _, err := range []error{errCut, errCut, nil} {
		m.at(now)
		m.admit(task, now)
		m.shared.next = 0
		turn := m.beginShare(now)
		if turn == nil {
			t.Fatal("got no turn")
		}
		if err := turn.apply(now, m.mono, records); err != nil {
			t.Fatal(err)
		}
		m.endShare(turn, err, now)
		now = now.Add(5 * time.Second)
	}
	m.at(now)
	q := m.shared.lots["rate of tenant shop"]
	got := time.Duration(q.share.tat - m.mono)
	if want := 45 * time.Second; q.permits == 0 || (got-want).Abs() > time.Millisecond {
		t.Errorf("got %d units, and the next message after %v, want some, after %v", q.permits, got, want)
	}
}

// TestSharedLostFirst has the answer lost of the first turn of the only Runner: it has a site's only connection as soon
// as the store answers again.
func TestSharedLostFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, oneAtATime)
		f.fill(1, "x.test")
		f.start().set(false, true)
		sleep(5 * time.Second)
		f.all[0].set(false, false)
		sleep(5 * time.Second)
		if n := f.count("x.test"); n != 1 {
			t.Errorf("got %d messages sent 5 s after the store answers again, want 1", n)
		}
	})
}

// TestSharedLostNumber: a Runner keeps its number of a turn whose answer was lost, but no longer than others do.
func TestSharedLostNumber(t *testing.T) {
	made := uint64(0)
	m := newMachine(machineConfig{shares: func() uint64 { made++; return made }})
	for _, tt := range []struct {
		after time.Duration // since the first turn
		err   error
		want  uint64
	}{
		{0, errCut, 1}, {time.Second, errCut, 1}, {permits.Hold - 1, errCut, 1}, {permits.Hold, errCut, 2},
		{permits.Hold + time.Second, nil, 2}, {permits.Hold + time.Minute, nil, 3},
	} {
		m.shared.urgent, m.shared.next = true, 0
		now := m.base.Add(time.Minute + tt.after)
		turn := m.beginShare(now)
		if turn == nil || turn.number != tt.want {
			t.Fatalf("after %v: got the turn %+v, want one with the number %d", tt.after, turn, tt.want)
		}
		if err := turn.apply(now, m.mono, map[string][]byte{}); err != nil {
			t.Fatal(err)
		}
		m.endShare(turn, tt.err, now)
	}
}
