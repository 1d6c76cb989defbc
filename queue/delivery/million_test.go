package delivery

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/index"
	"github.com/postrider/postrider/smtp"
)

// bareQueue is the index that Mem and Spool have, and nothing else: it keeps times, and counts what would be written.
type bareQueue struct {
	watch  index.Watchers
	mu     sync.Mutex
	ix     *index.Index[struct{}, struct{}]
	to     []smtp.Recipient
	last   uint64
	writes atomic.Int64
}

func newBareQueue() *bareQueue {
	return &bareQueue{ix: index.New[struct{}, struct{}](nil), to: smtp.NewEnvelope("", "to@x.test").Recipients}
}

func (q *bareQueue) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	q.mu.Lock()
	q.last++
	s := &index.Message{ID: q.last, Dests: m.Destinations, NotBefore: m.NotBefore.UnixNano(), Notice: index.Never, Deadline: index.Never}
	q.ix.Add(s, struct{}{})
	q.mu.Unlock()
	q.watch.TellNew(s)
	return index.FormatID(s.ID), nil
}

func (q *bareQueue) Lanes(ctx context.Context) iter.Seq2[queue.LaneDue, error] {
	return index.Lanes(&q.mu, q.ix, func() error { return nil })
}

func (q *bareQueue) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) (tasks []queue.Task, err error) {
	q.mu.Lock()
	granted, next := q.ix.Claim(wants, lease)
	q.mu.Unlock()
	index.TellClaimed(&q.watch, granted, time.Now().Add(lease), next)
	for _, c := range granted {
		c.Lease.Recipients.Store(1)
		// What its Sender wants to know.
		task := c.Bare()
		task.Envelope = &smtp.Envelope{From: task.Destination, EnvID: strconv.FormatInt(task.Due.UnixNano(), 10), Recipients: q.to}
		tasks = append(tasks, task)
	}
	return tasks, nil
}

func (q *bareQueue) Extend(ctx context.Context, l queue.Lease, d time.Duration) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, _, err := q.ix.Extend(l, d)
	return err
}

func (q *bareQueue) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	q.writes.Add(1)
	q.mu.Lock()
	begun, c, err := q.ix.Find(l)
	if err == nil {
		q.ix.Begin(begun)
		if index.SettlesAll(&s) {
			q.ix.Done(begun)
		} else {
			q.ix.Retry(begun, s.Next.UnixNano(), index.Never, c.Attempts, struct{}{})
		}
	}
	q.mu.Unlock()
	if err == nil && !index.SettlesAll(&s) {
		q.watch.Tell(s.Next, c.Lane)
	}
	return err
}

func (q *bareQueue) Open(ctx context.Context, id queue.ID) (queue.Body, error) {
	return noBody{strings.NewReader("")}, nil
}

type noBody struct{ *strings.Reader }

func (noBody) Close() error { return nil }

// TestDeadDomain has mail for many domains, at 200 hosts that each take one message a second and get four in five seconds,
// and as much mail again for one domain whose host answers nobody. That one changes nothing for the others, and costs nothing.
// POSTRIDER_MILLION=1000000 says how much mail there is.
func TestDeadDomain(t *testing.T) {
	besideDead(t, 60_000, false)
}

// TestDeadDomainLearned is TestDeadDomain where each host has a learned rate, the dead one too. That of the living ones
// binds at times.
func TestDeadDomainLearned(t *testing.T) {
	besideDead(t, 20_000, true)
}

