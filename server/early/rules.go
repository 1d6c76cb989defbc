package early

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Rules are the faults to look for, and their weights. The zero Rules refuse all but NoDot. Their Check may be used by
// several servers. Fields must not change after the first use.
type Rules struct {
	// Wait is the time before the greeting in which the client must be silent: at most 5 minutes, for which a client
	// has to wait (RFC 5321 §4.5.3.2.1). If zero, 5 seconds. If negative, the greeting comes at once, and Talk isn't
	// looked for.
	Wait time.Duration

	// Talk, OwnName, BareAddress and NoDot are the weights of the faults of these names, at most 1,000,000. If Talk,
	// OwnName or BareAddress is zero, it is 1, and if it is negative, the fault isn't looked for. If NoDot is zero or
	// negative, it isn't.
	Talk, OwnName, BareAddress, NoDot int

	// Threshold is the Score from which on Action is taken. If zero, 1.
	Threshold int

	// Action is taken then. If zero, [server.Refuse].
	Action server.Action

	// Field is the name of the header field for [server.Tag]. Its value has the score and the faults. If empty,
	// "X-Early".
	Field string

	// Names are further names of this server, and address literals such as "[203.0.113.1]", behind NAT for example. The
	// name of [server.Session.Hostname] and the address to which the client connected needn't be in it.
	Names []string

	// Inside are networks whose clients may call themselves as this server does. This machine needn't be in it.
	Inside []netip.Prefix

	// Skip reports whether a client doesn't wait, and isn't judged. It is called at connect and at EHLO. If nil, no
	// client is skipped.
	Skip func(s *server.Session) bool
}

// Kind is a kind of fault.
type Kind int

// The faults: see the package doc.
const (
	Talk Kind = iota + 1
	OwnName
	BareAddress
	NoDot
)

// Result has the faults of a session. It must not be changed.
type Result struct {
	Score  int // the sum of the weights
	Faults []Fault
}

// Fault is a mistake of the client.
type Fault struct {
	Kind   Kind
	Text   string // for people
	Weight int
}

const (
	defaultWait = 5 * time.Second
	maxWait     = 5 * time.Minute
	maxWeight   = 1_000_000 // so that no sum overflows
)

// Check returns the check.
func (r *Rules) Check() server.Check {
	return server.Check{Name: "early", Fault: r.fault(), Connect: r.connect, Hello: r.hello, Rcpt: r.rcpt}
}

// fault returns the first mistake in the fields.
func (r *Rules) fault() error {
	if r.Threshold < 0 {
		return fmt.Errorf("Threshold is %d: set it to more than 0, or to 0 for 1", r.Threshold)
	}
	if r.Wait > maxWait {
		return fmt.Errorf("Wait is %v: set it to %v at most, or to 0 for %v", r.Wait, maxWait, defaultWait)
	}
	for _, w := range []struct {
		name  string
		value int
	}{{"Talk", r.Talk}, {"OwnName", r.OwnName}, {"BareAddress", r.BareAddress}, {"NoDot", r.NoDot}} {
		if w.value > maxWeight {
			return fmt.Errorf("%s is %d: set it to %d at most", w.name, w.value, maxWeight)
		}
	}
	if r.Field != "" && (server.Field{Name: r.Field}).Check() != nil {
		return fmt.Errorf("Field %.100q is no name of a header field: set one such as X-Early", r.Field)
	}
	if err := r.Action.Check(); err != nil {
		return err
	}
	for _, name := range r.Names {
		if _, err := smtp.ASCIIDomain(name); err != nil {
			return fmt.Errorf("name %q in Names is no domain and no address literal: set one such as mx.example.com"+
				" or [203.0.113.1]", name)
		}
	}
	return nil
}

