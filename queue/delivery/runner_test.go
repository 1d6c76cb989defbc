package delivery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// TestRunnerDeadHost follows one message to a dead host to its end, and its reports.
func TestRunnerDeadHost(t *testing.T) {
	begun := time.Now()
	synctest.Test(t, testRunnerDeadHost)
	t.Logf("five days took %v", time.Since(begun))
}

func testRunnerDeadHost(t *testing.T) {
	const lifetime, notice = 5 * 24 * time.Hour, 4 * time.Hour
	arrival := time.Now()
	q := &faultyQueue{Queue: mem.New()}
	m := mail("to@dead.test")
	m.NoticeAt, m.Deadline = arrival.Add(notice), arrival.Add(lifetime)
	enqueue(t, q, m)

	var attempts []time.Duration
	var reports, notices, expiries []time.Duration
	start(t, &Runner{
		Queue: q,
		Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			if env.From == "" {
				reports = append(reports, time.Since(arrival))
				return answer(env, smtp.Delivered, 250)
			}
			attempts = append(attempts, time.Since(arrival))
			return answer(env, smtp.Deferred, 451)
		}),
		Report: func(ctx context.Context, o Occasion) ([]queue.Message, error) {
			if o.Task.Envelope.From == "" {
				return nil, nil
			}
			if o.Content == nil || len(o.Results) != 1 || o.Results[0].Reply.Code != 451 {
				t.Errorf("got Content %v and Results %v, want the message and its 451", o.Content, o.Results)
			}
			switch {
			case o.Delayed && !o.Expired && o.Next.After(time.Now()):
				notices = append(notices, time.Since(arrival))
			case o.Expired && !o.Delayed && o.Next.IsZero():
				expiries = append(expiries, time.Since(arrival))
			default:
				t.Errorf("got an occasion Delayed %v, Expired %v, Next %v", o.Delayed, o.Expired, o.Next)
			}
			report := mail("from@sender.test")
			report.Envelope.From = ""
			return []queue.Message{report}, nil
		},
	})
	sleep(10 * 24 * time.Hour)

	checkSchedule(t, attempts, lifetime)
	if want := []time.Duration{notice}; !slices.Equal(notices, want) {
		t.Errorf("got delay notices at %v, want %v", notices, want)
	}
	if want := []time.Duration{lifetime}; !slices.Equal(expiries, want) {
		t.Errorf("got expiries at %v, want %v", expiries, want)
	}
	if want := []time.Duration{notice, lifetime}; !slices.Equal(reports, want) {
		t.Errorf("got reports sent at %v, want %v", reports, want)
	}
	wantEmpty(t, q)
	if claims, lists, most := q.claims.Load(), q.lists.Load(), int64(10*day/relistInterval)+1; claims > 400 || lists > most {
		t.Errorf("got %d claims and %d lists in ten days, want 400 and %d at most", claims, lists, most)
	}
}

// checkSchedule checks the times of attempts against the default schedule.
func checkSchedule(t *testing.T, attempts []time.Duration, lifetime time.Duration) {
	t.Helper()
	if len(attempts) == 0 || attempts[0] != 0 {
		t.Fatalf("got attempts at %v, want the first at once", attempts)
	}
	waits := []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}
	seen := make(map[time.Duration]bool)
	for i := range attempts[1:] {
		got, want := attempts[i+1]-attempts[i], waits[min(i, len(waits)-1)]
		if got < want*9/10 || got > want*11/10 {
			t.Errorf("attempt %d: got %v after the one before, want %v ± 10 %%", i+2, got, want)
		}
		seen[got] = true
	}
	if len(seen) < len(attempts)/2 {
		t.Errorf("got %d different waits of %d, want jitter", len(seen), len(attempts)-1)
	}
	if last := attempts[len(attempts)-1]; last >= lifetime || last < lifetime-132*time.Minute {
		t.Errorf("got the last attempt at %v, want it within the last wait before %v", last, lifetime)
	}
}

