package delivery

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// blocked returns the end of the block that keeps t's mail from being sent, 0 if there is none.
func (m *machine) blocked(t *target) (end int64) {
	end = m.blockedParty(t.party)
	if t.waits {
		end = max(end, m.mono+1, min(t.gate.at(m.mono), m.mono+int64(lookAgain)))
	}
	if left := m.suspendedFor(t.Destination); left > 0 {
		end = max(end, m.mono+min(left, math.MaxInt64-m.mono))
	}
	return end
}

// blockedParty returns the end of the block of all of p's mail, 0 if there is none.
func (m *machine) blockedParty(p *party) (end int64) {
	if p.site.standing.until > m.mono {
		end = p.site.standing.until
	}
	if p.own != nil && p.own.until > m.mono {
		end = max(end, p.own.until)
	}
	if left := m.suspendedFor(p.site.name); left > 0 {
		end = max(end, m.mono+min(left, math.MaxInt64-m.mono))
	}
	return end
}

// suspendedFor returns the time that a suspension has left, 0 if the name isn't suspended.
func (m *machine) suspendedFor(name string) (left int64) {
	if len(m.suspended) == 0 {
		return 0
	}
	until, ok := m.suspended[name]
	if !ok {
		return 0
	}
	return int64(until.Sub(time.Unix(0, m.wall))) // which has bounds
}

// reason returns the cause of t's block as a Result, and as a word: see plan.why.
func (m *machine) reason(t *target) (res *smtp.Result, why string) {
	p := t.party
	switch {
	case p.site.standing.until > m.mono:
		result := p.site.standing.result // the site's own changes
		return &result, "site"
	case p.own != nil && p.own.until > m.mono:
		result := p.own.result
		return &result, "site"
	case t.waits && m.suspendedFor(t.Destination) <= 0 && m.suspendedFor(p.site.name) <= 0:
		return rateResult(), "rate"
	}
	return &smtp.Result{Reply: suspendedReply(t.Destination), Local: true, Reason: smtp.Other}, "site"
}

func suspendedReply(name string) *smtp.Reply {
	// RFC 3463 §3.4: X.3.2, the system isn't accepting messages: by our own decision.
	return smtp.NewReply(451, "4.3.2", "delivery to "+name+" is suspended")
}

// suspend blocks sites or destinations until a time. A time that has passed ends the block. It returns how many of
// these names are known.
func (m *machine) suspend(names []string, until, now time.Time) (known int) {
	m.at(now)
	for _, name := range names {
		m.suspended[name] = until
	}
	m.revise()
	names = slices.Clone(names)
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if m.sites[name] != nil || m.hasRates(name) || m.hasDestination(name) {
			known++
		}
	}
	return known
}

// endSuspensions removes the suspensions that have ended, and returns the time at which the next one ends.
func (m *machine) endSuspensions() (next int64) {
	now := time.Unix(0, m.wall)
	next = never
	maps.DeleteFunc(m.suspended, func(_ string, until time.Time) bool {
		if left := until.Sub(now); left > 0 {
			next = min(next, m.mono+min(int64(left), int64(longestSleep)))
			return false
		}
		return true
	})
	return next
}

func (m *machine) hasDestination(name string) bool {
	for l := range m.targets {
		if l.Destination == name {
			return true
		}
	}
	return false
}

// flush ends the wait of the sites of destinations that are down, or of all sites for "". One task is then tried at
// once at each. It has the sites of the destinations looked up again, and returns the number of sites that were down.
// A name may be that of a site.
func (m *machine) flush(now time.Time, names ...string) (sites int) {
	m.at(now)
	flushed, of := make(map[string]bool, len(names)), make(map[string]bool, len(names))
	for _, name := range names {
		flushed[name], of[name] = true, true
	}
	for l, t := range m.targets {
		if flushed[l.Destination] && t.party != nil {
			of[t.party.site.name] = true
			t.moved, t.retries = true, true
		}
	}
	all := flushed[""]
	for _, s := range m.sites {
		if s.standing.down && (all || of[s.name]) {
			s.standing.until = min(s.standing.until, m.mono)
			sites++
		}
	}
	for _, p := range m.parties {
		if p.own != nil && p.own.until > m.mono && (all || of[p.site.name]) {
			p.own.until = m.mono
		}
	}
	m.revise()
	return sites
}

// revise checks again everything that is blocked, in an order that is the same each time.
func (m *machine) revise() {
	m.resumeAt = m.endSuspensions()
	for _, l := range slices.SortedFunc(maps.Keys(m.targets), compareLanes) {
		t := m.targets[l]
		t.aside = false
		m.queue(t)
		if t.party != nil {
			m.ringAll(t.party)
			m.lineUp(t.party.site)
		}
	}
}

func compareLanes(a, b queue.Lane) int {
	return cmp.Or(cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Owner, b.Owner),
		cmp.Compare(b.Priority, a.Priority))
}
