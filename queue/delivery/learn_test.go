package delivery

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// refusedBy is an attempt of a task at a site "x.test" that is refused for its rate.
func refusedBy(m *machine, r *Runner, task *queue.Task, reply *smtp.Reply, addr string) *verdict {
	return refusedFrom(m, r, task, reply, addr, "")
}

func refusedFrom(m *machine, r *Runner, task *queue.Task, reply *smtp.Reply, addr, source string) *verdict {
	res := smtp.Result{Stage: smtp.StageMail, Reply: reply, Reason: smtp.RateLimited, Addr: addr, Source: source}
	res.Recipient = task.Envelope.Recipients[0].Address
	v, _ := judge([]smtp.Result{res}, time.Second)
	v.refusal = r.refusalOf(task, []smtp.Result{res})
	m.wake(laneOf(task), m.base.Add(time.Duration(m.mono)), m.base.Add(time.Duration(m.mono)))
	f, p := claim(m, task, m.base.Add(time.Duration(m.mono)))
	if p.step != stepAttempt {
		return nil
	}
	m.done(f, v, time.Time{}, m.base.Add(time.Duration(m.mono)))
	return &v
}

func rateTask(owner int, origin smtp.Origin) *queue.Task {
	return &queue.Task{
		Destination: "x.test", Owner: queue.Owner(owner), Attempts: 1, Arrival: machineNow, Due: machineNow, Ref: "192.0.2.1",
		Origin: origin, FromDomain: "d.test", Envelope: smtp.NewEnvelope(fmt.Sprintf("o%d@s.test", owner), "to@x.test"),
	}
}

func rateMachine() (*machine, *Runner) {
	r := &Runner{SourceOf: func(t *queue.Task) string { return t.Ref }}
	m := testMachine(machineConfig{sourceOf: r.sourceOf, signerOf: r.signerOf})
	m.at(machineNow)
	return m, r
}

// TestLearnNames: names are forgotten with the rates that have them, and each rate keeps its own name.
func TestLearnNames(t *testing.T) {
	for _, every := range []time.Duration{5 * time.Minute, time.Hour, 25 * time.Hour} {
		m, r := rateMachine()
		now := machineNow
		for i := range 1000 {
			m.at(now)
			task := rateTask(i, smtp.OriginCode)
			name := fmt.Sprintf("s%d.test", i)
			task.Envelope.From, task.Arrival, task.Due = "a@"+name, now, now
			refusedBy(m, r, task, overSPF, "")
			if !slices.ContainsFunc(m.learnedRates(now), func(r LearnedRate) bool { return r.Name == name }) {
				t.Fatalf("one each %v: got no rate for %s", every, name)
			}
			now = now.Add(every)
		}
		if len(m.names.list) > 1000 {
			t.Errorf("one each %v: got %d names", every, len(m.names.list))
		}
	}
}

