package delivery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// drillMail is what a host can count of a message.
type drillMail struct{ source, dkim, spf, tenant string }

// drillTry is an attempt.
type drillTry struct {
	drillMail
	began, at time.Duration // since the start
	beside    int           // others of the same source under way when it began
	refused   bool
}

// drillHost is the Sender of a drill: a host that takes half a second for each message.
type drillHost struct {
	begun  time.Time
	refuse func(m drillMail, began, now time.Duration) *smtp.Reply // nil: it takes the message

	mu     sync.Mutex
	r      *rand.Rand
	flying map[string]int
	tries  []drillTry
}

func newDrillHost(seed uint64) *drillHost {
	return &drillHost{begun: time.Now(), r: rand.New(rand.NewPCG(seed, 8)), flying: map[string]int{}}
}

func (h *drillHost) Send(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	j, _ := smtp.JobOf(ctx)
	source, _, _ := strings.Cut(j.Ref, " ")
	_, spf := smtp.SplitAddress(env.From)
	h.mu.Lock()
	try := drillTry{drillMail: drillMail{source, j.FromDomain, spf, j.Tenant}, began: time.Since(h.begun), beside: h.flying[source]}
	h.flying[source]++
	takes := time.Duration((0.3 + 0.4*h.r.Float64()) * float64(time.Second))
	h.mu.Unlock()
	time.Sleep(takes)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flying[source]--
	try.at = time.Since(h.begun)
	reply := h.refuse(try.drillMail, try.began, try.at)
	try.refused = reply != nil
	h.tries = append(h.tries, try)
	res := smtp.Result{Outcome: smtp.Delivered, Stage: smtp.StageFinal, Reply: smtp.NewReply(250, "2.0.0", "taken")}
	if reply != nil {
		res.Outcome, res.Stage, res.Reply = smtp.Deferred, smtp.StageFinal, reply
		if reply.Code/100 == 5 {
			res.Outcome = smtp.Rejected
		}
	}
	return forAll(env, res), nil
}

// forAll returns a result that is the same for all recipients.
func forAll(env *smtp.Envelope, res smtp.Result) []smtp.Result {
	results := make([]smtp.Result, len(env.Recipients))
	for i := range results {
		results[i] = res
		results[i].Recipient = env.Recipients[i].Address
	}
	return results
}

// sourceOfRef is the SourceOf of mail from putMail.
func sourceOfRef(t *queue.Task) string {
	source, _, _ := strings.Cut(t.Ref, " ")
	return source
}

// drill runs a Runner against h for so long.
func (h *drillHost) drill(t *testing.T, q queue.Queue, limits SiteLimits, length time.Duration) *Runner {
	t.Helper()
	r := &Runner{
		Queue: q, Sender: h, Site: limits, SourceOf: sourceOfRef,
	}
	stop := start(t, r)
	time.Sleep(length - time.Since(h.begun))
	stop()
	return r
}

// putMail has n messages of each kind for gmail.test in the queue, in turns.
func putMail(t *testing.T, q queue.Queue, n int, kinds ...drillMail) {
	t.Helper()
	putMailTo(t, q, n, "gmail.test", kinds...)
}

func putMailTo(t *testing.T, q queue.Queue, n int, domain string, kinds ...drillMail) {
	t.Helper()
	for i := range n {
		for _, m := range kinds {
			msg := mail(fmt.Sprintf("r%d@%s", i, domain))
			msg.Envelope.From = "news@" + m.spf
			msg.FromDomain, msg.Tenant = m.dkim, m.tenant
			msg.Ref = m.source + " " + fmt.Sprint(i)
			msg.Deadline = time.Now().Add(30 * 24 * time.Hour)
			enqueue(t, q, msg)
		}
	}
}

// The replies of the host of the Gmail drill. They aren't Google's, but name what they count in the same way.
var (
	overAddress = smtp.NewReply(421, "4.7.28", "too much mail from your IP address; slow down and come back later")
	overDKIM    = smtp.NewReply(421, "4.7.28", "too much mail signed by this DKIM domain; slow down and come back later")
	overSPF     = smtp.NewReply(421, "4.7.28", "too much mail of this SPF domain; slow down and come back later")
	overAny     = smtp.NewReply(421, "4.7.28", "rate limit exceeded; slow down and come back later")
)

