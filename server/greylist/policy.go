package greylist

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/internal/words"
	"github.com/postrider/postrider/smtp"
)

// Policy decides which clients are deferred, and for how long. Its Check may be used by several servers. Fields must
// not change after the first use.
type Policy struct {
	// Store keeps the attempts and the allowed networks. If nil, they are kept in memory, with the bounds of [Options],
	// and lost when the program ends.
	Store Store

	// Delay is the time from the first attempt for which retries are deferred. If zero, 5 minutes. A sender's first
	// retry often comes after 15 to 30 minutes (RFC 5321 §4.5.4.1).
	Delay time.Duration

	// Window is the time from the first attempt within which a retry must come. If zero, 24 hours (RFC 6647 §5).
	Window time.Duration

	// AllowFor is the time for which a network is allowed after its last accepted message. If zero, 36 days, so that a
	// monthly mail doesn't wait each month.
	AllowFor time.Duration

	// IPv4Bits and IPv6Bits are the lengths of the networks by which clients are known: a sender with several hosts in
	// one network may retry from another one. If zero, 24 and 64.
	IPv4Bits, IPv6Bits int

	// Skip reports whether a client doesn't have to wait. It is called at RCPT. If nil, no client is skipped.
	Skip func(s *server.Session) bool

	once   sync.Once
	memory *File
}

// Triplet identifies an attempt. The addresses are in lower case.
type Triplet struct {
	Network  netip.Prefix // of the client
	From, To string       // reverse-path and recipient
}

// Store keeps the attempts and the allowed networks of a [Policy]. Several programs may share one. Methods are called
// concurrently, while a client waits. ctx ends 5 seconds after the client's command: a method must return soon after
// that.
type Store interface {
	// First returns when a triplet was first seen. If that isn't known, or was before now.Add(-keep), the Store keeps
	// now and returns it.
	First(ctx context.Context, t Triplet, now time.Time, keep time.Duration) (time.Time, error)

	// Allow keeps the time until which a network is allowed. It replaces an earlier one.
	Allow(ctx context.Context, network netip.Prefix, until time.Time) error

	// Allowed returns the time of the last Allow for a network, which may have passed. If it isn't known, the zero
	// time.
	Allowed(ctx context.Context, network netip.Prefix) (time.Time, error)
}

const (
	defaultDelay    = 5 * time.Minute
	defaultWindow   = 24 * time.Hour
	defaultAllowFor = 36 * 24 * time.Hour

	storeTime = 5 * time.Second // for the Store, at each command
)

// Check returns the check.
func (p *Policy) Check() server.Check {
	return server.Check{Name: "greylist", Fault: p.fault(), Rcpt: p.rcpt, Done: p.done}
}

// fault returns the first mistake in the fields.
func (p *Policy) fault() error {
	for _, f := range []struct {
		name        string
		value, zero time.Duration
	}{
		{"Delay", p.Delay, defaultDelay},
		{"Window", p.Window, defaultWindow},
		{"AllowFor", p.AllowFor, defaultAllowFor},
	} {
		if f.value < 0 {
			return fmt.Errorf("%s is %v: set it to more than 0, or to 0 for %v", f.name, f.value, f.zero)
		}
	}
	switch delay, window := cmp.Or(p.Delay, defaultDelay), cmp.Or(p.Window, defaultWindow); {
	case window <= delay:
		return fmt.Errorf("Window is %v, and Delay %v: no retry could pass: set Window to more",
			window, delay)
	case p.IPv4Bits < 0 || p.IPv4Bits > 32:
		return fmt.Errorf("IPv4Bits is %d: set it to 1 to 32, or to 0 for 24", p.IPv4Bits)
	case p.IPv6Bits < 0 || p.IPv6Bits > 128:
		return fmt.Errorf("IPv6Bits is %d: set it to 1 to 128, or to 0 for 64", p.IPv6Bits)
	}
	return nil
}

// success is the value of a transaction. If its message is accepted, the client's network is allowed.
type success struct{}

func (p *Policy) rcpt(ctx context.Context, s *server.Session, rcpt smtp.Recipient) error {
	ip := s.Peer.IP()
	if !ip.IsValid() || p.Skip != nil && p.Skip(s) {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	wait, err := p.wait(asking, s, ip, rcpt)
	if err != nil {
		s.Found(ctx, "the Store fails, so nobody waits: "+err.Error())
	}
	if wait <= 0 {
		return nil
	}
	return smtp.NewReply(451, "4.7.1", "greylisted: please try again in "+words.Time(wait))
}

// wait returns for how long a client has to wait. If it doesn't, its message may be a success.
func (p *Policy) wait(
	ctx context.Context, s *server.Session, ip netip.Addr, rcpt smtp.Recipient,
) (time.Duration, error) {
	network := p.network(ip)
	now := time.Now()
	until, err := p.store().Allowed(ctx, network)
	if err != nil {
		return 0, err
	}
	if left := until.Sub(now); left > 0 {
		// To renew it with each message would only make the Store write more.
		if allowFor := cmp.Or(p.AllowFor, defaultAllowFor); left < allowFor-allowFor/10 {
			s.SetValue(success{})
		}
		return 0, nil
	}
	triplet := Triplet{network, strings.ToLower(s.Envelope.From), strings.ToLower(rcpt.Address)}
	first, err := p.store().First(ctx, triplet, now, cmp.Or(p.Window, defaultWindow))
	if err != nil {
		return 0, err
	}
	if wait := cmp.Or(p.Delay, defaultDelay) - now.Sub(first); wait > 0 {
		return wait, nil
	}
	s.SetValue(success{})
	return 0, nil
}

func (p *Policy) done(ctx context.Context, s *server.Session, reply *smtp.Reply) {
	if _, ok := server.Value[success](s); !ok || !reply.Positive() {
		return
	}
	until := time.Now().Add(cmp.Or(p.AllowFor, defaultAllowFor))
	asking, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := p.store().Allow(asking, p.network(s.Peer.IP()), until); err != nil {
		s.Found(ctx, "the Store fails, so the client will wait again: "+err.Error())
	}
}

func (p *Policy) store() Store {
	if p.Store != nil {
		return p.Store
	}
	p.once.Do(func() { p.memory = newFile(&Options{}) })
	return p.memory
}

func (p *Policy) network(ip netip.Addr) netip.Prefix {
	bits := cmp.Or(p.IPv6Bits, 64)
	if ip.Is4() {
		bits = cmp.Or(p.IPv4Bits, 24)
	}
	network, _ := ip.Prefix(bits) // fault has checked the bits
	return network
}