// TestLearnKeys: what a refusal names has a rate. One that doesn't name it is about its owner, until five were refused.
func TestLearnKeys(t *testing.T) {
	own := func(name string) string { return name + " (own)" }
	unnamed := []string{own("address 192.0.2.1"), own("dkim-domain d.test"), own("spf-domain s.test")}
	tests := []struct {
		name   string
		reply  *smtp.Reply
		origin smtp.Origin
		hosts  string // of the site
		owners int
		want   []string
	}{
		{"address", overAddress, smtp.OriginCode, "", 1, []string{"address 192.0.2.1"}},
		{"address, beside the recipient", smtp.NewReply(450, "4.7.1", "<to@x.test>: your IP address exceeds its rate limit"),
			smtp.OriginCode, "", 1, []string{"address 192.0.2.1"}},
		{"network", smtp.NewReply(421, "4.7.28", "rate limit of your IP netblock exceeded"), smtp.OriginCode, "", 1, []string{"network 192.0.2.0/24"}},
		{"DKIM domain", overDKIM, smtp.OriginCode, "", 1, []string{"dkim-domain d.test"}},
		{"SPF domain", overSPF, smtp.OriginCode, "", 1, []string{"spf-domain s.test"}},
		{"recipient", smtp.NewReply(450, "4.2.1", "the user is receiving mail at a rate that is too high"), smtp.OriginCode, "", 1,
			[]string{"recipient to@x.test"}},
		{"connection", smtp.NewReply(421, "4.7.0", "too many connections"), smtp.OriginCode, "", 1, nil},
		{"nothing", overAny, smtp.OriginCode, "", 1, unnamed},
		{"nothing, to four owners", overAny, smtp.OriginCode, "", 4, append(append(append(unnamed[:3:3], unnamed...), unnamed...), unnamed...)},
		{"nothing, to five owners", overAny, smtp.OriginCode, "", 5, []string{"address 192.0.2.1", "dkim-domain d.test", "spf-domain s.test"}},
		{"a stranger's mail", overDKIM, smtp.OriginStranger, "", 1, nil},
		{"a stranger's mail, its address", overAddress, smtp.OriginStranger, "", 1, []string{own("address 192.0.2.1")}},
		{"said by the site", overAddress, smtp.OriginCode, "192.0.2.25", 1, []string{"address 192.0.2.1"}},
		{"said by another host", overAddress, smtp.OriginCode, "192.0.2.66", 1, []string{own("address 192.0.2.1")}},
		{"said by another host, to five owners", overSPF, smtp.OriginCode, "192.0.2.66", 5, []string{
			own("spf-domain s.test"), own("spf-domain s.test"), own("spf-domain s.test"), own("spf-domain s.test"),
			own("spf-domain s.test"),
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, r := rateMachine()
			if tt.hosts != "" {
				m.resolve = true
				m.sited("x.test", Site{Name: "x.test"}, machineNow)
				m.join(m.target(toLane("x.test")), Site{Name: "x.test", Addrs: []netip.Addr{netip.MustParseAddr(tt.hosts)}})
				m.ready(m.target(toLane("x.test")))
			}
			for owner := range tt.owners {
				refusedBy(m, r, rateTask(owner, tt.origin), tt.reply, "192.0.2.25:25")
			}
			var got []string
			for _, rate := range m.learnedRates(machineNow) {
				name := rate.Of + " " + rate.Name
				if rate.Owner != 0 {
					name = own(name)
				}
				got = append(got, name)
			}
			want := map[string]int{}
			for _, name := range tt.want {
				want[name]++
			}
			for _, name := range got {
				want[name]--
			}
			for name, n := range want {
				if n != 0 {
					t.Errorf("got %q, want %q: %q is there %d times too often", got, tt.want, name, -n)
				}
			}
		})
	}
}

