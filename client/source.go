package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// Source is a local address, or a pair of them, that sessions come from.
type Source struct {
	// Addrs are addresses of this machine: one of IPv4, one of IPv6, or one of each. A host is connected to from the
	// address of its own family. With a Proxy, they are the addresses that it connects from, of the proxy's machine.
	Addrs []netip.Addr

	// Proxy is what the sessions go through. Loopback hosts are reached through a proxy on this machine only, and Unix
	// sockets through none. A loopback host counts as one of this machine: a proxy that leads to another machine
	// (ssh -D) must not be used for it. If nil, the sessions go out from this machine.
	Proxy *Proxy

	// Hostname is the name in EHLO. The DNS should have it for Addrs. If empty, Transport.Hostname; if that is empty
	// too, see Conn.Hostname.
	Hostname string

	// Weight is the share of messages: a source with weight 2 has twice as many as one with weight 1. If zero, 1.
	Weight int

	// WarmUp bounds the messages of a source that receivers don't know yet. If nil, there is no such bound.
	WarmUp *WarmUp
}

// Check returns an error if a field can't be used. A Transport doesn't call it; a Relay does.
func (s *Source) Check() error {
	seen := make(map[bool]bool) // by family
	for _, addr := range s.Addrs {
		addr = addr.Unmap()
		if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() {
			return fmt.Errorf("client: Source.Addrs: %v is not an address to connect from: use a unicast address", addr)
		}
		if seen[addr.Is4()] {
			return fmt.Errorf("client: Source.Addrs: %v is the second of its family: put it into another Source", addr)
		}
		seen[addr.Is4()] = true
	}
	switch {
	case len(s.Addrs) == 0 && s.Proxy != nil:
		return errors.New("client: Source.Addrs is empty: put the address into it that the proxy connects from")
	case len(s.Addrs) == 0:
		return errors.New("client: Source.Addrs is empty: put an address of this machine into it")
	}
	if s.Proxy != nil {
		if err := s.Proxy.Check(); err != nil {
			return err
		}
	}
	if s.Weight < 0 {
		return fmt.Errorf("client: Source.Weight %d of %v is negative: leave it zero for 1", s.Weight, s.Addrs)
	}
	if s.Hostname != "" {
		if _, err := smtp.ASCIIDomain(s.Hostname); err != nil {
			return fmt.Errorf("client: Source.Hostname %q of %v: set it to the name of the addresses in the DNS: %w",
				s.Hostname, s.Addrs, err)
		}
	}
	return s.WarmUp.check(s.Addrs)
}

// rank orders sources for a message: at random by weight, but always the same for the same sender and recipient, in
// every process, because greylisting hosts expect that.
func rank(list []Source, p pair) []*Source {
	type scored struct {
		source *Source
		score  float64
	}
	all := make([]scored, len(list))
	for i := range list {
		s := &list[i]
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%v", p.from, p.to, s.Addrs))
		// Weighted rendezvous hashing: the shares of the greatest -weight/ln(u) are as the weights.
		u := (float64(binary.BigEndian.Uint64(sum[:])>>11) + 0.5) / (1 << 53)
		all[i] = scored{s, -float64(cmp.Or(s.Weight, 1)) / math.Log(u)}
	}
	slices.SortFunc(all, func(a, b scored) int { return cmp.Compare(b.score, a.score) })
	ranked := make([]*Source, len(all))
	for i := range all {
		ranked[i] = all[i].source
	}
	return ranked
}

// addr returns the address to connect to to from: one of its family, and a loopback address if to is one. It returns
// the zero Addr if there is none.
func (s *Source) addr(to netip.Addr) netip.Addr {
	if s.Proxy != nil && to.IsLoopback() && !s.Proxy.Addr.Addr().Unmap().IsLoopback() {
		return netip.Addr{} // the proxy's own machine isn't this one
	}
	for _, addr := range s.Addrs {
		if addr = addr.Unmap(); addr.Is4() == to.Is4() && addr.IsLoopback() == to.IsLoopback() {
			return addr
		}
	}
	return netip.Addr{}
}

func (s *Source) has(addr netip.Addr) bool {
	return slices.ContainsFunc(s.Addrs, func(a netip.Addr) bool { return a.Unmap() == addr })
}

// Source returns the name of the source that a message prefers: the first of its Addrs, or "" without Sources. Blocks,
// faults and greylisting may have another one used.
func (t *Transport) Source(env *smtp.Envelope) string {
	if len(t.Sources) == 0 || env == nil || len(env.Recipients) == 0 {
		return ""
	}
	return rank(t.Sources, pair{env.From, env.Recipients[0].Address})[0].name()
}

// name returns the name of s, which may be nil.
func (s *Source) name() string {
	if s == nil || len(s.Addrs) == 0 {
		return ""
	}
	return s.Addrs[0].Unmap().String()
}

// egress is how a session goes out.
type egress struct {
	via      *Source    // nil if the system chooses the address
	source   netip.Addr // of via; the zero Addr if the system chooses it
	hostname string     // the name of this machine in EHLO; if empty, see Conn.Hostname
	probe    bool       // the address is out of the pool, and a probe is due
}

func (e *egress) key() sourceAddr { return sourceAddr{e.via, e.source} }

