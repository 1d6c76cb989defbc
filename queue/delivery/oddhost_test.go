package delivery

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
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

// oddTry is an attempt at an odd host.
type oddTry struct {
	drillMail
	domain    string
	to        int // recipients
	ref       string
	began, at time.Duration
	refused   bool
	greeting  bool // it was refused at the greeting
}

// oddHosts is the Sender of mail for several domains.
type oddHosts struct {
	begun  time.Time
	refuse func(*oddTry) *smtp.Reply // nil: it is taken

	mu    sync.Mutex
	r     *rand.Rand
	tries []oddTry
}

func (h *oddHosts) Send(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	j, _ := smtp.JobOf(ctx)
	source, ref, _ := strings.Cut(j.Ref, " ")
	_, spf := smtp.SplitAddress(env.From)
	_, domain := smtp.SplitAddress(env.Recipients[0].Address)
	h.mu.Lock()
	try := oddTry{drillMail: drillMail{source, j.FromDomain, spf, j.Tenant}, domain: domain, to: len(env.Recipients), ref: ref}
	try.began = time.Since(h.begun)
	takes := time.Duration((0.3 + 0.4*h.r.Float64()) * float64(time.Second))
	h.mu.Unlock()
	time.Sleep(takes)
	h.mu.Lock()
	defer h.mu.Unlock()
	try.at = time.Since(h.begun)
	reply := h.refuse(&try)
	try.refused = reply != nil
	h.tries = append(h.tries, try)
	res := smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Source: source}
	res.Reply = smtp.NewReply(250, "2.0.0", "taken")
	if reply != nil {
		res.Outcome, res.Reply = smtp.Deferred, reply
		if try.greeting {
			res.Stage = smtp.StageConnect
		}
	}
	return forAll(env, res), nil
}

func newOddHosts() *oddHosts {
	return &oddHosts{begun: time.Now(), r: rand.New(rand.NewPCG(1, 1))}
}

// run runs a Runner for so long. now may be nil.
func (h *oddHosts) run(t *testing.T, q queue.Queue, length time.Duration, now func() time.Time) *Runner {
	t.Helper()
	r := &Runner{
		Queue: q, Sender: h, now: now, SourceOf: sourceOfRef,
	}
	stop := start(t, r)
	time.Sleep(length - time.Since(h.begun))
	stop()
	return r
}

// check counts the attempts of a kind since a time, and wants so many taken, and at most 1 % refused.
func (h *oddHosts) check(t *testing.T, what string, from time.Duration, want int, of func(*oddTry) bool) {
	t.Helper()
	taken, refused := 0, 0
	for i := range h.tries {
		switch try := &h.tries[i]; {
		case try.at < from || !of(try):
		case try.refused:
			refused++
		default:
			taken += try.to
		}
	}
	t.Logf("%s: %d taken, %d refused", what, taken, refused)
	if taken < want || refused*100 > taken {
		t.Errorf("%s: got %d taken since %v and %d refused, want %d and less than 1 %%", what, taken, from, refused, want)
	}
}

// beside puts a message of each of two kinds beside others every minute: one from another address and with other domains
// for the odd host, and one for another host. late returns how many of them weren't taken within a minute and a half.
func (h *oddHosts) beside(t *testing.T, q queue.Queue, n int) (late func() int) {
	put := map[string]time.Duration{}
	go func() {
		for i := range n {
			time.Sleep(time.Minute)
			for _, domain := range []string{"gmail.test", "other.test"} {
				msg := mail("to@" + domain)
				msg.Envelope.From, msg.FromDomain, msg.Tenant = "news@s3.test", "d3.test", "bank"
				msg.Ref = "ip2 " + fmt.Sprint(i)
				if domain == "other.test" { // all else is that of the mail that is refused
					msg.Envelope.From, msg.FromDomain, msg.Tenant = "news@s1.test", "d1.test", "shop"
					msg.Ref = "ip1 " + fmt.Sprint(i)
				}
				enqueue(t, q, msg)
				h.mu.Lock()
				put[domain+fmt.Sprint(i)] = time.Since(h.begun)
				h.mu.Unlock()
			}
		}
	}()
	return func() int {
		h.mu.Lock()
		defer h.mu.Unlock()
		for i := range h.tries {
			try := &h.tries[i]
			if key := try.domain + try.ref; !try.refused && (try.source == "ip2" || try.domain == "other.test") &&
				try.at-put[key] < 90*time.Second {
				delete(put, key)
			}
		}
		return len(put)
	}
}

