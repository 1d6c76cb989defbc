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
)

// Transport delivers messages to the hosts that a Router names, and keeps sessions for the next message.
// It may be used by several goroutines. Close it at the end.
type Transport struct {
	// Hostname is our name in EHLO. If empty, see Conn.Hostname.
	Hostname string

	// Router says where mail goes. If nil, &mx.Router{}: by MX.
	Router *mx.Router

	// DialContext connects to "ip:port" on "tcp", or to a path on "unix"; [SourceAddr] gives the address of ours to do it from. If nil, a
	// net.Dialer does.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// TLSConfig is a template for every session: see Conn.TLSConfig.
	TLSConfig *tls.Config

	// Timeouts bound each step. If zero, see there.
	Timeouts Timeouts

	// ChunkSize is what goes out in one BDAT: see Conn.ChunkSize. A host that broke one gets DATA for a day.
	ChunkSize int64

	// Sources are the addresses that sessions go out from. Each message goes from one of them, by their weights; the same
	// sender and recipient have the same one, as greylisting wants it. If empty, the system chooses. Loopback addresses are
	// reached from loopback ones, if there are any.
	Sources []Source

	// BlockTime is how long a source is left out for a site, a host of which refused it for a blocklist: the next one is
	// used meanwhile, and without one the site's mail is deferred. If zero, 1 hour; if negative, refusals have no such consequence.
	BlockTime time.Duration

	// MaxIdle is how many idle sessions are kept. If zero, 100; if negative, none.
	MaxIdle int

	// MaxIdlePerHost is how many of them with one host. If zero, 20; if negative, none.
	MaxIdlePerHost int

	// IdleTimeout is how long a session is kept idle. If zero, 30 s.
	IdleTimeout time.Duration

	// MaxAge is how old a session may be to take another message. If zero, 300 s.
	MaxAge time.Duration

	// Trace is told what goes over the wire. If nil, nobody is.
	Trace *Trace

	// Tried is called after each try with a host, by the goroutine that sends, with the ctx of its Send. If nil, nobody is told.
	Tried func(context.Context, Try)

	// Logger hears of hosts that failed and of TLS that was given up. If nil, nobody does.
	Logger *slog.Logger

	pool     pool
	sources  sources
	broken   brokenHosts
	sessions atomic.Uint64
	byMX     mx.Router // where Router is nil
}

// ErrClosed is in the error of a Send after Close.
var ErrClosed = errors.New("client: transport closed")

// Send delivers one message. It returns a Result for each recipient, in the order of the envelope, and each has
// an Outcome and a Reply. The error is nil if all were delivered, and otherwise holds the first Reply that
// says why not. Whether to try again is for Outcome to say, not for the code of that Reply: a host that
// refuses a session with 5xx, at the greeting or at AUTH, say, has rejected no recipient, and leaves
// them Deferred.
//
// Recipients of one route go together. Its hosts are tried in order, and of each its addresses, until one
// takes a transaction. What it answers with 2xx or 5xx is final; a recipient answered with 4xx, or whose
// connection broke, is offered to one further host, unless the reply is 4.2.x, 4.7.x or 452. Whoever the limits of a host
// leave no room for goes on there in another session, and whoever is deferred for a blocklist, from the next of Sources. No
// further address is tried after ten minutes, or after mx.MaxAddrs of them.
func (t *Transport) Send(ctx context.Context, env *smtp.Envelope, content smtp.Content) ([]smtp.Result, error) {
	m := newMessage(env, content)
	f := m.check()
	if f == nil && !t.pool.enter() {
		f = &failure{reply: smtp.NewReply(451, "4.3.2", "the transport is closed"), local: true, cause: ErrClosed}
	} else if f == nil {
		defer t.pool.leave()
	}
	if f != nil {
		m.fail(m.rcpts, f)
		return m.results, f
	}
	t.eachRoute(ctx, m)
	return m.results, m.err()
}

// CloseIdle closes the sessions that are idle now, and waits for that.
func (t *Transport) CloseIdle() { t.pool.quit(t.pool.takeAll()) }

// Close closes idle sessions and waits for every Send to return; their sessions are closed too. A later
// Send fails with ErrClosed. It may be called more than once.
func (t *Transport) Close() error {
	t.pool.close()
	return nil
}

// eachRoute delivers to the recipients of one destination after the other.
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

// route delivers to the recipients in m.rcpts, who have one destination.
func (t *Transport) route(ctx context.Context, router *mx.Router, m *message) {
	_, domain := smtp.SplitAddress(m.env.Recipients[m.rcpts[0]].Address)
	route, err := router.Route(ctx, domain)
	if ctx.Err() != nil {
		m.fail(m.rcpts, calledOff(ctx, smtp.StageRoute))
		return
	}
	if err != nil {
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

// byDestination parts the recipients of a message by destination, in the order of the first of each. Who has none gets his
// result here.
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

func (t *Transport) limits() limits {
	return limits{
		total:   cmp.Or(t.MaxIdle, 100),
		perHost: cmp.Or(t.MaxIdlePerHost, 20),
		idle:    cmp.Or(t.IdleTimeout, 30*time.Second),
		age:     cmp.Or(t.MaxAge, 300*time.Second),
	}
}

// routeFailure makes a failure of an error of mx.Router, about a host if it got so far.
func routeFailure(host string, err error) *failure {
	r, ok := errors.AsType[*smtp.Reply](err)
	if !ok {
		r = smtp.NewReply(451, "4.4.3", "no route")
	}
	return &failure{host: host, stage: smtp.StageRoute, reply: r, local: true, cause: err}
}