// TestLearnSource: a refusal of a message that went out from another source than the one that it prefers is about both.
func TestLearnSource(t *testing.T) {
	network := smtp.NewReply(421, "4.7.28", "rate limit of your IP netblock exceeded")
	for _, tt := range []struct {
		name    string
		sources bool
		used    string
		reply   *smtp.Reply
		want    []string
	}{
		{"the one that it prefers", true, "192.0.2.1", overAddress, []string{"address 192.0.2.1"}},
		{"another one", true, "198.51.100.2", overAddress, []string{"address 192.0.2.1", "address 198.51.100.2"}},
		{"one of the same network", true, "192.0.2.2", network, []string{"network 192.0.2.0/24"}},
		{"one of another network", true, "198.51.100.2", network, []string{"network 192.0.2.0/24", "network 198.51.100.0/24"}},
		{"not known", true, "", overAddress, []string{"address 192.0.2.1"}},
		{"without SourceOf", false, "198.51.100.2", overAddress, []string{"address "}},
		{"of a signer", true, "198.51.100.2", overDKIM, []string{"dkim-domain d.test"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, r := rateMachine()
			if !tt.sources {
				r.SourceOf = nil
			}
			refusedFrom(m, r, rateTask(1, smtp.OriginCode), tt.reply, "", tt.used)
			var got []string
			for _, rate := range m.learnedRates(machineNow) {
				got = append(got, rate.Of+" "+rate.Name)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestLearnOff: with a negative Pause, refusals count as they did without rates.
func TestLearnOff(t *testing.T) {
	m, r := rateMachine()
	m.site = func(string) SiteLimits {
		return SiteLimits{Concurrency: 5, Initial: 3, Recovery: Recovery{Pause: -1}}
	}
	refusedBy(m, r, rateTask(1, smtp.OriginCode), overAddress, "")
	if m.meters != 0 {
		t.Errorf("got %d rates learned, want none", m.meters)
	}
	for _, p := range m.parties {
		if p.own == nil || p.own.window != 2 {
			t.Errorf("got %+v, want a smaller window of the owner", p.own)
		}
	}
}

// TestLearnAtDeadline: a message whose deadline has come while a rate has no room fails, with a reason.
func TestLearnAtDeadline(t *testing.T) {
	m, r := rateMachine()
	refusedBy(m, r, rateTask(1, smtp.OriginCode), overAddress, "")
	task := rateTask(1, smtp.OriginCode)
	task.Deadline = machineNow
	m.wake(laneOf(task), machineNow, machineNow)
	_, p := claim(m, task, machineNow)
	if p.step != stepExpire || p.reason == nil || p.reason.Reason != smtp.RateLimited {
		t.Errorf("got %+v, want it to expire for the rate", p)
	}
}

// TestMeterGates: 1,000 lanes of a sender wait for a rate without anything being claimed or written again and again, and
// then go one by one, in their order.
func TestMeterGates(t *testing.T) {
	m, r := rateMachine()
	refusedBy(m, r, rateTask(1, smtp.OriginCode), overSPF, "")
	now := machineNow
	vain, order := 0, []string{}
	for i := range 1000 {
		m.wake(queue.Lane{Destination: "x.test", Owner: queue.Owner(i % 50), Priority: int8(i%3 - 1)}, now, now)
	}
	for range 24 * 3600 {
		m.at(now)
		for _, w := range m.pick(20-m.held, now) {
			for range w.Max {
				task := rateTask(int(w.Owner), smtp.OriginCode)
				task.Priority = w.Priority
				f, p := claim(m, task, now)
				if p.step == stepAttempt {
					order = append(order, fmt.Sprint(w.Owner))
					m.done(f, verdict{sign: 1, taken: true, final: true}, time.Time{}, now)
				} else {
					vain++
					m.done(f, verdict{}, time.Time{}, now)
				}
			}
		}
		m.settleTurn(false)
		next := m.next(true)
		if next.IsZero() || next.Sub(now) > time.Hour || len(order) > 2000 {
			break
		}
		now = later(now.Add(time.Millisecond), next)
	}
	lanes := 150 // 50 owners and three groups of priorities
	if most := lanes * (looks + 2); vain > most {
		t.Errorf("got %d claims in vain for %d lanes, want %d at most", vain, lanes, most)
	}
	if len(order) < 2000 {
		t.Errorf("got %d sent, want 2000", len(order))
	}
}

// TestLearnedRates: what was learned is the same after it was written as JSON and given to another Runner.
func TestLearnedRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, q := newDrillHost(3), mem.New()
		n := 0
		h.refuse = func(m drillMail, began, now time.Duration) *smtp.Reply {
			if n++; n%500 == 100 {
				return overAddress
			}
			return nil
		}
		putMail(t, q, 2000, drillMail{"ip1", "d.test", "s.test", "shop"})
		r := h.drill(t, q, SiteLimits{}, time.Hour)
		rates := r.LearnedRates()
		if len(rates) != 1 || rates[0].Of != "address" || rates[0].Name != "ip1" || rates[0].Site != "gmail.test" {
			t.Fatalf("got %+v, want the rate of ip1", rates)
		}
		b, err := json.Marshal(rates)
		if err != nil {
			t.Fatal(err)
		}
		var again []LearnedRate
		if err := json.Unmarshal(b, &again); err != nil {
			t.Fatal(err)
		}
		other := &Runner{Queue: mem.New(), Sender: h, Learned: again}
		if got := other.LearnedRates(); !reflect.DeepEqual(got, again) {
			t.Errorf("before Run: got %+v, want %+v", got, again)
		}
		stop := start(t, other)
		sleep(time.Second)
		got := other.LearnedRates()
		stop()
		for i := range got {
			saved := again[i].times()
			for k, at := range got[i].times() {
				if at.Sub(*saved[k]).Abs() <= 2*time.Second {
					*at = *saved[k]
				}
			}
			for _, v := range [][2]*float64{{&got[i].PerHour, &again[i].PerHour}, {&got[i].Level, &again[i].Level}} {
				if d := *v[0] / *v[1]; d > 0.999 && d < 1.001 {
					*v[0] = *v[1]
				}
			}
		}
		if !reflect.DeepEqual(got, again) {
			t.Errorf("got %+v, want %+v", got, again)
		}
	})
}

// TestLearnedFirstPause: a Runner that is started anew in the first pause learns the level that it would have learned
// without that: what the site took before it and in the pause. The site takes 600 messages, and then 600 an hour.
func TestLearnedFirstPause(t *testing.T) {
	for _, restart := range []time.Duration{time.Minute, 4 * time.Minute} {
		t.Run(restart.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, q := newDrillHost(4), mem.New()
				quota := &bucketQuota{size: 600, perSecond: 600. / 3600}
				h.refuse = func(_ drillMail, _, now time.Duration) *smtp.Reply {
					if quota.takes(now) {
						return nil
					}
					return overAddress
				}
				putMail(t, q, 3000, drillMail{"ip1", "d.test", "s.test", "shop"})
				rates := h.drill(t, q, SiteLimits{}, restart).LearnedRates()
				if len(rates) != 1 || !rates[0].First || rates[0].PerHour != 0 || rates[0].Accepted < 600 {
					t.Fatalf("got %+v, want one rate of 600 messages, without a level", rates)
				}
				b, err := json.Marshal(rates)
				if err != nil {
					t.Fatal(err)
				}
				var learned []LearnedRate
				if err := json.Unmarshal(b, &learned); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Minute)
				r := &Runner{Queue: q, Sender: h, Learned: learned, SourceOf: func(*queue.Task) string { return "ip1" }}
				stop := start(t, r)
				time.Sleep(12*time.Minute - time.Since(h.begun))
				stop()
				rates = r.LearnedRates()
				if len(rates) != 1 || rates[0].First || rates[0].Level > 7000 {
					t.Errorf("got %+v with level %.0f, want one of 600 messages in eleven minutes, or lower", rates, rates[0].Level)
				}
			})
		})
	}
}