func besideDead(t *testing.T, total int, learned bool) {
	if s := os.Getenv("POSTRIDER_MILLION"); s != "" {
		var err error
		if total, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	alone := deadDomain(t, total, false, learned)
	beside := deadDomain(t, total, true, learned)
	t.Logf("99 %% of the others waited at most %v alone, %v beside the dead domain", alone, beside)
	if beside > alone*11/10 {
		t.Errorf("got %v, want at most a tenth more than %v", beside, alone)
	}
}

// deadDomain gives the time that 99 % of the living domains' mail waited at most.
func deadDomain(t *testing.T, total int, dead, learned bool) (p99 time.Duration) {
	const hosts, places, service, dies = 200, 250, time.Second, 30 * time.Second
	domains := total / 10
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(1, 1))
		q := newBareQueue()
		begun := time.Now()
		enqueue := func(domain string, at time.Duration) {
			q.Enqueue(t.Context(), queue.Message{Destinations: []string{domain}, NotBefore: begun.Add(at)})
		}
		names := make([]string, domains)
		for i := range names {
			names[i] = fmt.Sprintf("domain%d.test", i)
		}
		span := time.Duration(total/2) * service * 10 / (8 * hosts)
		for range total / 2 {
			enqueue(names[rnd.IntN(domains)], time.Minute+time.Duration(rnd.Int64N(int64(span))))
		}
		if dead {
			for range total / 2 {
				enqueue("dead.test", 0)
			}
		}
		before := heapOctets()
		var mu sync.Mutex
		var waits []time.Duration
		var tried atomic.Int64
		var most atomic.Int64
		r := &Runner{
			Queue: q, Concurrency: places, Retry: []time.Duration{30 * 24 * time.Hour},
			SiteFor: func(site string) SiteLimits {
				if site == "dead.test" {
					return SiteLimits{}
				}
				return SiteLimits{Concurrency: 1}
			},
			SiteOf: func(ctx context.Context, destination string) (Site, error) {
				if n, ok := strings.CutPrefix(destination, "domain"); ok {
					i, _ := strconv.Atoi(strings.TrimSuffix(n, ".test"))
					return Site{Name: fmt.Sprintf("host%d", i%hosts)}, nil
				}
				return Site{Name: destination}, nil
			},
		}
		r.Sender = senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			most.Store(max(most.Load(), int64(runtime.NumGoroutine())))
			if env.From == "dead.test" {
				tried.Add(1)
				select {
				case <-time.After(dies):
				case <-ctx.Done():
				}
				return []smtp.Result{{Stage: smtp.StageConnect, Local: true, Reply: smtp.NewReply(451, "", "no answer")}}
			}
			due, _ := strconv.ParseInt(env.EnvID, 10, 64)
			wait := time.Since(time.Unix(0, due))
			mu.Lock()
			waits = append(waits, wait)
			mu.Unlock()
			time.Sleep(service)
			return []smtp.Result{{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "", "")}}
		})
		if learned {
			for i := range hosts {
				r.Learned = append(r.Learned, LearnedRate{Site: fmt.Sprintf("host%d", i), Of: "address", Level: 3600, Used: begun})
			}
			r.Learned = append(r.Learned, LearnedRate{Site: "dead.test", Of: "address", Level: 3600, Used: begun})
		}
		stop := start(t, r)
		sleep(time.Second)
		size := int64(heapOctets() - before)
		sleep(span + 2*time.Minute)
		stop()
		slices.Sort(waits)
		if len(waits) != total/2 {
			t.Errorf("got %d of the living domains' messages sent, want %d", len(waits), total/2)
		}
		p99 = waits[len(waits)*99/100]
		t.Logf("%d messages, %d domains, %v: %d octets of the Runner a domain at the start; half waited %v, 99 %% %v; %d attempts at the dead one; %d writes; %d goroutines at most",
			total, domains, span.Round(time.Second), size/int64(domains), waits[len(waits)/2], p99, tried.Load(), q.writes.Load(), most.Load())
		if size/int64(domains) > 300 {
			t.Errorf("got %d octets a domain, want 300 at most", size/int64(domains))
		}
		if n := q.writes.Load() - int64(len(waits)); n > tried.Load() && !learned { // a rate puts mail off
			t.Errorf("got %d writes for the dead domain, want one for each of %d attempts", n, tried.Load())
		}
		if probes := int64(span/(18*time.Minute)) + 20; tried.Load() > probes {
			t.Errorf("got %d attempts at the dead domain, want %d at most", tried.Load(), probes)
		}
		if n := most.Load(); n > places*3 {
			t.Errorf("got %d goroutines, want few more than the %d places", n, places)
		}
	})
	return p99
}

func (q *bareQueue) Watch(f func(queue.Lane, time.Time)) (stop func()) { return q.watch.Watch(f) }

func heapOctets() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}
