package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// Transport sends messages to the hosts that a Router names, and keeps sessions for later messages. It is an
// [smtp.Sender]. Several goroutines may use it. Its fields must not change after the first Send. Close it at the end.
type Transport struct {
	// Hostname is the name of this machine in EHLO. If empty, see Conn.Hostname.
	Hostname string

	// Router finds the route of a recipient's domain. If nil, &mx.Router{}: the hosts in the domain's MX records.
	Router *mx.Router

	// DialContext connects to "ip:port" on "tcp", or to a path on "unix". [SourceAddr] returns the local address to
	// connect from. If nil, a net.Dialer with that address.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLSConfig is a template for every session: see Conn.TLSConfig.
	TLSConfig *tls.Config

	// Policies say what sessions with the hosts of MX records need beyond opportunistic TLS, by DANE and MTA-STS for
	// example. They are asked in this order about each host, until one demands a verified certificate and isn't in
	// testing; the one that demands the most counts. List DANE first, so that MTA-STS isn't asked where DANE applies
	// (RFC 8461 §2). It is asked if the host has TLSA records that are all unusable. If a policy fails, or the host
	// doesn't meet it, the next host is tried, and after the last one the message is Deferred. A host that falls short
	// of a policy in testing gets the mail; Try.Security and the Logger have the cause. Explicit routes and address
	// literals have no policies: their Route.TLS counts alone.
	Policies []mx.Policy

	// LaxRequireTLS relaxes REQUIRETLS (RFC 8689) for as long as few hosts have it. If true, a message with REQUIRETLS
	// is sent to hosts with TLS and the certificate that the Policies demand, or any. A host that offers REQUIRETLS
	// gets it, and the others get the message without. If false, only hosts with REQUIRETLS get the message, over TLS
	// with a verified certificate, and only if DNSSEC or MTA-STS proves that they are the domain's: see "REQUIRETLS" in
	// the doc of the package. A host that gets the message without may obey a "TLS-Required: No" in its header.
	LaxRequireTLS bool

	// Timeouts bound each wait of a session and each attempt as a whole. If zero, see [Timeouts].
	Timeouts Timeouts

	// SessionLifetime is the age at which a session takes no further message. If zero, 300 s; if negative, each message
	// has a session of its own.
	SessionLifetime time.Duration

	// IdleTimeout is how long a session is kept without a message. If zero, 30 s; if negative, none is kept.
	IdleTimeout time.Duration

	// MaxIdle is the most idle sessions that are kept, with all hosts together. If zero, 100; if negative, none.
	MaxIdle int

	// MaxIdlePerHost is the most idle sessions that are kept with one host. If zero, 20; if negative, none.
	MaxIdlePerHost int

	// MaxAddrs is the most addresses that one Send connects to for one route. If zero, mx.MaxAddrs.
	MaxAddrs int

	// MaxMessages returns the most messages of one session with a host, by the host's name. Zero or less is no bound: a
	// session then takes as many as the host's LIMITS allow (RFC 9422 §4.1) and as it took before (see RememberFor). A
	// Relay sets it from its receivers. It is called for each connection, concurrently, and must not block. If
	// nil, there is no bound.
	MaxMessages func(host string) int

	// MaxSessions returns the most sessions that are open at a time with the hosts of a site, by its name: see
	// mx.Route.Site. Idle sessions count, and so do those that end, until their connection is closed. Zero or less is
	// no bound. A Send beyond it waits for its turn, in order of arrival, until Timeouts.Attempt: then its recipients
	// are Deferred. A new session closes an idle one at the site, of another source address for example, or waits for
	// one that ends. That takes a few times Timeouts.Quit at most. A session that is opened for one site isn't used for
	// another one that shares the host. A Relay sets it from its Limits and receivers. It is called for each message,
	// concurrently, and must not block. If nil, there is no bound.
	MaxSessions func(site string) int

	// ChunkSize is the number of octets in one BDAT: see Conn.ChunkSize.
	ChunkSize int64

	// RememberFor is how long a host is treated by what it showed. If zero, 24 h; if negative, nothing is remembered.
	//
	//   - An extension that the host offered and failed at isn't used: a host that failed at BDAT gets messages by
	//     DATA, for example. This is noticed for CHUNKING, PIPELINING, and the parameters that a message can do
	//     without: SIZE, those of DSN, and BODY of a 7-bit message. For other failures, set mx.Route.Without.
	//   - If TLS fails, it is tried once more without post-quantum key exchange: some hosts fail at a ClientHello that
	//     doesn't fit into one segment of TCP. If that helps, it is remembered.
	//   - If TLS isn't demanded and fails, and the mail goes in cleartext, the host isn't asked for TLS again, for 1
	//     hour at most.
	//   - If the host refused a message in a kept session and took the message in a new one, its sessions end before
	//     that number of messages.
	RememberFor time.Duration

	// ConvertSigned decides about an 8-bit message with a signature over its body (a DKIM-Signature, an
	// ARC-Message-Signature, a multipart/signed), if no host of its route has 8BITMIME. If true, the message is
	// converted to 7 bits, which breaks the signature. If false, the message is Rejected with 5.6.3: its sender hears
	// of that, and a host may discard a message with a broken signature unseen (DMARC). A message with the null
	// reverse-path is always converted, since nobody would hear of the rejection.
	ConvertSigned bool

	// Sources are the local addresses that sessions come from. Each message has one of them, chosen by weight. The same
	// sender and recipient always have the same one, because greylisting hosts expect that. Loopback hosts are reached
	// from loopback addresses only, or from an address that the system chooses. If empty, the system chooses.
	Sources []Source

	// WarmCounts counts the messages of Sources with a WarmUp. A *warmup.File keeps the counts over a restart. If nil,
	// they are in memory.
	WarmCounts WarmCounts

	// BlockTime is how long a source address isn't used for a site after a host there refused it because of a
	// blocklist. Meanwhile the site's mail comes from the next one of Sources, and is deferred if there is none. If
	// zero, 1 hour; if negative, such a refusal blocks nothing.
	BlockTime time.Duration

	// SourceHealth decides when a source address that can't be used leaves the pool, and when it comes back. If zero,
	// see [SourceHealth].
	SourceHealth SourceHealth

	// MaxRemembered bounds each of three memories about hosts, in entries: the blocks, the source addresses that
	// greylisting hosts have seen, and what hosts showed (see RememberFor). A new entry beyond the bound clears the
	// others of its kind. If zero, 10,000.
	MaxRemembered int

	// Replies classifies the replies of hosts, and so sets the Reason of each Result. If nil, by the default rules
	// of package replies. A Relay checks it when it starts. A Transport doesn't, and never tries a rule that can't be
	// used.
	Replies *replies.Classifier

	// Trace is called with the commands and replies of each session. If nil, nothing is traced.
	Trace *Trace

	// Tried is called after each step of a Send, by its goroutine and with its ctx. A panic in it changes nothing. If
	// nil, steps aren't reported.
	Tried func(context.Context, Try)

	// TLSResult is called for each session with a host of MX records in which TLS was tried, for each message in a
	// session that is used again, and for each host that a policy excludes or that can't be used because the policy
	// isn't known. It is called by the goroutine of the Send, with its ctx. A session in which TLS fails and the one in
	// its place count each; but not one in cleartext that takes the place of a failed one. A session that ends before
	// TLS is tried doesn't count. A panic in TLSResult changes nothing. It is a tlsrpt.Reporter.Record, for example. If
	// nil, nothing is reported.
	TLSResult func(context.Context, mx.TLSResult)

	// Logger logs each host that failed (debug), each session in which TLS failed or fell short of a policy in testing
	// (info), each source address that was blocked (warn), and each panic of a func (error). If nil, nothing is logged.
	Logger *slog.Logger

	pool     pool
	sources  sources
	counted  memoryCounts // where WarmCounts is nil
	health   health
	memory   memory
	sessions atomic.Uint64

	maxSessions int       // of a Submission; zero: no bound
	byMX        mx.Router // where Router is nil
}

