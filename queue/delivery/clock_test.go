package delivery

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/clocktest"
	"github.com/postrider/postrider/queue/internal/crashfs"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/smtp"
)

const day = 24 * time.Hour

func TestClock(t *testing.T) {
	for _, tt := range []struct {
		name  string
		looks []time.Duration // a step before each, and a minute
		steps int
		doubt time.Duration // at the last
	}{
		{"none", []time.Duration{0, 0, 0}, 0, 0},
		{"a minute", []time.Duration{time.Minute, 0}, 0, 0},
		{"forward", []time.Duration{0, time.Minute + time.Second}, 1, time.Hour},
		{"back", []time.Duration{0, -6 * day}, 1, time.Hour},
		{"and a minute later", []time.Duration{0, 6 * day, 0}, 1, 59 * time.Minute},
		{"forward and back", []time.Duration{0, 6 * day, 0, -6 * day}, 2, time.Hour},
		{"by and by", []time.Duration{0, 40 * time.Second, 40 * time.Second}, 1, time.Hour},
		{"the doubt ends", append([]time.Duration{0, 6 * day}, make([]time.Duration, 60)...), 1, 0},
		{"slowly, in a day", slices.Repeat([]time.Duration{0, 0, time.Second}, 480), 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var at clocktest.Clock
				var c clock
				var doubt time.Time
				var steps int
				for _, step := range tt.looks {
					time.Sleep(time.Minute)
					at.Step(step)
					doubt, steps = c.look(at.Now())
				}
				var got time.Duration
				if !doubt.IsZero() {
					got = doubt.Sub(at.Now().Round(0))
				}
				if steps != tt.steps || got != tt.doubt {
					t.Errorf("got %d steps and doubt for %v, want %d and %v", steps, got, tt.steps, tt.doubt)
				}
			})
		})
	}
}

// clocked is a machine whose clock is stepped: a directory, and hosts that defer all until they are well.
type clocked struct {
	*testing.T
	clock clocktest.Clock
	disk  *crashfs.FS[spool.File]
	begun time.Time
	well  atomic.Bool
	journal
}

func (c *clocked) open() *spool.Spool {
	c.Helper()
	q, err := (&spool.Options{FS: c.disk, Now: c.clock.Now}).Open("memory")
	if err != nil {
		c.Fatal(err)
	}
	return q
}

// run has a Runner at work that writes into the journal, after how many hours.
func (c *clocked) run(q *spool.Spool) (stop func()) {
	c.Helper()
	hours := func() int { return int(time.Since(c.begun).Round(time.Hour).Hours()) }
	stopRunner := start(c.T, &Runner{
		Queue: q, now: c.clock.Now, Retry: []time.Duration{10 * time.Minute},
		Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
			if c.well.Load() {
				c.add("%d delivered", hours())
				return answer(env, smtp.Delivered, 250)
			}
			return answer(env, smtp.Deferred, 451)
		}),
		Report: func(_ context.Context, o Occasion) ([]queue.Message, error) {
			if o.Expired {
				c.add("%d expired", hours())
			}
			if o.Delayed {
				c.add("%d delayed", hours())
			}
			return nil, nil
		},
	})
	return func() {
		stopRunner()
		if err := q.Close(); err != nil {
			c.Error(err)
		}
	}
}

// mail is a message with the Deadline and the notice of a Relay.
func (c *clocked) mail() queue.Message {
	m := mail("to@x.test")
	now := c.clock.Now()
	m.NoticeAt, m.Deadline = now.Add(4*time.Hour), now.Add(5*day)
	return m
}

// claimOne claims the only task for an hour.
func claimOne(t *testing.T, q queue.Queue) queue.Task {
	t.Helper()
	var wants []queue.Want
	for l, err := range q.Lanes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		wants = append(wants, queue.Want{Lane: l.Lane, Max: 1})
	}
	tasks, err := q.Claim(t.Context(), wants, time.Hour)
	if err != nil || len(tasks) != 1 {
		t.Fatalf("got %d tasks and %v, want one", len(tasks), err)
	}
	return tasks[0]
}

