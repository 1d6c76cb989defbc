package dnsbl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/internal/recent"
	"github.com/postrider/postrider/smtp"
)

// List is a set of zones that are weighed together. Its Check may be used by several servers. Fields must not change
// after the first use.
type List struct {
	// Zones are the lists to ask. At least one must be set.
	Zones []Zone

	// Threshold is the Score from which on Action is taken. If zero, 1.
	Threshold int

	// Action is taken then. If zero, [server.Refuse].
	Action server.Action

	// Field is the name of the header field for [server.Tag]. Its value has the score, and the zones that list the
	// client. If empty, "X-DNSBL".
	Field string

	// Resolver looks up the zones. If nil, [net.DefaultResolver].
	Resolver Resolver

	// Timeout bounds the lookups for one moment: the client waits. If zero, 5 seconds.
	Timeout time.Duration

	// CacheTime is how long an answer is kept. If zero, 5 minutes. If negative, no answer is kept.
	CacheTime time.Duration

	// MaxCache bounds the answers that are kept. If zero, 10,000, which take up to 5 MB.
	MaxCache int

	mu    sync.Mutex
	cache recent.Map[string, record] // by the name that was looked up
}

// Zone is a list in the DNS.
type Zone struct {
	// Name is the domain of the list, "bl.example.org".
	Name string

	// Label is the name in replies, findings and header fields. Set it if Name has a key that is secret. If empty,
	// Name.
	Label string

	// Of are the subjects that the zone lists. If zero, Address. A name counts once, also if it is that of EHLO and of
	// the sender.
	Of Subject

	// Weight is added to the Score for a listing: -1,000,000 to 1,000,000. An allowlist has a negative Weight. If zero,
	// 1.
	Weight int

	// Answers are the addresses that count as a listing. If several of them match, the weights of all are added. If
	// empty, any answer in 127.0.0.0/8 counts, once.
	Answers []Answer
}

// Answer is the meaning of an address in the answer of a zone.
type Answer struct {
	// Addr is an address or a prefix of 127.0.0.0/8: "127.0.0.2" or "127.0.0.4/30".
	Addr string

	// Bits restricts Addr to answers whose last octet has one of these bits. Lists that are made of others have one for
	// each. If zero, every answer in Addr counts.
	Bits byte

	// Weight is added to the Score. If zero, the Weight of the Zone.
	Weight int

	// Text is the reason for the reply. If empty, the zone's TXT record.
	Text string
}

// Subject is a property of a client or its mail that a zone lists. Several can be combined: Hello | Sender.
type Subject int

const (
	Address Subject = 1 << iota // the client's IP address
	Client                      // the client's name: see [server.Server.Names]
	Hello                       // the name in EHLO or HELO
	Sender                      // the domain of the reverse-path
)

// Resolver looks up the records of a zone. *[net.Resolver] is one, and so is the Resolver of package mx/dns, which the
// hosts file doesn't apply to. Methods are called concurrently, and must return soon after ctx has ended. A name has a
// trailing dot. An error that is a *[net.DNSError] with IsNotFound says that it isn't listed. Any other is a failure.
type Resolver interface {
	// LookupNetIP returns the addresses of a name. The network is "ip4".
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)

	// LookupTXT returns the TXT records of a name.
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Result has the listings of a client, and of its mail so far. It must not be changed.
type Result struct {
	Score    int // the sum of the weights
	Listings []Listing

	// Unanswered are the labels of zones that didn't answer, or with something other than a listing.
	Unanswered []string
}

// Listing is an entry of a zone.
type Listing struct {
	Zone    string  // its Label
	Of      Subject // one of them: the first for which it was found
	Name    string  // the address or domain: "192.0.2.1" or "spam.example"
	Answers []netip.Addr
	Weight  int
	Text    string // why, or ""
}

const (
	defaultTimeout   = 5 * time.Second
	defaultCacheTime = 5 * time.Minute
	defaultMaxCache  = 10_000

	maxWeight = 1_000_000
)

// Check returns the check.
func (l *List) Check() server.Check {
	return server.Check{
		Name:    "dnsbl",
		Fault:   l.fault(),
		Connect: l.connect,
		Hello:   l.hello,
		Mail:    l.mail,
		Rcpt:    l.rcpt,
	}
}