func TestRunnerPartial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		enqueue(t, q, mail("a@x.test", "b@x.test", "c@x.test", "d@x.test"))
		var tries [][]string
		var occasions []Occasion
		var log strings.Builder
		j := new(journal)
		start(t, &Runner{
			Queue:  q,
			Events: j.events(),
			Logger: textLogger(&log),
			Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
				var try []string
				for _, rcpt := range env.Recipients {
					try = append(try, rcpt.Address)
				}
				tries = append(tries, try)
				results := answer(env, smtp.Delivered, 250)
				if len(results) == 4 {
					results[1] = smtp.Result{Recipient: "b@x.test", Outcome: smtp.Rejected, Reply: smtp.NewReply(550, "", "")}
					results[2] = smtp.Result{Recipient: "c@x.test", Outcome: smtp.Deferred, Reply: smtp.NewReply(450, "", "")}
					results[3] = smtp.Result{Recipient: "d@x.test", Outcome: smtp.Unknown, Reply: smtp.NewReply(451, "", "")}
				}
				return results
			}),
			Report: func(ctx context.Context, o Occasion) ([]queue.Message, error) {
				occasions = append(occasions, o)
				return nil, nil
			},
		})
		sleep(time.Minute)
		left := held(t, q)
		if len(left) != 1 || len(left[0].Last) != 2 || left[0].Last[0].Reply.Code != 450 || left[0].Last[1].Outcome != smtp.Unknown {
			t.Errorf("got %+v after the first attempt, want c deferred and d unknown", left)
		}
		sleep(time.Hour)
		wantEmpty(t, q)
		want := [][]string{{"a@x.test", "b@x.test", "c@x.test", "d@x.test"}, {"c@x.test", "d@x.test"}}
		if !slices.EqualFunc(tries, want, slices.Equal) {
			t.Errorf("got attempts for %v, want %v", tries, want)
		}
		wantEvents := "delivered a@x.test 250\nrejected b@x.test 550\ndeferred c@x.test 450\nunknown d@x.test 451\n" +
			"delivered c@x.test 250\ndelivered d@x.test 250"
		if got := j.all(); got != wantEvents {
			t.Errorf("got events\n%s\nwant\n%s", got, wantEvents)
		}
		if len(occasions) != 2 || occasions[0].Delayed || occasions[0].Expired || occasions[0].Next.IsZero() || !occasions[1].Next.IsZero() {
			t.Errorf("got occasions %+v, want one an attempt", occasions)
		}
		if lines := log.String(); strings.Count(lines, "\n") != 6 || strings.Count(lines, "msg=delivered") != 3 || strings.Contains(lines, "secret") {
			t.Errorf("got log\n%s\nwant a line a result, and no body", lines)
		}
	})
}

// TestRunnerFair has one destination with 10,000 messages before a hundred with one. Places come free one by one.
func TestRunnerFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		for i := range 100 { // all are known to take mail quickly
			enqueue(t, q, mail(fmt.Sprintf("to@small%d.test", i)))
		}
		var begun time.Time
		var n atomic.Int64
		var mu sync.Mutex
		others := 0
		var last time.Duration
		stop := start(t, &Runner{
			Queue:       q,
			Concurrency: 20,
			Site:        all20,
			Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
				results := take(time.Second+time.Duration(n.Add(1)%20)*50*time.Millisecond)(ctx, env, c)
				mu.Lock()
				defer mu.Unlock()
				if env.Recipients[0].Address != "to@big.test" {
					others, last = others+1, time.Since(begun)
				}
				return results
			}),
		})
		sleep(time.Minute)
		for range 10000 {
			enqueue(t, q, mail("to@big.test"))
		}
		sleep(5 * time.Second) // the big one has every place
		mu.Lock()
		others, begun = 0, time.Now()
		mu.Unlock()
		for i := range 100 {
			enqueue(t, q, mail(fmt.Sprintf("to@small%d.test", i)))
		}
		sleep(time.Minute)
		stop()
		// A hundred sends of a second and a half through twenty places.
		if others != 100 || last > 10*time.Second {
			t.Errorf("got %d of the others out, the last after %v; want 100 within 10s", others, last)
		}
		// The big one has the rest.
		if got, want := 10000-len(held(t, q)), 65*20*2/3-100; got < want*9/10 {
			t.Errorf("got %d of the big one out in a minute, want %d", got, want)
		}
	})
}

func TestRunnerLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const concurrency, perDestination = 10, 4
		q := mem.New()
		var mu sync.Mutex
		now := make(map[string]int)
		most := make(map[string]int)
		total, mostTotal := 0, 0
		start(t, &Runner{
			Queue: q, Concurrency: concurrency, Site: SiteLimits{Concurrency: perDestination},
			Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
				name := env.Recipients[0].Address
				mu.Lock()
				now[name]++
				total++
				most[name], mostTotal = max(most[name], now[name]), max(mostTotal, total)
				mu.Unlock()
				results := take(time.Duration(len(name))*time.Second)(ctx, env, c)
				mu.Lock()
				now[name]--
				total--
				mu.Unlock()
				return results
			}),
		})
		for range 30 {
			enqueue(t, q, mail("to@a.test", "to@bb.test"), mail("to@ccc.test"))
			sleep(time.Second)
		}
		sleep(time.Hour)
		wantEmpty(t, q)
		if mostTotal != concurrency {
			t.Errorf("got %d at a time, want %d", mostTotal, concurrency)
		}
		want := map[string]int{"to@a.test": perDestination, "to@bb.test": perDestination, "to@ccc.test": perDestination}
		if !maps.Equal(most, want) {
			t.Errorf("got at a time %v, want %v", most, want)
		}
	})
}

// TestRunnerNoLockStep has one destination whose sends take between one and three seconds: every
// place is filled as soon as it is free.
func TestRunnerNoLockStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, places = 1000, 20
		q := &faultyQueue{Queue: mem.New()}
		var total time.Duration
		var takes []time.Duration
		for i := range n {
			enqueue(t, q, mail("to@smarthost.test"))
			takes = append(takes, time.Second+time.Duration(i*7919%n)*2*time.Millisecond)
			total += takes[i]
		}
		begun := time.Now()
		var mu sync.Mutex
		var last time.Time
		start(t, &Runner{Queue: q, Site: all20, Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			mu.Lock()
			d := takes[0]
			takes = takes[1:]
			mu.Unlock()
			results := take(d)(ctx, env, c)
			mu.Lock()
			defer mu.Unlock()
			last = time.Now()
			return results
		})})
		sleep(time.Hour)
		wantEmpty(t, q)
		if got, want := last.Sub(begun), total/places+3*time.Second; got > want {
			t.Errorf("got %d messages sent in %v, want %v at most", n, got, want)
		}
	})
}

// TestRunnerSlowQueue has claims that take a tenth of a send: what comes free during one is filled by the next,
// so that a place waits for two claims at most.
func TestRunnerSlowQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, places = 1000, 20
		q := &faultyQueue{Queue: mem.New(), slow: 100 * time.Millisecond}
		for range n {
			enqueue(t, q, mail("to@smarthost.test"))
		}
		start(t, &Runner{Queue: q, Sender: take(time.Second), Site: all20})
		sleep(n / places * 1200 * time.Millisecond)
		sleep(time.Second)
		wantEmpty(t, q)
		if got := q.claims.Load(); got > n*2/3 {
			t.Errorf("got %d claims for %d messages, want %d at most", got, n, n*2/3)
		}
	})
}

// TestRunnerLaterMail has mail that comes due after other mail of its destination: no one says so.
func TestRunnerLaterMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		begun := time.Now()
		for _, wait := range []time.Duration{20 * time.Minute, 10 * time.Minute, 90 * 24 * time.Hour} {
			m := mail("to@x.test")
			m.NotBefore = begun.Add(wait)
			enqueue(t, q, m)
		}
		var sent []time.Duration
		start(t, &Runner{Queue: q, Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			sent = append(sent, time.Since(begun))
			return answer(env, smtp.Delivered, 250)
		})})
		sleep(100 * 24 * time.Hour)
		want := []time.Duration{10 * time.Minute, 20 * time.Minute, 90 * 24 * time.Hour}
		if !slices.Equal(sent, want) {
			t.Errorf("got mail sent after %v, want %v", sent, want)
		}
	})
}

// TestRunnerIdle has nothing to do, and does nothing but list.
func TestRunnerIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &faultyQueue{Queue: mem.New()}
		start(t, &Runner{Queue: q, Sender: take(0)})
		sleep(30 * 24 * time.Hour)
		if claims, lists, want := q.claims.Load(), q.lists.Load(), int64(30*day/relistInterval)+1; claims != 0 || lists != want {
			t.Errorf("got %d claims and %d lists, want none and %d", claims, lists, want)
		}
	})
}

// TestRunnerPolls has a queue that isn't a Waker.
func TestRunnerPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		j := new(journal)
		start(t, &Runner{Queue: struct{ queue.Queue }{q}, Sender: take(0), Events: j.events()})
		for range 3 {
			sleep(time.Minute)
			enqueue(t, q, mail("to@x.test"))
			sleep(1500 * time.Millisecond)
			wantEmpty(t, q)
		}
		if got, want := strings.Count(j.all(), "delivered"), 3; got != want {
			t.Errorf("got %d delivered, want %d", got, want)
		}
	})
}

