package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"
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
	s.peer.Username = ""
	s.reset()
}

// handshake reports whether it succeeded. After a failure the connection can't be used.
func (s *session) handshake(ctx context.Context, t *tls.Conn) bool {
	s.expectCommand()
	s.raw.SetDeadline(time.Now().Add(s.budget))
	if s.srv.draining.Load() { // see conn.Read
		return false
	}
	// Without the end of ctx: Close closes the connection, so no goroutine has to watch ctx.
	if err := t.HandshakeContext(context.WithoutCancel(ctx)); err != nil {
		s.note(ctx, slog.LevelInfo, "TLS handshake failed", "err", err)
		return false
	}
	state := t.ConnectionState()
	s.peer.TLS = &state
	return true
}

// tlsConfig returns the config for STARTTLS, made from TLSConfig once.
func (s *Server) tlsConfig() *tls.Config {
	s.tlsOnce.Do(func() {
		s.tls = harden(s.TLSConfig)
		if choose := s.tls.GetConfigForClient; choose != nil {
			s.tls.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				chosen, err := choose(hello)
				if chosen == nil || err != nil {
					return nil, err
				}
				return harden(chosen), nil
			}
		}
	})
	return s.tls
}

// harden returns a copy of c with TLS 1.2 or later and without session tickets.
func harden(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.SessionTicketsDisabled = true
	return c
}
