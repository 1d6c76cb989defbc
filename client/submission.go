package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// Submission hands messages to a submission server (RFC 6409). It may be used by several goroutines. A session is kept for the next
// message: many messages take one handshake and one AUTH. Fields must not change after the first Send.
type Submission struct {
	// Addr is the server, "host:port".
	Addr string

	// Auth authenticates: *[Credentials], by the strongest mechanism that the server has, or an smtp.AuthMechanism. If nil,
	// sessions don't authenticate.
	Auth smtp.Auth

	// TLSConfig is a template: see Conn.TLSConfig.
	TLSConfig *tls.Config

	// TLS is how strictly the session demands TLS. If zero, mx.TLSRequired: a Submission is never opportunistic. With
	// mx.TLSNone a password is sent to this machine only.
	TLS mx.TLSLevel

	// TLSStart is how TLS begins. If zero, mx.TLSByPort: implicit TLS at port 465, STARTTLS elsewhere.
	TLSStart mx.TLSStart

	// Hostname is our name in EHLO. If empty, see Conn.Hostname.
	Hostname string

	// Timeouts bound each step. If zero, see there.
	Timeouts Timeouts

	// IdleTimeout is how long a session is kept for the next message. If zero, 5 s; if negative, each message has a session of
	// its own.
	IdleTimeout time.Duration

	// Resolver finds the addresses of the server. If nil, see mx.Router.
	Resolver mx.Resolver

	// DialContext connects to "ip:port". If nil, that of a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Trace is told what goes over the wire. If nil, nobody is.
	Trace *Trace

	once      sync.Once
	transport *Transport
	err       error // what is wrong with Addr, TLS or TLSStart
}

// Send hands in one message, as [Transport.Send] does.
func (s *Submission) Send(ctx context.Context, env *smtp.Envelope, content smtp.Content) ([]smtp.Result, error) {
	s.once.Do(s.prepare)
	if s.err != nil {
		m := newMessage(env, content)
		r := smtp.NewReply(451, "4.3.5", "no server to submit to")
		f := &failure{stage: smtp.StageRoute, reply: r, local: true, cause: s.err}
		m.fail(m.rcpts, f)
		return m.results, f
	}
	return s.transport.Send(ctx, env, content)
}

// Close says QUIT in the sessions that are kept, and waits for every Send to return. A later Send fails with [ErrClosed]. Without it, a
// program that ends leaves the server to find out, which does no harm.
func (s *Submission) Close() error {
	s.once.Do(s.prepare)
	if s.err != nil {
		return nil
	}
	return s.transport.Close()
}

func (s *Submission) prepare() {
	route, err := mx.Smarthost(s.Addr)
	if err != nil {
		s.err = err
		return
	}
	route.TLS, route.TLSStart = cmp.Or(s.TLS, mx.TLSRequired), s.TLSStart
	route.Auth = s.Auth
	router := &mx.Router{Resolver: s.Resolver, Routes: map[string]mx.Route{"*": route}}
	if s.err = router.Check(); s.err != nil {
		return
	}
	s.transport = &Transport{
		Hostname:    s.Hostname,
		Router:      router,
		DialContext: s.DialContext,
		TLSConfig:   s.TLSConfig,
		Timeouts:    s.Timeouts,
		IdleTimeout: cmp.Or(s.IdleTimeout, 5*time.Second),
		Trace:       s.Trace,
	}
	if s.IdleTimeout < 0 {
		s.transport.MaxIdle = -1
	}
}
