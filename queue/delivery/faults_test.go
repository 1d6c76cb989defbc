package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
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

// TestRunnerBadSender has senders that return something unusual once. The next attempt delivers.
func TestRunnerBadSender(t *testing.T) {
	ok := func(env *smtp.Envelope) []smtp.Result { return answer(env, smtp.Delivered, 250) }
	const missing = "deferred b@x.test 451\ndelivered b@x.test 250"
	const both = "deferred a@x.test 451\ndeferred b@x.test 451\ndelivered a@x.test 250\ndelivered b@x.test 250"
	const doubt = "unknown a@x.test 451\nunknown b@x.test 451\ndelivered a@x.test 250\ndelivered b@x.test 250"
	const delivered = "delivered a@x.test 250\ndelivered b@x.test 250"
	tests := []struct {
		name   string
		send   func(env *smtp.Envelope) ([]smtp.Result, error)
		want   string
		logged string // once, and nothing else above INFO
	}{
		{"panics", func(env *smtp.Envelope) ([]smtp.Result, error) { panic("boom") }, doubt, "sender panics"},
		{"no results", func(env *smtp.Envelope) ([]smtp.Result, error) { return nil, nil }, delivered, ""},
		{"an error", func(env *smtp.Envelope) ([]smtp.Result, error) { return nil, errFault }, both, ""},
		{"a refusal as an error", func(env *smtp.Envelope) ([]smtp.Result, error) {
			return nil, smtp.NewReply(550, "5.7.1", "not from here")
		}, "rejected a@x.test 550\nrejected b@x.test 550", ""},
		{"one result missing", func(env *smtp.Envelope) ([]smtp.Result, error) { return ok(env)[:1], nil },
			"delivered a@x.test 250\n" + missing, "sender returns too few results"},
		{"one result too many", func(env *smtp.Envelope) ([]smtp.Result, error) { return append(ok(env), ok(env)...), nil },
			delivered, ""},
		{"no reply", func(env *smtp.Envelope) ([]smtp.Result, error) {
			results := ok(env)
			results[1] = smtp.Result{Recipient: "b@x.test"}
			return results, nil
		}, "delivered a@x.test 250\n" + missing, "sender returns too few results"},
		// Nothing is settled, and the lease lapses.
		{"ends its goroutine", func(env *smtp.Envelope) ([]smtp.Result, error) { runtime.Goexit(); return nil, nil },
			delivered, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := mem.New()
				enqueue(t, q, mail("a@x.test", "b@x.test"))
				j := new(journal)
				var log strings.Builder
				warnings := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
				first := true
				start(t, &Runner{
					Queue: q, Concurrency: 1, Events: j.events(), Logger: warnings,
					Sender: smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
						if first {
							first = false
							return tt.send(env)
						}
						return ok(env), nil
					}),
				})
				sleep(time.Hour)
				if got := j.all(); got != tt.want {
					t.Errorf("got events\n%s\nwant\n%s", got, tt.want)
				}
				if got, want := strings.Count(log.String(), "\n"), min(len(tt.logged), 1); got != want || !strings.Contains(log.String(), tt.logged) {
					t.Errorf("got log\n%s\nwant %d lines with %q", log.String(), want, tt.logged)
				}
				wantEmpty(t, q)
			})
		})
	}
}

// TestRunnerJob asks, within a Send, what the message is.
func TestRunnerJob(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mem.New()
		m := mail("to@x.test")
		m.Ref, m.Tenant, m.Origin, m.FromDomain = "order-17", "shop", smtp.OriginAuthenticated, "sender.test"
		id, err := q.Enqueue(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		want := smtp.Job{ID: string(id), Ref: "order-17", Tenant: "shop", Origin: smtp.OriginAuthenticated, From: m.Envelope.From, FromDomain: "sender.test"}
		start(t, &Runner{Queue: q, Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
			want.Attempt++
			if got, ok := smtp.JobOf(ctx); !ok || got != want {
				t.Errorf("got %+v, %v; want %+v", got, ok, want)
			}
			if want.Attempt == 1 {
				return answer(env, smtp.Deferred, 451)
			}
			return answer(env, smtp.Delivered, 250)
		})})
		sleep(time.Hour)
		if want.Attempt != 2 {
			t.Errorf("got %d attempts, want 2", want.Attempt)
		}
	})
}