func TestClockSteps(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(c *clocked)
		want string
	}{
		{"forward, and back within the hour", func(c *clocked) {
			q := c.open()
			defer c.run(q)()
			enqueue(c.T, q, c.mail())
			sleep(time.Hour)
			c.clock.Step(6 * day)
			sleep(50 * time.Minute)
			c.clock.Step(-6 * day)
			sleep(7*time.Hour + 10*time.Minute)
			c.well.Store(true)
			sleep(day)
		}, "4 delayed\n9 delivered"},
		{"forward for good", func(c *clocked) {
			q := c.open()
			defer c.run(q)()
			enqueue(c.T, q, c.mail())
			sleep(time.Hour)
			c.clock.Step(6 * day)
			sleep(day)
		}, "2 expired"},
		{"forward before the first attempt", func(c *clocked) {
			q := c.open()
			defer c.run(q)()
			m := c.mail()
			sleep(time.Hour)
			c.clock.Step(6 * day)
			enqueue(c.T, q, m)
			sleep(45 * time.Minute) // whatever the jitter, the next attempt ends before the doubt does
			c.well.Store(true)
			sleep(day)
		}, "2 delivered"},
		{"back", func(c *clocked) {
			q := c.open()
			defer c.run(q)()
			c.clock.Step(6 * day)
			enqueue(c.T, q, c.mail())
			sleep(time.Hour)
			c.clock.Step(-6 * day)
			c.well.Store(true)
			sleep(10 * day)
		}, "1 delivered"},
		{"back while it is deferred", func(c *clocked) {
			q := c.open()
			defer c.run(q)()
			enqueue(c.T, q, c.mail())
			sleep(2 * time.Hour)
			c.clock.Step(-30 * day)
			sleep(2 * time.Hour)
			c.well.Store(true)
			sleep(3 * time.Hour)
		}, "4 delivered"},
		{"mail was taken while it was ahead, before a restart", func(c *clocked) {
			c.clock.Step(6 * day)
			q := c.open()
			stop := c.run(q)
			enqueue(c.T, q, c.mail()) // deferred
			sleep(time.Hour)
			stop()
			q = c.open()
			enqueue(c.T, q, c.mail()) // not tried
			if err := q.Close(); err != nil {
				c.Fatal(err)
			}
			c.clock.Step(-6 * day)
			c.well.Store(true)
			q = c.open()
			defer c.run(q)()
			sleep(time.Minute)
			wantEmpty(c.T, q)
		}, "1 delivered\n1 delivered"},
		{"and is handed back", func(c *clocked) {
			c.clock.Step(6 * day)
			q := c.open()
			enqueue(c.T, q, c.mail())
			task := claimOne(c.T, q)
			s, _ := handBack(task, cutShort(task.Envelope), c.clock.Now())
			if err := q.Settle(c.Context(), task.Lease, s); err != nil {
				c.Fatal(err)
			}
			c.clock.Step(-6 * day)
			c.well.Store(true)
			defer c.run(q)()
			sleep(time.Minute)
		}, "0 delivered"},
		{"of scheduled mail, back", func(c *clocked) {
			q := c.open()
			defer c.run(q)()
			m := c.mail()
			m.Postpone(c.begun.Add(30 * day))
			enqueue(c.T, q, m)
			sleep(day)
			c.clock.Step(-2 * day)
			c.well.Store(true)
			sleep(40 * day)
		}, "768 delivered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &clocked{T: t, disk: crashfs.New[spool.File](nil), begun: time.Now()}
				tt.do(c)
				if got := c.all(); got != tt.want {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want)
				}
			})
		})
	}
}

