package postrider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Relay accepts mail, keeps it in its Queue, delivers it, tries again for days, and returns to its
// sender what can't be delivered. Hostname and Queue must be set; everything else has a default. The
// fields must not change after the first call of a method; all methods may be called concurrently.
type Relay struct {
	// Hostname is the name that the relay has in the DNS. It stands in greetings, EHLO, Received
	// lines and reports, and mail that would be handed to it is a loop.
	Hostname string

	// Queue keeps the mail: spool.Open for a durable one, mem.New for tests. The caller
	// closes it after Serve and Run have returned.
	Queue queue.Queue

	// TLSConfig has the certificate for STARTTLS. If nil, the server doesn't offer it.
	TLSConfig *tls.Config

	// Domains are those whose mail anyone may bring. Their Routes say where it goes; without one it
	// goes to the MX. If empty, only Allow and Authenticate let mail in.
	Domains []string

	// Allow says who else may relay to a recipient, by the peer's address or certificate, say. An
	// error is answered as it is (a *smtp.Reply) or with 451. If nil, nobody may.
	Allow func(ctx context.Context, p *server.Peer, rcpt smtp.Recipient) (bool, error)

	// Authenticate checks a name and a password; who passes may relay to anyone. It is offered
	// under TLS only. server.ErrAuthFailed refuses with 535, a *smtp.Reply is answered as it is, and
	// any other error is a fault of ours, 454. If nil, there is no AUTH.
	Authenticate func(ctx context.Context, p *server.Peer, username, password string) error

	// Postmaster is the address that gets the mail for <postmaster> and for postmaster at Hostname,
	// from anyone (RFC 5321 §4.5.1); reports say that one can write there. If empty, it is postmaster
	// at the first of Domains; without Domains such mail is refused.
	Postmaster string

	// MaxSize bounds a message that comes over SMTP, in octets. If zero, 50 MiB.
	MaxSize int64

	// Routes say where the mail of a domain goes in place of its MX; "*" is for all other domains.
	// See mx.Smarthost and mx.LMTP.
	Routes map[string]mx.Route

	// Resolver answers for the DNS. If nil, the system's: see mx.Router.
	Resolver mx.Resolver

	// Port is that of MX hosts. If zero, 25.
	Port int

	// SelfAddrs are addresses of ours that MX hosts may have, beside those that Serve listens at: those outside a NAT, say.
	// Such a host, and what is no better, isn't tried (RFC 5321 §5.1).
	SelfAddrs []netip.Addr

	// AllowPrivate lets MX hosts have loopback and private addresses, which are refused otherwise.
	AllowPrivate bool

	// DialContext makes the connections to other hosts. If nil, a net.Dialer does.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// ClientTLSConfig is for the connections to other hosts. If nil, the system's roots and TLS 1.2
	// at least.
	ClientTLSConfig *tls.Config

	// Sources are the addresses that mail goes out from, each message from one of them: see client.Transport. The queue's limits of
	// SourceScope count by the one that a message prefers. If empty, the system chooses.
	Sources []client.Source

	// Trace is told what goes over the wire to other hosts. If nil, nobody is.
	Trace *client.Trace

	// Retry is how long to wait after each attempt; the last repeats. If empty, see delivery.Runner.
	Retry []time.Duration

	// MaxAge is how long a message is tried. If zero, 5 days (RFC 5321 §4.5.4.1).
	MaxAge time.Duration

	// DelayNotice is the age at which a sender hears that a message still waits. If zero, 4
	// hours; if negative, never.
	DelayNotice time.Duration

	// Concurrency is how many tasks, a message to one destination each, are sent at a time. If zero, 200.
	Concurrency int

	// Limits are those of each site, source and tenant, and LimitsFor gives one of them its own: see delivery.Runner.
	Limits    [3]delivery.Limits
	LimitsFor func(s delivery.Scope, name string) delivery.Limits

	// Events tell what happens to each message.
	Events Events

	// Logger gets a line for each message and attempt, without bodies. If nil, nothing is logged.
	Logger *slog.Logger

	once       sync.Once
	router     *mx.Router
	transport  *client.Transport
	runner     *delivery.Runner
	hostname   string          // Hostname as an A-label
	local      map[string]bool // Domains as A-labels
	postmaster string          // who that is; "" if nobody
	err        error           // what is wrong with the fields

	mu         sync.Mutex
	redirected map[string]map[string]bool // by domain: the destinations that its mail had
}

const (
	defaultMaxAge      = 5 * 24 * time.Hour
	defaultDelayNotice = 4 * time.Hour
)

// ListenAndServe listens on a TCP address (":25"), and serves and delivers as [Relay.Serve] does.
func (r *Relay) ListenAndServe(ctx context.Context, addr string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	return r.Serve(ctx, l)
}

// Serve accepts mail on the listeners and delivers what is in the queue, until ctx ends: then what is
// under way is finished within bounds, and Serve returns nil. It closes the listeners. Any other end is an error.
func (r *Relay) Serve(ctx context.Context, listeners ...net.Listener) error {
	err := r.init()
	for _, l := range listeners {
		if err == nil {
			err = r.router.ListensAt(l.Addr())
		}
	}
	if err != nil {
		for _, l := range listeners {
			l.Close()
		}
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		wg     sync.WaitGroup
		once   sync.Once
		failed error
	)
	part := func(run func(context.Context) error) {
		wg.Go(func() {
			if err := run(ctx); err != nil && !errors.Is(err, server.ErrServerClosed) {
				once.Do(func() { failed = err })
				cancel() // the other parts end with it
			}
		})
	}
	srv := r.server()
	for _, l := range listeners {
		part(func(ctx context.Context) error { return srv.Serve(ctx, l) })
	}
	part(r.Run)
	wg.Wait()
	return failed
}