func (r *Rules) connect(ctx context.Context, s *server.Session) error {
	if r.Wait < 0 || r.Talk < 0 || r.skips(s) || s.Silent(ctx, cmp.Or(r.Wait, defaultWait)) {
		return nil
	}
	r.leave(ctx, s, Fault{Talk, "the client talked before the greeting", cmp.Or(r.Talk, 1)})
	return nil
}

func (r *Rules) hello(ctx context.Context, s *server.Session) error {
	var faults []Fault
	if !r.skips(s) {
		faults = r.faults(s)
	}
	r.leave(ctx, s, faults...)
	return nil
}

// faults returns those of the name in EHLO or HELO.
func (r *Rules) faults(s *server.Session) (faults []Fault) {
	name := s.Peer.Hello
	add := func(kind Kind, weight int, text string) {
		faults = append(faults, Fault{kind, "EHLO " + name + " " + text, weight})
	}
	if r.OwnName >= 0 && r.isOwn(s, name) && !r.isInside(s) {
		add(OwnName, cmp.Or(r.OwnName, 1), "is this server, not the client")
	}
	_, err := netip.ParseAddr(name)
	bare, literal := err == nil, strings.HasPrefix(name, "[")
	if r.BareAddress >= 0 && bare {
		add(BareAddress, cmp.Or(r.BareAddress, 1), "is an address without brackets")
	}
	if r.NoDot > 0 && !bare && !literal && !strings.Contains(strings.TrimSuffix(name, "."), ".") {
		add(NoDot, r.NoDot, "is no fully qualified name")
	}
	return faults
}

// isOwn reports whether a name is one of the server.
func (r *Rules) isOwn(s *server.Session, name string) bool {
	address := strings.TrimSuffix(strings.TrimPrefix(name, "["), "]")
	if len(address) > 5 && strings.EqualFold(address[:5], "IPv6:") {
		address = address[5:]
	}
	if ip, err := netip.ParseAddr(address); err == nil && ip.Unmap() == localIP(s) {
		return true
	}
	name, err := smtp.ASCIIDomain(name)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(append([]string{s.Hostname()}, r.Names...), func(own string) bool {
		own, err := smtp.ASCIIDomain(own)
		return err == nil && own == name
	})
}

// isInside reports whether the client may be this server. One of a Unix socket may: both ends have no address.
func (r *Rules) isInside(s *server.Session) bool {
	ip := s.Peer.IP()
	return ip.IsLoopback() || ip == localIP(s) ||
		slices.ContainsFunc(r.Inside, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// localIP returns the address to which the client connected.
func localIP(s *server.Session) netip.Addr { return (&server.Peer{RemoteAddr: s.Peer.LocalAddr}).IP() }

func (r *Rules) skips(s *server.Session) bool { return r.Skip != nil && r.Skip(s) }

// leave leaves the faults of this moment, and those of an earlier one: what an EHLO before this one had is forgotten.
func (r *Rules) leave(ctx context.Context, s *server.Session, faults ...Fault) {
	var result Result
	before, _ := server.Value[Result](s)
	for _, f := range before.Faults {
		if f.Kind == Talk {
			result.add(f)
		}
	}
	for _, f := range faults {
		result.add(f)
		s.Found(ctx, fmt.Sprintf("%s (weight %d)", f.Text, f.Weight))
	}
	s.SetValue(result)
}

func (r *Result) add(f Fault) {
	r.Score += f.Weight
	r.Faults = append(r.Faults, f)
}

func (r *Rules) rcpt(_ context.Context, s *server.Session, _ smtp.Recipient) error {
	result, _ := server.Value[Result](s)
	if result.Score < cmp.Or(r.Threshold, 1) {
		return nil
	}
	worst := result.Faults[0]
	tag := fmt.Sprintf("score=%d", result.Score)
	for _, f := range result.Faults {
		if f.Weight > worst.Weight {
			worst = f
		}
		tag += "; " + f.Text
	}
	return s.Act(r.Action, worst.Text, cmp.Or(r.Field, "X-Early"), tag)
}