// TestRunnerScheduled has mail for in 30 days, whose Deadline counts from then.
func TestRunnerScheduled(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(m *queue.Message, at time.Time)
		last    time.Duration // when the last attempt may be
		want    string
	}{
		{"postponed", func(m *queue.Message, at time.Time) {
			m.NoticeAt, m.Deadline = time.Now().Add(4*time.Hour), time.Now().Add(5*day)
			m.Postpone(at)
		}, 35 * day, "720 attempt\n724 delayed\n840 expired"},
		{"transactional", func(m *queue.Message, at time.Time) {
			m.MakeTransactional(time.Hour)
			m.Postpone(at)
		}, 0, "720 attempt\n721 expired"},
		{"scheduled, then transactional", func(m *queue.Message, at time.Time) {
			m.NotBefore = at
			m.MakeTransactional(time.Hour)
		}, 0, "720 attempt\n721 expired"},
		{"a notice before that", func(m *queue.Message, at time.Time) {
			m.NotBefore, m.NoticeAt, m.Deadline = at, time.Now().Add(4*time.Hour), at.Add(day)
		}, 0, "720 attempt\n744 expired"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := mem.New()
				begun := time.Now()
				m := mail("to@x.test")
				tt.prepare(&m, begun.Add(30*day))
				enqueue(t, q, m)
				j := new(journal)
				hours := func() int { return int(time.Since(begun).Round(time.Hour).Hours()) }
				var gaps []time.Duration
				var last time.Time
				start(t, &Runner{
					Queue: q,
					Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
						if last.IsZero() {
							j.add("%d attempt", hours())
						} else {
							gaps = append(gaps, time.Since(last))
						}
						last = time.Now()
						return answer(env, smtp.Deferred, 451)
					}),
					Report: func(_ context.Context, o Occasion) ([]queue.Message, error) {
						if o.Expired {
							j.add("%d expired", hours())
						}
						if o.Delayed {
							j.add("%d delayed", hours())
						}
						return nil, nil
					},
				})
				sleep(100 * day)
				if got := j.all(); got != tt.want {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want)
				}
				// An eighth of an hour, and a tenth of that.
				if m.Priority > 0 && slices.Max(gaps) > 8*time.Minute+15*time.Second {
					t.Errorf("got waits of %v, want none over an eighth of the time from NotBefore to the Deadline", gaps)
				}
			})
		})
	}
}

// deafQueue is a Waker that loses all that it has to tell.
type deafQueue struct{ *faultyQueue }

func (deafQueue) Watch(func(queue.Lane, time.Time)) (stop func()) { return func() {} }

// TestRunnerLosesNews has a Runner that hears of nothing: it finds all mail within minutes, and so it does with mail whose lease ends
// that was granted to another.
func TestRunnerLosesNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := deafQueue{&faultyQueue{Queue: mem.New()}}
		enqueue(t, q.Queue, mail("leased@a.test"))
		claimOne(t, q.Queue)
		var mu sync.Mutex
		tries := map[string][]time.Duration{}
		begun := time.Now()
		start(t, &Runner{Queue: q, Retry: []time.Duration{time.Hour}, Sender: senderFunc(
			func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
				mu.Lock()
				defer mu.Unlock()
				to := env.Recipients[0].Address
				if tries[to] = append(tries[to], time.Since(begun)); to == "deferred@b.test" && len(tries[to]) == 1 {
					return answer(env, smtp.Deferred, 451)
				}
				return answer(env, smtp.Delivered, 250)
			})})
		sleep(time.Second)
		enqueue(t, q.Queue, mail("one@b.test"), mail("deferred@b.test"))
		for range 30 { // more than there are places
			enqueue(t, q.Queue, mail("many@c.test"))
		}
		later := mail("later@c.test")
		later.NotBefore = begun.Add(day)
		enqueue(t, q.Queue, later)
		sleep(6 * time.Minute)
		if got := len(held(t, q)); got != 3 {
			t.Errorf("got %d tasks left after six minutes, want those that are leased, deferred and for later", got)
		}
		sleep(2 * day)
		wantEmpty(t, q)
		const most = 6 * time.Minute
		for to, due := range map[string]time.Duration{"leased@a.test": time.Hour, "later@c.test": day} {
			if len(tries[to]) != 1 || tries[to][0]-due > most {
				t.Errorf("%s: got tries after %v, want one after %v", to, tries[to], due)
			}
		}
		if got := tries["deferred@b.test"]; len(got) != 2 || got[1]-got[0] > 66*time.Minute+most {
			t.Errorf("got tries after %v, want two with an hour between them", got)
		}
		if got, most := q.lists.Load(), int64(2*day/relistInterval)+2; got > most {
			t.Errorf("got %d lists in two days, want %d at most", got, most)
		}
	})
}

