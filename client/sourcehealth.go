package client

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/postrider/postrider/smtp"
)

// SourceHealth decides when a source address leaves the pool, and when it comes back. One failure is enough for
// AddrMissing, ProxyDown and ProxyRefuses.
//
// An address comes back by a probe: after ProbeAfter, one message goes out from it. If the probe fails, the message
// goes out from the next address at once. The fault decides which success brings the address back:
//
//	AddrMissing, ProxyDown, ProxyRefuses  a connection
//	ProxyFails                            a session with a host
//	RefusedBySites                        a host that takes a message
//
// A missing address of this machine is tested without a message, by a bind every 10 s at most, unless
// Transport.DialContext is set.
type SourceHealth struct {
	// ProbeAfter is the time from a failure to the first probe. It doubles with each probe that fails, up to 1 hour. If
	// zero, 1 minute; if negative, no address ever leaves the pool.
	ProbeAfter time.Duration

	// Sites is the number of different sites after which an address leaves the pool for RefusedBySites or ProxyFails.
	// For RefusedBySites, so many must have refused the address within SitesWithin, and more than took a message from
	// it. A site counts by its last answer; about 1,000 sites are remembered. For ProxyFails, so many must have failed
	// in succession, without a session in between. A smarthost alone is one site, which is enough only if Sites is 1.
	// If zero, 10; if negative, no address leaves the pool for these faults.
	Sites int

	// SitesWithin is the time within which these sites count. If zero, 1 hour; a negative one counts none.
	SitesWithin time.Duration

	// Changed is called after a source address has left the pool, and after it has come back. The goroutine of a Send
	// calls it and waits for it. A panic in it changes nothing. If nil, nothing is called: the Logger of the Transport
	// has the same.
	Changed func(SourceState)
}

// bySites returns Sites and SitesWithin, or false if no address leaves the pool by what sites do.
func (h *SourceHealth) bySites() (sites int, within time.Duration, ok bool) {
	sites, within = cmp.Or(h.Sites, 10), cmp.Or(h.SitesWithin, time.Hour)
	return sites, within, sites > 0 && within > 0 && h.ProbeAfter >= 0
}

const (
	mostProbeWait = time.Hour
	bindWait      = 10 * time.Second // between two tests of a missing address
)

// health is the memory of a Transport about the faults of its source addresses.
//
// Invariants: an entry is about an address of Transport.Sources. It has a fault, or what may become one: at most Sites
// failures of its proxy in succession, each with another site, and the last verdicts of at most maxVerdicts sites. wait
// and until are set while there is a fault.
type health struct {
	mu    sync.Mutex // never held while anything waits
	addrs map[sourceAddr]*addrHealth
}

// sourceAddr is one address of one of Transport.Sources. Two sources may have the same address, by different proxies.
type sourceAddr struct {
	source *Source
	addr   netip.Addr
}

type addrHealth struct {
	fault    SourceFault
	err      error
	since    time.Time
	until    time.Time              // when the next probe may go out
	wait     time.Duration          // before it
	probing  bool                   // a probe went out after the last failure
	failed   map[string]time.Time   // the sites with which the proxy has failed since a session
	verdicts map[string]siteVerdict // of sites
}

// maxVerdicts is how many sites are remembered for an address.
const maxVerdicts = 1000

// siteVerdict is what a site made last of a message from an address.
type siteVerdict struct {
	refused bool // for a blocklist; otherwise it took the message
	at      time.Time
}

// out notes that the address has a fault. It reports whether the address leaves the pool. Failures of messages that
// went out together count once: between two probes, the wait stays the same.
func (a *addrHealth) out(now time.Time, fault SourceFault, err error, first, most time.Duration) (left bool) {
	switch {
	case a.fault == SourceFine:
		a.since, a.wait, left = now, min(first, most), true
	case a.probing || fault != a.fault && !fault.bySites():
		a.wait = min(max(2*a.wait, first), most)
	default:
		return false
	}
	a.fault, a.err, a.until, a.probing = fault, err, now.Add(a.wait), false
	a.failed, a.verdicts = nil, nil
	return left
}

