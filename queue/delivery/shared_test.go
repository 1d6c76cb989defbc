package delivery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// sharedRecords are the records of a store that several Runners share.
type sharedRecords struct {
	mu      sync.Mutex
	records map[string][]byte
	calls   int
	ahead   time.Duration // of the store's clock
}

// sharedQueue is a Queue on a store that several Runners share, as one of them sees it.
type sharedQueue struct {
	*mem.Queue
	*sharedRecords
	lag  time.Duration // of each call
	mu   sync.Mutex
	cut  bool // the store can't be reached
	lost bool // it is stored, and the answer lost

	claims time.Duration // what each Claim takes
}

func (q *sharedQueue) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	time.Sleep(q.claims)
	return q.Queue.Claim(ctx, wants, lease)
}

// soloQueue is a Queue that shares nothing.
type soloQueue struct {
	*mem.Queue
	claims time.Duration // what each Claim takes
}

func (q soloQueue) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	time.Sleep(q.claims)
	return q.Queue.Claim(ctx, wants, lease)
}

var errCut = errors.New("the store can't be reached")

// slow has each call take so long, and its answer too.
func (q *sharedQueue) slow(lag time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lag = lag
}

func (q *sharedQueue) Share(ctx context.Context, names []string, f func(time.Time, map[string][]byte) error) error {
	q.mu.Lock()
	lag, cut, lost := q.lag, q.cut, q.lost
	q.mu.Unlock()
	time.Sleep(lag)
	if cut {
		return errCut
	}
	err := q.sharedRecords.share(names, f)
	time.Sleep(lag)
	if lost {
		return errCut
	}
	return err
}

func (s *sharedRecords) share(names []string, f func(time.Time, map[string][]byte) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	got := map[string][]byte{}
	for _, name := range names {
		if data, ok := s.records[name]; ok {
			got[name] = slices.Clone(data)
		}
	}
	if err := f(time.Now().Add(s.ahead), got); err != nil {
		return err
	}
	for _, name := range names {
		delete(s.records, name)
	}
	maps.Copy(s.records, got)
	return nil
}

// fleet is several Runners on one store. Its Sender notes how many connections there are.
type fleet struct {
	t       *testing.T
	store   *mem.Queue
	records *sharedRecords
	solo    bool          // nothing is shared
	claims  time.Duration // what each Claim takes
	make    func() *Runner
	work    func(ctx context.Context, env *smtp.Envelope) []smtp.Result

	mu        sync.Mutex
	now, most map[string]int // connections of a site
	sent      map[string][]time.Time
	to        map[string]int // how often each recipient was sent to
	by        map[int]int    // messages by Runner
	all       []*fleetMember
}

// fleetMember is one Runner of a fleet.
type fleetMember struct {
	*Runner
	queue *sharedQueue
	dead  chan struct{}
	stop  func()
}

func newFleet(t *testing.T, make func() *Runner) *fleet {
	f := &fleet{
		t: t, store: mem.New(), records: &sharedRecords{records: map[string][]byte{}}, make: make,
		now: map[string]int{}, most: map[string]int{}, sent: map[string][]time.Time{}, to: map[string]int{},
		by: map[int]int{},
	}
	f.work = func(ctx context.Context, env *smtp.Envelope) []smtp.Result {
		select {
		case <-ctx.Done():
			return cutShort(env)
		case <-time.After(time.Second):
			return answer(env, smtp.Delivered, 250)
		}
	}
	return f
}

