package plans

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestPlans runs the whole relay through days of faults: hosts and the DNS fail in every way that smtptest knows,
// the relay stops and starts, operators interfere, funcs of the user panic; then all heals, and a [ledger] says whether all
// that was accepted came to its due end. A plan is drawn from its seed, but the order of goroutines isn't the seed's: a plan that fails
// is printed with what happened in it. POSTRIDER_PLANS is how many plans there are, and POSTRIDER_SEED the first.
func TestPlans(t *testing.T) {
	n, first := 40, 1
	if testing.Short() {
		n = 10
	}
	for name, value := range map[string]*int{"POSTRIDER_PLANS": &n, "POSTRIDER_SEED": &first} {
		if s := os.Getenv(name); s != "" {
			var err error
			if *value, err = strconv.Atoi(s); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
	begin := time.Now()
	var virtual, mails, attempts, panics atomic.Int64
	t.Run("plans", func(t *testing.T) {
		for seed := range n {
			t.Run(strconv.Itoa(first+seed), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					begin := time.Now()
					p := drawPlan(uint64(first + seed))
					w := runPlan(t, p, double{})
					if found := w.ledger.judge(); len(found) > 0 {
						t.Errorf("got:\n%s\n%s%s", lines(found), p, w.ledger.history(found))
					}
					virtual.Add(int64(time.Since(begin)))
					mails.Add(int64(len(p.mails)))
					attempts.Add(int64(w.ledger.attempts))
					panics.Add(p.panics.n.Load())
				})
			})
		}
	})
	if panics.Load() == 0 && n > 2 {
		t.Error("got no panics in any plan")
	}
	t.Logf("%d plans: %d mails, %d attempts and %d panics in %d virtual days, in %v of real time", n, mails.Load(), attempts.Load(),
		panics.Load(), time.Duration(virtual.Load())/(24*time.Hour), time.Since(begin).Round(time.Millisecond))
}

// world is a plan that runs. Its steps are taken by one goroutine.
type world struct {
	t      *testing.T
	plan   *plan
	double double
	inet   *smtptest.Network
	hosts  map[string]*smtptest.Host
	dir    string
	queue  queue.Queue // what the relay has
	spool  *spool.Spool
	relay  *postrider.Relay
	end    context.CancelFunc // of what runs; nil: nothing does
	ended  chan error
	sends  sync.WaitGroup
	ledger *ledger
}

const (
	// settleTime is how long after all has healed everything must be settled: the longest wait of a schedule is four hours, for
	// who is on a blocklist, and a site that was down is probed within 22 minutes.
	settleTime = 6 * time.Hour

	// stopTime is how long a stop may take: the server gives transactions 30 seconds.
	stopTime = 31 * time.Second
)

// runPlan takes the steps of p, has all heal and waits until all should be over.
func runPlan(t *testing.T, p *plan, with double) *world {
	w := &world{t: t, plan: p, double: with, inet: smtptest.NewNetwork(t), hosts: make(map[string]*smtptest.Host), ledger: newLedger(p)}
	for _, h := range p.hosts {
		host := w.inet.Host(h.name)
		host.Without(h.without...)
		host.Link(h.latency, 0)
		w.hosts[h.name] = host
	}
	w.hosts[spare] = w.inet.Host(spare)
	for domain, hosts := range p.domains {
		for _, host := range hosts {
			w.inet.MX(domain, host)
		}
	}
	if p.disk {
		w.dir = t.TempDir()
	} else {
		w.queue = with.wrap(mem.New())
	}
	w.renew()
	w.start()
	begin := time.Now()
	for _, s := range p.steps {
		if s.at > p.end {
			continue // its other half is done by heal
		}
		time.Sleep(time.Until(begin.Add(s.at)))
		w.ledger.note("- %s", s.what)
		s.do(w)
	}
	time.Sleep(time.Until(begin.Add(p.end)))
	w.heal()
	time.Sleep(settleTime)
	w.sends.Wait()
	w.left()
	time.Sleep(6 * 24 * time.Hour) // nothing more may come
	w.stop(true)
	for _, host := range w.hosts {
		for _, m := range host.Messages() {
			w.ledger.received(host.Name(), m)
		}
	}
	w.ledger.missed(w.runner().Missed())
	if w.spool != nil {
		w.spool.Close()
	}
	return w
}