// suspect adds a failure with a site, which alone shows nothing. It reports whether there are enough of them.
func (a *addrHealth) suspect(fault SourceFault, site string, now time.Time, sites int, within time.Duration) bool {
	switch {
	case a.fault != SourceFine:
		return a.probing && a.fault == fault
	case fault == RefusedBySites:
		a.judge(site, true, now)
		maps.DeleteFunc(a.verdicts, func(_ string, old siteVerdict) bool { return now.Sub(old.at) >= within })
		refused := 0
		for _, old := range a.verdicts {
			if old.refused {
				refused++
			}
		}
		return refused >= sites && refused > len(a.verdicts)-refused
	}
	maps.DeleteFunc(a.failed, func(_ string, at time.Time) bool { return now.Sub(at) >= within })
	if a.failed == nil {
		a.failed = make(map[string]time.Time)
	}
	a.failed[site] = now
	return len(a.failed) >= sites
}

// judge notes what a site made of a message. Beyond maxVerdicts sites, it replaces the oldest of a few.
func (a *addrHealth) judge(site string, refused bool, now time.Time) {
	if a.verdicts == nil {
		a.verdicts = make(map[string]siteVerdict)
	}
	if _, known := a.verdicts[site]; !known && len(a.verdicts) >= maxVerdicts {
		oldest, looked := "", 0
		for other, old := range a.verdicts { // in random order
			if oldest == "" || old.at.Before(a.verdicts[oldest].at) {
				oldest = other
			}
			if looked++; looked == 8 {
				break
			}
		}
		delete(a.verdicts, oldest)
	}
	a.verdicts[site] = siteVerdict{refused, now}
}

// good is how far a message came.
type good uint8

const (
	connected good = iota // to the host, or to the proxy, which answered about the host
	inSession             // the host is ready for MAIL
	accepted              // the host has taken the message
)

// works notes a success with a site. It reports whether the address comes back into the pool.
func (a *addrHealth) works(g good, site string, now time.Time) (back bool) {
	if g >= inSession {
		a.failed = nil
	}
	switch {
	case a.fault == RefusedBySites && g < accepted, a.fault == ProxyFails && g < inSession:
		return false
	case a.fault != SourceFine:
		*a, back = addrHealth{}, true
	}
	if g == accepted {
		a.judge(site, false, now)
	}
	return back
}

// change changes what is known of a source address, and tells if the address left the pool or came back.
func (t *Transport) change(k sourceAddr, f func(*addrHealth) (changed bool)) (changed bool) {
	h := &t.health
	h.mu.Lock()
	a := h.addrs[k]
	if a == nil {
		a = new(addrHealth)
	}
	changed = f(a)
	switch {
	case a.fault == SourceFine && len(a.failed) == 0 && len(a.verdicts) == 0:
		delete(h.addrs, k)
	case h.addrs == nil:
		h.addrs = map[sourceAddr]*addrHealth{k: a}
	default:
		h.addrs[k] = a
	}
	state := k.state(a)
	h.mu.Unlock()
	if changed {
		t.tellSource(state)
	}
	return changed
}

// faulty notes that a source address has a fault.
func (t *Transport) faulty(k sourceAddr, fault SourceFault, err error) {
	first := cmp.Or(t.SourceHealth.ProbeAfter, time.Minute)
	if first < 0 {
		return
	}
	most := max(first, mostProbeWait)
	if fault == AddrMissing && t.tests(k) {
		first, most = bindWait, bindWait
	}
	t.change(k, func(a *addrHealth) bool { return a.out(time.Now(), fault, err, first, most) })
}

// suspicious notes a failure with one site, which others like it turn into a fault. It reports whether they have.
func (t *Transport) suspicious(k sourceAddr, fault SourceFault, site string, err error) (enough bool) {
	sites, within, ok := t.SourceHealth.bySites()
	if k.source == nil || !ok {
		return false
	}
	t.change(k, func(a *addrHealth) bool {
		enough = a.suspect(fault, site, time.Now(), sites, within)
		return false
	})
	if enough {
		t.faulty(k, fault, fmt.Errorf("%d different sites or more, at last %s: %w", sites, clip(site), err))
	}
	return enough
}