// TestRunnerRelists has a queue that asks for a list, and one that has an error in a settlement, which ends a lease unheard.
func TestRunnerRelists(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var fail atomic.Bool
		q := &askingQueue{faultyQueue: faultyQueue{Queue: mem.New()}}
		q.faultyQueue.fail = func(op string) error {
			if op == "settle" && fail.Swap(false) {
				return queue.ErrLeaseLost
			}
			return nil
		}
		start(t, &Runner{Queue: q, Sender: take(0)})
		sleep(time.Second)
		for i, cause := range []func(){
			func() { q.ask(queue.Lane{}, time.Time{}) },
			func() {
				fail.Store(true)
				enqueue(t, q.Queue, mail("to@heard.test"))
				var heard queue.Lane
				for l := range q.Queue.Lanes(t.Context()) {
					if l.Destination == "heard.test" {
						heard = l.Lane
					}
				}
				q.ask(heard, time.Time{})
			},
		} {
			enqueue(t, q.Queue, mail("to@unheard.test"))
			cause()
			sleep(time.Second + longestPause)
			for _, task := range held(t, q) {
				if task.Destination == "unheard.test" {
					t.Errorf("cause %d: got mail left that a list would have shown", i)
				}
			}
		}
	})
}

// askingQueue is a Waker that tells what it is told to.
type askingQueue struct {
	faultyQueue
	ask func(queue.Lane, time.Time)
}

func (q *askingQueue) Watch(f func(queue.Lane, time.Time)) (stop func()) {
	q.ask = f
	return func() {}
}

// endlessQueue ends a Runner that claims without end.
type endlessQueue struct {
	*mem.Queue
	claims int
}

func (q *endlessQueue) Claim(ctx context.Context, wants []queue.Want, lease time.Duration) ([]queue.Task, error) {
	if q.claims++; q.claims > 1000 {
		return nil, queue.ErrClosed
	}
	return q.Queue.Claim(ctx, wants, lease)
}

// TestBroughtForward: a clock is blamed for long waits only if it was seen to step back. After a restart, a Sender may
// have held the message back, or a schedule been longer.
func TestBroughtForward(t *testing.T) {
	for _, tt := range []struct {
		name    string
		restart bool
		want    string
	}{
		{"after a restart", true, "level=INFO msg=\"retries were put off for longer than any schedule does, and are due now\""},
		{"after a step", false, "level=WARN msg=\"retries were put off by a clock that was ahead\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var clock clocktest.Clock
				var log strings.Builder
				var well atomic.Bool
				q := mem.New()
				sender := senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
					if well.Load() {
						return answer(env, smtp.Delivered, 250)
					}
					return answer(env, smtp.Deferred, 451)
				})
				enqueue(t, q, mail("to@x.test"))
				if tt.restart {
					task := claimOne(t, q)
					s := queue.Settlement{Results: answer(task.Envelope, smtp.Deferred, 451), Next: time.Now().Add(20 * time.Hour)}
					if err := q.Settle(t.Context(), task.Lease, s); err != nil {
						t.Fatal(err)
					}
				} else {
					clock.Step(6 * day)
				}
				stop := start(t, &Runner{Queue: q, now: clock.Now, Sender: sender, Logger: textLogger(&log)})
				sleep(time.Minute)
				if well.Store(true); !tt.restart {
					clock.Step(-6 * day)
				}
				sleep(day)
				wantEmpty(t, q)
				stop()
				if got := log.String(); !strings.Contains(got, tt.want) || tt.restart && strings.Contains(got, "clock") {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestRunnerQueueAhead has a Queue whose clock is ahead of the Runner's: what it returns too early is handed back at a
// measured pace, and sent when it is time. Other mail goes out.
func TestRunnerQueueAhead(t *testing.T) {
	const ahead = 10 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		q := &endlessQueue{Queue: mem.New()}
		begun := time.Now()
		m := mail("later@x.test")
		m.NotBefore = begun.Add(time.Hour)
		enqueue(t, q, m)
		var mu sync.Mutex
		sent := map[string]time.Duration{}
		start(t, &Runner{
			Queue: q, now: func() time.Time { return time.Now().Add(-ahead) },
			Sender: senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
				mu.Lock()
				defer mu.Unlock()
				sent[env.Recipients[0].Address] = time.Since(begun)
				return answer(env, smtp.Delivered, 250)
			})})
		sleep(65 * time.Minute)
		enqueue(t, q, mail("now@x.test"), mail("now@y.test"))
		sleep(time.Hour)
		wantEmpty(t, q)
		for to, at := range map[string]time.Duration{
			"later@x.test": time.Hour + ahead, "now@x.test": 65 * time.Minute, "now@y.test": 65 * time.Minute,
		} {
			if got := sent[to]; got < at-skew || got > at+2*skew {
				t.Errorf("%s is sent after %v, want %v", to, got, at)
			}
		}
		if q.claims > 100 {
			t.Errorf("got %d claims, want a few a minute", q.claims)
		}
	})
}