// source chooses the local address to connect to an address of a host from, and the name in EHLO: those of the first
// source in the pool that the site doesn't block. Sources with a fault by sites are chosen if no other one is in the
// pool, whether blocked or not.
func (d *delivery) source(to netip.Addr) (egress, *failure) {
	t := d.t
	anyone := egress{hostname: t.Hostname}
	if len(t.Sources) == 0 || !to.IsValid() {
		return anyone, nil
	}
	var why *Block
	var full *Source   // the plan of which has no room
	var room time.Time // when a plan has room again, or a block ends
	var out []sourceAddr
	blocked, spare := 0, egress{}
	for _, s := range d.ranked {
		e := egress{via: s, source: s.addr(to), hostname: cmp.Or(s.Hostname, t.Hostname)}
		if !e.source.IsValid() {
			continue
		}
		fault, due := t.health.of(e.key())
		e.probe = due && (fault != AddrMissing || !t.tests(e.key()))
		b, isBlocked := t.sources.blocked(d.site, e.source)
		tried := slices.Contains(d.failed, e.key())
		if isBlocked && why == nil {
			why = &b
		}
		inPool := !tried && !isBlocked && (fault == SourceFine || e.probe)
		canSpare := !tried && !isBlocked && fault.bySites() && spare.via == nil
		switch {
		case (inPool || canSpare) && !d.warm(s):
			full = cmp.Or(full, s)
			room = earliest(room, s.WarmUp.next(d.provider, time.Now()))
		case inPool:
			return e, nil
		case canSpare:
			spare = e
			fallthrough
		case tried || fault != SourceFine:
			out = append(out, e.key())
		default:
			blocked++
			room = earliest(room, b.Until)
		}
		if full == s && s.WarmUp.Wait && s == d.ranked[0] {
			break
		}
	}
	f := &failure{stage: smtp.StageConnect, local: true}
	switch {
	case full != nil:
		f.reason, f.reply = smtp.NoSource, full.WarmUp.reply(full, d.provider)
		if len(out) == 0 && !d.uncounted {
			f.notBefore = room
		}
		return egress{}, f
	case blocked == 0 && spare.via != nil:
		return spare, nil
	case len(out) > 0:
		return egress{}, d.noSource(out, blocked)
	case why == nil && to.IsLoopback():
		return anyone, nil // no source is needed on this machine
	case why == nil:
		f.reply = smtp.NewReply(451, "4.4.1", fmt.Sprintf("Sources has no address of the family of %s: add one", to))
		return egress{}, f
	}
	// RFC 3463 §3.8: X.7.1, not authorized by a filter of the host, of which the blocks are the memory. The Reason is
	// set here, so that nobody has to guess it from the code.
	f.reason = smtp.Blocklisted
	text := "all source addresses are blocked for " + clip(d.site)
	if why.Reply != nil {
		text += ", which replied " + clip(why.Reply.Error())
	}
	f.reply = smtp.NewReply(451, "4.7.1", text)
	return egress{}, f
}

// earliest returns the earlier of two times. A zero a doesn't count.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// rank orders the sources for the message. The first one is the source from which a greylisting host has seen it, if
// any.
func (d *delivery) rank() {
	if len(d.t.Sources) == 0 {
		return
	}
	p := pair{d.message.env.From, d.message.env.Recipients[d.message.rcpts[0]].Address}
	d.ranked, d.site = rank(d.t.Sources, p), d.route.Site()
	last := d.t.sources.lastSeen(p)
	if i := slices.IndexFunc(d.ranked, func(s *Source) bool { return s.has(last) }); i > 0 {
		s := d.ranked[i]
		copy(d.ranked[1:], d.ranked[:i])
		d.ranked[0] = s
	}
}

// learn remembers greylisting and blocklists about the source address of a result. It reports whether the address is
// blocked now.
func (d *delivery) learn(k sourceAddr, r *smtp.Result) (blocked bool) {
	t, source := d.t, k.addr
	switch {
	case !source.IsValid() || r.Reply == nil:
	case r.Outcome == smtp.Delivered:
		t.worked(k, accepted, d.site)
	case r.Reason == smtp.Greylisted && len(t.Sources) > 1:
		t.sources.seen(pair{d.message.env.From, r.Recipient}, source, t.maxRemembered())
	case r.Reason == smtp.Blocklisted && t.BlockTime >= 0 && t.isAboutSource(r):
		if _, known := t.sources.blocked(d.site, source); known {
			return true // because of another recipient's result
		}
		until := time.Now().Add(cmp.Or(t.BlockTime, time.Hour))
		t.Block(Block{Site: d.site, SourceAddr: source, Until: until, Reply: r.Reply})
		if t.Logger != nil {
			t.logger().Warn("source address blocked",
				"site", d.site, "source", source, "until", until, "host", r.Host, "reply", r.Reply.Error())
		}
		t.suspicious(k, RefusedBySites, d.site, r.Reply)
		return true
	}
	return false
}

// isAboutSource reports whether a result that is Blocklisted blames our address: the session was refused, the code is
// about a policy (RFC 3463 §3.8: X.7.x), or the text names a list. It doesn't if the rule is about the sender's domain.
func (t *Transport) isAboutSource(r *smtp.Result) bool {
	if r.Local {
		return false
	}
	m := t.Replies.Classify(r.Reply, r.Stage, r.Host)
	return m.Scope != replies.SPFDomain && (r.Stage < smtp.StageMail || r.Reply.Enhanced[1] == 7 || m.By != "")
}

type sourceKey struct{}

// SourceAddr returns the local address that a DialContext func should connect from. It is the zero Addr if the system
// should choose.
func SourceAddr(ctx context.Context) netip.Addr {
	addr, _ := ctx.Value(sourceKey{}).(netip.Addr)
	return addr
}