// TestRecallOld: a rate that an older version has saved has what it had, and an Owner that is a number.
func TestRecallOld(t *testing.T) {
	m, _ := rateMachine()
	var old []LearnedRate
	data := `[{"site":"x.test","of":"address","owner":14142556288454073920,"perHour":855,"level":900,` +
		`"until":"` + machineNow.Add(time.Minute).Format(time.RFC3339) + `","used":"` + machineNow.Format(time.RFC3339) + `"}]`
	if err := json.Unmarshal([]byte(data), &old); err != nil {
		t.Fatal(err)
	}
	m.recall(old, machineNow)
	got := m.learnedRates(machineNow)
	if len(got) != 1 || got[0].Owner != 14142556288454073920 || got[0].Until.Sub(machineNow) != time.Minute || got[0].First {
		t.Errorf("got %+v, want the rate", got)
	}
	data = `[{"site":"x.test","owner":"14142556288454073920x"}]`
	if err := json.Unmarshal([]byte(data), &old); err == nil {
		t.Error("got no error for an owner with an x")
	}
}

// TestRecallOdd: rates that nobody can have learned are ignored.
func TestRecallOdd(t *testing.T) {
	m, _ := rateMachine()
	m.recall([]LearnedRate{
		{Site: "x.test", Of: "moon", Level: 1, Used: machineNow},
		{Site: "x.test", Of: "", Level: 1, Used: machineNow},
		{Site: "x.test", Of: "address", Level: -1, Used: machineNow},
		{Site: "x.test", Of: "address", Level: 1e300, Used: machineNow},
		{Site: "x.test", Of: "address", Level: 1, Used: machineNow.Add(-25 * time.Hour)},
		{Site: "x.test", Of: "address", Level: 3600, Used: machineNow, Steady: -5, AtOnce: 1 << 40, Until: machineNow.Add(1000 * time.Hour),
			Since: machineNow.AddDate(-900, 0, 0), Paused: machineNow.AddDate(900, 0, 0), Accepted: 1 << 60, Pauses: -1},
		{Site: "x.test", Of: "address", Level: 7200, Used: machineNow},
	}, machineNow)
	got := m.learnedRates(machineNow)
	if len(got) != 1 || got[0].Level != 3600 || got[0].AtOnce != maxRecovery || got[0].Until.After(machineNow.Add(mostPause)) {
		t.Errorf("got %+v, want one rate within bounds", got)
	}
}

