package client

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// portSubmissions has TLS from the first byte (RFC 8314 §7.3).
const portSubmissions = 465

// Submission hands messages to a submission server (RFC 6409), one session a message. It may be used by
// several goroutines, if Auth may be.
type Submission struct {
	// Addr is the server, "host:port". At port 465 TLS begins at once, elsewhere with STARTTLS.
	Addr string

	// Auth authenticates. A client that keeps the state of an exchange, as that of PLAIN does not, must not
	// be used by two Sends at a time. If nil, nobody authenticates.
	Auth sasl.Client

	// TLSConfig is a template: see Conn.TLSConfig.
	TLSConfig *tls.Config

	// NoTLS sends in the clear, at any port. A password is then sent to this very machine only. If
	// false, TLS with a certificate that is good for the host is required.
	NoTLS bool

	// Hostname is our name in EHLO. If empty, see Conn.Hostname.
	Hostname string

	// Timeouts bound each step. If zero, see there.
	Timeouts Timeouts

	// Resolver finds the addresses of the server. If nil, see mx.Router.
	Resolver mx.Resolver

	// DialContext connects to "ip:port". If nil, that of a net.Dialer.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// Send hands in one message, as [Transport.Send] does.
func (s *Submission) Send(ctx context.Context, env *smtp.Envelope, content smtp.Content) ([]smtp.Result, error) {
	route, err := mx.Smarthost(s.Addr)
	if err != nil {
		j := newJob(env, content)
		f := &failure{stage: smtp.StageRoute, reply: status{451, 4, 3, 5}.reply("no server to submit to"), local: true, cause: err}
		j.fail(j.rcpts, f)
		return j.results, f
	}
	route.TLS = mx.TLSRequired
	if s.NoTLS {
		route.TLS = mx.TLSNone
	}
	if s.Auth != nil {
		route.Auth = func() sasl.Client { return s.Auth }
	}
	t := &Transport{
		Hostname:    s.Hostname,
		Router:      &mx.Router{Resolver: s.Resolver, Routes: map[string]mx.Route{"*": route}},
		DialContext: s.DialContext,
		TLSConfig:   s.TLSConfig,
		Timeouts:    s.Timeouts,
		MaxIdle:     -1,
	}
	results, err := t.Send(ctx, env, content)
	t.Close()
	return results, err
}
