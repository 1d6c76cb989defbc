package delivery

import (
	"context"
	"fmt"
	"regexp"
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

// tellTale composes reports as reporter does, and writes down what each is about. It fails while broken.
type tellTale struct {
	mu     sync.Mutex
	begun  time.Time
	lines  []string
	broken bool
}

func (r *tellTale) report(ctx context.Context, o Occasion) ([]queue.Message, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.broken {
		return nil, errFault
	}
	if len(o.Task.Envelope.Recipients) == 0 {
		r.lines = append(r.lines, "a report about nobody")
	}
	var who []string
	for i, rcpt := range o.Task.Envelope.Recipients {
		if kind, flag := o.kindOf(i); kind != "" && rcpt.Notify.Wants(flag) {
			who = append(who, fmt.Sprintf("%s %s: %s", rcpt.Address, kind, o.Results[i].Reply.Text))
		}
	}
	if len(who) == 0 || o.Task.Envelope.From == "" {
		return nil, nil
	}
	slices.Sort(who)
	r.lines = append(r.lines, fmt.Sprintf("%v: %s", time.Since(r.begun).Round(time.Second), strings.Join(who, ", ")))
	return reporter(ctx, o)
}

func (r *tellTale) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}

// byDomain answers for x.test, y.test and z.test as these say, after some time, and delivers all else.
func byDomain(outcomes map[string]smtp.Outcome, takes map[string]time.Duration) senderFunc {
	return func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
		_, domain := smtp.SplitAddress(env.Recipients[0].Address)
		time.Sleep(takes[domain])
		outcome, ok := outcomes[domain]
		if !ok {
			return answer(env, smtp.Delivered, 250)
		}
		return answer(env, outcome, map[smtp.Outcome]int{smtp.Deferred: 451, smtp.Delivered: 250, smtp.Rejected: 550}[outcome])
	}
}

