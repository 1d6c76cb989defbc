package ratelimit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/internal/words"
	"github.com/postrider/postrider/smtp"
)

// Limiter is a set of limits. Its Check may be used by several servers, which then share them. Fields must not change
// after the first use.
type Limiter struct {
	// Network is the Rate for the network of a client that hasn't authenticated.
	Network Rate

	// Account is the Rate for a user that authenticated ([server.Peer.Username]).
	Account Rate

	// Sender is the Rate for a reverse-path. The null reverse-path is not limited. A stranger can write any address
	// there, and use up the limit of its owner: set it on a server where all clients authenticate, or far above
	// Network.
	Sender Rate

	// IPv4Bits and IPv6Bits are the lengths of networks. If zero, 24 and 64.
	IPv4Bits, IPv6Bits int

	// MaxKeys bounds the networks, the accounts and the senders that are kept, each. If zero, 100,000, which take up to
	// 6 MB for each of the three.
	MaxKeys int

	// Skip reports whether a client isn't limited. It is called at each RCPT. If nil, no client is skipped.
	Skip func(s *server.Session) bool

	mu       sync.Mutex
	networks usage
	accounts usage
	senders  usage
}

// Rate is how much is accepted in a Period.
type Rate struct {
	Messages   int           // if zero, there is no limit
	Recipients int           // if zero, there is no limit
	Period     time.Duration // if zero, 1 hour
}

// Check returns the check. It is asked about all clients, also those that authenticated or may relay.
func (l *Limiter) Check() server.Check {
	return server.Check{Name: "ratelimit", Fault: l.fault(), Trusted: true, Rcpt: l.rcpt, Done: l.done}
}

// fault returns the first mistake in the fields.
func (l *Limiter) fault() error {
	limits := false
	for _, f := range []struct {
		name string
		rate Rate
	}{{"Network", l.Network}, {"Account", l.Account}, {"Sender", l.Sender}} {
		r := f.rate
		if r.Messages < 0 || r.Recipients < 0 || r.Period < 0 {
			return fmt.Errorf("%s is %+v: set each to more than 0, or to 0", f.name, r)
		}
		limits = limits || r.limits()
	}
	switch {
	case !limits:
		return errors.New("there is no limit: set Network, Account or Sender")
	case l.IPv4Bits < 0 || l.IPv4Bits > 32:
		return fmt.Errorf("IPv4Bits is %d: set it to 1 to 32, or to 0 for 24", l.IPv4Bits)
	case l.IPv6Bits < 0 || l.IPv6Bits > 128:
		return fmt.Errorf("IPv6Bits is %d: set it to 1 to 128, or to 0 for 64", l.IPv6Bits)
	case l.MaxKeys < 0:
		return fmt.Errorf("MaxKeys is %d: set it to more than 0, or to 0 for %d", l.MaxKeys, defaultMaxKeys)
	}
	return nil
}

const (
	defaultPeriod  = time.Hour
	defaultMaxKeys = 100_000
)

func (r Rate) limits() bool          { return r.Messages > 0 || r.Recipients > 0 }
func (r Rate) period() time.Duration { return cmp.Or(r.Period, defaultPeriod) }

// message is the time in which a message decays.
func (r Rate) message() time.Duration { return share(r.period(), r.Messages) }

// recipient is the time in which a recipient decays.
func (r Rate) recipient() time.Duration { return share(r.period(), r.Recipients) }

func share(period time.Duration, n int) time.Duration {
	if n == 0 {
		return 0
	}
	return max(period/time.Duration(n), 1)
}

// counted has, for each Limiter, the part of its limits that a transaction has taken so far.
type counted map[*Limiter]*take

type take struct {
	keys       []limited // fixed by the first recipient
	recipients int
}

// limited is a limit that applies to a transaction.
type limited struct {
	rate Rate
	in   *usage
	key  key
	name string // for the reply
}

func (l *Limiter) rcpt(_ context.Context, s *server.Session, _ smtp.Recipient) error {
	if l.Skip != nil && l.Skip(s) {
		return nil
	}
	all, ok := server.Value[counted](s)
	if !ok {
		all = make(counted)
		s.SetValue(all)
	}
	t := all[l]
	if t == nil {
		t = &take{keys: l.limits(s)}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for _, k := range t.keys {
		messages := 1 // if it is the first recipient
		if t.recipients > 0 {
			messages = 0
		}
		if what, wait := k.wait(now, messages); wait > 0 {
			return smtp.NewReply(450, "4.7.1", fmt.Sprintf("too many %s from %s in %s: please try again in %s", what,
				k.name, words.Time(k.rate.period()), words.Time(wait)))
		}
	}
	for _, k := range t.keys {
		messages := 1
		if t.recipients > 0 {
			messages = 0
		}
		k.add(now, messages, 1, l.maxKeys())
	}
	t.recipients++
	all[l] = t
	return nil
}

// done gives back the part that was not accepted.
func (l *Limiter) done(_ context.Context, s *server.Session, reply *smtp.Reply) {
	all, _ := server.Value[counted](s)
	t := all[l]
	if t == nil {
		return
	}
	messages, recipients := 1, t.recipients
	if reply.Positive() { // a check after this one may have refused some, or changed them
		messages, recipients = 0, max(0, t.recipients-len(s.Envelope.Recipients))
	}
	if messages+recipients == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range t.keys {
		k.add(time.Now(), -messages, -recipients, l.maxKeys())
	}
}

func (l *Limiter) maxKeys() int { return cmp.Or(l.MaxKeys, defaultMaxKeys) }

// limits returns the limits that apply to a transaction.
func (l *Limiter) limits(s *server.Session) []limited {
	var keys []limited
	if l.Account.limits() && s.Peer.Username != "" {
		keys = append(keys, limited{l.Account, &l.accounts, hash(s.Peer.Username), "your account"})
	}
	if ip := s.Peer.IP(); l.Network.limits() && s.Peer.Username == "" && ip.IsValid() {
		network := l.network(ip)
		keys = append(keys, limited{l.Network, &l.networks, hash(network.String()), network.String()})
	}
	if l.Sender.limits() && s.Envelope.From != "" {
		from := strings.ToLower(s.Envelope.From)
		keys = append(keys, limited{l.Sender, &l.senders, hash(from), from})
	}
	return keys
}

func (l *Limiter) network(ip netip.Addr) netip.Prefix {
	bits := cmp.Or(l.IPv6Bits, 64)
	if ip.Is4() {
		bits = cmp.Or(l.IPv4Bits, 24)
	}
	network, _ := ip.Prefix(bits) // fault has checked the bits
	return network
}
