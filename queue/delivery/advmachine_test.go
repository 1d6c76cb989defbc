package delivery

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// This file alone knows how a machine is driven. The rest of the simulator with an adversary goes by admission.

// advSite is the answer of the DNS about a destination.
type advSite struct {
	name  string
	addrs []netip.Addr
}

// admission decides what is attempted when. All calls are made by one goroutine, with times that don't go back.
type admission interface {
	wake(l queue.Lane, due, now time.Time)
	list(l queue.LaneDue, now time.Time)

	lookups(now time.Time) []string // destinations whose site is to be looked up
	abandoned(now time.Time) []string
	sited(dest string, s advSite, now time.Time)

	pick(now time.Time) []queue.Want
	claimed(f *advFlight, t *queue.Task, now time.Time) plan
	settleTurn()
	done(f *advFlight, v verdict, now time.Time)
	takeBack(now time.Time) []*advFlight

	next() time.Time // when to ask again without news; zero: never
}

// machineFlight is what a machine calls an attempt.
type machineFlight = flight

// advJudge says what the results of a task teach, and why they are open. host is the one of its site that said them, if
// it was one.
func advJudge(t *queue.Task, results []smtp.Result, took time.Duration, host netip.Addr) (verdict, smtp.Reason) {
	v, why := judge(results, took)
	if why == smtp.RateLimited || v.result.Reason == smtp.RateLimited {
		if host.IsValid() {
			results = slices.Clone(results)
			results[0].Addr = netip.AddrPortFrom(host, 25).String()
		}
		v.refusal = advRunner.refusalOf(t, results)
	}
	return v, why
}

// machineAdmission is a machine as a runnerLoop drives it.
type machineAdmission struct {
	m      *machine
	places int
	free   int
	grown  time.Time
	names  []string
	flying map[*flight]*advFlight
	back   []*advFlight
}

func newAdmission(seed uint64, begin time.Time) admission {
	rnd := rand.New(rand.NewPCG(seed, 3))
	r := new(Runner)
	m := newMachine(machineConfig{
		lease:    defaultLease,
		resolve:  true,
		site:     r.siteLimits,
		signerOf: r.signerOf,
		jitter:   func() float64 { return 2*rnd.Float64() - 1 },
	})
	m.base = begin.Add(-time.Hour)
	return &machineAdmission{
		m: m, places: defaultInitial, free: defaultInitial, grown: begin, flying: make(map[*flight]*advFlight),
	}
}

func (a *machineAdmission) wake(l queue.Lane, due, now time.Time) { a.m.wake(l, due, now) }

func (a *machineAdmission) list(l queue.LaneDue, now time.Time) { a.m.list(l, now) }

// lookups and abandoned do what askSites does.
func (a *machineAdmission) lookups(now time.Time) []string {
	a.names = a.names[:0]
	for {
		name, ok := a.m.toSite(now)
		if !ok {
			return a.names
		}
		a.names = append(a.names, name)
	}
}

func (a *machineAdmission) abandoned(now time.Time) []string { return a.m.overlong(now) }

func (a *machineAdmission) sited(dest string, s advSite, now time.Time) {
	a.m.sited(dest, Site{Name: s.name, Addrs: s.addrs}, now)
}

// pick does what receive and work do.
func (a *machineAdmission) pick(now time.Time) []queue.Want {
	if now.Sub(a.grown) >= growTime && (a.free <= 0 || a.m.lacks()) {
		a.grow(defaultInitial)
		a.grown = now
	}
	if a.free <= 0 {
		return nil
	}
	return a.m.pick(a.free, now)
}

func (a *machineAdmission) grow(n int) {
	n = min(n, defaultConcurrency-a.places)
	a.places += n
	a.free += n
}

func (a *machineAdmission) claimed(f *advFlight, t *queue.Task, now time.Time) plan {
	a.free--
	a.flying[&f.machine] = f
	return a.m.claimed(&f.machine, t, now)
}

func (a *machineAdmission) settleTurn() { a.m.settleTurn(false) }

func (a *machineAdmission) done(f *advFlight, v verdict, now time.Time) {
	delete(a.flying, &f.machine)
	a.m.done(&f.machine, v, time.Time{}, now)
	a.free++
	a.grow(1)
}

// takeBack does what work does.
func (a *machineAdmission) takeBack(now time.Time) []*advFlight {
	a.back = a.back[:0]
	if a.free <= 0 {
		for _, f := range a.m.takeBack(now) {
			a.back = append(a.back, a.flying[f])
		}
	}
	return a.back
}

func (a *machineAdmission) next() time.Time {
	next := a.m.next(a.free > 0)
	if a.free <= 0 && a.places < defaultConcurrency {
		next = earliest(next, a.grown.Add(growTime))
	}
	return next
}