func TestMerge(t *testing.T) {
	const later, done, bad = smtp.Deferred, smtp.Delivered, smtp.Rejected
	type outcomes = map[string]smtp.Outcome
	type takes = map[string]time.Duration
	tests := []struct {
		name   string
		to     []string
		change func(m *queue.Message)
		out    outcomes
		takes  takes
		delay  time.Duration
		want   string
	}{
		{
			name: "one destination", to: []string{"a@x.test", "b@x.test"}, out: outcomes{"x.test": bad},
			want: "0s: a@x.test failed: rejected, b@x.test failed: rejected",
		},
		{
			name: "at once when the last is settled", to: []string{"a@x.test", "b@y.test", "c@z.test"},
			out: outcomes{"x.test": bad, "y.test": bad}, takes: takes{"y.test": 10 * time.Second, "z.test": 20 * time.Second},
			want: "20s: a@x.test failed: rejected, b@y.test failed: rejected",
		},
		{
			name: "after a minute when another takes its time", to: []string{"a@x.test", "b@y.test", "c@z.test"},
			out: outcomes{"x.test": bad, "y.test": bad, "z.test": later}, takes: takes{"y.test": 10 * time.Second},
			want: "1m0s: a@x.test failed: rejected, b@y.test failed: rejected\n1h0m0s: c@z.test failed: deferred",
		},
		{
			name: "after a time of one's own", to: []string{"a@x.test", "b@y.test", "c@z.test"}, delay: 10 * time.Minute,
			out: outcomes{"x.test": bad, "y.test": bad, "z.test": later}, takes: takes{"y.test": 5 * time.Minute},
			want: "10m0s: a@x.test failed: rejected, b@y.test failed: rejected\n1h0m0s: c@z.test failed: deferred",
		},
		{
			name: "a stranger's, after an hour at the soonest", to: []string{"a@x.test", "b@y.test", "c@z.test"},
			change: func(m *queue.Message) { m.Origin, m.Deadline = smtp.OriginStranger, time.Now().Add(50*time.Minute) },
			out:    outcomes{"x.test": bad, "z.test": later},
			want:   "50m0s: a@x.test failed: rejected, c@z.test failed: deferred",
		},
		{
			name: "a stranger's, while another takes longer", to: []string{"a@x.test", "b@y.test"},
			change: func(m *queue.Message) { m.Origin, m.Deadline = smtp.OriginStranger, time.Now().Add(90*time.Minute) },
			out:    outcomes{"x.test": bad, "y.test": later},
			want:   "1h0m0s: a@x.test failed: rejected\n1h30m0s: b@y.test failed: deferred",
		},
		{
			name: "one of an unknown origin, like a stranger's", to: []string{"a@x.test", "b@y.test"},
			change: func(m *queue.Message) { m.Origin, m.Deadline = smtp.OriginUnknown, time.Now().Add(90*time.Minute) },
			out:    outcomes{"x.test": bad, "y.test": later},
			want:   "1h0m0s: a@x.test failed: rejected\n1h30m0s: b@y.test failed: deferred",
		},
		{
			name: "not merged", to: []string{"a@x.test", "b@y.test"}, delay: -1,
			out: outcomes{"x.test": bad, "y.test": bad}, takes: takes{"y.test": time.Second},
			want: "0s: a@x.test failed: rejected\n1s: b@y.test failed: rejected",
		},
		{
			name: "delays and failures", to: []string{"a@x.test", "b@y.test"},
			change: func(m *queue.Message) { m.NoticeAt = time.Now().Add(20 * time.Minute) },
			out:    outcomes{"x.test": later, "y.test": later},
			want:   "21m0s: a@x.test delayed: deferred, b@y.test delayed: deferred\n1h0m0s: a@x.test failed: deferred, b@y.test failed: deferred",
		},
		{
			name: "a delay that is over", to: []string{"a@x.test", "b@y.test"}, delay: 10 * time.Minute,
			change: func(m *queue.Message) { m.NoticeAt = time.Now().Add(55 * time.Minute) },
			out:    outcomes{"x.test": later, "y.test": later},
			want:   "1h0m0s: a@x.test failed: deferred, b@y.test failed: deferred",
		},
		{
			name: "successes, and what nobody wants to hear of", to: []string{"a@x.test", "b@y.test", "c@z.test"},
			change: func(m *queue.Message) {
				m.Envelope.Recipients[0].Notify = smtp.NotifySuccess
				m.Envelope.Recipients[1].Notify = smtp.NotifyNever
			},
			out:  outcomes{"x.test": done, "y.test": bad, "z.test": bad},
			want: "0s: a@x.test delivered: delivered, c@z.test failed: rejected",
		},
		{
			name: "no sender", to: []string{"a@x.test", "b@y.test"}, change: func(m *queue.Message) { m.Envelope.From = "" },
			out: outcomes{"x.test": bad, "y.test": bad},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, tale := mem.New(), &tellTale{begun: time.Now()}
				told := new(journal)
				start(t, &Runner{Queue: q, Report: tale.report, ReportDelay: tt.delay, Sender: byDomain(tt.out, tt.takes), Events: Events{
					Reported: func(e Event) { told.add("%s", e.Report.Recipients[0].Address) },
				}})
				m := mail(tt.to...)
				m.Deadline = time.Now().Add(time.Hour)
				if tt.change != nil {
					tt.change(&m)
				}
				enqueue(t, q, m)
				sleep(2 * time.Hour)
				wantEmpty(t, q)
				if got := tale.all(); got != tt.want {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want)
				}
				if got := strings.Count(told.all(), "from@sender.test"); got != len(strings.FieldsFunc(tt.want, func(r rune) bool { return r == '\n' })) {
					t.Errorf("got %d events of reports, want one for each of\n%s", got, tt.want)
				}
			})
		})
	}
}

