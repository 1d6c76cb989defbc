package plans

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// plan is what goes wrong in one run: a list of steps, all drawn from the seed before it begins.
type plan struct {
	seed    uint64
	disk    bool // the queue is a Spool; else it is a Mem
	domains map[string][]string
	hosts   []hostPlan
	mails   []*mail
	steps   []step // in the order of time
	panics  *panics
	holds   bool          // some mail is held for a time
	end     time.Duration // when all heals
}

// hostPlan is what a host is like on a good day.
type hostPlan struct {
	name    string
	without []string
	latency time.Duration
}

type step struct {
	at   time.Duration
	what string
	do   func(*world)
}

// mail is one message. No other has its addresses, so that what becomes of them is seen at any host.
type mail struct {
	name   string
	env    *smtp.Envelope
	body   string
	bySMTP bool
	at     time.Duration
}

// String gives the plan for a person to read.
func (p *plan) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plan %d: on disk: %v; all heals after %v; panics:%v\n", p.seed, p.disk, p.end, p.panics)
	for _, h := range p.hosts {
		fmt.Fprintf(&b, "  host %s without %v, latency %v\n", h.name, h.without, h.latency)
	}
	for _, domain := range slices.Sorted(maps.Keys(p.domains)) {
		fmt.Fprintf(&b, "  domain %s at %v\n", domain, p.domains[domain])
	}
	for _, s := range p.steps {
		fmt.Fprintf(&b, "  %v %s\n", s.at, s.what)
	}
	return b.String()
}

// drawer draws a plan.
type drawer struct {
	*rand.Rand
	plan *plan
}

