package client

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
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
	// For RefusedBySites, so many more sites must have refused the address within SitesWithin than took a message in
	// that time: after 12 that refuse it and one that takes a thousand messages, the count is 11. For ProxyFails, so
	// many must have failed in succession, without a session in between. A smarthost alone is one site, and so never
	// enough. If zero, 10; if negative, no address leaves the pool for these faults.
	Sites int

	// SitesWithin is the time within which these sites count. If zero, 1 hour; a negative one counts none.
	SitesWithin time.Duration

	// Changed is called after a source address has left the pool, and after it has come back. The goroutine of a Send
	// calls it and waits for it. A panic in it changes nothing. If nil, nothing is called: the Logger of the Transport
	// has the same.
	Changed func(SourceState)
}

const (
	mostProbeWait = time.Hour
	bindWait      = 10 * time.Second // between two tests of a missing address
)

// health is the memory of a Transport about the faults of its source addresses.
//
// Invariants: an entry is about an address of Transport.Sources. It has a fault, or failures that may become one: at
// most Sites of them for each of two faults, each with another site. wait and until are set while there is a fault. A
// site that takes a message removes one failure: its own or, once within SitesWithin, that of another one.
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
	fault   SourceFault
	err     error
	since   time.Time
	until   time.Time            // when the next probe may go out
	wait    time.Duration        // before it
	probing bool                 // a probe went out after the last failure
	failed  []siteFailure        // that no success has removed
	removed map[string]time.Time // the sites that took a message, and have removed the failure of another; maxRemoved
}

const maxRemoved = 1000

// siteFailure is a failure with one site, which alone shows nothing.
type siteFailure struct {
	site  string
	fault SourceFault // that several of them show
	at    time.Time
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
	a.failed, a.removed = nil, nil
	return left
}

// suspect adds a failure with a site. It reports whether there are enough of them.
func (a *addrHealth) suspect(f siteFailure, sites int, within time.Duration) bool {
	if a.fault != SourceFine {
		return a.probing && a.fault == f.fault
	}
	a.failed = slices.DeleteFunc(a.failed, func(old siteFailure) bool {
		return f.at.Sub(old.at) >= within || old.fault == f.fault && old.site == f.site
	})
	maps.DeleteFunc(a.removed, func(_ string, at time.Time) bool { return f.at.Sub(at) >= within })
	a.failed = append(a.failed, f)
	n := 0
	for _, old := range a.failed {
		if old.fault == f.fault {
			n++
		}
	}
	return n >= sites
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
		a.failed = slices.DeleteFunc(a.failed, func(old siteFailure) bool { return old.fault == ProxyFails })
	}
	if g == accepted {
		a.unsuspect(site, now)
	}
	switch {
	case a.fault == SourceFine, a.fault == RefusedBySites && g < accepted, a.fault == ProxyFails && g < inSession:
		return false
	}
	*a = addrHealth{failed: a.failed, removed: a.removed}
	return true
}

// unsuspect notes that a site has taken a message: that removes one refusal.
func (a *addrHealth) unsuspect(site string, now time.Time) {
	of := func(any string) int {
		return slices.IndexFunc(a.failed, func(f siteFailure) bool {
			return f.fault == RefusedBySites && (any == "" || f.site == any)
		})
	}
	i := of(site)
	if _, again := a.removed[site]; i < 0 && !again {
		if i = of(""); i >= 0 && len(a.removed) < maxRemoved {
			if a.removed == nil {
				a.removed = make(map[string]time.Time)
			}
			a.removed[site] = now
		}
	}
	if i >= 0 {
		a.failed = slices.Delete(a.failed, i, i+1)
	}
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
	case a.fault == SourceFine && len(a.failed) == 0 && len(a.removed) == 0:
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
	sites, within := cmp.Or(t.SourceHealth.Sites, 10), cmp.Or(t.SourceHealth.SitesWithin, time.Hour)
	if k.source == nil || sites < 0 || within < 0 || t.SourceHealth.ProbeAfter < 0 {
		return false
	}
	t.change(k, func(a *addrHealth) bool {
		enough = a.suspect(siteFailure{site, fault, time.Now()}, sites, within)
		return false
	})
	if enough {
		t.faulty(k, fault, fmt.Errorf("%d different sites, at last %s: %w", sites, clip(site), err))
	}
	return enough
}

// worked notes a success of a source address with a site.
func (t *Transport) worked(k sourceAddr, g good, site string) {
	if k.source == nil || !t.health.knows(k) {
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
