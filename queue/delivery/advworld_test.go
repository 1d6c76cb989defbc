package delivery

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// The honest world: 200 sites that are healthy, with a few domains each, and new domains all the time.
const (
	advSites   = 200
	advDomains = 3    // of each site, unless a run has more
	advLoad    = 0.8  // of the slots
	advNew     = 0.05 // of the honest mail, to destinations never seen before

	// Log-normal, median 0.3 s, p99 3 s.
	advMedian = 0.3
	advSigma  = 0.98978 // ln(3/0.3) / 2.3263

	advDNSMedian = 0.04 // s; p99 is 10 times as much
	advDNSTTL    = int64(5 * time.Minute)
)

// What becomes of an attempt of honest mail.
const (
	fateTaken uint8 = iota
	fateUnknownUser
	fateMailboxFull // for now
)

var (
	advUnknownUser = []smtp.Result{{
		Outcome: smtp.Rejected, Stage: smtp.StageRcpt, Reply: smtp.NewReply(550, "5.1.1", "no such user"),
		Reason: smtp.UserUnknown,
	}}
	advMailboxFull = []smtp.Result{{
		Outcome: smtp.Deferred, Stage: smtp.StageRcpt, Reply: smtp.NewReply(452, "4.2.2", "mailbox full"),
		Reason: smtp.Other,
	}}
)

// advHonest makes the honest mail of a seed: a Poisson process, of which nothing depends on what happens to it.
type advHonest struct {
	rnd    *rand.Rand
	mean   float64 // between two mails, in ns
	owners int
	sites  []int32 // by share, to draw from
	dests  [advSites][]*advDest
	aimed  [advSites]bool
	fresh  int
	next   *advMail
	seq    uint64
}

// advTraffic is the honest mail a second: what keeps that part of the slots busy.
func advTraffic() float64 {
	return defaultConcurrency * advLoad / (advMedian * math.Exp(advSigma*advSigma/2))
}

func newHonest(seed uint64, owners, domains int) *advHonest {
	h := &advHonest{
		rnd: rand.New(rand.NewPCG(seed, 1)), mean: float64(time.Second) / advTraffic(), owners: owners,
	}
	// The first site has 5 % of the mail, which keeps 8 of its 20 places busy; the last one a mail in 2 or 3 s.
	var weights [advSites]float64
	sum := 0.0
	for i := range weights {
		weights[i] = 1 / float64(i+5)
		sum += weights[i]
	}
	const draws = 1 << 14
	for i, w := range weights {
		for range int(w / sum * draws) {
			h.sites = append(h.sites, int32(i))
		}
	}
	for i := range h.dests {
		site := advHealthySite(i)
		for j := range domains {
			name := fmt.Sprintf("d%d.%s", j, site.name)
			h.dests[i] = append(h.dests[i], &advDest{name: name, site: site, known: true, ttl: advDNSTTL})
		}
	}
	for _, i := range advVictims {
		h.aimed[i] = true
	}
	return h
}

// advVictims are the sites that the adversary aims at: large ones and small ones.
var advVictims = []int{0, 3, 10, 30, 60, 100, 150, 199}

func advHealthySite(i int) advSite {
	return advSite{name: fmt.Sprintf("s%d.test", i), addrs: []netip.Addr{advAddr(1, i, 0), advAddr(1, i, 1)}}
}

// advAddr is an address of a kind of host.
func advAddr(kind byte, i, j int) netip.Addr {
	return netip.AddrFrom16([16]byte{
		0x20, 1, 0xd, 0xb8, kind, byte(i >> 16), byte(i >> 8), byte(i), 14: byte(j >> 8), 15: byte(j),
	})
}

func logNormal(rnd *rand.Rand, median float64) int64 {
	return int64(median * math.Exp(advSigma*rnd.NormFloat64()) * float64(time.Second))
}

// draw makes the next mail.
func (h *advHonest) draw(now int64) {
	h.seq++
	m := &advMail{
		seq:     h.seq,
		arrival: now + int64(h.rnd.ExpFloat64()*h.mean),
		owner:   queue.Owner(1 + h.rnd.IntN(h.owners)),
		service: logNormal(h.rnd, advMedian),
		jitter:  2*h.rnd.Float64() - 1,
		group:   advKnown,
		size:    8 << 10,
		started: -1,
	}
	m.due = m.arrival
	site := h.sites[h.rnd.IntN(len(h.sites))]
	domain := h.rnd.IntN(len(h.dests[site]))
	dns := logNormal(h.rnd, advDNSMedian)
	kind := h.rnd.Float64()
	if h.rnd.Float64() < 0.1 {
		m.prio = 1
	}
	switch what := h.rnd.Float64(); {
	case what < 0.01:
		m.fate = fateUnknownUser
	case what < 0.015:
		m.fate = fateMailboxFull
	}
	if kind >= advNew {
		m.dest, m.aimed = h.dests[site][domain], h.aimed[site]
		if m.aimed {
			m.group = advAimed
		}
	} else {
		h.fresh++
		m.group = advUnseen
		name := fmt.Sprintf("n%d.test", h.fresh)
		s := advSite{name: "mx." + name, addrs: []netip.Addr{advAddr(2, h.fresh, 0)}}
		m.dest = &advDest{name: name, site: s, ttl: advDNSTTL, dns: func(int64) (int64, advSite) { return dns, s }}
	}
	h.next = m
}

// talk is an attempt of honest mail.
func (m *advMail) honestTalk() advTalk {
	t := advTalk{takes: time.Duration(m.service), toMail: time.Duration(m.service) * 2 / 5, results: advDelivered}
	switch {
	case m.fate == fateUnknownUser:
		t.results = advUnknownUser
	case m.fate == fateMailboxFull && m.attempts == 1:
		t.results = advMailboxFull
	}
	return t
}