// ErrClosed is in the error of a Send after Close.
var ErrClosed = errors.New("client: closed")

// Send sends one message, by the rules of [smtp.Sender]. It returns exactly one Result for each recipient, in the order
// of the envelope, each with an Outcome, a Reply and a Reason, whether the error is nil or not. The error is nil if all
// recipients are Delivered. Otherwise it holds the Reply of the first one that isn't, for errors.As.
//
// The Outcome decides whether to try again; the code of the Reply doesn't. A host that refuses a session by 5xx, at the
// greeting or at AUTH for example, rejects no recipient: its recipients are Deferred.
//
// Recipients with one route are sent together. The hosts of the route are tried in order, and the addresses of each
// host, until a host takes a transaction:
//   - A 2xx or a 5xx to a recipient is final.
//   - A recipient who got a 4xx, or whose connection broke, is offered to one further host. The codes 4.2.x, 4.7.x and
//     452 are about the mailbox or a policy, and defer the recipient at once.
//   - Recipients beyond a host's LIMITS go to the host in another session.
//   - A recipient that a host can't be offered, because it lacks an extension or its SIZE is too small, is offered to
//     the next host. If there is none, the recipient is Rejected.
//   - A refusal at MAIL, DATA or BDAT, or of all recipients at RCPT, in a session that was used before may be about the
//     session: some hosts bound its messages in this way. The recipients go to the host once in a new session, whose
//     replies count. A refusal because of a policy (X.7.x) or a rate, or of an unknown user, counts at once. If
//     a recipient is refused for a rate after the first message of a session, the session takes no further message.
//   - Recipients who were deferred because of a blocklist go to the host from the next one of Sources. So do all
//     recipients if nothing can go out from a source address: see SourceHealth.
//
// After Timeouts.Attempt or MaxAddrs, no further address is tried. If ctx ends, the I/O in flight is aborted,
// recipients without an answer are Deferred, and those whose message was sent but not confirmed are Unknown.
//
// The slot of ctx ([smtp.Slot]) may be taken back until a session is ready for MAIL, or the Sender of a route is
// called. Recipients without a result are then Deferred and Local, with the Reason Other and without a Host, and the
// error holds smtp.ErrTakenBack. Nothing is remembered about a host. A session that was ready is kept for later
// messages, and one that was being opened is closed.
func (t *Transport) Send(ctx context.Context, env *smtp.Envelope, content smtp.Content) ([]smtp.Result, error) {
	m := newMessage(env, content)
	m.replies, m.wish = t.Replies, wishOf(m.env, t.LaxRequireTLS)
	f := m.check()
	if f == nil && len(m.rcpts) == 0 {
		return m.results, m.err()
	}
	if f == nil {
		f = t.Timeouts.check()
	}
	if f == nil && !t.pool.enter() {
		f = closed()
	} else if f == nil {
		defer t.pool.leave()
		var end func()
		ctx, end = smtp.Lend(ctx)
		defer end()
		f = t.takeTurn(ctx)
	}
	if f != nil {
		m.fail(m.rcpts, f)
		return m.results, f
	}
	defer t.pool.giveTurn("", t.maxSessions)
	t.eachRoute(ctx, m)
	return m.results, m.err()
}