// googleLimits has Google's procedure: nothing for ten minutes, then one connection, then one more at a time.
var googleLimits = SiteLimits{Recovery: Recovery{Pause: 10 * time.Minute, Start: 1, Step: 1}}

// TestGmailDrillScopes: what a reply names is left alone for ten minutes, and comes back with one connection, then one
// more at a time. What it doesn't name isn't slowed. A reply that names nothing is about the address, the DKIM domain and
// the SPF domain of the message.
func TestGmailDrillScopes(t *testing.T) {
	refused := drillMail{"ip1", "d1.test", "s1.test", "shop"}
	kinds := map[string]drillMail{
		"its address":     {"ip1", "d2.test", "s2.test", "shop"},
		"its DKIM domain": {"ip2", "d1.test", "s2.test", "shop"},
		"its SPF domain":  {"ip2", "d2.test", "s1.test", "shop"},
		"nothing of it":   {"ip2", "d2.test", "s2.test", "shop"},
	}
	for _, tt := range []struct {
		name  string
		reply *smtp.Reply
		slow  []string
	}{
		{"address", overAddress, []string{"its address"}},
		{"DKIM domain", overDKIM, []string{"its DKIM domain"}},
		{"SPF domain", overSPF, []string{"its SPF domain"}},
		{"nothing", overAny, []string{"its address", "its DKIM domain", "its SPF domain"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, q := newDrillHost(1), mem.New()
				over := false
				h.refuse = func(m drillMail, began, now time.Duration) *smtp.Reply {
					if m == refused && !over {
						over = true
						return tt.reply
					}
					return nil
				}
				putMail(t, q, 1, refused)
				go func() {
					time.Sleep(time.Minute)
					all := []drillMail{refused}
					for _, name := range slices.Sorted(maps.Keys(kinds)) {
						all = append(all, kinds[name])
					}
					putMail(t, q, 30, all...)
				}()
				h.drill(t, q, googleLimits, 2*time.Hour)
				for name, m := range kinds {
					var first, last time.Duration
					most, n := 0, 0
					for _, try := range h.tries {
						if try.drillMail == m {
							if n++; n == 1 {
								first = try.began
							}
							most, last = max(most, try.beside), max(last, try.at)
						}
					}
					slow := slices.Contains(tt.slow, name)
					if n != 30 || slow != (first >= 10*time.Minute) || !slow && last > 5*time.Minute {
						t.Errorf("with %s: got %d attempts from %v to %v; want it slow: %v", name, n, first, last, slow)
					}
				}
				h.checkPauses(t, func(m drillMail) bool { return m == refused }, 10*time.Minute)
				isSlow := func(m drillMail) bool {
					return m == refused || slices.ContainsFunc(tt.slow, func(name string) bool { return kinds[name] == m })
				}
				var slowed []drillTry // that began since the pause
				for _, try := range h.tries {
					if try.began >= 10*time.Minute && isSlow(try.drillMail) {
						slowed = append(slowed, try)
					}
				}
				most := 0
				for _, try := range slowed {
					n, took := 0, 0
					for _, other := range slowed {
						switch {
						case other.at <= try.began:
							took++
						case other.began <= try.began && other.drillMail == refused:
							n++
						}
					}
					if n > 1+took {
						t.Errorf("%d at a time after %d since the pause", n, took)
					}
					most = max(most, n)
				}
				if most < 2 {
					t.Errorf("got %d at a time at most after the pause, want more", most)
				}
			})
		})
	}
}

// checkPauses sees to it that nothing of a kind begins within the pause after a refusal of that kind was told.
func (h *drillHost) checkPauses(t *testing.T, of func(drillMail) bool, pause time.Duration) {
	t.Helper()
	for i, try := range h.tries { // in the order of their ends
		if !try.refused || !of(try.drillMail) {
			continue
		}
		for _, next := range h.tries[i+1:] {
			if of(next.drillMail) && next.began > try.at && next.began < try.at+pause {
				t.Fatalf("%v after a refusal at %v, %v is tried", next.began-try.at, try.at, next.drillMail)
			}
		}
	}
}