// worked notes a success of a source address with a site.
func (t *Transport) worked(k sourceAddr, g good, site string) {
	if k.source == nil {
		return
	}
	if _, _, ok := t.SourceHealth.bySites(); (g < accepted || !ok) && !t.health.knows(k) {
		return
	}
	t.change(k, func(a *addrHealth) bool { return a.works(g, site, time.Now()) })
}

// connected notes what a connection, or the lack of one, shows of its source address. It reports whether the message
// goes out from another one.
func (d *delivery) connected(e egress, f *failure) (again bool) {
	k := e.key()
	switch {
	case k.source == nil:
		return false
	case f == nil:
		d.t.worked(k, inSession, d.site)
		return false
	}
	if cause, ok := f.cause.(*sourceError); ok {
		switch {
		case cause.fault == SourceFine:
			return false
		case cause.single:
			d.t.faulty(k, cause.fault, cause)
			d.dialled-- // the host wasn't the cause
		default: // it may have been
			d.t.suspicious(k, cause.fault, d.site, cause)
		}
		return d.instead(k, cause)
	}
	if f.cause == errPanic || f.cause == errFull {
		return false
	}
	d.t.worked(k, connected, d.site)
	// RFC 3463 §3.5: X.4.x, the network.
	p, lost := k.source.Proxy, f.local && f.stage == smtp.StageGreeting && f.reply.Enhanced[1] == 4
	if lost && p != nil && p.Protocol != SOCKS5 {
		cause := &sourceError{proxy: p, err: f}
		return d.t.suspicious(k, ProxyFails, d.site, cause) && d.instead(k, cause)
	}
	return false
}

// instead has the message go out from another source address.
func (d *delivery) instead(k sourceAddr, cause *sourceError) bool {
	d.failed, d.cause = append(d.failed, k), cause
	return true
}

func (h *health) knows(k sourceAddr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addrs[k] != nil
}

// of returns the fault of a source address, and whether a probe is due.
func (h *health) of(k sourceAddr) (fault SourceFault, due bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.addrs[k]
	if a == nil || a.fault == SourceFine {
		return SourceFine, false
	}
	return a.fault, !time.Now().Before(a.until)
}

// probe takes the probe that is due. It returns false if there is none.
func (h *health) probe(k sourceAddr) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	a, now := h.addrs[k], time.Now()
	if a == nil || a.fault == SourceFine || now.Before(a.until) {
		return false
	}
	a.probing, a.until = true, now.Add(a.wait) // of the next one, should this one show nothing
	return true
}

// tests reports whether a missing address is tested by a bind.
func (t *Transport) tests(k sourceAddr) bool { return t.DialContext == nil && k.source.Proxy == nil }

// testMissing brings back the source addresses for a host that were missing and are here again.
func (d *delivery) testMissing(to netip.Addr) {
	for _, s := range d.ranked {
		k := sourceAddr{s, s.addr(to)}
		if fault, due := d.t.health.of(k); !due || fault != AddrMissing || !d.t.tests(k) || !d.t.health.probe(k) {
			continue
		}
		if err := bindable(k.addr); err == nil {
			d.t.worked(k, connected, d.site)
		} else {
			d.t.faulty(k, AddrMissing, err)
		}
	}
}

// bindable tests whether an address is on this machine. A socket of UDP is enough, and no host can connect to it.
func bindable(addr netip.Addr) error {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, 0)))
	if err == nil {
		c.Close()
	}
	return err
}

// egress is source for a new connection: a probe that is due becomes this message's.
func (d *delivery) egress(to netip.Addr) (egress, *failure) {
	d.testMissing(to)
	for {
		e, f := d.source(to)
		if f != nil || !e.probe || d.t.health.probe(e.key()) {
			return e, f
		}
		// Another message has the probe now.
	}
}