// start starts a Runner.
func (f *fleet) start() *fleetMember {
	q := &sharedQueue{Queue: f.store, sharedRecords: f.records, lag: 5 * time.Millisecond, claims: f.claims}
	r := f.make()
	m := &fleetMember{Runner: r, queue: q, dead: make(chan struct{})}
	f.mu.Lock()
	number := len(f.all)
	f.all = append(f.all, m)
	f.mu.Unlock()
	if r.Queue = q; f.solo {
		r.Queue = soloQueue{f.store, f.claims}
	}
	r.Sender = senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
		_, site, _ := strings.Cut(env.Recipients[0].Address, "@")
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() { // a process that dies loses its connections
			select {
			case <-ctx.Done():
			case <-m.dead:
				cancel()
			}
		}()
		f.mu.Lock()
		f.now[site]++
		f.most[site] = max(f.most[site], f.now[site])
		f.sent[site] = append(f.sent[site], time.Now())
		f.to[env.Recipients[0].Address]++
		f.by[number]++
		f.mu.Unlock()
		results := f.work(ctx, env)
		f.mu.Lock()
		f.now[site]--
		f.mu.Unlock()
		return results
	})
	ctx, stop := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		stop()
		if err := <-done; err != nil {
			f.t.Errorf("Run: %v", err)
		}
	})
	f.t.Cleanup(m.stop)
	return m
}

// kill ends a Runner as a crash does: it says nothing to the store any more.
func (m *fleetMember) kill() {
	m.set(true, false)
	close(m.dead)
	m.stop()
}

func (m *fleetMember) set(cut, lost bool) {
	m.queue.mu.Lock()
	defer m.queue.mu.Unlock()
	m.queue.cut, m.queue.lost = cut, lost
}

// fill enqueues n messages to a site, from several senders.
func (f *fleet) fill(n int, site string) {
	for i := range n {
		m := mail(fmt.Sprintf("to%d@%s", i, site))
		m.Envelope.From = fmt.Sprintf("from%d@sender.test", i%7)
		enqueue(f.t, f.store, m)
	}
}

// count returns how many messages a site got.
func (f *fleet) count(site string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sent[site])
}

func (f *fleet) wantMost(site string, want int) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := f.most[site]; got != want {
		f.t.Errorf("%s had %d connections at a time, want %d", site, got, want)
	}
}

func oneAtATime() *Runner { return &Runner{Site: SiteLimits{Concurrency: 1}} }

// TestSharedOne has three Runners share a site that takes one connection: there is never another, each Runner gets its
// turn, and nearly as much is sent as one Runner alone sends.
func TestSharedOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, oneAtATime)
		f.fill(5000, "x.test")
		for range 3 {
			f.start()
		}
		sleep(30 * time.Minute)
		got := f.count("x.test")
		f.wantMost("x.test", 1)
		if got < 30*60*8/10 {
			t.Errorf("%d messages were sent in 30 minutes, want 80 %% of the 1,800 of one Runner", got)
		}
		for i := range 3 {
			if f.by[i] < got/5 {
				t.Errorf("Runner %d sent %d messages of %d, want a third", i, f.by[i], got)
			}
		}
		t.Logf("%d of 1,800 messages, by Runner: %v; %d transactions", got, f.by, f.records.calls)
	})
}

// TestSharedComeAndGo has Runners start, stop, die and lose the store while a site takes one connection.
func TestSharedComeAndGo(t *testing.T) {
	for seed := range uint64(3) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			f := newFleet(t, oneAtATime)
			f.fill(6000, "x.test")
			alive := []*fleetMember{f.start(), f.start(), f.start()}
			const minutes = 60
			for range minutes {
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
				}
			}
			f.wantMost("x.test", 1)
			f.mu.Lock()
			defer f.mu.Unlock()
			sent := f.sent["x.test"]
			took := sent[len(sent)-1].Sub(sent[0]).Seconds()
			if float64(len(sent)) < 0.8*took {
				t.Errorf("seed %d: %d attempts in %.0f s, want 80 %% of one a second", seed, len(sent), took)
			}
			t.Logf("seed %d: %d attempts in %.0f s", seed, len(sent), took)
		})
	}
}

