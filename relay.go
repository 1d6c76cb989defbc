package postrider

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/delivery/receivers"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
)

// Relay accepts mail, keeps it in its Queue, delivers it, retries for days, and returns to its sender what can't be
// delivered. Hostname and Queue must be set; every other field has a default. The fields must not change after the
// first call of a method. All methods may be called concurrently, except that only one Serve or Run may run at a time.
//
// Relay's own fields describe the relay. Everything else is a field of one of its parts: Server, Submission, LMTP,
// Router, Transport and Runner. A part that is nil has its defaults. A part that is given must leave to the Relay the
// fields that its doc lists; the Relay fills them in at the first call of a method.
type Relay struct {
	// Hostname is this machine's name in the DNS. It stands in greetings, EHLO, Received fields and reports. Mail whose
	// best MX is Hostname goes in circles, and is returned. A name without a dot, typical of containers, isn't used in
	// EHLO: other hosts get what client.Conn.Hostname describes.
	Hostname string

	// Queue stores the mail: spool.Open for a durable one, mem.New for tests. The caller closes it after Serve and Run
	// have returned.
	Queue queue.Queue

	// Domains are the domains whose mail anyone may bring, as A-labels or in Unicode, without their subdomains. Their
	// mail goes by Routes, or to their MX. From a stranger, a local part with "@", "%" or "!" is refused: the next host
	// might follow it to a third one. If empty, only Allow and Authenticate let mail in.
	Domains []string

	// Routes are explicit routes by domain, in place of its MX. "*" is for all domains without an entry of their own,
	// Domains included. See mx.Smarthost and mx.LMTP.
	Routes map[string]mx.Route

	// CheckRcpt returns nil if a recipient in one of Domains exists. An unknown one is refused at RCPT, and not
	// returned later to a sender who may be forged. A *smtp.Reply is sent as it is, such as
	// smtp.NewReply(550, "5.1.1", "no such user"). Any other error is answered 451. CheckRcpt is called for every
	// client, authenticated or not, before Expand. It isn't called for the addresses that Expand returns, for
	// <postmaster>, for postmaster at Hostname, and for mail from code. It should accept postmaster in each domain
	// (RFC 5321 §4.5.1). If nil, every recipient in Domains is accepted.
	CheckRcpt func(ctx context.Context, p *server.Peer, rcpt smtp.Recipient) error

	// Expand returns the addresses that a recipient in one of Domains stands for: one for an alias, several for a
	// group, none for an ordinary address. They may be aliases again; an alias among its own addresses keeps a copy
	// there. An address gets one copy, also if a RCPT names it beside an alias. An address that isn't valid is an
	// error. The sender's NOTIFY and ORCPT go to each address (RFC 3461 §5.2.7): success is reported once, as
	// "expanded". For that, a group whose sender asked for it stays a recipient of the queued message, with the
	// destination queue.ExpandedDestination. A stranger's ORCPT is replaced by the alias, and reports to strangers
	// don't name its addresses. Expand is called at RCPT, and for all mail when it is stored. An error refuses as one
	// of CheckRcpt does. If nil, nothing is expanded.
	Expand func(ctx context.Context, rcpt smtp.Recipient) ([]string, error)

	// Allow reports whether a client that hasn't authenticated may relay to a recipient: by its address or certificate,
	// for example. It is asked for recipients in Domains, too, as the answer becomes the message's Origin. A
	// *smtp.Reply in the error is sent as it is, any other error is answered 451. If nil, nobody may. See
	// AllowNetworks.
	Allow func(ctx context.Context, p *server.Peer, rcpt smtp.Recipient) (bool, error)

	// Authenticate checks a name and a password on submission listeners, under TLS. A client that passes may relay to
	// anyone. server.ErrAuthFailed is answered 535, a *smtp.Reply as it is, and any other error 454. For SCRAM and
	// tokens, set StoredCredentials and CheckToken of Submission.
	Authenticate func(ctx context.Context, p *server.Peer, username, password string) error

	// SendAs reports whether an authenticated client (Peer.Username) may use an address of a sender: the reverse-path
	// at MAIL, and each address in the From field. false refuses with 550 5.7.1 (RFC 6409 §6.1). Its mail without a
	// valid From is refused with 554 5.6.0. If nil, it may use any.
	SendAs func(ctx context.Context, p *server.Peer, address string) (bool, error)

	// TenantOf returns the Tenant and the Ref of a message from a client. Return Peer.Username as the Tenant, so that
	// each user has a rate and a share of the Runner. A client that didn't log in has none. The Ref may be
	// anything that you search for. Mail without a Tenant has the share of its reverse-path. A stranger can choose the
	// reverse-path and the name in EHLO, so make no Tenant of these. TenantOf is called for each message before it is
	// stored. env is as the client has sent it, and must not be changed. With ByTenant of Suppress, TenantOf is also
	// called at each RCPT of a client that may relay; env then has that recipient alone. After a panic, the client is
	// refused for now. If nil, both are empty. Mail from code has those of its queue.Message.
	TenantOf func(ctx context.Context, p *server.Peer, env *smtp.Envelope) (tenant, ref string)

	// HideUsers leaves the client's name and address out of the Received field of mail from authenticated clients, so
	// that its readers don't learn where the user is. RFC 5321 §4.4 wants them there: the log has them in any case.
	HideUsers bool

	// Postmaster is the address that gets the mail for <postmaster> and for postmaster at Hostname, from anyone (RFC
	// 5321 §4.5.1). If empty, it is postmaster at the first of Domains; without Domains such mail is refused.
	Postmaster string

	// MaxAge is how long a message is tried before it is returned. It counts from the arrival, or from the time that
	// [queue.Message.Postpone] sets. If zero, 5 days (RFC 5321 §4.5.4.1).
	MaxAge time.Duration

	// DelayNotice is the age at which the sender is told that a message still waits. It counts like MaxAge. If zero, 4
	// hours; if negative, never.
	DelayNotice time.Duration

	// NoReports switches off the reports to senders. RFC 5321 §6.1 wants a report on each message that fails, so the
	// application has to see to that, by the Events for example. Reports by other hosts are relayed like other mail.
	NoReports bool

	// ReportTexts returns the sentences of a report to a sender's address, such as bounce.Portuguese(). smtp.JobOf(ctx)
	// has the ID, Ref, Tenant, Origin and FromDomain of the message that the report is about. If ReportTexts or its
	// result is nil, the sentences are in English. The example of [Reporter] chooses by the sender's domain.
	ReportTexts func(ctx context.Context, to string) *bounce.Texts

	// DeadLetter is called for a report of this relay, or a message of Runner.Outbox, that can't be delivered: nothing
	// is sent about it. o.Content is the report, o.Task.About the ID of the message that it is about, and o.Results has
	// the cause. After an error, it is called again: see delivery.Runner. If nil, only the log has it.
	DeadLetter func(ctx context.Context, o delivery.Occasion) error

	// Limits are limits for the sites of some domains: "gmail.com" stands for the hosts that its mail goes to, with
	// every other domain that has the same hosts. Fields that are zero are as in Runner.Site. With Limits,
	// Runner.SiteOf and Runner.SiteFor must be nil. Receivers applies to the fields that are zero. A Concurrency in
	// Limits or Receivers also bounds the open connections: see client.Transport.MaxSessions.
	//
	// The hosts are looked up before the first attempt, within 10 seconds, and again every 5 minutes. A domain whose
	// lookup fails keeps the hosts that it had, and is looked up again after 1 minute.
	Limits map[string]delivery.SiteLimits

	// Receivers has the limits of large receivers, by the names of their hosts: connections at first and at most, and
	// messages in each. Fields of Runner.Site that are set bound them. Runner.SiteFor, Transport.MaxSessions and
	// Transport.MaxMessages replace them. If nil, receivers.Default(). An empty List, receivers.List{}, switches them
	// off.
	Receivers receivers.List

	// Accepted is called when a message from a client or from code is durable, before the client hears 250. It isn't
	// called for reports, nor for a message that repeats another by its Key. Several calls may run at a time, and a
	// slow one delays that reply. A panic is logged.
	Accepted func(Accepted)

	// Events are called for the results of attempts and for reports. Transport.Tried is called for each host of an
	// attempt; smtp.JobOf of its context has the message's ID.
	Events delivery.Events

	// Logger gets a line for each message and attempt, without bodies. If nil, nothing is logged.
	Logger *slog.Logger

	// TLSConfig has the certificate of the servers: a shorthand for Server.TLSConfig and Submission.TLSConfig. If nil,
	// and theirs are nil, STARTTLS isn't offered.
	TLSConfig *tls.Config

	// Resolver answers for the DNS: a shorthand for Router.Resolver. If both are nil, the system's name servers do.
	Resolver mx.Resolver

	// DialContext makes the connections to other hosts: a shorthand for Transport.DialContext.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Server is the template of the server for other hosts, at port 25. Each Serve uses a copy, with Hostname and
	// Handler filled in, which must be empty. AUTH is offered only by its own funcs.
	//
	// The Relay does as the extensions want that a template can switch on. BinaryMIME: octets stay as they are, and a
	// next host without BINARYMIME makes the message fail. DeliverBy, MaxHold: BY becomes the Deadline or the time of
	// the delay notice, HOLDFOR and HOLDUNTIL the NotBefore; of strangers, such mail is refused at RCPT with 550 5.7.1.
	// Priorities: the mail of strangers has at most priority 0; a reply of 250 2.3.6 says so.
	Server *server.Server

	// Submission is the template of the server for users, at ports 587 and 465 (RFC 6409, RFC 8314). Each Serve uses a
	// copy, with Hostname, Handler, RequireAuth and, if it is nil, Authenticate filled in. Date and Message-ID are
	// added to mail that lacks them.
	Submission *server.Server

	// LMTP is the template of the server for a mail server beside this one that hands over mail by LMTP (RFC 2033), at
	// the listeners of [LMTPListener]. Who may bring mail is decided as at Server. Each Serve uses a copy, with
	// Hostname, Handler and LMTP filled in.
	LMTP *server.Server

	// Router finds the hosts. Its Routes must be nil; the Relay adds Hostname to its Self. A Router, a Transport and a
	// Runner are for one Relay each; a Server may be the template of several.
	Router *mx.Router

	// Transport delivers to the hosts. Its Hostname and Router must be empty.
	Transport *client.Transport

	// Runner works the queue off. Its Queue and Sender must be nil. Keep a pointer to operate it while it runs; call
	// Check before another goroutine does so.
	Runner *delivery.Runner

	// Wrap returns a Sender around the Transport, to sign, trace or refuse each message to one destination. It is
	// called once. If nil, the Runner sends by the Transport.
	Wrap func(next smtp.Sender) smtp.Sender

	// Suppress keeps mail from addresses that are dead or whose owner complained, and learns them from the results. A
	// message from code with such a recipient isn't stored: see [Relay.Send]. A client that may relay is refused at
	// RCPT with 550 5.7.1, and 451 if the list can't be read. A recipient that is suppressed later is Rejected at the
	// next attempt, which Events.Rejected reports. Reports, and the mail of strangers, aren't affected. Bounces that
	// come later are learnt by a bounce.Handler. Its Sender is around that of Wrap. If nil, nothing is suppressed.
	Suppress *suppress.Policy

	once       sync.Once
	err        error        // the mistake in the fields
	log        *slog.Logger // Logger, without its panics
	router     *mx.Router
	transport  *client.Transport
	runner     *delivery.Runner
	reporter   *Reporter
	hostname   string          // Hostname as an A-label
	ours       map[string]bool // Domains as A-labels
	postmaster string          // its address; "" if there is none

	receivers receivers.List // Receivers, or the default

	limited limitedSites
	logins  server.Logins // of all its servers

	running atomic.Bool // Run is

	mu         sync.Mutex
	redirected map[string][]string // by domain: the destinations that its mail had before
}

