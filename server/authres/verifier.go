package authres

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/dmarc"
	"github.com/postrider/postrider/smtp/spf"
)

const defaultTimeout = 20 * time.Second

// Verifier evaluates SPF, iprev, DKIM and DMARC. Its Check may be used by several servers. Fields must not change after
// the first use.
type Verifier struct {
	// Resolver looks up names, records and keys. Its methods are called concurrently. If nil, [net.DefaultResolver],
	// with which the policy of DMARC for domains that don't exist never applies.
	Resolver spf.Resolver

	// Policy decides about a message when all results are known. An error refuses it, as that of a
	// [server.Check].Content does. If nil, all messages are accepted, and only get the field. See [Enforce] and
	// [Mark].
	Policy func(ctx context.Context, s *server.Session, r *Results) error

	// Timeout bounds the lookups at MAIL, and again those after the message: the client waits. A result that isn't
	// known then is temperror. If zero, 20 seconds: RFC 7208 §4.6.4 asks for that at least.
	Timeout time.Duration
}

// Mail is a message whose authentication is evaluated.
type Mail struct {
	IP      netip.Addr   // of the client; if not valid, SPF and iprev have nothing to evaluate
	Hello   string       // the argument of EHLO or HELO
	From    string       // the reverse-path; empty if it is null
	Host    string       // the name of this host, for the explanations of SPF; may be empty
	Content smtp.Content // with CRLF as line ends
}

// Check returns the check.
func (v *Verifier) Check() server.Check {
	c := server.Check{Name: "authres", Mail: v.mail, Content: v.content}
	if v.Timeout < 0 {
		c.Fault = fmt.Errorf("Timeout is %v: set it to more than 0, or to 0 for %v", v.Timeout, defaultTimeout)
	}
	return c
}

// Verify evaluates a message without a server. It returns an error only if the Content can't be read, or has a header
// of over 1 MiB. [Results.Field] returns the Authentication-Results field to put on top of the message.
func (v *Verifier) Verify(ctx context.Context, m Mail) (*Results, error) {
	r := v.envelope(ctx, m)
	return r, v.message(ctx, r, m.Content)
}

// Of returns the results so far, for the checks after this one: iprev and SPF from MAIL on, all of them at Content. It
// returns nil for a client that authenticated. For one that [server.Allower] lets relay, it has those of MAIL only.
func Of(s *server.Session) *Results {
	r, _ := server.Value[*Results](s)
	return r
}

func (v *Verifier) mail(ctx context.Context, s *server.Session) error {
	s.SetValue(v.envelope(ctx, mailOf(s)))
	return nil
}

func mailOf(s *server.Session) Mail {
	return Mail{IP: s.Peer.IP(), Hello: s.Peer.Hello, From: s.Envelope.From, Host: s.Hostname()}
}

func (v *Verifier) content(ctx context.Context, s *server.Session, m *server.Message) error {
	r := Of(s)
	if r == nil {
		r = v.envelope(ctx, mailOf(s))
	} else {
		r = new(*r) // those of MAIL stay as they are
	}
	if err := v.message(ctx, r, m.Original); err != nil {
		return err
	}
	s.SetValue(r)
	s.AddField(r.Field(s.Hostname()))
	s.Found(ctx, r.String())
	if v.Policy == nil {
		return nil
	}
	return v.Policy(ctx, s, r)
}

func (v *Verifier) resolver() spf.Resolver {
	if v.Resolver == nil {
		return net.DefaultResolver
	}
	return v.Resolver
}

// envelope evaluates iprev and SPF.
func (v *Verifier) envelope(ctx context.Context, m Mail) *Results {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(v.Timeout, defaultTimeout))
	defer cancel()
	r := &Results{IP: m.IP, null: m.From == ""}
	checker := &spf.Checker{Resolver: v.resolver(), Hostname: m.Host, Timeout: v.Timeout}
	together(
		func() { r.IPRev, r.Name = reverse(ctx, v.resolver(), m.IP) },
		func() { r.Hello = checker.Check(ctx, m.IP, m.Hello, "") },
		func() {
			if m.From != "" {
				r.SPF = checker.Check(ctx, m.IP, m.Hello, m.From)
			}
		},
	)
	if m.From == "" {
		r.SPF = r.Hello // RFC 7208 §2.4
	}
	return r
}

// message evaluates DKIM and DMARC, and completes r.
func (v *Verifier) message(ctx context.Context, r *Results, content smtp.Content) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(v.Timeout, defaultTimeout))
	defer cancel()
	fields, body, err := readFields(content)
	if err != nil {
		return err
	}
	d := &dkim{resolver: v.resolver(), fields: fields, body: body}
	if r.DKIM, err = d.verify(ctx); err != nil {
		return err
	}
	hidden, err := hiddenFields(content)
	if err != nil {
		return err
	}
	r.From = header.FromDomains(slices.Concat(fields, hidden))
	m := dmarc.Message{From: r.From, SPF: dmarc.Identifier{
		Domain: r.SPF.Domain, Pass: r.SPF.Code == spf.Pass, Temporary: r.SPF.Code == spf.TempError,
	}}
	for _, s := range r.DKIM {
		m.DKIM = append(m.DKIM, dmarc.Identifier{
			Domain: s.Domain, Pass: s.Verdict == Pass, Temporary: s.Verdict == TempError,
		})
	}
	r.DMARC = (&dmarc.Evaluator{Resolver: v.resolver(), Timeout: v.Timeout}).Evaluate(ctx, m)
	return nil
}

// together calls funcs at the same time. A panic of one of them panics here when all have ended.
func together(funcs ...func()) {
	panics := make([]*guard.Panic, len(funcs))
	var wg sync.WaitGroup
	for i, f := range funcs {
		wg.Go(func() { panics[i] = guard.Call(f) })
	}
	wg.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
}
