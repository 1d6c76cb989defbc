package smtptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"time"
)

// TLSFault is a fault of a host's TLS: see [Host.FailTLS].
type TLSFault uint8

const (
	NoTLSFault    TLSFault = iota // no fault
	TLSAlert                      // the handshake ends with an alert
	TLSStall                      // the handshake stalls until Heal, or until the client closes the connection
	TLSWrongName                  // the certificate is valid for another name
	TLSExpired                    // the certificate expired yesterday
	TLSUntrusted                  // the certificate is signed by an authority that isn't in [Network.RootCAs]
	TLSLargeHello                 // as TLSAlert, if the client offers X25519MLKEM768, which one segment has no room for
)

// FailTLS makes TLS fail from the next handshake on: on port 465 at once, on other ports after the 220 to STARTTLS. To
// refuse STARTTLS itself, use [Host.Answer] at [smtp.StageTLS].
func (h *Host) FailTLS(f TLSFault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.script.tls = f
}

// errAlert makes crypto/tls send an alert.
var errAlert = errors.New("the host was told to fail")

// startTLS performs the handshake and discards the state of the session (RFC 3207 §4.2).
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
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if fault == TLSLargeHello && slices.Contains(hello.SupportedCurves, tls.X25519MLKEM768) {
				return nil, errAlert
			}
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

// certificate returns the certificate that the host presents.
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