// TestRunnerPollInterval asks a queue that isn't a Waker once an hour.
func TestRunnerPollInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &faultyQueue{Queue: mem.New()}
		plain := struct{ queue.Queue }{q}
		start(t, &Runner{Queue: plain, Sender: take(0), PollInterval: time.Hour})
		sleep(24*time.Hour + time.Minute)
		if lists := q.lists.Load(); lists != 25 {
			t.Errorf("got %d lists in a day, want one an hour", lists)
		}
	})
}

// TestRunnerInitial begins with two tasks at a time.
func TestRunnerInitial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		r := &Runner{Queue: q, Sender: take(time.Hour), Initial: 2, Concurrency: 7}
		start(t, r)
		synctest.Wait()
		for i := range 20 {
			domain := fmt.Sprintf("%d.test", i)
			r.loop.locked(func(m *machine) { m.prove(&site{name: domain}) })
			enqueue(t, q, mail("to@"+domain))
		}
		for second, want := range []int{2, 4, 6, 7, 7} {
			if got := func() int { sleep(time.Millisecond); return r.Activity().InFlight }(); got != want {
				t.Errorf("got %d tasks in flight after %d seconds, want %d", got, second, want)
			}
			sleep(time.Second)
		}
	})
}

// TestRunnerMaxProbeWait has a site that is down for a day.
func TestRunnerMaxProbeWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		for range 1000 {
			enqueue(t, q, mail("to@x.test"))
		}
		var tries atomic.Int64
		start(t, &Runner{Queue: q, MaxProbeWait: 2 * time.Hour, Site: SiteLimits{Concurrency: 1}, Sender: smtp.SenderFunc(
			func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
				tries.Add(1)
				return []smtp.Result{{Stage: smtp.StageConnect, Local: true, Reply: smtp.NewReply(451, "", "no answer")}}, nil
			})})
		sleep(24 * time.Hour)
		// After 5, 15, 30 and 60 minutes, and then every 2 hours.
		if got := tries.Load(); got < 15 || got > 17 {
			t.Errorf("got %d tries in a day, want 16", got)
		}
	})
}

func TestRunnerTimes(t *testing.T) {
	// What has little time is tried every minute at least, and so a minute is ten units here.
	const unit = 6 * time.Second
	tests := []struct {
		name                        string
		notBefore, notice, deadline time.Duration
		want                        string // what happens after how many units
	}{
		{"deadline before the first attempt", 0, 0, -60 * unit, "0 attempt\n0 expired"},
		{"notice before the first attempt", 0, -60 * unit, 0, "0 attempt\n0 delayed\n10 attempt\n20 attempt"},
		{"a later start isn't a delay", 180 * unit, 120 * unit, 0, "180 attempt\n190 attempt\n200 attempt"},
		{"deadline between attempts", 0, 0, 15 * unit, "0 attempt\n10 attempt\n15 expired"},
		{"notice and deadline between attempts", 0, 5 * unit, 15 * unit, "0 attempt\n5 delayed\n10 attempt\n15 expired"},
		{"notice in time", 0, 50 * unit, 0, "0 attempt\n10 attempt\n20 attempt"},
		{"notice and deadline at once", 0, 5 * unit, 5 * unit, "0 attempt\n5 expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := mem.New()
				m := mail("to@x.test")
				begun := time.Now()
				for at, d := range map[*time.Time]time.Duration{&m.NotBefore: tt.notBefore, &m.NoticeAt: tt.notice, &m.Deadline: tt.deadline} {
					if d != 0 {
						*at = begun.Add(d)
					}
				}
				enqueue(t, q, m)
				j := new(journal)
				units := func() int { return int(time.Since(begun).Round(5*unit) / unit) } // without the jitter
				tries := 0
				start(t, &Runner{
					Queue: q,
					Retry: []time.Duration{10 * unit},
					Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
						j.add("%d attempt", units())
						tries++
						if tries == 3 {
							return answer(env, smtp.Delivered, 250)
						}
						return answer(env, smtp.Deferred, 451)
					}),
					Report: func(ctx context.Context, o Occasion) ([]queue.Message, error) {
						if o.Expired {
							j.add("%d expired", units())
						}
						if o.Delayed {
							j.add("%d delayed", units())
						}
						return nil, nil
					},
				})
				sleep(24 * time.Hour)
				if got := j.all(); got != tt.want {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want)
				}
				wantEmpty(t, q)
			})
		})
	}
}
