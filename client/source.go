package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Source is an address, or a pair of them, that sessions go out from.
type Source struct {
	// Addrs are addresses of this machine, one of IPv4, of IPv6, or of each. A host is reached from the one of its own family.
	Addrs []netip.Addr

	// Hostname is our name in EHLO, which the DNS should have for Addrs. If empty, Transport.Hostname.
	Hostname string

	// Weight is its share of the messages, beside those of the others. If zero, 1.
	Weight int
}

// Check says what is wrong with the source.
func (s *Source) Check() error {
	seen := make(map[bool]bool) // by family
	for _, addr := range s.Addrs {
		addr = addr.Unmap()
		if !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast() {
			return fmt.Errorf("client: source %v: no address to send from", addr)
		}
		if seen[addr.Is4()] {
			return fmt.Errorf("client: source %v: the second of its family", addr)
		}
		seen[addr.Is4()] = true
	}
	if len(s.Addrs) == 0 || s.Weight < 0 {
		return fmt.Errorf("client: source %v with weight %d: no address, or a negative weight", s.Addrs, s.Weight)
	}
	if s.Hostname != "" {
		if _, err := smtp.ASCIIDomain(s.Hostname); err != nil {
			return fmt.Errorf("client: source %v: %w", s.Addrs, err)
		}
	}
	return nil
}

// rank orders sources for a message: at random by weight, and always the same for the same sender and recipient, as
// greylisting wants it, in other processes too.
func rank(list []Source, p pair) []*Source {
	type scored struct {
		source *Source
		score  float64
	}
	all := make([]scored, len(list))
	for i := range list {
		s := &list[i]
		sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%v", p.from, p.to, s.Addrs))
		// Weighted rendezvous hashing: the greatest of -weight/ln(u) wins as often as its weight has it.
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

// addr gives the address that reaches to: of its family, and a loopback one if that is one. It is the zero Addr if there is none.
func (s *Source) addr(to netip.Addr) netip.Addr {
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

// Source names the source that a message goes out from first where nothing is blocked, and nothing was greylisted: the first of its Addrs, or "" without Sources.
func (t *Transport) Source(env *smtp.Envelope) string {
	if len(t.Sources) == 0 || len(env.Recipients) == 0 {
		return ""
	}
	s := rank(t.Sources, pair{env.From, env.Recipients[0].Address})[0]
	if len(s.Addrs) == 0 {
		return ""
	}
	return s.Addrs[0].Unmap().String()
}

// source chooses the address of ours to reach one of a host's from, and our name there. The zero Addr leaves it to the system.
func (d *delivery) source(to netip.Addr) (addr netip.Addr, hostname string, f *failure) {
	t := d.t
	if len(t.Sources) == 0 || !to.IsValid() {
		return addr, t.Hostname, nil
	}
	var why *Block
	for _, s := range d.ranked {
		addr := s.addr(to)
		if !addr.IsValid() {
			continue
		}
		b, blocked := t.sources.blocked(d.site, addr)
		if !blocked {
			return addr, cmp.Or(s.Hostname, t.Hostname), nil
		}
		if why == nil {
			why = &b
		}
	}
	f = &failure{stage: smtp.StageConnect, local: true}
	switch {
	case why == nil && to.IsLoopback():
		return netip.Addr{}, t.Hostname, nil // this machine knows itself
	case why == nil:
		f.reply = smtp.NewReply(451, "4.4.1", fmt.Sprintf("we have no address to reach %s from", to))
	case why.Reply == nil:
		f.reason = smtp.Blocklisted
		f.reply = smtp.NewReply(451, "4.7.1", "all our addresses are blocked for "+clip(d.site))
	default:
		f.reason = smtp.Blocklisted
		f.reply = smtp.NewReply(451, "4.7.1",
			fmt.Sprintf("all our addresses are blocked for %s, for it said %s", clip(d.site), clip(why.Reply.Error())))
	}
	return addr, "", f
}

// rank orders the sources for the message: first the one that a greylisting host has seen it come from.
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

// learn takes from a result what it says about the source of its session. It reports whether that is blocked from now on.
func (d *delivery) learn(source netip.Addr, r *smtp.Result) (blocked bool) {
	t := d.t
	switch {
	case !source.IsValid() || r.Reply == nil:
	case r.Reason == smtp.Greylisted && len(t.Sources) > 1:
		t.sources.seen(pair{d.message.env.From, r.Recipient}, source, t.maxRemembered())
	case r.Reason == smtp.Blocklisted && t.BlockTime >= 0:
		if _, known := t.sources.blocked(d.site, source); known {
			return true // by the result of another recipient
		}
		t.Block(Block{Site: d.site, SourceAddr: source, Until: time.Now().Add(cmp.Or(t.BlockTime, time.Hour)), Reply: r.Reply})
		if t.Logger != nil {
			t.Logger.Warn("source address blocked", "site", d.site, "source", source, "host", r.Host, "reply", r.Reply.Error())
		}
		return true
	}
	return false
}

type sourceKey struct{}

// SourceAddr gives a DialContext func the address of ours to dial from. It is the zero Addr where the system is to choose.
func SourceAddr(ctx context.Context) netip.Addr {
	addr, _ := ctx.Value(sourceKey{}).(netip.Addr)
	return addr
}