// TestMergeStranger: a message to one destination whose recipients are refused in one attempt after the other has a report
// for each of them. A stranger's has one.
func TestMergeStranger(t *testing.T) {
	for origin, want := range map[smtp.Origin]string{
		smtp.OriginCode:     "a@x.test failed: no such user\nb@x.test failed: no such user",
		smtp.OriginStranger: "a@x.test failed: no such user, b@x.test failed: no such user",
	} {
		synctest.Test(t, func(t *testing.T) {
			q, tale := mem.New(), &tellTale{begun: time.Now()}
			first := senderFunc(func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
				results := answer(env, smtp.Deferred, 451)
				results[0].Outcome, results[0].Reply = smtp.Rejected, smtp.NewReply(550, "5.1.1", "no such user")
				return results
			})
			start(t, &Runner{Queue: q, Report: tale.report, Retry: []time.Duration{5 * time.Minute}, Sender: first})
			m := mail("a@x.test", "b@x.test")
			m.Origin = origin
			enqueue(t, q, m)
			sleep(2 * time.Hour)
			wantEmpty(t, q)
			if got := regexp.MustCompile(`(?m)^\w+: `).ReplaceAllString(tale.all(), ""); got != want {
				t.Errorf("%v: got\n%s\nwant\n%s", origin, got, want)
			}
		})
	}
}

// TestMergeUnneeded has mail to one destination: its report is in the commit of the outcome.
func TestMergeUnneeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &settlements{Queue: mem.New()}
		start(t, &Runner{Queue: q, Report: reporter, Sender: byDomain(map[string]smtp.Outcome{"x.test": smtp.Rejected}, nil)})
		enqueue(t, q, mail("a@x.test", "b@x.test"))
		sleep(time.Hour)
		if len(q.all) != 2 || len(q.all[0].Reports) != 1 || len(q.all[0].Results) != 2 || len(q.all[0].Owed) != 0 {
			t.Errorf("got settlements %+v, want one with results and their report, and that of the report", q.all)
		}
	})
}

// settlements keeps what is settled.
type settlements struct {
	*mem.Queue
	mu   sync.Mutex
	all  []queue.Settlement
	full bool // no reports can be stored
}

func (q *settlements) Settle(ctx context.Context, l queue.Lease, s queue.Settlement) error {
	q.mu.Lock()
	q.all = append(q.all, s)
	full := q.full
	q.mu.Unlock()
	if full && len(s.Reports) > 0 {
		return errFault
	}
	return q.Queue.Settle(ctx, l, s)
}

// TestMergeFails has reports that can't be composed, or stored: nothing is lost, and it is tried again.
func TestMergeFails(t *testing.T) {
	for _, what := range []string{"compose", "store"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tale := &tellTale{begun: time.Now(), broken: what == "compose"}
				q := &settlements{Queue: mem.New(), full: what == "store"}
				var log strings.Builder
				out := map[string]smtp.Outcome{"x.test": smtp.Rejected, "y.test": smtp.Rejected}
				r := &Runner{Queue: q, Report: tale.report, Logger: textLogger(&log), Sender: byDomain(out, map[string]time.Duration{"y.test": time.Second})}
				start(t, r)
				enqueue(t, q, mail("a@x.test", "b@y.test"))
				sleep(3 * time.Minute)
				if len(held(t, q)) != 1 {
					t.Fatal("the report task is gone without a report")
				}
				tale.mu.Lock()
				tale.broken = false
				tale.mu.Unlock()
				q.mu.Lock()
				q.full = false
				q.mu.Unlock()
				sleep(10 * time.Minute)
				wantEmpty(t, q)
				lines := strings.Split(tale.all(), "\n")
				last := lines[len(lines)-1]
				if want := ": a@x.test failed: rejected, b@y.test failed: rejected"; !strings.HasPrefix(last, "5m") || !strings.HasSuffix(last, want) {
					t.Errorf("got %q, want both after 5 minutes", lines)
				}
				if got := strings.Count(log.String(), `msg="report fails"`); got != 1 {
					t.Errorf("got log\n%s\nwant a line about the report", log.String())
				}
			})
		})
	}
}