func closed() *failure {
	return &failure{reply: smtp.NewReply(451, "4.3.2", "no more mail is sent"), local: true, cause: ErrClosed}
}

// takeTurn waits until the Send may use a session: see Submission.MaxSessions.
func (t *Transport) takeTurn(ctx context.Context) *failure {
	if err := t.pool.takeTurn(ctx, "", t.maxSessions); err != nil {
		return calledOff(ctx, smtp.StageConnect)
	}
	return nil
}

// CloseIdle sends QUIT in the sessions that are idle now, and returns when they are closed. Timeouts.Quit bounds each
// wait.
func (t *Transport) CloseIdle() { t.pool.quit(t.pool.takeAll()) }

// Close sends QUIT in the idle sessions and closes them. It returns when every Send that began before has returned and
// its session is closed. A later Send fails with [ErrClosed]. Close may be called more than once, and always returns
// nil.
func (t *Transport) Close() error {
	t.pool.close()
	return nil
}

// eachRoute sends to the recipients of one destination after the other.
func (t *Transport) eachRoute(ctx context.Context, m *message) {
	router := t.Router
	if router == nil {
		router = &t.byMX
	}
	if m.oneDomain() {
		t.route(ctx, router, m)
		return
	}
	for _, rcpts := range byDestination(m, router) {
		m.rcpts = rcpts
		t.route(ctx, router, m)
	}
}

// route sends to the recipients in m.rcpts, who have one destination.
func (t *Transport) route(ctx context.Context, router *mx.Router, m *message) {
	_, domain := smtp.SplitAddress(m.env.Recipients[m.rcpts[0]].Address)
	route, err := router.Route(ctx, domain)
	if ctx.Err() != nil {
		m.fail(m.rcpts, calledOff(ctx, smtp.StageRoute))
		return
	}
	if err != nil {
		t.logPanic(ctx, err)
		m.fail(m.rcpts, routeFailure("", err))
		return
	}
	d := delivery{t: t, router: router, message: m, route: route, begun: time.Now()}
	if route.Sender != nil {
		d.deliver(ctx)
		return
	}
	d.run(ctx)
}

// byDestination groups the recipients of a message by destination, in the order of the first recipient of each group. A
// recipient without a destination gets the result here.
func byDestination(m *message, router *mx.Router) [][]int {
	var groups [][]int
	index := make(map[string]int) // of a destination, in groups
	for _, i := range m.rcpts {
		_, domain := smtp.SplitAddress(m.env.Recipients[i].Address)
		name, err := router.Destination(domain)
		if err != nil {
			m.fail([]int{i}, routeFailure("", err))
			continue
		}
		n, known := index[name]
		if !known {
			n, index[name] = len(groups), len(groups)
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], i)
	}
	return groups
}

func (t *Transport) maxRemembered() int { return cmp.Or(t.MaxRemembered, 10_000) }

func (t *Transport) limits() limits {
	return limits{
		total:   cmp.Or(t.MaxIdle, 100),
		perHost: cmp.Or(t.MaxIdlePerHost, 20),
		idle:    cmp.Or(t.IdleTimeout, 30*time.Second),
		age:     cmp.Or(t.SessionLifetime, 300*time.Second),
	}
}

// routeFailure returns the failure for an error of mx.Router. host is empty if no host was chosen.
func routeFailure(host string, err error) *failure {
	r, ok := errors.AsType[*smtp.Reply](err)
	if !ok {
		r = smtp.NewReply(451, "4.4.3", "no route")
	}
	return &failure{host: host, stage: smtp.StageRoute, reply: r, local: true, cause: err}
}