func TestRunnerLease(t *testing.T) {
	const lease, send = time.Minute, 10 * time.Minute
	tests := []struct {
		name   string
		extend func(n int64) error // of the nth renewal
		cut    time.Duration       // when the first send is cut off; zero: it isn't
	}{
		{"renewed", func(int64) error { return nil }, 0},
		{"lost", func(n int64) error {
			if n == 4 {
				return queue.ErrLeaseLost
			}
			return nil
		}, 80 * time.Second},
		{"fails at times", func(n int64) error {
			if n%3 != 0 {
				return errFault
			}
			return nil
		}, 0},
		{"fails until it is lost", func(n int64) error {
			if n > 2 {
				return errFault
			}
			return nil
		}, 40*time.Second + lease},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &faultyQueue{Queue: mem.New()}
				var sends atomic.Int64
				q.fail = func(op string) error {
					if op != "extend" || sends.Load() > 1 {
						return nil
					}
					return tt.extend(q.extends.Load())
				}
				enqueue(t, q, mail("to@x.test"))
				begun := time.Now()
				var cut time.Duration
				start(t, &Runner{Queue: q, Lease: lease, Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
					sends.Add(1)
					results := take(send)(ctx, env, c)
					if ctx.Err() != nil {
						cut = time.Since(begun)
					}
					return results
				})})
				sleep(time.Hour)
				if cut != tt.cut {
					t.Errorf("got the send cut off after %v, want %v", cut, tt.cut)
				}
				if got, want := sends.Load(), map[bool]int64{false: 1, true: 2}[tt.cut != 0]; got != want {
					t.Errorf("got %d sends, want %d", got, want)
				}
				wantEmpty(t, q)
			})
		})
	}
}

// TestRunnerLeaseTaken has another take the task while a deaf sender goes on with it.
func TestRunnerLeaseTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &faultyQueue{Queue: mem.New()}
		q.fail = func(op string) error {
			if op == "extend" {
				return errFault
			}
			return nil
		}
		enqueue(t, q, mail("to@x.test"))
		j := new(journal)
		start(t, &Runner{Queue: q, Site: SiteLimits{Concurrency: 1}, Lease: time.Minute, Events: j.events(), Sender: senderFunc(
			func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
				time.Sleep(10 * time.Minute)
				return answer(env, smtp.Rejected, 550)
			})})
		sleep(2 * time.Minute)
		var wants []queue.Want
		for d := range q.Queue.Lanes(t.Context()) {
			wants = append(wants, queue.Want{Lane: d.Lane, Max: 1})
		}
		tasks, err := q.Queue.Claim(t.Context(), wants, time.Hour)
		if err != nil || len(tasks) != 1 {
			t.Fatalf("got %d tasks and error %v, want the task whose lease was lost", len(tasks), err)
		}
		sleep(30 * time.Minute)
		if got := j.all(); got != "" {
			t.Errorf("got events %s, want none", got)
		}
		if got := len(held(t, q)); got != 1 {
			t.Errorf("got %d messages, want the one that another has", got)
		}
	})
}

// TestRunnerReportFails has no report for two hours: what is to be reported is kept until then.
func TestRunnerReportFails(t *testing.T) {
	fails := map[string]func() ([]queue.Message, error){
		"error": func() ([]queue.Message, error) { return nil, errFault },
		"panic": func() ([]queue.Message, error) { panic("boom") },
		"body": func() ([]queue.Message, error) {
			return []queue.Message{{Envelope: smtp.NewEnvelope("", "from@sender.test")}}, nil
		},
	}
	for name, fail := range fails {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &faultyQueue{Queue: mem.New()}
				begun := time.Now()
				m := mail("ok@x.test", "gone@x.test", "later@x.test")
				m.NoticeAt, m.Deadline = begun.Add(30*time.Minute), begun.Add(time.Hour)
				enqueue(t, q, m)
				asked, delivered, reported := 0, 0, map[string]int{}
				stop := start(t, &Runner{
					Queue: q,
					Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
						results := answer(env, smtp.Deferred, 451)
						for i, rcpt := range env.Recipients {
							switch rcpt.Address {
							case "ok@x.test":
								delivered++
								results[i] = answer(env, smtp.Delivered, 250)[i]
							case "gone@x.test":
								results[i] = answer(env, smtp.Rejected, 550)[i]
							}
						}
						return results
					}),
					Report: func(ctx context.Context, o Occasion) ([]queue.Message, error) {
						asked++
						if time.Since(begun) < 2*time.Hour {
							return fail()
						}
						for _, result := range o.Results {
							reported[fmt.Sprint(result.Recipient, " ", result.Reply.Code)]++
						}
						return nil, nil
					},
				})
				sleep(time.Hour + 30*time.Minute)
				if tasks := held(t, q); delivered != 1 || len(tasks) != 1 || tasks[0].Destination != queue.ReportDestination {
					t.Errorf("got %d deliveries and %+v held, want one, and the report task", delivered, tasks)
				}
				sleep(time.Hour)
				stop()
				wantEmpty(t, q)
				if delivered != 1 || reported["gone@x.test 550"] != 1 || reported["later@x.test 451"] != 1 {
					t.Errorf("got %d deliveries and reports %v, want one of each", delivered, reported)
				}
				if asked > 200 {
					t.Errorf("got %d calls of Report, want 200 at most", asked)
				}
			})
		})
	}
}

