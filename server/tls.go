package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"time"
)

// startTLS is STARTTLS (RFC 3207).
func (s *session) startTLS(ctx context.Context) {
	switch {
	case s.srv.TLSConfig == nil:
		s.refuse(ctx, "STARTTLS", "502 5.5.1 STARTTLS not offered")
		return
	case s.peer.TLS != nil:
		s.refuse(ctx, "STARTTLS", "503 5.5.1 TLS is active")
		return
	case !s.peer.ESMTP || s.env != nil:
		s.refuse(ctx, "STARTTLS", "503 5.5.1 say STARTTLS after EHLO and before MAIL")
		return
	case s.in.Buffered() > 0:
		// It came in the clear, perhaps from someone in between, to be taken for the client's under TLS.
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
	s.peer.Hello, s.peer.ESMTP = "", false // RFC 3207 §4.2: what was said in the clear is forgotten
	s.peer.Username = ""
	s.reset()
}

// handshake is false if it failed; then the connection is of no more use.
func (s *session) handshake(ctx context.Context, t *tls.Conn) bool {
	s.expectCommand()
	s.raw.SetDeadline(time.Now().Add(s.budget))
	if s.srv.draining.Load() { // see conn.Read
		return false
	}
	// Without its end: Close closes the connection, and no goroutine need watch.
	if err := t.HandshakeContext(context.WithoutCancel(ctx)); err != nil {
		s.note(ctx, slog.LevelInfo, "TLS handshake failed", "err", err)
		return false
	}
	state := t.ConnectionState()
	s.peer.TLS = &state
	return true
}

// tlsConfig is TLSConfig as STARTTLS uses it.
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

func harden(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.SessionTicketsDisabled = true
	return c
}
