package smtptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// TLSFault is how the TLS of a host fails.
type TLSFault uint8

const (
	NoTLSFault   TLSFault = iota // it doesn't
	TLSAlert                     // the handshake ends with an alert
	TLSStall                     // the host says nothing in the handshake, until Heal or the client goes
	TLSWrongName                 // the certificate is good for another name
	TLSExpired                   // the certificate expired yesterday
	TLSUntrusted                 // the certificate is signed by an authority that [Network.RootCAs] doesn't have
)

// FailTLS makes TLS fail from the next handshake on: on port 465 at once, and elsewhere after the 220 to STARTTLS, which
// [Host.Answer] at smtp.StageTLS refuses instead.
func (h *Host) FailTLS(f TLSFault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.tls = f
}

// errAlert has crypto/tls send an alert.
var errAlert = errors.New("told to fail")

// startTLS puts TLS on the connection and forgets what was said before (RFC 3207 §4.2).
func (s *session) startTLS() error {
	if err := s.flush(); err != nil {
		return err
	}
	fault, healed := s.host.tlsFault()
	if fault == TLSStall {
		s.log("S: stalls in the handshake")
		if err := s.hold(forever, healed); err != nil {
			return err
		}
	}
	tc := tls.Server(s.raw, &tls.Config{
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.host.certificate(fault)
		},
	})
	s.raw.SetDeadline(time.Now().Add(idle))
	if err := tc.HandshakeContext(context.Background()); err != nil {
		s.raw.Close()
		return fmt.Errorf("TLS handshake: %w", err)
	}
	s.raw.SetDeadline(time.Time{})
	s.log("%s", tls.VersionName(tc.ConnectionState().Version))
	s.conn, s.tls = tc, true
	s.r.Reset(s)
	s.hello, s.offers, s.identity, s.answered = "", nil, "", false
	s.forget()
	return nil
}

func (h *Host) tlsFault() (TLSFault, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.script.tls, h.script.healed
}

// certificate gives what the host shows.
func (h *Host) certificate(f TLSFault) (*tls.Certificate, error) {
	switch f {
	case TLSAlert:
		return nil, errAlert
	case TLSWrongName:
		return h.net.ca.certificate(leaf{name: "other.invalid"})
	case TLSExpired:
		return h.net.ca.certificate(leaf{name: h.name, expired: true})
	case TLSUntrusted:
		return h.net.stranger.certificate(leaf{name: h.name})
	}
	return h.net.ca.certificate(leaf{name: h.name})
}