// TestOddTexts has a host whose refusals name something else each time, or not what it counts, or were never seen
// before, or come at the greeting. It counts the messages from an address, or the recipients.
func TestOddTexts(t *testing.T) {
	recipient := smtp.NewReply(450, "4.2.1", "this user is receiving mail at a rate that is too high")
	anew := func(n int) *smtp.Reply {
		return smtp.NewReply(421, "4.7.28", fmt.Sprintf("rate limit %d exceeded: %d%s", n, n*n, strings.Repeat(" x", 200)))
	}
	tests := []struct {
		name     string
		greeting bool
		replies  []*smtp.Reply // one of them at random; none: a text that wasn't there before
		rates    int           // that are learned at most
		most     int           // recipients of a message; 0: one
	}{
		{"address, DKIM or SPF domain", false, []*smtp.Reply{overAddress, overDKIM, overSPF}, 5, 0},
		{"anything", false, []*smtp.Reply{overAddress, overDKIM, overSPF, overAny, recipient}, 30, 0},
		{"DKIM domain, which isn't it", false, []*smtp.Reply{overDKIM}, 2, 0},
		{"other words each time", false, nil, 6, 0},
		{"greeting", true, []*smtp.Reply{overAddress}, 1, 0},
		{"greeting, nothing is named", true, []*smtp.Reply{overAny}, 2, 0},
		{"recipients", false, []*smtp.Reply{smtp.NewReply(450, "4.7.1", "Error: too many recipients from 192.0.2.1")}, 1, 3},
		{"recipients an hour", false, []*smtp.Reply{smtp.NewReply(451, "4.7.1", "too many recipients in the last hour")}, 6, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, q := newOddHosts(), mem.New()
				quota, n := &slidingQuota{n: 600, period: time.Hour}, 0
				h.refuse = func(m *oddTry) *smtp.Reply {
					if m.source != "ip1" || m.domain != "gmail.test" {
						return nil
					}
					for range m.to {
						if !quota.takes(m.at) {
							m.greeting = tt.greeting
							if n++; tt.replies == nil {
								return anew(n)
							}
							return tt.replies[h.r.IntN(len(tt.replies))]
						}
					}
					return nil
				}
				for _, kind := range []drillMail{{"ip1", "d1.test", "s1.test", "shop"}, {"ip1", "d2.test", "s2.test", "zoo"}} {
					for i := range 5000 {
						msg := mail(fmt.Sprintf("r%d@gmail.test", i))
						for k := range h.r.IntN(max(tt.most, 1)) {
							msg.Envelope.Recipients = append(msg.Envelope.Recipients, smtp.Recipient{Address: fmt.Sprintf("r%d.%d@gmail.test", i, k)})
							msg.Destinations = append(msg.Destinations, "gmail.test")
						}
						msg.Envelope.From, msg.FromDomain, msg.Tenant = "news@"+kind.spf, kind.dkim, kind.tenant
						msg.Ref = kind.source + " " + fmt.Sprint(i)
						enqueue(t, q, msg)
					}
				}
				late := h.beside(t, q, 600)
				r := h.run(t, q, 12*time.Hour, nil)
				h.check(t, "the mail that is refused", 6*time.Hour, 6*600*9/10, func(m *oddTry) bool {
					return m.source == "ip1" && m.domain == "gmail.test"
				})
				if got := late(); got > 0 {
					t.Errorf("got %d messages late that the host doesn't count", got)
				}
				if got := len(r.LearnedRates()); got == 0 || got > tt.rates {
					t.Errorf("got %d rates, want %d at most", got, tt.rates)
				}
			})
		})
	}
}