// used returns the accepted messages of a kind since a time, and the part of the attempts that was refused.
func (h *drillHost) used(of func(drillMail) bool, from time.Duration) (accepted int, refused float64) {
	bad := 0
	for _, try := range h.tries {
		switch {
		case try.at < from || !of(try.drillMail):
		case try.refused:
			bad++
		default:
			accepted++
		}
	}
	return accepted, float64(bad) / float64(max(accepted+bad, 1))
}

// TestGmailDrill has a host with quotas for each address, DKIM domain and SPF domain, and more mail than those allow, for
// a day and a half. After six hours, at most 1 % of the attempts are refused, and at least 90 % of each quota is used.
func TestGmailDrill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const length, skip = 30 * time.Hour, 6 * time.Hour
		h, q := newDrillHost(2), mem.New()
		quotas := map[string]*slidingQuota{}
		count := func(name string, n int, now time.Duration) bool {
			quota := quotas[name]
			if quota == nil {
				quota = &slidingQuota{n: n, period: time.Hour}
				quotas[name] = quota
			}
			return quota.takes(now)
		}
		h.refuse = func(m drillMail, began, now time.Duration) *smtp.Reply {
			switch {
			case !count("dkim "+m.dkim, 300, now):
				return overDKIM
			case !count("spf "+m.spf, 200, now):
				return overSPF
			case !count(m.source, 600, now):
				return overAddress
			}
			return nil
		}
		var kinds []drillMail
		a := drillMail{"ip1", "d1.test", "s1.test", "a"} // its SPF domain binds
		c := drillMail{"ip2", "d3.test", "s3.test", "c"} // likewise, and nothing else is sent from its address
		putMail(t, q, 10_000, a, c)
		for i := range 4 { // of the mail of b, the address binds: what a leaves of it
			kinds = append(kinds, drillMail{"ip1", fmt.Sprintf("d2%d.test", i), fmt.Sprintf("s2%d.test", i), "b"})
		}
		putMail(t, q, 4_000, kinds...)
		h.drill(t, q, googleLimits, length)
		for _, tt := range []struct {
			name  string
			of    func(drillMail) bool
			quota float64
		}{
			{"SPF domain", func(m drillMail) bool { return m.spf == "s1.test" }, 200},
			{"address", func(m drillMail) bool { return m.source == "ip1" }, 600},
			{"SPF domain at an idle address", func(m drillMail) bool { return m.source == "ip2" }, 200},
		} {
			accepted, refused := h.used(tt.of, skip)
			part := float64(accepted) / (tt.quota * (length - skip).Hours())
			t.Logf("%s: %d accepted, %.1f %% of the quota; %.2f %% refused", tt.name, accepted, 100*part, 100*refused)
			if part < 0.9 || refused > 0.01 {
				t.Errorf("%s: got %.1f %% of the quota used and %.2f %% refused, want 90 %% and 1 %%", tt.name, 100*part, 100*refused)
			}
		}
	})
}

// strict is a host that blocks for a day whoever begins with a message after twenty 4xx in ten minutes.
type strict struct {
	past    map[string][]time.Duration // 4xx, by source
	blocked time.Duration              // until then
	blocks  int
}

func (s *strict) refuse(m drillMail, began, now time.Duration, over bool) *smtp.Reply {
	past := slices.DeleteFunc(s.past[m.source], func(at time.Duration) bool { return now-at > 10*time.Minute })
	s.past[m.source] = past
	switch {
	case now < s.blocked:
		return smtp.NewReply(550, "5.7.606", "access denied, banned sending address")
	case len(past) >= 20 && began > past[19]:
		s.blocks++
		s.blocked = now + 24*time.Hour
		return smtp.NewReply(550, "5.7.606", "access denied, banned sending address")
	case over:
		s.past[m.source] = append(past, now)
		return smtp.NewReply(451, "4.7.500", "server busy, please slow down and try again later")
	}
	return nil
}

