package postrider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/delivery/receivers"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Check returns an error for the first field that is wrong, before any client connects. It asks the DNS for the host of
// Postmaster, if that is set; no answer is no error. If Wrap returned a value with a
// method Check(context.Context) error, that is called, too: for keys that can't be read, for example.
func (r *Relay) Check(ctx context.Context) error {
	if err := r.init(); err != nil {
		return err
	}
	if _, domain := smtp.SplitAddress(r.Postmaster); r.Postmaster != "" && r.Expand == nil {
		if err := r.checkRoute(ctx, domain); err != nil {
			return fmt.Errorf("relay: Postmaster %q would get no mail: %w: "+
				"set a route for its domain, or another address", r.Postmaster, err)
		}
	}
	if c, ok := r.runner.Sender.(interface{ Check(context.Context) error }); ok {
		if err := r.call(ctx, "Check of Wrap", func() error { return c.Check(ctx) }); err != nil {
			return fmt.Errorf("relay: Wrap: %w", err)
		}
	}
	return nil
}

// init checks the fields and makes the parts, once.
func (r *Relay) init() error {
	r.once.Do(func() {
		r.log = guard.Logger(r.Logger)
		for _, step := range []func() error{r.names, r.makeRouter, r.makeTransport, r.makeRunner, r.checkServers} {
			if r.err = step(); r.err != nil {
				r.err = fmt.Errorf("relay: %w", r.err)
				return
			}
		}
	})
	return r.err
}

// names checks who we are, and the values that no part checks.
func (r *Relay) names() error {
	switch {
	case r.Queue == nil:
		return errors.New("Queue is nil: set it to what spool.Open or mem.New returns")
	case r.Hostname == "":
		return errors.New("Hostname is empty: set it to this machine's name in the DNS")
	}
	_, notIP := netip.ParseAddr(r.Hostname) // without brackets it would be no address literal
	if notIP == nil || smtp.CheckAddress("postmaster@"+r.Hostname) != nil {
		return fmt.Errorf("Hostname %q is no host name: set it to this machine's name in the DNS", r.Hostname)
	}
	r.hostname = r.Hostname
	if !strings.HasPrefix(r.Hostname, "[") { // an address literal stays as it is
		r.hostname, _ = smtp.ASCIIDomain(r.Hostname) // CheckAddress would have found an error
	}
	r.ours = make(map[string]bool, len(r.Domains))
	for i, domain := range r.Domains {
		ascii, err := smtp.ASCIIDomain(domain)
		if err != nil {
			return fmt.Errorf("Domains[%d]: %w", i, err)
		}
		r.ours[ascii] = true
		if i == 0 {
			r.postmaster = "postmaster@" + ascii
		}
	}
	if r.Postmaster != "" {
		if _, domain := smtp.SplitAddress(r.Postmaster); domain == "" || smtp.CheckAddress(r.Postmaster) != nil {
			return fmt.Errorf("Postmaster %q is no address: set it to one with a domain", r.Postmaster)
		}
		r.postmaster = r.Postmaster
	}
	if r.MaxAge < 0 {
		return fmt.Errorf("MaxAge is %v: set it to more than 0, or to 0 for 5 days", r.MaxAge)
	}
	return nil
}

func (r *Relay) makeRouter() error {
	r.router = cmp.Or(r.Router, new(mx.Router))
	if r.router.Routes != nil {
		return errors.New("Router.Routes is set: set Relay.Routes instead")
	}
	r.router.Routes = r.Routes
	if r.router.Resolver == nil {
		r.router.Resolver = r.Resolver
	}
	r.router.Self = append(slices.Clip(r.router.Self), r.hostname)
	return r.router.Check()
}

func (r *Relay) makeTransport() error {
	r.transport = cmp.Or(r.Transport, new(client.Transport))
	t := r.transport
	switch {
	case t.Hostname != "":
		return errors.New("Transport.Hostname is set: set Relay.Hostname instead")
	case t.Router != nil:
		return errors.New("Transport.Router is set: set Relay.Router instead")
	}
	for i, s := range t.Sources {
		if err := s.Check(); err != nil {
			return fmt.Errorf("Transport.Sources[%d]: %w", i, err)
		}
	}
	if err := t.Timeouts.Check(); err != nil {
		return fmt.Errorf("Transport.%w", err)
	}
	if err := t.Replies.Check(); err != nil {
		return fmt.Errorf("Transport.Replies: %w", err)
	}
	for i, policy := range t.Policies {
		if policy == nil {
			return fmt.Errorf("Transport.Policies[%d] is nil", i)
		}
		if checks, ok := policy.(interface{ Check() error }); ok {
			if err := checks.Check(); err != nil {
				return fmt.Errorf("Transport.Policies[%d]: %w", i, err)
			}
		}
	}
	t.Router = r.router
	// RFC 5321 §2.3.5: a single label means nothing to other hosts. Without a Hostname, EHLO is as client.Conn says.
	if strings.ContainsAny(r.hostname, ".:") {
		t.Hostname = r.hostname
	}
	if t.DialContext == nil {
		t.DialContext = r.DialContext
	}
	t.Logger = cmp.Or(t.Logger, r.Logger)
	if r.receivers = r.Receivers; r.receivers == nil {
		r.receivers = receivers.Default()
	}
	if t.MaxMessages == nil {
		t.MaxMessages = r.receivers.MaxMessages
	}
	return r.receivers.Check()
}