// Run delivers what is in the queue until ctx ends, without a listener: [Relay.Send] puts mail in.
// It returns nil when ctx has ended and all that was under way is finished or handed back. Serve
// includes it; only one of the two may run at a time.
func (r *Relay) Run(ctx context.Context) error {
	if err := r.init(); err != nil {
		return err
	}
	defer r.transport.CloseIdle()
	return r.runner.Run(ctx)
}

// Send puts a message into the queue and returns when it is durable there. It is delivered while Run
// or Serve is going, now or later. Lines may end in "\n" or "\r\n"; the envelope must pass
// [smtp.Envelope.Check]. An error means that nothing was stored; where the message is at fault, it has
// a *smtp.Reply.
func (r *Relay) Send(ctx context.Context, env *smtp.Envelope, body io.Reader) (queue.ID, error) {
	m, err := r.Prepare(ctx, env, body)
	if err != nil {
		return "", err
	}
	return r.Enqueue(ctx, m)
}

// Enqueue puts into the queue what [Relay.Prepare] made, with what was changed in it since: a time before which it isn't sent, a
// deadline, a priority, a tenant. Else it is Send.
func (r *Relay) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	if err := r.init(); err != nil {
		return "", err
	}
	id, err := r.enqueue(ctx, m, nil)
	if err != nil {
		return "", fmt.Errorf("relay: enqueue: %w", err)
	}
	return id, nil
}

// enqueue stores m and says so. p is nil for mail from code.
func (r *Relay) enqueue(ctx context.Context, m queue.Message, p *server.Peer) (queue.ID, error) {
	id, err := r.Queue.Enqueue(ctx, m)
	if err != nil {
		return "", err
	}
	if p != nil {
		peer := *p // the session goes on with its own
		p = &peer
	}
	r.accepted(ctx, Accepted{ID: id, Envelope: m.Envelope, Peer: p})
	return id, nil
}

// init checks the fields and makes what is derived from them, once.
func (r *Relay) init() error {
	r.once.Do(func() { r.err = r.derive() })
	return r.err
}

func (r *Relay) derive() error {
	if r.Queue == nil {
		return errors.New("relay: Queue is nil")
	}
	if err := smtp.CheckAddress("postmaster@" + r.Hostname); err != nil {
		return fmt.Errorf("relay: Hostname %q: %w", r.Hostname, err)
	}
	if r.MaxSize < 0 {
		return fmt.Errorf("relay: MaxSize %d is negative", r.MaxSize)
	}
	r.hostname = r.Hostname
	if !strings.HasPrefix(r.Hostname, "[") { // an address literal stays as it is
		r.hostname, _ = smtp.ASCIIDomain(r.Hostname) // CheckAddress would have found an error
	}
	r.local = make(map[string]bool, len(r.Domains))
	for i, domain := range r.Domains {
		ascii, err := smtp.ASCIIDomain(domain)
		if err != nil {
			return fmt.Errorf("relay: Domains: %w", err)
		}
		r.local[ascii] = true
		if i == 0 {
			r.postmaster = "postmaster@" + ascii
		}
	}
	if r.Postmaster != "" {
		r.postmaster = r.Postmaster
		if _, domain := smtp.SplitAddress(r.Postmaster); domain == "" {
			return fmt.Errorf("relay: Postmaster %q has no domain", r.Postmaster)
		}
		if err := smtp.CheckAddress(r.Postmaster); err != nil {
			return fmt.Errorf("relay: Postmaster: %w", err)
		}
	}
	r.router = &mx.Router{
		Resolver:     r.Resolver,
		Routes:       r.Routes,
		Port:         r.Port,
		AllowPrivate: r.AllowPrivate,
		Self:         []string{r.hostname},
		SelfAddrs:    r.SelfAddrs,
	}
	if err := r.router.Check(); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	for _, s := range r.Sources {
		if err := s.Check(); err != nil {
			return fmt.Errorf("relay: Sources: %w", err)
		}
	}
	r.transport = &client.Transport{
		Hostname:    r.hostname,
		Router:      r.router,
		DialContext: r.DialContext,
		TLSConfig:   r.ClientTLSConfig,
		Sources:     r.Sources,
		Trace:       r.Trace,
		Logger:      r.Logger,
	}
	if r.Events.Tried != nil {
		r.transport.Tried = func(ctx context.Context, t client.Try) {
			job, _ := smtp.JobOf(ctx)
			r.Events.Tried(Tried{ID: queue.ID(job.ID), Try: t})
		}
	}
	r.runner = &delivery.Runner{
		Queue:       r.Queue,
		Sender:      r.transport,
		Site:        r.router.Site,
		Source:      r.source,
		Report:      r.report,
		Retry:       r.Retry,
		Concurrency: r.Concurrency,
		Limits:      r.Limits,
		LimitsFor:   r.LimitsFor,
		Events:      r.Events.Events,
		Logger:      r.Logger,
	}
	return nil
}

// source names what a task goes out from.
func (r *Relay) source(t *queue.Task) string { return r.transport.Source(t.Envelope) }

func (r *Relay) server() *server.Server {
	return &server.Server{
		Hostname:     r.hostname,
		Handler:      &handler{r},
		TLSConfig:    r.TLSConfig,
		Authenticate: r.Authenticate,
		MaxSize:      r.MaxSize,
		Logger:       r.Logger,
	}
}