// TestRunnerDamage has a body that can't be read for a while, and one that never can.
func TestRunnerDamage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &faultyQueue{Queue: mem.New()}
		begun := time.Now()
		damaged := func() bool { return time.Since(begun) < 4*time.Minute || time.Since(begun) > time.Hour }
		q.fail = func(op string) error {
			if op == "open" && damaged() {
				return errFault
			}
			return nil
		}
		enqueue(t, q, mail("to@x.test"))
		j := new(journal)
		var log strings.Builder
		stop := start(t, &Runner{
			Queue: q, Sender: take(0), Events: j.events(), Retry: []time.Duration{5 * time.Minute}, Logger: textLogger(&log),
			Report: func(ctx context.Context, o Occasion) ([]queue.Message, error) {
				if (o.Content == nil) != damaged() {
					t.Errorf("got Content %v, want it only if it can be read", o.Content)
				}
				return nil, nil
			},
		})
		sleep(2 * time.Hour)
		m := mail("lost@x.test")
		m.Deadline = time.Now().Add(50 * time.Second)
		enqueue(t, q, m)
		sleep(2 * time.Hour)
		wantEmpty(t, q)
		want := "deferred to@x.test 451\ndelivered to@x.test 250\ndeferred lost@x.test 451\nexpired lost@x.test 451"
		if got := j.all(); got != want {
			t.Errorf("got events\n%s\nwant\n%s", got, want)
		}
		stop()
		if want := `level=ERROR msg="message can't be read"`; !strings.Contains(log.String(), want) {
			t.Errorf("got log\n%s\nwant %s", log.String(), want)
		}
	})
}

// TestRunnerQueueFails fails the queue at random: each message is sent once all the same.
func TestRunnerQueueFails(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			var mu sync.Mutex
			q := &faultyQueue{Queue: mem.New(), fail: func(op string) error {
				mu.Lock()
				defer mu.Unlock()
				if op != "open" && rnd.IntN(3) == 0 {
					return errFault
				}
				return nil
			}}
			sent := map[string]int{}
			const n = 200
			start(t, &Runner{Queue: q, Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
				mu.Lock()
				sent[env.Recipients[0].Address]++
				mu.Unlock()
				return take(time.Second)(ctx, env, c)
			})})
			for i := range n {
				enqueue(t, q, mail(fmt.Sprintf("to%d@%d.test", i, i%7)))
				sleep(100 * time.Millisecond)
			}
			sleep(time.Hour)
			wantEmpty(t, q)
			for address, times := range sent {
				if times != 1 {
					t.Errorf("seed %d: got %s sent %d times, want once", seed, address, times)
				}
			}
			if len(sent) != n {
				t.Errorf("seed %d: got %d messages sent, want %d", seed, len(sent), n)
			}
		})
	}
}

