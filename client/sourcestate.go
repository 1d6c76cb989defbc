package client

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// SourceFault is why a source address is out of the pool.
type SourceFault uint8

// The faults. While an address has one of the first three, nothing goes out from it except probes. An address that is
// out for one of the last two is still used if no other one is in the pool: a few sites alone can't stop all mail.
const (
	// SourceFine is the zero value: the address is in the pool.
	SourceFine SourceFault = iota

	// AddrMissing: the system can't bind to the address (EADDRNOTAVAIL). It is noticed on Unix systems.
	AddrMissing

	// ProxyDown: the proxy can't be connected to, or breaks off before it is told a host.
	ProxyDown

	// ProxyRefuses: the proxy refuses the login, CONNECT or the family of the address, or it isn't of the Protocol.
	ProxyRefuses

	// ProxyFails: through the proxy, no session came about with several sites in succession, and the proxy didn't
	// answer that it was the host's fault. See SourceHealth.Sites.
	ProxyFails

	// RefusedBySites: more sites refused the address because of a blocklist than took a message. See
	// SourceHealth.Sites.
	RefusedBySites
)

var sourceFaults = [...]string{
	"fine", "address-missing", "proxy-down", "proxy-refuses", "proxy-fails", "refused-by-sites",
}

// String returns the name in lower case: "fine", "address-missing", "proxy-down", "proxy-refuses", "proxy-fails" or
// "refused-by-sites".
func (f SourceFault) String() string {
	if int(f) < len(sourceFaults) {
		return sourceFaults[f]
	}
	return fmt.Sprintf("fault-%d", uint8(f))
}

// bySites reports whether the fault was concluded from the behavior of sites.
func (f SourceFault) bySites() bool { return f == ProxyFails || f == RefusedBySites }

// SourceState is the state of one source address.
type SourceState struct {
	// Source is the name of the Source, as Transport.Source returns it.
	Source string

	// SourceAddr is the address.
	SourceAddr netip.Addr

	// Proxy is the address of the Source's Proxy. It is the zero AddrPort if there is none.
	Proxy netip.AddrPort

	// Fault is why the address is out of the pool. If SourceFine, it is in the pool, and the fields below are zero.
	Fault SourceFault

	// Err is the last failure that showed the Fault.
	Err error

	// Since is when the address left the pool.
	Since time.Time

	// Until is the time of the next probe. It waits for a message that prefers this source.
	Until time.Time
}

func (k sourceAddr) state(a *addrHealth) SourceState {
	s := SourceState{Source: k.source.name(), SourceAddr: k.addr}
	if p := k.source.Proxy; p != nil {
		s.Proxy = p.Addr
	}
	if a != nil && a.fault != SourceFine {
		s.Fault, s.Err, s.Since, s.Until = a.fault, a.err, a.since, a.until
	}
	return s
}

// SourceStates returns the state of each address of each of Sources, in their order.
func (t *Transport) SourceStates() []SourceState {
	t.health.mu.Lock()
	defer t.health.mu.Unlock()
	var list []SourceState
	for i := range t.Sources {
		for _, addr := range t.Sources[i].Addrs {
			k := sourceAddr{&t.Sources[i], addr.Unmap()}
			list = append(list, k.state(t.health.addrs[k]))
		}
	}
	return list
}

func (t *Transport) tellSource(s SourceState) {
	if t.Logger != nil {
		if s.Fault == SourceFine {
			t.logger().Info("source address is back in the pool", "source", s.SourceAddr, "proxy", s.Proxy)
		} else {
			t.logger().Warn("source address left the pool", "source", s.SourceAddr, "proxy", s.Proxy,
				"fault", s.Fault.String(), "until", s.Until, "err", s.Err)
		}
	}
	t.changed(s)
}

// noSource returns the failure of a message for which no source address is left: each of out has a fault, or failed for
// this message, and the site blocks some others.
func (d *delivery) noSource(out []sourceAddr, blocked int) *failure {
	var count [len(sourceFaults)]int
	cause, causes := error(nil), 0
	add := func(err error) {
		if causes++; cause == nil {
			cause = err
		} else if causes <= maxCauses {
			cause = fmt.Errorf("%w; %w", cause, err)
		}
	}
	h := &d.t.health
	h.mu.Lock()
	for _, k := range out {
		s := k.state(h.addrs[k])
		count[s.Fault]++
		if s.Fault != SourceFine {
			add(fmt.Errorf("%v: %v: %w", s.SourceAddr, s.Fault, s.Err))
		}
	}
	h.mu.Unlock()
	var why []string // without addresses, since reports to strangers have it
	tell := func(what string, n int) {
		if n > 0 {
			why = append(why, fmt.Sprintf("%s (%d)", what, n))
		}
	}
	for fault, n := range count[1:] {
		tell(SourceFault(fault+1).String(), n)
	}
	if d.cause != nil {
		tell("failed just now: "+withoutAddrs(d.cause.err), count[SourceFine])
		if !errors.Is(cause, d.cause) { // with the fault that it showed
			add(d.cause)
		}
	} else {
		tell("back in the pool", count[SourceFine]) // since it was looked at
	}
	tell("blocked for "+clip(d.site), blocked)
	// RFC 3463 §3.4: X.3.x, the mail system, which is this program.
	r := smtp.NewReply(451, "4.3.0", "no source address can be used: "+strings.Join(why, ", "))
	return &failure{stage: smtp.StageConnect, local: true, reason: smtp.NoSource, reply: r, cause: cause}
}

// maxCauses bounds the errors of sources that one error holds.
const maxCauses = 10
