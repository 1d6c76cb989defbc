package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"time"

	"github.com/postrider/postrider/internal/scram"
)

// startTLS runs STARTTLS (RFC 3207).
func (s *session) startTLS(ctx context.Context) {
	switch {
	case s.srv.TLSConfig == nil:
		s.refuse(ctx, "STARTTLS", "502 5.5.1 STARTTLS not offered")
		return
	case s.peer.TLS != nil:
		s.refuse(ctx, "STARTTLS", "503 5.5.1 TLS is already active")
		return
	case !s.peer.ESMTP || s.env != nil:
		s.refuse(ctx, "STARTTLS", "503 5.5.1 send STARTTLS after EHLO and before MAIL")
		return
	case s.in.Buffered() > 0:
		// This input came without TLS. An attacker between client and server may have added it, so that it would be
		// read as the client's own under TLS.
		s.refuse(ctx, "STARTTLS", "554 5.5.1 nothing may follow STARTTLS before its reply")
		s.done, s.abrupt = true, true
		return
	}
	s.say("220 2.0.0 go ahead")
	if s.flushWithin(s.limit) != nil {
		s.done = true
		return
	}
	t := tls.Server(s.raw, s.srv.tlsConfig())
	if !s.handshake(ctx, t) {
		s.done = true
		return
	}
	s.nc = t
	s.peer.Hello, s.peer.ESMTP = "", false // RFC 3207 §4.2: forget what was sent without TLS
	s.peer.Username, s.peer.Allowed = "", false
	s.forget()
}

// handshake reports whether it succeeded. After a failure the connection can't be used.
func (s *session) handshake(ctx context.Context, t *tls.Conn) bool {
	s.expectCommand()
	begun := time.Now()
	s.activity.set(shaking, begun)
	defer s.activity.set(working, time.Time{})
	s.armed.read, s.armed.write = time.Time{}, time.Time{}
	s.raw.SetDeadline(begun.Add(s.budget))
	if s.mustEnd() || s.srv.draining.Load() { // see conn.Read
		return false
	}
	// Without the end of ctx: Close closes the connection, so no goroutine has to watch ctx.
	if err := t.HandshakeContext(context.WithValue(context.WithoutCancel(ctx), sessionOf{}, s)); err != nil {
		s.note(ctx, slog.LevelInfo, "TLS handshake failed", "err", err)
		return false
	}
	state := t.ConnectionState()
	s.peer.TLS = &state
	s.secured = true
	s.srv.memory.Add(tlsMemory)
	return true
}

// tlsConfig returns the config for STARTTLS, made from TLSConfig once.
func (s *Server) tlsConfig() *tls.Config {
	s.tlsOnce.Do(func() { s.tls = hardenAll(s.TLSConfig) })
	return s.tls
}

// hardenAll returns c hardened, with each config that it chooses.
func hardenAll(c *tls.Config) *tls.Config {
	c = harden(c)
	if choose := c.GetConfigForClient; choose != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			chosen, err := choose(hello)
			if chosen == nil || err != nil {
				return nil, err
			}
			return harden(chosen), nil
		}
	}
	return c
}

// NewTLSListener returns a listener for implicit TLS (port 465, RFC 8314 §3.3). It is like that of crypto/tls, with a
// copy of config as STARTTLS has it: see Server.TLSConfig. A nil l is returned as it is, and Serve then fails. With a
// nil config, every handshake fails. If l has a method Around(func(net.Listener) net.Listener) net.Listener, as that of
// postrider.SubmissionListener has, TLS is put around the listener inside it, so that Relay.Serve still sees the mark.
func NewTLSListener(l net.Listener, config *tls.Config) net.Listener {
	if tcp, ok := l.(*net.TCPListener); l == nil || ok && tcp == nil {
		return nil
	}
	if mark, ok := l.(interface {
		Around(wrap func(net.Listener) net.Listener) net.Listener
	}); ok {
		return mark.Around(func(inner net.Listener) net.Listener { return NewTLSListener(inner, config) })
	}
	if config == nil {
		config = new(tls.Config)
	}
	return tls.NewListener(l, hardenAll(config))
}

// alpn are the names for SMTP. A client that offers others only believes that it speaks to another server: a browser,
// for example, whose connection an attacker has sent here, under a certificate that is valid for both (ALPACA). Clients
// of mail offer none.
var alpn = []string{"smtp", "esmtp"}

// harden returns a copy of c with TLS 1.2 or later, without session tickets and, if it has no protocols of its own, for
// SMTP only.
func harden(c *tls.Config) *tls.Config {
	c = c.Clone()
	if len(c.NextProtos) == 0 {
		c.NextProtos = alpn
	}
	noteCertificate(c)
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.SessionTicketsDisabled = true
	return c
}

// sessionOf is the key of the session in the context of its handshake.
type sessionOf struct{}

// noteCertificate changes c so that the session of a handshake learns which certificate the client gets. The choice is
// that of crypto/tls, as the doc of tls.Config has it.
func noteCertificate(c *tls.Config) {
	list, get := c.Certificates, c.GetCertificate
	if len(list) == 0 && get == nil {
		return // GetConfigForClient has them
	}
	choose := func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if get != nil && (len(list) == 0 || hello.ServerName != "") {
			if cert, err := get(hello); cert != nil || err != nil || len(list) == 0 {
				return cert, err
			}
		}
		for i := range list {
			if hello.SupportsCertificate(&list[i]) == nil {
				return &list[i], nil
			}
		}
		return &list[0], nil
	}
	c.Certificates = nil
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := choose(hello)
		if s, ok := hello.Context().Value(sessionOf{}).(*session); ok {
			s.cert = cert
		}
		return cert, err
	}
}

// bindings returns the channel bindings of the session, for SCRAM-SHA-256-PLUS.
func (s *session) bindings() []scram.Binding {
	list := scram.Bindings(s.peer.TLS)
	if list == nil || s.cert == nil {
		return list
	}
	leaf := s.cert.Leaf
	if leaf == nil && len(s.cert.Certificate) > 0 {
		leaf, _ = x509.ParseCertificate(s.cert.Certificate[0])
	}
	if leaf != nil {
		if b, ok := scram.EndPoint(leaf); ok {
			list = append(list, b)
		}
	}
	return list
}