// TestUntriedInDoubt has the clock set between the claim of a task that isn't sent and its notice or expiry: nothing is
// told to anybody, and the task stays.
func TestUntriedInDoubt(t *testing.T) {
	for _, step := range []step{stepNotice, stepExpire} {
		synctest.Test(t, func(t *testing.T) {
			q := mem.New()
			m := mail("to@x.test")
			m.NoticeAt, m.Deadline = time.Now().Add(time.Minute), time.Now().Add(time.Hour)
			enqueue(t, q, m)
			var c clocktest.Clock
			r := &Runner{Queue: q, now: c.Now, Report: func(context.Context, Occasion) ([]queue.Message, error) {
				t.Error("got a report")
				return nil, nil
			}}
			r.doubt(r.time())
			wants := []queue.Want{{Lane: held(t, q)[0].Lane(), Max: 1}}
			tasks, err := q.Claim(t.Context(), wants, time.Hour)
			if err != nil || len(tasks) != 1 {
				t.Fatalf("got %v, %v, want a task", tasks, err)
			}
			d := &delivery{r: r, task: tasks[0], plan: plan{step: step}, logger: r.logger()}
			c.Step(day)
			if lapse := d.untried(t.Context()); !lapse.IsZero() {
				t.Errorf("got it to wait for the end of its lease")
			}
			if got := held(t, q); len(got) != 1 || got[0].State != queue.Waiting || got[0].NoticeAt.IsZero() {
				t.Errorf("got %+v, want the task to wait", got)
			}
		})
	}
}

// TestNextNotBefore has the clock set back during an attempt: the next one isn't before NotBefore by the new time.
func TestNextNotBefore(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		notBefore, want time.Duration
	}{
		{-time.Hour, 5 * time.Minute},
		{time.Minute, 5 * time.Minute},
		{31 * time.Hour, 31 * time.Hour},
	} {
		task := queue.Task{
			Arrival: now.Add(-day), NotBefore: now.Add(tt.notBefore), Due: now.Add(tt.notBefore), Attempts: 1,
			Envelope: smtp.NewEnvelope("from@a.test", "to@x.test"),
		}
		d := &delivery{r: &Runner{now: func() time.Time { return now }}, task: task}
		_, s, o := d.ended(answer(task.Envelope, smtp.Deferred, 451), nil, 0, false, 0)
		if got := s.Next.Sub(now); got != tt.want || !o.Next.Equal(s.Next) {
			t.Errorf("NotBefore in %v: got the next attempt in %v, want %v", tt.notBefore, got, tt.want)
		}
	}
}