// TestRecallRefused: a rate from before a restart, of which the first message is refused, stays a rate.
func TestRecallRefused(t *testing.T) {
	m, r := rateMachine()
	m.recall([]LearnedRate{{Site: "x.test", Of: "address", Name: "192.0.2.1", Level: 3600, Used: machineNow}}, machineNow)
	m.at(machineNow.Add(time.Minute))
	if refusedBy(m, r, rateTask(1, smtp.OriginCode), overAddress, "") == nil {
		t.Fatal("got no attempt")
	}
	if got := m.learnedRates(machineNow); len(got) != 1 || got[0].Until.IsZero() || got[0].Level < 1800 {
		t.Errorf("got %+v, want a rate that is closed and about as large", got)
	}
}

// TestRateWhy has the sentences about a learned rate.
func TestRateWhy(t *testing.T) {
	until := time.Date(2030, 1, 2, 0, 5, 0, 0, time.UTC)
	tests := []struct {
		rate LearnedRate
		full bool
		want string
	}{
		{LearnedRate{Of: "address", Name: "out1", Until: until}, false,
			"mx.test has refused mail from our address out1 because of the rate. Nothing is sent until 2030-01-02 00:05:00 UTC."},
		{LearnedRate{Of: "address", PerHour: 8.621}, false, "mx.test takes about 8.6 messages an hour from our address."},
		{LearnedRate{Of: "network", Name: "192.0.2.0/24", PerHour: 1234.5}, false,
			"mx.test takes about 1234 messages an hour from our network 192.0.2.0/24."},
		{LearnedRate{Of: "dkim-domain", Name: "d.test", PerHour: 0.25, Owner: 1}, false,
			"mx.test takes about 0.25 messages an hour with the DKIM domain d.test."},
		{LearnedRate{Of: "recipient", Name: "a@x.test", PerHour: 7, AtOnce: 2}, true,
			"mx.test has refused mail to the recipient a@x.test because of the rate. It now gets no more at a time than 2."},
	}
	for _, tt := range tests {
		tt.rate.Site = "mx.test"
		if got := tt.rate.why(tt.full); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	own := LearnedRate{Site: "mx.test", Of: "address", PerHour: 7, Owner: 14142556288454073920}
	want := "mx.test takes about 7 messages an hour from our address. " +
		"This counts for the mail of one sender or tenant only, of Owner 14142556288454073920."
	if got := own.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestForgetMeters: rates that weren't used for a day are forgotten, with their names.
func TestForgetMeters(t *testing.T) {
	m, _ := rateMachine()
	for day := range 5 {
		m.at(machineNow.Add(time.Duration(day) * 25 * time.Hour))
		for i := range 1000 {
			if m.meters >= m.manyMeters {
				m.forgetMeters()
			}
			k := meterKey{name: m.names.id(fmt.Sprint(day, " ", i)), kind: bySigner}
			m.putMeter(fmt.Sprint("site", i/2), newMeter(k, Recovery{}, 1, tally{}, m.mono))
		}
	}
	m.forgetMeters()
	if n := len(m.names.list); m.meters > 1100 || n > 4*m.meters || len(m.learnt.sites) > 501 {
		t.Errorf("got %d meters of %d sites and %d names, want about 1,000", m.meters, len(m.learnt.sites), n)
	}
	rates := m.learnedRates(machineNow)
	if len(rates) != m.meters || !strings.HasPrefix(rates[0].Name, "4 ") {
		t.Errorf("got %d rates, the first %+v; want those of the last day", len(rates), rates[0])
	}
}

// TestLearnFull: where there is no room for another rate, in all or of a site, those that were used least recently are
// forgotten. So nobody can keep others from learning by refusals of his own hosts.
func TestLearnFull(t *testing.T) {
	for _, tt := range []struct {
		name  string
		site  func(i int) string
		rates int
	}{
		{"of a site", func(int) string { return "x.test" }, maxSiteMeters + 1},
		{"in all", func(i int) string { return fmt.Sprint("site", i) }, maxMeters},
	} {
		m, r := rateMachine()
		for i := range tt.rates {
			k := meterKey{name: m.names.id(fmt.Sprint("d", i, ".test")), owner: 1, kind: bySPF}
			o := newMeter(k, Recovery{}, 1, tally{}, m.mono)
			if i >= tt.rates/2 { // they were used since
				o.tat += int64(time.Hour)
			}
			m.putMeter(tt.site(i), o)
		}
		m.manyMeters = 2*m.meters + 100
		for i := range 3 {
			m.at(machineNow.Add(time.Hour + time.Duration(i)*time.Millisecond))
			task := rateTask(2, smtp.OriginCode)
			task.FromDomain = fmt.Sprint("other", i, ".test")
			refusedBy(m, r, task, overDKIM, "")
		}
		found := 0
		m.learnt.each(m.learnt.sites["x.test"], func(o *meter) {
			if strings.HasPrefix(m.names.list[o.name], "other") {
				found++
			}
		})
		if found != 3 || m.meters < tt.rates/2 || m.meters > tt.rates*3/4+3 {
			t.Errorf("%s: got %d rates learned and %d in all, want 3, and the half of %d that was used", tt.name, found,
				m.meters, tt.rates)
		}
	}
}

// TestOwnerHash: names of owners with the same 32-bit FNV-1a hash aren't taken for one owner.
func TestOwnerHash(t *testing.T) {
	owner := func(tenant string) uint64 {
		f := facetsOf(&queue.Task{Tenant: tenant, Envelope: smtp.NewEnvelope("", "to@x.test")}, nil, nil)
		return f.owner
	}
	if owner("costarring") == owner("liquid") || owner("declinate") == owner("macallums") || owner("") == 0 {
		t.Error("got the same owner for two names, or none")
	}
}

// TestLearnBounds: a host that refuses ever more recipients for their rate has no more than a number of rates, and of
// names.
func TestLearnBounds(t *testing.T) {
	m, r := rateMachine()
	busy := smtp.NewReply(450, "4.2.1", "the user is receiving mail at a rate that is too high")
	for i := range 20_000 {
		task := rateTask(1, smtp.OriginCode)
		task.Envelope = smtp.NewEnvelope("o@s.test", fmt.Sprintf("r%d@x.test", i))
		refusedBy(m, r, task, busy, "")
	}
	if m.meters > maxSiteMeters+1 || len(m.names.list) > 20_000/2 {
		t.Errorf("got %d rates and %d names of a site", m.meters, len(m.names.list))
	}
}

// TestLearnedMemory: what is learned of a site's rates takes about 97 octets, besides the name of the site: its first rate,
// and the tally that each site has, from which the rate begins.
func TestLearnedMemory(t *testing.T) {
	const sites = 10_000
	names := make([]string, sites)
	for i := range names {
		names[i] = fmt.Sprintf("mx%d.example", i)
	}
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	rates := math.Inf(1) // the least of three: what was left before is gone after the first
	for range 3 {
		m, _ := rateMachine()
		k := meterKey{name: m.names.id("192.0.2.1"), kind: bySource}
		before := heap()
		for _, name := range names {
			m.putMeter(name, newMeter(k, Recovery{}, 1, tally{}, m.mono))
		}
		rates = min(rates, (float64(heap())-float64(before))/sites)
		runtime.KeepAlive(m)
	}
	tallies := float64(reflect.TypeFor[tally]().Size()) // in the site, which is there anyway
	each := rates + tallies
	if t.Logf("%.1f octets a site: %.1f + %.0f", each, rates, tallies); each > 100 {
		t.Errorf("got %.1f octets a site, want 100 at most", each)
	}
}

// BenchmarkLearned is what a decision costs at a site of which something was learned.
func BenchmarkLearned(b *testing.B) {
	m, r := rateMachine()
	for i := range 10_000 {
		k := meterKey{name: m.names.id("192.0.2.1"), kind: bySource}
		m.putMeter(fmt.Sprintf("mx%d.example", i), newMeter(k, Recovery{}, 1000, tally{}, m.mono))
	}
	refusedBy(m, r, rateTask(1, smtp.OriginCode), overAny, "")
	s := m.sites["x.test"]
	m.learnt.each(s.learnt, func(o *meter) { o.open(Recovery{}, m.mono); o.window = 0 })
	task := rateTask(1, smtp.OriginCode)
	b.ReportAllocs()
	for b.Loop() {
		meters := m.metersOf(s, task)
		at := int64(0)
		for _, o := range meters {
			at = max(at, o.at(m.mono))
		}
		if len(meters) != 3 || at == never {
			b.Fatal(len(meters), at)
		}
	}
}

// TestExplainRate: Explain says which learned rate a message waits for, and until when, whether its lane waits, it was
// put off, or it was refused and its next attempt would come before the end of the pause.
func TestExplainRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, q := newDrillHost(4), mem.New()
		h.refuse = func(m drillMail, began, now time.Duration) *smtp.Reply { return overSPF }
		var logged strings.Builder
		r := &Runner{Queue: q, Sender: h, Logger: textLogger(&logged), Retry: []time.Duration{time.Minute}}
		stop := start(t, r)
		putMail(t, q, 1, drillMail{"ip1", "d.test", "s.test", "shop"})
		sleep(2 * time.Second)
		refused := time.Now()
		putMail(t, q, 2*looks, drillMail{"ip1", "d.test", "s.test", "shop"})
		sleep(2 * time.Second)
		waiting := 0
		for _, task := range held(t, q) {
			all, err := r.Explain(t.Context(), task.ID)
			if err != nil {
				t.Fatal(err)
			}
			e := all[0]
			want := "gmail.test has refused mail with the SPF domain s.test because of the rate. Nothing is sent until " +
				e.Rates[0].Until.Format("2006-01-02 15:04:05 MST") + "."
			if e.Why != want || e.Until.Sub(refused) < 4*time.Minute || len(e.Rates) != 1 || e.Rates[0].Until.IsZero() {
				t.Errorf("got %q until %v with rates %+v, want %q", e.Why, e.Until.Sub(refused), e.Rates, want)
			}
			waiting++
		}
		if waiting != 2*looks+1 {
			t.Errorf("got %d that wait, want %d", waiting, 2*looks+1)
		}
		if sites := r.Activity().Sites; len(sites) != 1 || len(sites[0].Rates) != 1 || sites[0].Rates[0].Name != "s.test" {
			t.Errorf("got sites %+v, want one with the rate of s.test", sites)
		}
		stop()
		for line := range strings.Lines(logged.String()) {
			if strings.Contains(line, "handed back") && !strings.Contains(line, " why=rate ") {
				t.Errorf("got %q, want why=rate", line)
			}
		}
		if !strings.Contains(logged.String(), "handed back") {
			t.Error("got no line about what was put off")
		}
	})
}