// TestSuccessReportFails has the report of a delivery fail at first, of a message to one destination: it comes later,
// and the message isn't sent again.
func TestSuccessReportFails(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		fail       func(tale *tellTale, q *settlements, broken bool)
	}{
		{"compose", "5m0s: a@x.test delivered: delivered", func(tale *tellTale, _ *settlements, broken bool) {
			tale.mu.Lock()
			defer tale.mu.Unlock()
			tale.broken = broken
		}},
		// After five tries and 31 seconds, it is settled without the report, and tried on as a report task.
		{"store", "1m2s: a@x.test delivered: delivered", func(_ *tellTale, q *settlements, broken bool) {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.full = broken
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tale, q := &tellTale{begun: time.Now()}, &settlements{Queue: mem.New()}
				sent := 0
				tt.fail(tale, q, true)
				start(t, &Runner{Queue: q, Report: tale.report, Sender: senderFunc(
					func(_ context.Context, env *smtp.Envelope, _ smtp.Content) []smtp.Result {
						if env.From != "" {
							sent++
						}
						return answer(env, smtp.Delivered, 250)
					})})
				m := mail("a@x.test", "b@x.test")
				m.Envelope.Recipients[0].Notify = smtp.NotifySuccess
				enqueue(t, q, m)
				sleep(time.Minute)
				tt.fail(tale, q, false)
				sleep(time.Hour)
				wantEmpty(t, q)
				lines := strings.Split(tale.all(), "\n")
				if got := lines[len(lines)-1]; got != tt.want || sent != 1 {
					t.Errorf("got reports %q and %d attempts, want %q and 1", lines, sent, tt.want)
				}
			})
		})
	}
}

// TestMergeCancel has one report about all that Cancel takes out, and what was owed before.
func TestMergeCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, tale, j := mem.New(), &tellTale{begun: time.Now()}, new(journal)
		out := map[string]smtp.Outcome{"x.test": smtp.Rejected, "y.test": smtp.Deferred, "z.test": smtp.Deferred}
		r := &Runner{Queue: q, Report: tale.report, Sender: byDomain(out, nil), Events: Events{
			Cancelled: func(e Event) { j.add("%s", e.Result.Recipient) },
		}}
		start(t, r)
		m := mail("a@x.test", "b@y.test", "c@z.test")
		m.NoticeAt = time.Now()
		enqueue(t, q, m)
		sleep(time.Second)
		if n, err := r.Cancel(t.Context(), queue.Filter{}, "sold out"); n != 1 || err != nil {
			t.Errorf("Cancel: got %d and %v, want 1", n, err)
		}
		sleep(time.Hour)
		wantEmpty(t, q)
		if got, want := tale.all(), "1s: a@x.test failed: rejected, b@y.test failed: sold out, c@z.test failed: sold out"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if got, want := j.all(), "b@y.test\nc@z.test"; got != want {
			t.Errorf("got events of\n%s\nwant those of\n%s", got, want)
		}
	})
}

// TestMergePurge has no report about what Purge takes out, nor about what was settled before and isn't reported yet. A
// report that was made before stays, as a message of its own.
func TestMergePurge(t *testing.T) {
	for _, tt := range []struct {
		name  string
		after time.Duration
		f     queue.Filter
		want  string
	}{
		{name: "by another destination", after: time.Second, f: queue.Filter{Destination: "y.test"}},
		{name: "by the report task", after: time.Second, f: queue.Filter{Destination: queue.ReportDestination}},
		{name: "by the sender", after: time.Second, f: queue.Filter{Sender: "from@sender.test"}},
		{
			name: "reported before", after: 2 * time.Minute, f: queue.Filter{Destination: "y.test"},
			want: "1m0s: a@x.test failed: rejected",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, tale, j := mem.New(), &tellTale{begun: time.Now()}, new(journal)
				out := map[string]smtp.Outcome{"x.test": smtp.Rejected, "y.test": smtp.Deferred}
				r := &Runner{Queue: q, Report: tale.report, Sender: byDomain(out, nil), Events: Events{
					Cancelled: func(e Event) { j.add("%s", e.Result.Recipient) },
				}}
				start(t, r)
				enqueue(t, q, mail("a@x.test", "b@y.test"))
				sleep(tt.after)
				if n, err := r.Purge(t.Context(), tt.f); n != 1 || err != nil {
					t.Errorf("Purge: got %d and %v, want 1", n, err)
				}
				sleep(time.Hour)
				wantEmpty(t, q)
				if got := tale.all(); got != tt.want {
					t.Errorf("got\n%s\nwant\n%s", got, tt.want)
				}
				if got, want := j.all(), "b@y.test"; got != want {
					t.Errorf("got events of\n%s\nwant those of\n%s", got, want)
				}
			})
		})
	}
}

