package milter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Filter has the address of a program that speaks the milter protocol, and the settings of the connection. Addr must be
// set. The fields must not change after Check.
type Filter struct {
	// Name is the name of the check, in log lines and findings. If empty, "milter".
	Name string

	// Addr is where the filter listens: a host and a port, "127.0.0.1:11332", or a Unix socket, "/run/opendkim.sock".
	// The forms of other programs, "inet:11332@127.0.0.1" and "unix:/run/opendkim.sock", are mistakes.
	Addr string

	// Failure is what becomes of mail while the filter can't be reached, doesn't answer in time, or breaks the
	// protocol. If zero, Defer.
	Failure Failure

	// Trusted passes mail of clients that have authenticated or may relay to the filter, too, for example to sign it:
	// see [server.Check]. If false, the filter gets mail of strangers only.
	Trusted bool

	// Daemon is the macro {daemon_name}, by which some filters tell the servers of a machine apart. If empty, the
	// server's Hostname.
	Daemon string

	// Timeout is the time for the connection, and for each answer. A filter that needs longer reports progress, and has
	// this time again. If zero, 30 seconds.
	Timeout time.Duration

	// TotalTimeout is the time for all that happens at one moment, a whole message for example. If zero, 4 minutes: a
	// client waits 5 at least, and 10 at the end of a message (RFC 5321 §4.5.3.2).
	TotalTimeout time.Duration

	// MaxOctets bounds the octets that the filter sends at one moment. A new body can't be larger. If zero, 64 MiB.
	MaxOctets int64

	// DialContext connects to the filter. The network is "tcp" or "unix". If nil, a [net.Dialer] does.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Logger gets the failures of the filter, at level Error. They are reported by [server.Session.Found] as well. If
	// nil, only so.
	Logger *slog.Logger
}

// Failure is what becomes of mail when the filter fails.
type Failure int

const (
	Defer  Failure = iota // the client gets 451 4.7.1, and tries again
	Accept                // the message is accepted as it came
	Refuse                // the client gets 554 5.7.1
)

const (
	defaultTimeout   = 30 * time.Second
	defaultTotal     = 4 * time.Minute
	defaultMaxOctets = 64 << 20
)

func (f *Filter) timeout() time.Duration { return cmp.Or(f.Timeout, defaultTimeout) }
func (f *Filter) total() time.Duration   { return cmp.Or(f.TotalTimeout, defaultTotal) }
func (f *Filter) maxOctets() int64       { return cmp.Or(f.MaxOctets, defaultMaxOctets) }

// endpoint returns the network and the address to dial.
func (f *Filter) endpoint() (network, address string) {
	if strings.HasPrefix(f.Addr, "/") {
		return "unix", f.Addr
	}
	return "tcp", f.Addr
}

// fault returns a mistake in the settings.
func (f *Filter) fault() error {
	network, address := f.endpoint()
	_, port, err := net.SplitHostPort(address)
	switch {
	case f.Addr == "":
		return errors.New("Addr is empty: set it to the filter's host and port, or to its Unix socket")
	case network == "tcp" && (err != nil || port == "" || strings.ContainsAny(port, "@/")):
		return fmt.Errorf("Addr %q is neither a host and port nor a path from the root: "+
			`set it to one such as "127.0.0.1:11332" or "/run/filter.sock", without "inet:" or "unix:"`, f.Addr)
	case f.Timeout < 0 || f.TotalTimeout < 0 || f.MaxOctets < 0:
		return errors.New("Timeout, TotalTimeout or MaxOctets is below zero: set it to zero for the default")
	case f.Failure < Defer || f.Failure > Refuse:
		return fmt.Errorf("Failure is %d: set it to Defer, Accept or Refuse", f.Failure)
	}
	return nil
}

// Check returns the filter as a check. A mistake in the settings is its Fault.
func (f *Filter) Check() server.Check {
	c := &check{f: f, log: guard.Logger(f.Logger)}
	return server.Check{
		Name:    cmp.Or(f.Name, "milter"),
		Fault:   f.fault(),
		Trusted: f.Trusted,
		Connect: c.connect,
		Hello:   c.hello,
		Auth:    c.auth,
		Mail:    c.mail,
		Rcpt:    c.rcpt,
		Content: c.content,
		Done:    c.done,
		Closed:  c.closed,
	}
}

// check is a Filter in use.
type check struct {
	f   *Filter
	log *slog.Logger
}

// links are the links of the filters of one session: there may be several.
type links map[*check]*link

// of returns the link of a session, nil if it has none.
func (c *check) of(s *server.Session) *link {
	all, _ := server.Value[links](s)
	return all[c]
}

// connect connects to the filter, and tells it of the client. If that fails, the client hears of it at MAIL: then it is
// tried again.
func (c *check) connect(ctx context.Context, s *server.Session) error {
	all, ok := server.Value[links](s)
	if !ok {
		all = links{}
		s.SetValue(all) // as long as the session lasts
	}
	l := &link{check: c}
	all[c] = l
	return l.early(ctx, s)
}

func (c *check) hello(ctx context.Context, s *server.Session) error { return c.of(s).early(ctx, s) }

// auth disconnects a filter that isn't asked about users.
func (c *check) auth(ctx context.Context, s *server.Session) error {
	if l := c.of(s); !c.f.Trusted && l != nil {
		l.quit(ctx)
	}
	return nil
}

func (c *check) mail(ctx context.Context, s *server.Session) error {
	if l := c.of(s); l != nil {
		l.finish(ctx) // a transaction whose MAIL was refused has no Done
		l.failed = nil
	}
	return c.run(ctx, s, func(l *link) error { return l.tellMail(s) })
}

func (c *check) rcpt(ctx context.Context, s *server.Session, rcpt smtp.Recipient) error {
	return c.run(ctx, s, func(l *link) error { return l.tellRcpt(s, rcpt) })
}

func (c *check) content(ctx context.Context, s *server.Session, m *server.Message) error {
	return c.run(ctx, s, func(l *link) error { return l.tellContent(ctx, s, m) })
}

func (c *check) done(ctx context.Context, s *server.Session, _ *smtp.Reply) {
	if l := c.of(s); l != nil {
		l.finish(ctx)
	}
}

func (c *check) closed(ctx context.Context, s *server.Session) {
	if l := c.of(s); l != nil {
		l.finish(ctx)
		l.quit(ctx)
	}
}

// failed reports a failure, and returns what Failure makes of it.
func (c *check) failed(ctx context.Context, s *server.Session, err error) error {
	if ctx.Err() != nil {
		return ctx.Err() // the server closes: nothing is accepted
	}
	s.Found(ctx, "the filter at "+c.f.Addr+" fails: "+err.Error())
	c.log.ErrorContext(ctx, "filter failed", "addr", c.f.Addr, "session", s.Peer.ID, "err", err)
	return c.verdict()
}

// verdict is what Failure makes of mail.
func (c *check) verdict() error {
	switch c.f.Failure {
	case Accept:
		return nil
	case Refuse:
		return smtp.NewReply(554, "5.7.1", "the mail can't be filtered")
	}
	return smtp.NewReply(451, "4.7.1", "the mail can't be filtered now, try again later")
}