// TestOddMessage has one message that is refused for its rate each time, though all others are taken. It must not slow
// the others.
func TestOddMessage(t *testing.T) {
	for _, tt := range []struct {
		name  string
		every time.Duration // between the others, in four days
	}{
		{"a message in half an hour", 30 * time.Minute},
		{"a message in ten seconds", 10 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, q := newOddHosts(), mem.New()
				h.refuse = func(m *oddTry) *smtp.Reply {
					if m.tenant == "odd" {
						return overAddress
					}
					return nil
				}
				putMailTo(t, q, 1, "gmail.test", drillMail{"ip1", "d1.test", "s1.test", "odd"})
				const days = 4 * 24 * time.Hour
				go func() {
					for time.Since(h.begun) < days {
						putMailTo(t, q, 1, "gmail.test", drillMail{"ip1", "d1.test", "s1.test", "shop"})
						time.Sleep(tt.every)
					}
					putMailTo(t, q, 3000, "gmail.test", drillMail{"ip1", "d1.test", "s1.test", "campaign"})
				}()
				h.run(t, q, days+3*time.Hour, nil)
				h.check(t, "the campaign", days, 3000, func(m *oddTry) bool { return m.tenant == "campaign" })
			})
		})
	}
}

// TestOddFirst has a host whose first reply ever is a refusal, and that takes all after that.
func TestOddFirst(t *testing.T) {
	for _, reply := range []*smtp.Reply{overAddress, overAny} {
		synctest.Test(t, func(t *testing.T) {
			h, q := newOddHosts(), mem.New()
			h.refuse = func(*oddTry) *smtp.Reply {
				if len(h.tries) == 0 {
					return reply
				}
				return nil
			}
			putMailTo(t, q, 1000, "gmail.test", drillMail{"ip1", "d1.test", "s1.test", "shop"})
			h.run(t, q, 10*time.Minute, nil)
			h.check(t, "all", 0, 1000, func(*oddTry) bool { return true })
		})
	}
}

// TestOddSteps has the wall clock step in the first pause: no message goes in the pause, and the rate is learned.
func TestOddSteps(t *testing.T) {
	for _, step := range []time.Duration{0, time.Hour, -time.Hour, 6 * day, -6 * day} {
		t.Run(step.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var clock clocktest.Clock // of the queue, too
				q, err := (&spool.Options{FS: crashfs.New[spool.File](nil), Now: clock.Now}).Open("memory")
				if err != nil {
					t.Fatal(err)
				}
				defer q.Close()
				h := newOddHosts()
				quota := &slidingQuota{n: 600, period: time.Hour}
				h.refuse = func(m *oddTry) *smtp.Reply {
					if quota.takes(m.at) {
						return nil
					}
					return overAddress
				}
				putMailTo(t, q, 8000, "gmail.test", drillMail{"ip1", "d1.test", "s1.test", "shop"})
				go func() {
					time.Sleep(3 * time.Minute)
					clock.Step(step)
				}()
				h.run(t, q, 14*time.Hour, clock.Now)
				var refused time.Duration // when the first pause began
				for _, try := range h.tries {
					switch {
					case try.refused && try.began < 3*time.Minute:
						refused = try.at
					case refused > 0 && try.began > refused && try.began < refused+defaultPause:
						t.Fatalf("an attempt began %v after a refusal", try.began-refused)
					}
				}
				h.check(t, "all", 8*time.Hour, 6*600*9/10, func(*oddTry) bool { return true })
			})
		})
	}
}

// TestMeterSpare: the refusal of a message says nothing about the rate if it was refused often, and others are accepted.
func TestMeterSpare(t *testing.T) {
	for _, tt := range []struct {
		name             string
		before, accepted int
		closed, want     bool
	}{
		{"the first time", 0, 1000, false, false},
		{"the third time", 2, 1000, false, false},
		{"the fourth time", 3, 10, false, true},
		{"the fourth time, few are accepted", 3, 9, false, false},
		{"the eleventh time", 10, 3, false, true},
		{"the eleventh time, fewer are accepted", 10, 2, false, false},
		{"many times, and nothing is accepted", 1000, 0, false, false},
		{"in a pause", 3, 10, true, false},
	} {
		m := meter{level: 1, n: uint32(tt.accepted), closed: tt.closed}
		if got := m.spare(uint32(tt.before), 0); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
		if m.spare(uint32(tt.before), 0) && tt.accepted > 0 {
			t.Errorf("%s: got another one spared", tt.name)
		}
	}
}