const (
	defaultMaxAge      = 5 * 24 * time.Hour
	defaultDelayNotice = 4 * time.Hour
)

// ListenAndServe listens on TCP addresses, and serves and delivers as [Relay.Serve] does. Ports 587 ("submission") and
// 465 ("submissions", where TLS begins at once) are submission listeners; every other port is for other hosts. For
// users at another port, call Serve in its place, with a listener for each port. Authenticate or Submission without a
// port for users is an error. Without addresses it only delivers.
func (r *Relay) ListenAndServe(ctx context.Context, addrs ...string) error {
	if err := r.init(); err != nil {
		return err
	}
	var listeners []net.Listener
	users := false
	for _, addr := range addrs {
		l, err := r.listen(ctx, addr)
		if err != nil {
			closeAll(listeners)
			return fmt.Errorf("relay: %w", err)
		}
		listeners = append(listeners, l)
		_, role := roleOf(l)
		users = users || role == forUsers
	}
	if len(addrs) > 0 && !users && (r.Authenticate != nil || r.Submission != nil) {
		closeAll(listeners)
		return fmt.Errorf("relay: Authenticate or Submission is set, and no user can log in at %q: add the port 587 "+
			"or 465, or call Serve with a SubmissionListener for another port", addrs)
	}
	return r.Serve(ctx, listeners...)
}