// TestRunnerQueueDown has one operation fail for a day. It is tried at a measured pace, and then all goes on.
func TestRunnerQueueDown(t *testing.T) {
	for _, op := range []string{"list", "claim", "settle", "flush"} {
		t.Run(op, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls, sent atomic.Int64
				var up atomic.Bool
				q := &faultyQueue{Queue: mem.New(), fail: func(got string) error {
					calls.Add(1)
					if got == op && !up.Load() {
						return errFault
					}
					return nil
				}}
				start(t, &Runner{Queue: q, Sender: senderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) []smtp.Result {
					sent.Add(1)
					return answer(env, smtp.Delivered, 250)
				})})
				enqueue(t, q, mail("to@x.test"))
				sleep(24 * time.Hour)
				// Once a minute, and to renew the lease.
				if n := calls.Load(); n > 3*24*60 || n < 24*60 {
					t.Errorf("got %d calls in a day, want one to three a minute", n)
				}
				up.Store(true)
				sleep(2 * time.Minute)
				wantEmpty(t, q)
				if got := sent.Load(); got != 1 {
					t.Errorf("got %d sends, want 1", got)
				}
			})
		})
	}
}

// TestRunnerLeaseLostSettling loses the lease while the settlement fails: it isn't tried for ever.
func TestRunnerLeaseLostSettling(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &faultyQueue{Queue: mem.New()}
		var up atomic.Bool
		q.fail = func(op string) error {
			if !up.Load() && (op == "settle" || op == "extend") {
				return errFault
			}
			return nil
		}
		enqueue(t, q, mail("to@x.test"))
		var log strings.Builder
		j := new(journal)
		start(t, &Runner{Queue: q, Sender: take(0), Logger: textLogger(&log), Events: j.events()})
		sleep(time.Hour)
		up.Store(true)
		sleep(time.Hour)
		wantEmpty(t, q)
		if got, want := j.all(), "delivered to@x.test 250"; got != want {
			t.Errorf("got events\n%s\nwant\n%s", got, want)
		}
		if !strings.Contains(log.String(), `msg="result isn't recorded"`) {
			t.Errorf("got log\n%s\nwant a line of the result that was lost", log.String())
		}
	})
}

// TestConclude looks at what synctest can't time: an attempt that ends when all is over.
func TestConclude(t *testing.T) {
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	next := now.Add(time.Hour)
	env := smtp.NewEnvelope("a@x.test", "b@x.test", "c@x.test")
	deferred, done := answer(env, smtp.Deferred, 451), answer(env, smtp.Delivered, 250)
	half := append(done[:1:1], deferred[1])
	tests := []struct {
		name             string
		notice, deadline time.Time
		results          []smtp.Result
		next             time.Time
		expired, delayed bool
	}{
		{"all final", now, now, done, time.Time{}, false, false},
		{"half", time.Time{}, time.Time{}, half, next, false, false},
		{"half, all to come", next, next, half, next, false, false},
		{"half, delayed", now, next, half, next, false, true},
		{"half, expired", now, now, half, time.Time{}, true, false},
		{"unknown", time.Time{}, time.Time{}, answer(env, smtp.Unknown, 451), next, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, o := conclude(queue.Task{NoticeAt: tt.notice, Deadline: tt.deadline, Envelope: env}, tt.results, now, next)
			if o.Expired != tt.expired || o.Delayed != tt.delayed || s.Noticed != tt.delayed || s.Uncounted {
				t.Errorf("got %+v and Expired %v, Delayed %v; want %v, %v", s, o.Expired, o.Delayed, tt.expired, tt.delayed)
			}
			if !s.Next.Equal(tt.next) || !o.Next.Equal(tt.next) {
				t.Errorf("got Next %v and %v, want %v", s.Next, o.Next, tt.next)
			}
			if len(s.Results) != 2 || len(o.Results) != 2 {
				t.Errorf("got %d and %d results, want 2", len(s.Results), len(o.Results))
			}
		})
	}
	t.Run("handed back with what a host said before", func(t *testing.T) {
		cut := cutShort(env)
		cut[0] = done[0]
		s, _ := handBack(queue.Task{Envelope: env, Last: []smtp.Result{deferred[0], deferred[1]}}, cut, now)
		if s.Results[0].Outcome != smtp.Delivered || s.Results[1].Local || s.Uncounted || !s.Next.Equal(now) {
			t.Errorf("got %+v, want the delivery and the host's 451", s)
		}
		if s, _ := handBack(queue.Task{Envelope: env}, cut, now); !s.Results[1].Local {
			t.Errorf("without a last result: got %+v, want our own", s.Results[1])
		}
	})
}