// TestSharedRate has three Runners share the rate of a site, of a tenant and of a source: no window has more.
func TestSharedRate(t *testing.T) {
	for _, tt := range []struct {
		name string
		rate Rate
		set  func(r *Runner, rate Rate)
		part float64 // of the rate, that is used at least
		over int     // messages beyond the rate: one for each further Runner
	}{
		{"site", Rate{60, time.Minute}, func(r *Runner, rate Rate) { r.Site.Rate = rate }, 0.8, 0},
		{"site, slow", Rate{1, time.Minute}, func(r *Runner, rate Rate) { r.Site.Rate = rate }, 0.8, 0},
		{"site, fast", Rate{600, time.Minute}, func(r *Runner, rate Rate) { r.Site.Rate = rate }, 0.8, 0},
		{"tenant", Rate{60, time.Minute}, func(r *Runner, rate Rate) { r.Tenant = rate }, 0.8, 2},
		{"source", Rate{10, time.Minute}, func(r *Runner, rate Rate) {
			r.Source, r.SourceOf = rate, func(*queue.Task) string { return "192.0.2.1" }
		}, 0.8, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, func() *Runner {
					r := new(Runner)
					tt.set(r, tt.rate)
					return r
				})
				f.work = func(_ context.Context, env *smtp.Envelope) []smtp.Result { return answer(env, smtp.Delivered, 250) }
				const minutes = 30
				n := 2 * minutes * tt.rate.Messages
				for i := range n {
					m := mail(fmt.Sprintf("to%d@x.test", i))
					m.Tenant = "shop"
					enqueue(t, f.store, m)
				}
				for range 3 {
					f.start()
				}
				sleep(10 * time.Minute)
				f.all[0].kill()
				f.start()
				sleep((minutes - 10) * time.Minute)
				f.mu.Lock()
				defer f.mu.Unlock()
				sent := f.sent["x.test"]
				first := 0
				most := tt.rate.Messages + 1 + tt.over + int(0.2*float64(tt.rate.Messages)/tt.rate.Per.Seconds())
				for i := range sent {
					for sent[i].Sub(sent[first]) >= tt.rate.Per {
						first++
					}
					if n := i - first + 1; n > most {
						t.Fatalf("%d messages went in %v, want %d at most", n, tt.rate.Per, most)
					}
				}
				if want := int(tt.part * float64(minutes*tt.rate.Messages)); len(sent) < want {
					t.Errorf("%d messages went in %d minutes, want %d", len(sent), minutes, want)
				}
				t.Logf("%d of %d messages, by Runner %v; %d transactions", len(sent), minutes*tt.rate.Messages, f.by,
					f.records.calls)
			})
		})
	}
}

// TestSharedRateSlow has few messages of a tenant with a slow rate: each of them takes the slot that the store gives.
func TestSharedRateSlow(t *testing.T) {
	for _, tt := range []struct {
		rate     Rate
		runners  int
		atOnce   int           // messages
		apart    time.Duration // then, two come each
		messages int
		within   time.Duration
	}{
		{Rate{6, time.Hour}, 1, 6, 0, 6, 51 * time.Minute},
		{Rate{24, 24 * time.Hour}, 1, 6, 0, 6, 5*time.Hour + time.Minute},
		{Rate{6, time.Hour}, 3, 6, 0, 6, 4 * time.Hour},
		{Rate{30, time.Hour}, 1, 0, 8 * time.Minute, 60, 4 * time.Hour},
		{Rate{30, time.Hour}, 2, 0, 8 * time.Minute, 60, 7 * time.Hour},
	} {
		t.Run(fmt.Sprintf("%v, %d Runners, %d at once", tt.rate, tt.runners, tt.atOnce), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, func() *Runner { return &Runner{Tenant: tt.rate} })
				f.work = func(_ context.Context, env *smtp.Envelope) []smtp.Result { return answer(env, smtp.Delivered, 250) }
				put := func(n int) {
					for i := range n {
						m := mail(fmt.Sprintf("to%d@x.test", i))
						m.Tenant = "shop"
						enqueue(t, f.store, m)
					}
				}
				put(tt.atOnce)
				for range tt.runners {
					f.start()
				}
				begun := time.Now()
				for n := tt.atOnce; n < tt.messages; n += 2 {
					put(2)
					sleep(tt.apart)
				}
				sleep(tt.within - time.Since(begun))
				f.mu.Lock()
				defer f.mu.Unlock()
				if got := len(f.sent["x.test"]); got != tt.messages {
					t.Errorf("%d of %d messages went within %v", got, tt.messages, tt.within)
				}
			})
		})
	}
}