// TestMergeLimits has report tasks that no limit of sites holds back, and about which no func of the user is asked.
func TestMergeLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, tale := mem.New(), &tellTale{begun: time.Now()}
		about := func(name string) {
			if name == queue.ReportDestination {
				t.Errorf("a func is asked about report tasks")
			}
		}
		r := &Runner{
			Queue: q, Report: tale.report,
			Sender:    byDomain(map[string]smtp.Outcome{"x.test": smtp.Rejected, "y.test": smtp.Rejected}, nil),
			Site:      SiteLimits{Rate: Rate{Messages: 2, Per: time.Hour}},
			SiteOf:    func(_ context.Context, name string) (Site, error) { about(name); return Site{Name: name}, nil },
			SiteFor:   func(name string) SiteLimits { about(name); return SiteLimits{} },
			SourceOf:  func(task *queue.Task) string { about(task.Destination); return "" },
			TenantFor: func(string) Rate { return Rate{} },
		}
		start(t, r)
		for range 2 {
			enqueue(t, q, mail("a@x.test", "b@y.test"))
		}
		sleep(30 * time.Second)
		tasks := held(t, q)
		for _, task := range tasks {
			if _, err := r.Explain(t.Context(), task.ID); err != nil {
				t.Errorf("Explain: %v", err)
			}
		}
		sleep(12 * time.Hour)
		wantEmpty(t, q)
		if got := strings.Count(tale.all(), "a@x.test"); got != 2 {
			t.Errorf("got\n%s\nwant two reports", tale.all())
		}
	})
}

// TestMergeUnreported has a report task of a Runner that composed reports, and is run by one that composes none: it ends,
// even if the queue fails for a while.
func TestMergeUnreported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tale, failures, opened := &tellTale{begun: time.Now()}, 0, 0
		var mu sync.Mutex // of failures and opened
		q := &faultyQueue{Queue: mem.New(), fail: func(op string) error {
			mu.Lock()
			defer mu.Unlock()
			if op == "open" {
				opened++
			}
			if op == "settle" && failures > 0 {
				failures--
				return errFault
			}
			return nil
		}}
		sender := byDomain(map[string]smtp.Outcome{"x.test": smtp.Rejected, "y.test": smtp.Deferred}, nil)
		stop := start(t, &Runner{Queue: q, Report: tale.report, ReportDelay: time.Hour, Sender: sender})
		enqueue(t, q, mail("a@x.test", "b@y.test"))
		sleep(time.Second)
		stop()
		if n := len(held(t, q)); n != 2 {
			t.Fatalf("got %d tasks, want one that is deferred, and a report", n)
		}
		var log strings.Builder
		failures, opened = reportTries+2, 0
		stop = start(t, &Runner{Queue: q, Sender: take(0), Logger: textLogger(&log)})
		sleep(3 * time.Hour)
		wantEmpty(t, q)
		stop()
		if failures > 0 || strings.Contains(log.String(), "report fails") {
			t.Errorf("got %d failures left, and log\n%s\nwant none of a report", failures, log.String())
		}
		if opened != 1 {
			t.Errorf("got the body opened %d times, want once, by the attempt", opened)
		}
		if got := tale.all(); got != "" {
			t.Errorf("got reports %s, want none", got)
		}
	})
}