// TestMicrosoftDrill: a host that blocks for a day whoever ignores twenty 4xx in ten minutes never has cause to, with any
// quota, however many senders there are. POSTRIDER_DRILLS says how many seeds it tries.
func TestMicrosoftDrill(t *testing.T) {
	seeds, err := strconv.ParseUint(cmp.Or(os.Getenv("POSTRIDER_DRILLS"), "20"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		seeds = min(seeds, 4)
	}
	begun, attempts, refused, accepted := time.Now(), 0, 0, 0
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 9))
			h, q := newDrillHost(seed), mem.New()
			host := &strict{past: map[string][]time.Duration{}}
			var quotas [2]quota
			for i := range quotas {
				n := 10 + r.IntN(200)
				switch r.IntN(3) {
				case 0:
					quotas[i] = &bucketQuota{size: float64(1 + r.IntN(50)), perSecond: float64(n) / 3600}
				case 1:
					quotas[i] = &fixedQuota{n: steadyQuota(n), period: time.Hour}
				case 2:
					quotas[i] = &slidingQuota{n: n, period: time.Hour}
				}
			}
			h.refuse = func(m drillMail, began, now time.Duration) *smtp.Reply {
				over := now >= host.blocked && !quotas[m.source[2]-'1'].takes(now)
				return host.refuse(m, began, now, over)
			}
			senders := []int{1, 2, 4, 7, 30, 400}[r.IntN(6)]
			kinds := make([]drillMail, senders)
			for i := range kinds {
				kinds[i] = drillMail{fmt.Sprint("ip", 1+r.IntN(2)), fmt.Sprintf("d%d.test", i%10), fmt.Sprintf("s%d.test", i), ""}
				if r.IntN(2) == 0 {
					kinds[i].tenant = fmt.Sprint("tenant", i)
				}
			}
			length := time.Hour + time.Duration(r.Int64N(int64(2*time.Hour)))
			putMail(t, q, 1+1000/senders, kinds...)
			limits := SiteLimits{Concurrency: 1 + r.IntN(20), Initial: 1 + r.IntN(20)}
			h.drill(t, q, limits, length)
			if host.blocks > 0 {
				t.Errorf("seed %d: got %d blocks, with %d senders and %+v", seed, host.blocks, senders, limits)
			}
			for _, try := range h.tries {
				attempts++
				if try.refused {
					refused++
				} else {
					accepted++
				}
			}
		})
	}
	t.Logf("%d seeds, %d attempts, %d refused, in %v", seeds, attempts, refused, time.Since(begun).Round(time.Millisecond))
}

// TestTenantDrill: a campaign that a site throttles doesn't slow another tenant, as far as the site tells them apart: by
// the signing domain, or by the address. If the reply names neither, it is the tenant's that was refused.
func TestTenantDrill(t *testing.T) {
	campaign := drillMail{"ip1", "d1.test", "s1.test", "shop"}
	for _, tt := range []struct {
		name  string
		reply *smtp.Reply
		other drillMail
	}{
		{"another signer", overDKIM, drillMail{"ip1", "d2.test", "s2.test", "bank"}},
		{"another address", overAddress, drillMail{"ip2", "d1.test", "s1.test", "bank"}},
		{"the same, and nothing is named", overAny, drillMail{"ip1", "d1.test", "s1.test", "bank"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, q := newDrillHost(4), mem.New()
				quota := &slidingQuota{n: 50, period: time.Hour}
				h.refuse = func(m drillMail, began, now time.Duration) *smtp.Reply {
					if m == campaign && !quota.takes(now) {
						return tt.reply
					}
					return nil
				}
				putMail(t, q, 500, campaign)
				go func() {
					time.Sleep(90 * time.Minute)
					putMail(t, q, 50, tt.other)
				}()
				h.drill(t, q, SiteLimits{}, 3*time.Hour)
				n, last := 0, time.Duration(0)
				for _, try := range h.tries {
					if try.drillMail == tt.other {
						n, last = n+1, max(last, try.at)
					}
				}
				_, refused := h.used(func(m drillMail) bool { return m == campaign }, 0)
				if n != 50 || last > 92*time.Minute || refused == 0 {
					t.Errorf("got %d attempts of the other tenant, the last after %v, and %.1f %% of the campaign refused; want 50 by 92m",
						n, last, 100*refused)
				}
			})
		})
	}
}