func drawPlan(seed uint64) *plan {
	p := &plan{seed: seed, domains: make(map[string][]string), panics: drawPanics(seed)}
	d := &drawer{rand.New(rand.NewPCG(seed, 17)), p}
	p.disk = d.chance(3)
	p.end = d.span(24*time.Hour, 6*24*time.Hour)
	for i := range 3 + d.IntN(5) {
		h := hostPlan{name: fmt.Sprintf("h%d.test", i)}
		for _, keyword := range []string{"STARTTLS", "STARTTLS", "PIPELINING", "DSN", "8BITMIME", "SIZE", "ENHANCEDSTATUSCODES"} {
			if d.chance(3) {
				h.without = append(h.without, keyword)
			}
		}
		if d.chance(4) {
			h.latency = d.span(time.Millisecond, time.Second)
		}
		p.hosts = append(p.hosts, h)
	}
	for i := range 5 + d.IntN(4) {
		var names []string
		for _, n := range d.Perm(len(p.hosts))[:1+d.IntN(3)] {
			names = append(names, p.hosts[n].name)
		}
		p.domains[fmt.Sprintf("d%d.test", i)] = names
	}
	for range 10 + d.IntN(20) {
		d.burst()
	}
	for range 8 + d.IntN(25) {
		d.hostFault()
	}
	for range 2 + d.IntN(10) {
		d.refusal()
	}
	for range d.IntN(6) {
		d.dnsFault()
	}
	for range d.IntN(5) {
		d.restart()
	}
	for range d.IntN(12) {
		d.operation()
	}
	slices.SortStableFunc(p.steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	return p
}

// chance is true once in n.
func (d *drawer) chance(n int) bool { return d.IntN(n) == 0 }

func pick[T any](d *drawer, from ...T) T { return from[d.IntN(len(from))] }

// span draws a time, as likely from 1 to 10 minutes as from 10 to 100.
func (d *drawer) span(low, high time.Duration) time.Duration {
	t := float64(low) * math.Pow(float64(high)/float64(low), d.Float64())
	return time.Duration(t).Round(time.Millisecond)
}

// moment draws a time before all heals.
func (d *drawer) moment() time.Duration {
	return time.Duration(d.Int64N(int64(d.plan.end))).Round(time.Millisecond)
}

func (d *drawer) host() string { return d.plan.hosts[d.IntN(len(d.plan.hosts))].name }

func (d *drawer) domain() string { return fmt.Sprintf("d%d.test", d.IntN(len(d.plan.domains))) }

func (d *drawer) step(at time.Duration, do func(*world), format string, args ...any) {
	d.plan.steps = append(d.plan.steps, step{at, fmt.Sprintf(format, args...), do})
}

// burst draws some mails that come at once.
func (d *drawer) burst() {
	at := d.moment()
	if d.chance(3) {
		at = time.Duration(d.Int64N(int64(time.Hour))) // most faults are still to come
	}
	for range 1 + d.IntN(4) {
		m := d.mail(at)
		way := "from code"
		if m.bySMTP {
			way = "by SMTP"
		}
		var to []string
		for _, rcpt := range m.env.Recipients {
			to = append(to, rcpt.Address+" "+rcpt.Notify.String())
		}
		d.step(at, func(w *world) { w.send(m) }, "mail %s from <%s> %s, %d octets, to %v", m.name, m.env.From, way, len(m.body), to)
	}
}

func (d *drawer) mail(at time.Duration) *mail {
	n := len(d.plan.mails)
	m := &mail{name: fmt.Sprintf("m%d", n), env: new(smtp.Envelope), bySMTP: d.chance(2), at: at}
	if !d.chance(6) {
		m.env.From = fmt.Sprintf("s%d@%s", n, d.domain())
	}
	domain := d.domain()
	for i := range 1 + d.IntN(5) {
		if d.chance(2) {
			domain = d.domain()
		}
		rcpt := smtp.Recipient{Address: fmt.Sprintf("r%d-%d@%s", n, i, domain)}
		if d.chance(3) {
			rcpt.Notify = pick(d, smtp.NotifyNever, smtp.NotifySuccess, smtp.NotifyFailure, smtp.NotifyDelay,
				smtp.NotifySuccess|smtp.NotifyFailure|smtp.NotifyDelay)
		}
		m.env.Recipients = append(m.env.Recipients, rcpt)
	}
	lines := 1 + d.IntN(20)
	if d.chance(20) {
		lines = 5000 // 300 KB: a file of its own in a Spool
	}
	m.body = fmt.Sprintf("Subject: %s\r\n\r\n%s", m.name, strings.Repeat("A line of text, with some more words to make it one.\r\n", lines))
	d.plan.mails = append(d.plan.mails, m)
	return m
}

// hostFault has a host fail in some way for a time.
func (d *drawer) hostFault() {
	name, at := d.host(), d.moment()
	what, do := hostFaults[d.IntN(len(hostFaults))](d)
	d.step(at, func(w *world) { do(w.hosts[name]) }, "%s: %s", name, what)
	if heals := at + d.span(time.Minute, 6*24*time.Hour); heals < d.plan.end {
		d.step(heals, func(w *world) { w.hosts[name].Heal() }, "%s: all is well", name)
	}
}

// refusal has the hosts of one recipient, or of who is reported to, say no to that one from the start.
func (d *drawer) refusal() {
	m, reply := pick(d, d.plan.mails...), d.reply()
	address := pick(d, m.env.Recipients...).Address
	if m.env.From != "" && d.chance(5) {
		address = m.env.From
	}
	_, domain := smtp.SplitAddress(address)
	d.step(m.at-1, func(w *world) {
		for _, host := range d.plan.domains[domain] {
			w.hosts[host].Reject(address, reply)
		}
	}, "%v to %s", reply, address)
}

func (d *drawer) dnsFault() {
	name, at := pick(d, d.domain(), d.host()), d.moment()
	fault := pick(d, smtptest.NXDomain, smtptest.ServFail, smtptest.DNSTimeout)
	d.step(at, func(w *world) { w.inet.FailDNS(name, fault) }, "DNS: %s fails with %d", name, fault)
	if heals := at + d.span(time.Minute, 6*24*time.Hour); heals < d.plan.end {
		d.step(heals, func(w *world) { w.inet.FailDNS(name, smtptest.NoFault) }, "DNS: %s is well", name)
	}
}

// restart has the relay stop and, after a time, start again: the same one, or a new one as after a new start of the process.
func (d *drawer) restart() {
	at, away, again := d.moment(), d.span(time.Second, 12*time.Hour), d.chance(2)
	d.step(at, func(w *world) { w.stop(again) }, "stop; the same relay again: %v", again)
	d.step(at+away, (*world).start, "start")
}

var temporary = []*smtp.Reply{
	smtp.NewReply(421, "4.3.2", "closing down"),
	smtp.NewReply(421, "4.7.0", "too much from you"),
	smtp.NewReply(450, "4.2.0", "greylisted"),
	smtp.NewReply(451, "4.7.1", "your address is listed by a blocklist"),
	smtp.NewReply(451, "4.4.1", "try again"),
	smtp.NewReply(452, "4.2.2", "mailbox full"),
	smtp.NewReply(452, "4.5.3", "too many"),
}

var permanent = []*smtp.Reply{
	smtp.NewReply(550, "5.1.1", "no such user"),
	smtp.NewReply(552, "5.2.2", "mailbox full for good"),
	smtp.NewReply(554, "5.7.1", "go away"),
	smtp.NewReply(500, "", ""),
}

func (d *drawer) reply() *smtp.Reply {
	if d.chance(4) {
		return pick(d, permanent...)
	}
	return pick(d, temporary...)
}

// stage draws one at which a host has a reply.
func (d *drawer) stage() smtp.Stage {
	return pick(d, smtp.StageGreeting, smtp.StageHello, smtp.StageTLS, smtp.StageMail, smtp.StageRcpt, smtp.StageData, smtp.StageFinal)
}

func (d *drawer) stageOrBody() smtp.Stage { return pick(d, d.stage(), smtp.StageBody, smtp.StageFinal) }

// hostFaults are the ways in which a host fails. None has a host lie: say that it took what it didn't, or the other
// way round, as no client could tell.
var hostFaults = []func(d *drawer) (string, func(*smtptest.Host)){
	func(*drawer) (string, func(*smtptest.Host)) { return "down", (*smtptest.Host).Down },
	func(*drawer) (string, func(*smtptest.Host)) { return "hangs", (*smtptest.Host).Hang },
	func(*drawer) (string, func(*smtptest.Host)) {
		return "drops what is pipelined", (*smtptest.Host).DropPipelined
	},
	func(*drawer) (string, func(*smtptest.Host)) {
		return "354 to DATA anyway", func(h *smtptest.Host) { h.DataAnyway() }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		stage := d.stageOrBody()
		return fmt.Sprintf("closes at %v", stage), func(h *smtptest.Host) { h.CloseAt(stage) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		stage := d.stageOrBody()
		return fmt.Sprintf("resets at %v", stage), func(h *smtptest.Host) { h.ResetAt(stage) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		stage := d.stageOrBody()
		return fmt.Sprintf("stalls at %v", stage), func(h *smtptest.Host) { h.StallAt(stage) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		stage := d.stage()
		return fmt.Sprintf("babbles at %v", stage), func(h *smtptest.Host) { h.BabbleAt(stage) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		stage, reply := d.stage(), d.reply()
		return fmt.Sprintf("%v at %v", reply, stage), func(h *smtptest.Host) { h.Answer(stage, reply) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		stage, raw := d.stage(), pick(d, "\r\n", "hello\r\n", "25\r\n", "\x00\xff\r\n", "250 no end of line", strings.Repeat("x", 70_000))
		return fmt.Sprintf("says %.20q at %v", raw, stage), func(h *smtptest.Host) { h.AnswerRaw(stage, raw) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		stage, reply := pick(d, smtp.StageGreeting, smtp.StageHello, smtp.StageTLS, smtp.StageFinal), pick(d, temporary...)
		return fmt.Sprintf("%v too early at %v", reply, stage), func(h *smtptest.Host) { h.AnswerEarly(stage, reply) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		late, stage := d.span(time.Second, 15*time.Minute), d.stage()
		if d.chance(2) {
			late = min(late, time.Minute)
			return fmt.Sprintf("slow by %v", late), func(h *smtptest.Host) { h.Slow(late) }
		}
		return fmt.Sprintf("slow by %v at %v", late, stage), func(h *smtptest.Host) { h.Slow(late, stage) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		length, reply := d.span(time.Minute, 48*time.Hour), pick(d, temporary...)
		return fmt.Sprintf("%v for %v", reply, length), func(h *smtptest.Host) { h.Defer(length, reply) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		length := d.span(time.Minute, 6*time.Hour)
		return fmt.Sprintf("greylists for %v", length), func(h *smtptest.Host) { h.Greylist(length) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		n, reply := d.IntN(3), temporary[0]
		return fmt.Sprintf("takes %d sessions", n), func(h *smtptest.Host) { h.MaxSessions(n, reply) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		n, reply := 1+d.IntN(3), pick(d, temporary...)
		return fmt.Sprintf("takes %d messages a session, then %v", n, reply), func(h *smtptest.Host) { h.MaxMessages(n, reply) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		n, reply := 1+d.IntN(3), temporary[6]
		return fmt.Sprintf("takes %d recipients a message", n), func(h *smtptest.Host) { h.MaxRecipients(n, reply) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		stage, n, per := pick(d, smtp.StageGreeting, smtp.StageMail, smtp.StageRcpt), 1+d.IntN(3), d.span(time.Minute, 6*time.Hour)
		reply := pick(d, temporary...)
		return fmt.Sprintf("takes %d in %v at %v", n, per, stage), func(h *smtptest.Host) { h.RateLimit(stage, n, per, reply) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		part, reply := pick(d, "EHLO", "RSET", "QUIT", "MAIL", "SIZE=", "BODY=", "NOTIFY=", "RET=", "STARTTLS"), d.reply()
		return fmt.Sprintf("%v to %s", reply, part), func(h *smtptest.Host) { h.Refuse(part, reply) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		fault := pick(d, smtptest.TLSAlert, smtptest.TLSStall, smtptest.TLSWrongName, smtptest.TLSExpired, smtptest.TLSUntrusted)
		return fmt.Sprintf("TLS fails with %d", fault), func(h *smtptest.Host) { h.FailTLS(fault) }
	},
	func(d *drawer) (string, func(*smtptest.Host)) {
		n := 1 + d.IntN(3)
		return fmt.Sprintf("down after %d messages", n), func(h *smtptest.Host) { h.AfterMessages(n, h.Down) }
	},
}