// fault returns the first mistake in the fields.
func (l *List) fault() error {
	switch {
	case len(l.Zones) == 0:
		return errors.New("Zones is empty: add one, such as {Name: \"bl.example.org\"}")
	case l.Threshold < 0:
		return fmt.Errorf("Threshold is %d: set it to more than 0, or to 0 for 1", l.Threshold)
	case l.Timeout < 0:
		return fmt.Errorf("Timeout is %v: set it to more than 0, or to 0 for %v", l.Timeout, defaultTimeout)
	case l.MaxCache < 0:
		return fmt.Errorf("MaxCache is %d: set it to more than 0, or to 0 for %d", l.MaxCache, defaultMaxCache)
	case l.Field != "" && (server.Field{Name: l.Field}).Check() != nil:
		return fmt.Errorf("Field %.100q is no name of a header field: set one such as X-DNSBL", l.Field)
	}
	if err := l.Action.Check(); err != nil {
		return err
	}
	for _, z := range l.Zones {
		if _, err := smtp.ASCIIDomain(z.Name); err != nil || strings.HasPrefix(z.Name, "[") {
			return fmt.Errorf("zone %q: its Name is no domain: set one such as bl.example.org", z.Name)
		}
		if z.Of&^(Address|Client|Hello|Sender) != 0 {
			return fmt.Errorf("zone %s: Of is %d: combine Address, Client, Hello and Sender", z.Name, z.Of)
		}
		if !isWeight(z.Weight) {
			return fmt.Errorf("zone %s: Weight is %d: set it to %d to %d", z.Name, z.Weight, -maxWeight, maxWeight)
		}
		for _, a := range z.Answers {
			if !isWeight(a.Weight) {
				return fmt.Errorf("zone %s: Weight of an Answer is %d: set it to %d to %d", z.Name, a.Weight,
					-maxWeight, maxWeight)
			}
			if p, err := a.prefix(); err != nil || !loopback.Contains(p.Addr()) || p.Bits() < loopback.Bits() {
				return fmt.Errorf("zone %s: Addr %q of an Answer is no address or prefix in %v:"+
					" set one such as 127.0.0.2", z.Name, a.Addr, loopback)
			}
		}
	}
	return nil
}

// isWeight reports whether sums of a weight can't overflow.
func isWeight(n int) bool { return -maxWeight <= n && n <= maxWeight }

// found has the Result of each List in a session so far.
type found map[*List]Result

// Result returns the Result of this List so far. If only one List is used, server.Value[dnsbl.Result](s) returns the
// same. With several, Value returns that of the last one that asked.
func (l *List) Result(s *server.Session) Result {
	f, _ := server.Value[found](s)
	return f[l]
}

func (l *List) connect(ctx context.Context, s *server.Session) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(l.Timeout, defaultTimeout))
	defer cancel()
	var q []question
	if ip := s.Peer.IP(); ip.IsValid() {
		q = l.questions(q, Address, ip.String(), reverse(ip))
	}
	if s.Peer.Name != "" {
		q = l.domain(q, Client, s.Peer.Name)
	}
	l.look(ctx, s, q, Address|Client)
	return nil
}

func (l *List) hello(ctx context.Context, s *server.Session) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(l.Timeout, defaultTimeout))
	defer cancel()
	l.look(ctx, s, l.domain(nil, Hello, s.Peer.Hello), Hello)
	return nil
}

func (l *List) mail(ctx context.Context, s *server.Session) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(l.Timeout, defaultTimeout))
	defer cancel()
	_, domain := smtp.SplitAddress(s.Envelope.From)
	l.look(ctx, s, l.domain(nil, Sender, domain), Sender)
	return nil
}

func (l *List) rcpt(ctx context.Context, s *server.Session, _ smtp.Recipient) error {
	r := l.Result(s)
	if r.Score < cmp.Or(l.Threshold, 1) {
		return nil
	}
	worst := r.Listings[0]
	tag := fmt.Sprintf("score=%d", r.Score)
	for _, e := range r.Listings {
		if e.Weight > worst.Weight {
			worst = e
		}
		tag += fmt.Sprintf("; %s %s", e.Zone, e.Name)
	}
	return s.Act(l.Action, worst.String(), cmp.Or(l.Field, "X-DNSBL"), tag)
}

// String returns "192.0.2.1 is listed by bl.example.org: the text".
func (e Listing) String() string {
	s := e.Name + " is listed by " + e.Zone
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// look asks, and leaves the Result. Its listings replace the earlier ones of these subjects.
func (l *List) look(ctx context.Context, s *server.Session, questions []question, about Subject) {
	f, _ := server.Value[found](s)
	r := Result{Unanswered: slices.Clone(f[l].Unanswered)}
	for _, e := range f[l].Listings {
		if e.Of&about == 0 {
			r.add(e)
		}
	}
	for _, a := range l.ask(ctx, questions) {
		if a.trouble != "" {
			if !slices.Contains(r.Unanswered, a.zone.label()) {
				r.Unanswered = append(r.Unanswered, a.zone.label())
			}
			if a.fresh {
				s.Found(ctx, a.zone.label()+": "+a.trouble)
			}
		}
		if e, ok := a.listing(); ok && r.add(e) {
			s.Found(ctx, fmt.Sprintf("%s (weight %d)", e, e.Weight))
		}
	}
	// A copy: the map of before a transaction is there again after it.
	f = maps.Clone(f)
	if f == nil {
		f = make(found)
	}
	f[l] = r
	s.SetValue(f)
	s.SetValue(r)
}

// add adds a listing, unless it is there. A name counts once for a zone: that in EHLO is often that of the sender, too.
func (r *Result) add(e Listing) bool {
	for _, other := range r.Listings {
		if other.Zone == e.Zone && other.Name == e.Name {
			return false
		}
	}
	r.Score += e.Weight
	r.Listings = append(r.Listings, e)
	return true
}

var (
	loopback = netip.MustParsePrefix("127.0.0.0/8")

	_ Resolver = (*net.Resolver)(nil)
)
