package delivery

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// partQueue is a sharedQueue of which a Runner sees only some destinations.
type partQueue struct {
	*sharedQueue
	sees func(destination string) bool
}

func (q *partQueue) Lanes(ctx context.Context) iter.Seq2[queue.LaneDue, error] {
	return func(yield func(queue.LaneDue, error) bool) {
		for d, err := range q.sharedQueue.Lanes(ctx) {
			if (err != nil || q.sees(d.Destination)) && !yield(d, err) {
				return
			}
		}
	}
}

func (q *partQueue) Watch(f func(queue.Lane, time.Time)) (stop func()) {
	return q.sharedQueue.Watch(func(l queue.Lane, due time.Time) {
		if q.sees(l.Destination) {
			f(l, due)
		}
	})
}

// wantRate checks that no window of a rate has more messages than it allows, those that fall into a tenth of a second
// aside, and that a part of the rate was used between two times.
func wantRate(t *testing.T, sent []time.Time, rate Rate, from, to time.Time, part float64) {
	t.Helper()
	first, used := 0, 0
	most := rate.Messages + 1 + int(0.2*float64(rate.Messages)/rate.Per.Seconds())
	for i := range sent {
		for sent[i].Sub(sent[first]) >= rate.Per {
			first++
		}
		if n := i - first + 1; n > most {
			t.Fatalf("%d messages went in %v, want %d at most", n, rate.Per, most)
		}
		if !sent[i].Before(from) && sent[i].Before(to) {
			used++
		}
	}
	whole := float64(rate.Messages) * float64(to.Sub(from)) / float64(rate.Per)
	t.Logf("%d messages of %.0f", used, whole)
	if float64(used) < part*whole {
		t.Errorf("%d messages went in %v, want %.0f %% of %.0f", used, to.Sub(from), 100*part, whole)
	}
}

// TestSharedUneven has several Runners share the rate of a tenant or a source, of which the first Runner has most mail
// and the others have some: at least 90 % of the rate is used.
func TestSharedUneven(t *testing.T) {
	tenant := func(r *Runner, rate Rate) { r.Tenant = rate }
	source := func(r *Runner, rate Rate) {
		r.Source, r.SourceOf = rate, func(*queue.Task) string { return "192.0.2.1" }
	}
	for _, tt := range []struct {
		name         string
		runners      int
		rate         Rate
		set          func(*Runner, Rate)
		destinations int           // of the first Runner
		every        time.Duration // a message for the others
	}{
		{"tenant, 2", 2, Rate{60, time.Minute}, tenant, 1, 10 * time.Second},
		{"tenant, 3", 3, Rate{60, time.Minute}, tenant, 1000, 10 * time.Second},
		{"tenant, 5", 5, Rate{60, time.Minute}, tenant, 1000, 5 * time.Second},
		{"tenant, 5, all at once", 5, Rate{60, time.Minute}, tenant, 1000, 0},
		{"tenant, 3, slow", 3, Rate{6, time.Minute}, tenant, 100, 50 * time.Second},
		{"tenant, 3, fast", 3, Rate{10, time.Second}, tenant, 1000, 3 * time.Second},
		{"tenant, 5, fast", 5, Rate{10, time.Second}, tenant, 1000, 2 * time.Second},
		{"source, 2", 2, Rate{60, time.Minute}, source, 1000, 10 * time.Second},
		{"source, 3", 3, Rate{60, time.Minute}, source, 1000, 3 * time.Second},
		{"source, 5", 5, Rate{20, time.Minute}, source, 10, 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, func() *Runner {
					r := new(Runner)
					tt.set(r, tt.rate)
					return r
				})
				f.work = func(_ context.Context, env *smtp.Envelope) []smtp.Result { return answer(env, smtp.Delivered, 250) }
				const span = 8 * time.Minute
				n := int(int64(tt.rate.Messages) * int64(span/tt.rate.Per) * 3 / 2)
				put := func(to string, at time.Duration) {
					m := mail(to)
					m.Tenant, m.NotBefore = "shop", time.Now().Add(at)
					enqueue(t, f.store, m)
				}
				for i := range n {
					put(fmt.Sprintf("to%d@hot%d.test", i, i%tt.destinations), 0)
				}
				for i := range tt.runners - 1 {
					for at := time.Duration(0); at < span && tt.every > 0; at += tt.every {
						put(fmt.Sprintf("to%v@cold%d.test", at, i+1), at+time.Duration(i)*time.Second)
					}
				}
				for i := range tt.runners {
					f.startSeeing(func(destination string) bool {
						if strings.HasPrefix(destination, "hot") {
							return i == 0 || tt.every == 0
						}
						return destination == fmt.Sprintf("cold%d.test", i)
					})
				}
				begun := time.Now()
				sleep(span)
				f.mu.Lock()
				defer f.mu.Unlock()
				var all []time.Time
				for _, sent := range f.sent {
					all = append(all, sent...)
				}
				slices.SortFunc(all, time.Time.Compare)
				wantRate(t, all, tt.rate, begun.Add(time.Minute), begun.Add(span), 0.9)
				t.Logf("by Runner %v; %d transactions", f.by, f.records.calls)
			})
		})
	}
}

// TestSharedRateCut has a Runner, alone with the rate of a tenant, lose the store for a minute: it sends nothing from 20
// seconds on, and goes on by itself after that.
func TestSharedRateCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, func() *Runner { return &Runner{Tenant: Rate{60, time.Minute}} })
		f.work = func(_ context.Context, env *smtp.Envelope) []smtp.Result { return answer(env, smtp.Delivered, 250) }
		for i := range 1000 {
			m := mail(fmt.Sprintf("to%d@x.test", i))
			m.Tenant = "shop"
			enqueue(t, f.store, m)
		}
		one := f.start()
		sleep(time.Minute)
		for _, lost := range []bool{false, true} {
			one.set(!lost, lost)
			sleep(30 * time.Second)
			before := f.count("x.test")
			sleep(30 * time.Second)
			if n := f.count("x.test") - before; n > 0 {
				t.Errorf("lost: %t: got %d messages sent without the store, want none", lost, n)
			}
			one.set(false, false)
			sleep(10 * time.Second)
			before = f.count("x.test")
			sleep(time.Minute)
			if n := f.count("x.test") - before; n < 54 {
				t.Errorf("lost: %t: got %d messages sent in a minute after that, want 60", lost, n)
			}
		}
	})
}