// TestSharedUnreachable cuts one of two Runners off from the store, while a site takes one connection and an attempt
// takes a minute: what is under way is cut off before the other one sends, and both say what they wait for.
func TestSharedUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, oneAtATime)
		f.work = func(ctx context.Context, env *smtp.Envelope) []smtp.Result {
			return take(10*time.Minute)(ctx, env, nil)
		}
		f.fill(2, "x.test")
		first := f.start()
		sleep(time.Second)
		second := f.start()
		sleep(3 * time.Second)
		a := second.Activity().Sites
		if len(a) != 1 || a[0].Permits != 0 || a[0].Elsewhere != 1 {
			t.Errorf("got the activity %+v, want no permit here and one elsewhere", a)
		}
		wantWhy(t, second.Runner, f, "Other Runners have 1 of the 1 tasks that may be in flight at its site.")
		first.set(true, false)
		sleep(25 * time.Second)
		if first.Activity().NotShared == nil || second.Activity().NotShared != nil {
			t.Errorf("got %v and %v for NotShared", first.Activity().NotShared, second.Activity().NotShared)
		}
		if n := first.Activity().InFlight; n != 0 {
			t.Errorf("%d tasks are in flight without the store for 25 s, want none", n)
		}
		wantWhy(t, first.Runner, f, "the queue can't be asked: the store can't be reached")
		sleep(15 * time.Second)
		if n := second.Activity().InFlight; n != 1 {
			t.Errorf("%d tasks are in flight at the other Runner, want 1", n)
		}
		f.wantMost("x.test", 1)
		first.set(false, false)
		sleep(time.Hour)
		wantEmpty(t, f.store)
		f.wantMost("x.test", 1)
	})
}

// wantWhy checks that a Runner explains the wait of a message with these words.
func wantWhy(t *testing.T, r *Runner, f *fleet, want string) {
	t.Helper()
	var all []string
	for task, err := range f.store.List(t.Context(), queue.Filter{State: queue.Waiting}) {
		if err != nil {
			t.Fatal(err)
		}
		ex, err := r.Explain(t.Context(), task.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range ex {
			if all = append(all, e.Why); strings.Contains(e.Why, want) {
				return
			}
		}
	}
	t.Errorf("got the explanations %q, want %q", all, want)
}

// TestSharedLearned has one of two Runners refused for its rate: the other one pauses, too, and one that starts later.
func TestSharedLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, func() *Runner { return new(Runner) })
		refused := time.Time{}
		f.work = func(_ context.Context, env *smtp.Envelope) []smtp.Result {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.by[0] == 20 && refused.IsZero() { // by the first Runner
				refused = time.Now()
				results := answer(env, smtp.Deferred, 421)
				results[0].Reply = smtp.NewReply(421, "4.7.28", "Our system has detected an unusual rate of mail "+
					"originating from your DKIM domain. To protect our users, mail has been temporarily rate limited.")
				results[0].Reason, results[0].Stage = smtp.RateLimited, smtp.StageData
				return results
			}
			return answer(env, smtp.Delivered, 250)
		}
		one := f.start()
		two := f.start()
		for i := range 5000 {
			m := mail(fmt.Sprintf("to%d@x.test", i))
			m.FromDomain = "sender.test"
			m.NotBefore = time.Now().Add(time.Duration(i) * 100 * time.Millisecond)
			enqueue(t, f.store, m)
		}
		sleep(time.Minute)
		if refused.IsZero() {
			t.Fatal("nothing was refused")
		}
		if a, b := one.LearnedRates(), two.LearnedRates(); len(a) == 0 || len(b) != len(a) {
			t.Errorf("got %d learned rates at the Runner that was refused and %d at the other, want as many", len(a), len(b))
		}
		late := f.start()
		sleep(3 * time.Minute)
		for _, at := range f.sent["x.test"] {
			if d := at.Sub(refused); d > 2100*time.Millisecond && d < 5*time.Minute {
				t.Fatalf("a message was sent %v after a refusal, want a pause of 5 minutes", d)
			}
		}
		if n := len(late.LearnedRates()); n == 0 {
			t.Errorf("a Runner that starts later knows no learned rate")
		}
	})
}

