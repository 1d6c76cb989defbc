package delivery

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// lateQueue is a Mem whose answers to Claim and Extend come late: the lease has run for some time then.
type lateQueue struct {
	*mem.Queue
	claim, extend time.Duration // what they take

	mu      sync.Mutex
	begun   time.Time // the first Claim that had a task
	extends []time.Time
}

func (q *lateQueue) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	begun := time.Now()
	tasks, err := q.Queue.Claim(ctx, wants, lease)
	if len(tasks) > 0 {
		q.mu.Lock()
		if q.begun.IsZero() {
			q.begun = begun
		}
		q.mu.Unlock()
		time.Sleep(q.claim)
	}
	return tasks, err
}

func (q *lateQueue) Extend(ctx context.Context, l queue.Lease, d time.Duration) error {
	q.mu.Lock()
	q.extends = append(q.extends, time.Now())
	q.mu.Unlock()
	err := q.Queue.Extend(ctx, l, d)
	time.Sleep(q.extend)
	return err
}

// renewed returns when the lease was renewed, from the beginning of its Claim.
func (q *lateQueue) renewed() (at []time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.extends {
		at = append(at, t.Sub(q.begun))
	}
	return at
}

// TestLeaseCountsFromCall has a Queue that grants and renews leases, and answers after most of their time: each is counted from the
// call, so that none is lost.
func TestLeaseCountsFromCall(t *testing.T) {
	for _, test := range []struct {
		name          string
		claim, extend time.Duration
		first, second time.Duration // renewals, from the Claim
	}{
		{"at once", 0, 0, 20 * time.Second, 40 * time.Second},
		{"late claim", 50 * time.Second, 0, 50 * time.Second, 70 * time.Second},
		{"late renewal", 0, 30 * time.Second, 20 * time.Second, 50 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &lateQueue{Queue: mem.New(), claim: test.claim, extend: test.extend}
				enqueue(t, q, mail("a@x.test"))
				j := new(journal)
				start(t, &Runner{Queue: q, Sender: take(10 * time.Minute), Lease: time.Minute, Events: j.events()})
				sleep(15 * time.Minute)
				if got, want := j.all(), "delivered a@x.test 250"; got != want {
					t.Errorf("got events %q, want %q", got, want)
				}
				at := q.renewed()
				if len(at) < 2 || at[0] != test.first || at[1] != test.second {
					t.Errorf("got renewals %v, want them from %v and %v on", at, test.first, test.second)
				}
				wantEmpty(t, q)
			})
		})
	}
}

// TestLeaseStops has no lease renewed after stop, which waits for a renewal under way.
func TestLeaseStops(t *testing.T) {
	for _, test := range []struct {
		name    string
		at      time.Duration // of the stop
		took    time.Duration
		renewed int
		expires time.Duration
	}{
		{"before the first", 10 * time.Second, 0, 0, time.Minute},
		{"during the first", 22 * time.Second, 3 * time.Second, 1, 80 * time.Second},
		{"after it", 30 * time.Second, 0, 1, 80 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &lateQueue{Queue: mem.New(), extend: 5 * time.Second}
				enqueue(t, q, mail("a@x.test"))
				var lane queue.Lane
				for l, err := range q.Lanes(t.Context()) {
					if err != nil {
						t.Fatal(err)
					}
					lane = l.Lane
				}
				tasks, err := q.Claim(t.Context(), []queue.Want{{Lane: lane, Max: 1}}, time.Minute)
				if err != nil || len(tasks) != 1 {
					t.Fatalf("got %v and %v", tasks, err)
				}
				claimed := time.Now()
				k := leaseKeeper{r: &Runner{Queue: q}, task: &tasks[0], term: time.Minute, until: claimed.Add(time.Minute)}
				k.keep(t.Context(), func(err error) { t.Errorf("got the lease lost: %v", err) })
				sleep(test.at)
				begun := time.Now()
				k.stop()
				if took := time.Since(begun); took != test.took {
					t.Errorf("got a stop in %v, want %v", took, test.took)
				}
				k.renew(t.Context(), nil) // its timer was over when it was stopped
				sleep(10 * time.Minute)
				if got := k.expires().Sub(claimed); got != test.expires {
					t.Errorf("got the end of the lease %v after the Claim, want %v", got, test.expires)
				}
				if n := len(q.renewed()); n != test.renewed {
					t.Errorf("got %d renewals, want %d", n, test.renewed)
				}
			})
		})
	}
}

// TestFlushDuringAttempt flushes a destination while its mail is being sent, and is deferred then: it is sent again at once, and
// only once more.
func TestFlushDuringAttempt(t *testing.T) {
	for _, name := range []string{"x.test", "", "y.test"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := mem.New()
				enqueue(t, q, mail("a@x.test"))
				j := new(journal)
				r := &Runner{
					Queue: q, Retry: []time.Duration{time.Hour}, Events: j.events(),
					Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
						time.Sleep(10 * time.Second)
						return answer(env, smtp.Deferred, 450)
					}),
				}
				start(t, r)
				sleep(5 * time.Second)
				if _, _, err := r.Flush(t.Context(), name); err != nil {
					t.Fatal(err)
				}
				sleep(40 * time.Minute)
				want := "deferred a@x.test 450"
				if name != "y.test" {
					want += "\n" + want
				}
				if got := j.all(); got != want {
					t.Errorf("got\n%s\nwant\n%s", got, want)
				}
			})
		})
	}
}