// Serve accepts mail on the listeners and delivers the queue until ctx ends. Then it lets running transactions finish
// within Server.Grace, and attempts within Runner.Grace, and returns nil. Any other end is an error. Serve closes the
// listeners. Those of [SubmissionListener] are for users, those of [LMTPListener] speak LMTP, all others are for other
// hosts. If Authenticate or Submission is set, and no listener is for users, a warning is logged.
func (r *Relay) Serve(ctx context.Context, listeners ...net.Listener) error {
	err := r.init()
	for i, l := range listeners {
		if bare, _ := roleOf(l); err == nil && bare == nil {
			err = fmt.Errorf("relay: listener %d is nil: pass what net.Listen returned", i)
		}
		if err == nil {
			err = r.router.ListensAt(l.Addr())
		}
	}
	servers := make(map[role]*server.Server)
	if err == nil {
		servers[forHosts], servers[forUsers], servers[forLMTP] = r.server(r.Server, nil), r.submission(), r.lmtp()
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
			// Another listener may have ended the server before this one was served.
			if err := run(ctx); err != nil && !errors.Is(err, server.ErrServerClosed) {
				once.Do(func() { failed = err })
				cancel() // the other parts end with it
			}
		})
	}
	users := false
	serves := make([]func(context.Context) error, len(listeners))
	for i, l := range listeners {
		bare, role := roleOf(l)
		srv := servers[role]
		users = users || role == forUsers
		if err == nil && role == forUsers &&
			srv.Authenticate == nil && srv.StoredCredentials == nil && srv.CheckToken == nil {
			err = errors.New("relay: Authenticate is nil: a submission listener needs it, or StoredCredentials or" +
				" CheckToken of Submission")
		}
		if err == nil && role == forUsers && !srv.AllowInsecureAuth && isPlain465(bare) {
			err = fmt.Errorf("relay: no TLS begins at %v: pass SubmissionListener(server.NewTLSListener(l, config)), "+
				"as port 465 has TLS from the start", bare.Addr())
		}
		serves[i] = func(ctx context.Context) error { return srv.Serve(ctx, bare) }
	}
	if err != nil {
		closeAll(listeners)
		return err
	}
	if len(listeners) > 0 && !users && (r.Authenticate != nil || r.Submission != nil) {
		r.logger().WarnContext(ctx, "relay: Authenticate or Submission is set, and no user can log in: "+
			"pass a SubmissionListener to Serve")
	}
	for _, serve := range serves {
		part(serve)
	}
	part(r.Run)
	wg.Wait()
	return failed
}

// Run delivers the queue until ctx ends, without a listener: [Relay.Send] puts mail in. It returns nil when ctx has
// ended and every attempt is finished or handed back. Serve includes it. Both may be called again after they have
// returned.
func (r *Relay) Run(ctx context.Context) error {
	if err := r.init(); err != nil {
		return err
	}
	if !r.running.CompareAndSwap(false, true) {
		return errors.New("relay: Serve or Run is running already: pass all listeners to one Serve")
	}
	defer r.running.Store(false)
	defer r.transport.CloseIdle()
	defer r.limited.stop()
	return r.runner.Run(ctx)
}