// TestSharedSlowStore has transactions that take longer than attempts.
func TestSharedSlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, func() *Runner { return &Runner{Site: SiteLimits{Concurrency: 4, Initial: 4}} })
		f.work = func(ctx context.Context, env *smtp.Envelope) []smtp.Result {
			return take(130*time.Millisecond)(ctx, env, nil)
		}
		f.fill(8000, "x.test")
		for range 5 {
			f.start().queue.slow(700 * time.Millisecond)
			sleep(7 * time.Second)
		}
		sleep(2 * time.Minute)
		f.wantMost("x.test", 4)
	})
}

// TestSharedFreeze begins a transaction while permits are unused: until its end, no more are used than then, as the
// record may have no more.
func TestSharedFreeze(t *testing.T) {
	m := newMachine(machineConfig{
		site:   func(string) SiteLimits { return SiteLimits{Concurrency: 4, Initial: 4} },
		shares: func() uint64 { return 1 },
	})
	s := &site{name: "x", limits: m.site("x"), held: 1}
	m.bindLot(s)
	s.lot.permits, s.lot.booked, s.lot.contested = 4, 4, true
	m.shared.urgent, m.shared.renewed = true, 0
	now := m.base.Add(time.Second)
	turn := m.beginShare(now)
	if turn == nil || m.permitted(s) != 1 {
		t.Fatalf("%d tasks may be in flight during a transaction, want 1", m.permitted(s))
	}
	m.endShare(turn, errCut, now)
	if m.permitted(s) != 1 {
		t.Errorf("%d tasks may be in flight after a transaction of which nobody knows the end, want 1", m.permitted(s))
	}
}

// TestSharedTurns: with thousands of new sites that want permits, a site that lately took mail quickly gets its permits
// in the first turn, and so does a tenant its slots.
func TestSharedTurns(t *testing.T) {
	var due []*lot
	for i := range 5000 {
		due = append(due, &lot{name: fmt.Sprintf("site a%d", i), site: new(site), made: int64(i)})
	}
	known := []*lot{
		{name: "site z", site: &site{proven: true}, turned: 6000},
		{name: "tenant z", made: 7000},
	}
	first := firstLots(append(due, known...))
	if len(first) != maxTurn || !slices.Contains(first, known[0]) || !slices.Contains(first, known[1]) {
		t.Errorf("got a turn of %d without the known ones, want one of %d with them", len(first), maxTurn)
	}
	if !slices.Contains(first, due[0]) && !slices.Contains(first, due[maxTurn-3]) {
		t.Error("got none of the new sites in the turn")
	}
	for i := range 5000 {
		due[i] = &lot{name: fmt.Sprintf("site a%d", i), site: &site{proven: true}, made: int64(i)}
	}
	rare := &lot{name: "site new", site: new(site), made: 9000}
	if first := firstLots(append(due, rare)); len(first) != maxTurn || !slices.Contains(first, rare) {
		t.Error("got no new site in a turn beside thousands of known ones")
	}
}