func (r *Relay) makeRunner() error {
	r.runner = cmp.Or(r.Runner, new(delivery.Runner))
	run := r.runner
	switch {
	case run.Queue != nil:
		return errors.New("Runner.Queue is set: set Relay.Queue instead")
	case run.Sender != nil:
		return errors.New("Runner.Sender is set: set Relay.Transport or Relay.Wrap instead")
	}
	run.Queue, run.Sender = r.Queue, r.transport
	if r.Wrap != nil {
		err := r.call(context.Background(), "Wrap", func() error {
			run.Sender = r.Wrap(r.transport)
			return nil
		})
		if err != nil {
			return errors.New("Wrap panics: see the log")
		}
		if run.Sender == nil {
			return errors.New("Wrap returned nil: it must return a Sender")
		}
	}
	if p := r.Suppress; p != nil {
		if err := p.Check(); err != nil {
			return fmt.Errorf("Suppress: %w", err)
		}
		p.Logger = cmp.Or(p.Logger, r.Logger)
		run.Sender = p.Wrap(run.Sender)
	}
	r.reporter = &Reporter{
		Hostname: r.hostname, Destination: r.router.Destination, MaxAge: r.MaxAge, Texts: r.ReportTexts,
		DeadLetter: r.DeadLetter, Logger: r.Logger, hide: r.withoutMember,
	}
	switch {
	case !r.NoReports && run.Report == nil:
		run.Report = r.reporter.Report
	case r.NoReports && run.Report != nil:
		return errors.New("Runner.Report is set beside NoReports: leave it nil")
	}
	if run.DeadLetter == nil {
		run.DeadLetter = r.DeadLetter
	}
	for domain, limits := range r.Limits {
		_, err := smtp.ASCIIDomain(domain)
		if err == nil {
			err = limits.Check()
		}
		if err != nil {
			return fmt.Errorf("Limits[%q]: %w", domain, err)
		}
	}
	if len(r.Limits) > 0 && (run.SiteOf != nil || run.SiteFor != nil) {
		return errors.New("Limits is set beside Runner.SiteOf or Runner.SiteFor: leave those nil")
	}
	if run.SiteOf == nil {
		run.SiteOf = r.siteOf
	}
	if len(r.Limits) > 0 {
		r.limited.limits, r.limited.lookup = r.Limits, r.siteOfDomain
	}
	if run.SiteFor == nil {
		run.SiteFor = r.siteFor
		if r.transport.MaxSessions == nil {
			r.transport.MaxSessions = r.maxSessions
		}
	}
	if run.SourceOf == nil {
		run.SourceOf = func(t *queue.Task) string { return r.transport.Source(t.Envelope) }
	}
	run.Events = r.Events.Then(run.Events)
	run.Logger = cmp.Or(run.Logger, r.Logger)
	return run.Check()
}

// checkServers checks the templates.
func (r *Relay) checkServers() error {
	for _, s := range []struct {
		name     string
		template *server.Server
		login    login
	}{{"Server", r.Server, nil}, {"Submission", r.Submission, r.Authenticate}, {"LMTP", r.LMTP, nil}} {
		switch {
		case s.template == nil:
			continue
		case s.template.Hostname != "":
			return fmt.Errorf("%s.Hostname is set: set Relay.Hostname instead", s.name)
		case s.template.Handler != nil:
			return fmt.Errorf("%s.Handler is set: the Relay is the Handler; use Relay.Handler for your own server",
				s.name)
		}
		if err := r.server(s.template, s.login).Check(); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// login checks a password, as Server.Authenticate does.
type login func(ctx context.Context, p *server.Peer, username, password string) error

// server returns a server by a template, which may be nil, with a login if the template has none.
func (r *Relay) server(template *server.Server, login login) *server.Server {
	s := new(server.Server)
	if template != nil {
		s = template.Clone()
	}
	s.Hostname, s.Handler = r.hostname, &handler{r}
	s.TLSConfig = cmp.Or(s.TLSConfig, r.TLSConfig)
	s.Logger = cmp.Or(s.Logger, r.Logger)
	s.Logins = cmp.Or(s.Logins, &r.logins)
	if s.Authenticate == nil {
		s.Authenticate = login
	}
	return s
}

// submission returns the server for users.
func (r *Relay) submission() *server.Server {
	s := r.server(r.Submission, r.Authenticate)
	s.RequireAuth = true
	return s
}

// lmtp returns the server for LMTP.
func (r *Relay) lmtp() *server.Server {
	s := r.server(r.LMTP, nil)
	s.LMTP = true
	return s
}

// Handler returns the Relay as a [server.Handler], for a server of one's own.
func (r *Relay) Handler() (server.Handler, error) {
	if err := r.init(); err != nil {
		return nil, err
	}
	return &handler{r}, nil
}

// siteOf returns the site of a destination: a value for delivery.Runner.SiteOf. The lookups are those that the
// Transport makes later, by the same Router, which keeps their answers.
func (r *Relay) siteOf(ctx context.Context, destination string) (delivery.Site, error) {
	name, addrs, err := r.router.SiteAddrs(ctx, destination)
	if name != "" {
		r.limited.learn(ctx) // siteFor is called after siteOf
	}
	return delivery.Site{Name: name, Addrs: addrs}, err
}

// siteOfDomain returns the site of a domain in Limits.
func (r *Relay) siteOfDomain(ctx context.Context, domain string) (string, error) {
	destination, err := r.router.Destination(domain)
	if err != nil {
		return "", err
	}
	return r.router.Site(ctx, destination)
}