// heal ends all that the steps did, and makes the relay run.
func (w *world) heal() {
	w.ledger.note("- all heals")
	w.plan.panics.healed.Store(true)
	for _, host := range w.hosts {
		host.Heal()
		w.inet.FailDNS(host.Name(), smtptest.NoFault)
	}
	w.start()
	for domain := range w.plan.domains {
		w.inet.FailDNS(domain, smtptest.NoFault)
		w.runner().Suspend(time.Time{}, domain)
		w.redirect(domain, false)
	}
	w.operate(w.runner().Release(w.t.Context(), queue.Filter{}))
}

// left notes what is in the queue when it should be empty.
func (w *world) left() {
	for task, err := range w.queue.(queue.Lister).List(w.t.Context(), queue.Filter{}) {
		if err != nil {
			w.t.Fatal(err)
		}
		w.ledger.left(task)
	}
}

// renew makes a new Relay and, on a disk, opens the queue, as a new process does.
func (w *world) renew() {
	if w.plan.disk {
		if w.spool != nil {
			if err := w.spool.Close(); err != nil {
				w.t.Errorf("close: %v", err)
			}
		}
		spool, err := spool.Open(w.dir)
		if err != nil {
			w.t.Fatal(err)
		}
		w.spool, w.queue = spool, w.double.wrap(spool)
	}
	w.relay = newRelay(w.inet)
	w.relay.Queue = w.queue
	w.relay.Allow = allowAll
	w.relay.Events = w.ledger.events()
	w.relay.Accepted = func(a postrider.Accepted) { w.ledger.accepted(a.Envelope, false) }
	w.plan.panics.plant(w.relay)
	if err := w.relay.Check(w.t.Context()); err != nil { // which also makes its Runner one to operate
		w.t.Fatal(err)
	}
	w.double.change(w.relay)
}

// start has the relay run, if it doesn't.
func (w *world) start() {
	if w.end != nil {
		return
	}
	l, err := w.inet.Listen("relay.test:25")
	if err != nil {
		w.t.Fatal(err)
	}
	w.ledger.starts()
	ctx, end := context.WithCancel(w.t.Context())
	ended, relay := make(chan error, 1), w.relay
	go func() { ended <- relay.Serve(ctx, l) }()
	w.end, w.ended = end, ended
}

// stop has the relay stop, if it runs. Unless the same is to run again, another takes its place.
func (w *world) stop(again bool) {
	if w.end != nil {
		begin := time.Now()
		w.ledger.stops()
		w.end()
		if err := <-w.ended; err != nil {
			w.t.Errorf("Serve: %v", err)
		}
		if took := time.Since(begin); took > stopTime {
			w.t.Errorf("got a stop in %v, want %v at most", took, stopTime)
		}
		w.end = nil
	}
	if !again {
		w.sends.Wait()
		w.renew()
	}
}

// send hands a mail in and notes what came of it.
func (w *world) send(m *mail) {
	relay := w.relay
	w.sends.Go(func() {
		if !m.bySMTP {
			if _, err := relay.Send(w.t.Context(), m.env, smtp.NewReader(smtp.Text(m.body))); err != nil {
				w.ledger.note("%s: %v", m.name, err)
				return
			}
			w.ledger.accepted(m.env, true)
			return
		}
		sub := client.Submission{LeaveIncomplete: true, Addr: "relay.test:25", TLS: mx.TLSNone, Hostname: "program.test", Resolver: w.inet, DialContext: w.inet.DialContext}
		results, err := sub.Send(w.t.Context(), m.env, smtp.Text(m.body))
		if err != nil {
			w.ledger.note("%s: %v", m.name, err)
		}
		taken := *m.env
		taken.Recipients = nil
		for i, result := range results {
			if result.Outcome == smtp.Delivered {
				taken.Recipients = append(taken.Recipients, m.env.Recipients[i])
			}
		}
		w.ledger.accepted(&taken, true)
	})
}

// lines has one for each of s.
func lines[T any](s []T) string {
	out := ""
	for _, x := range s {
		out += fmt.Sprintln(" ", x)
	}
	return out
}
