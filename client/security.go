package client

import (
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// Security is how a session is secured, and how it was demanded to be.
type Security struct {
	// Policy is the name of the mx.Requirement. If empty, no policy demanded anything.
	Policy string

	// Wanted is what was demanded, by the policy, by Route.TLS or because of a password. If Testing is set, the session
	// was used even if it fell short.
	Wanted  mx.Demand
	Testing bool

	// Reached is what the session has: DemandNothing in cleartext, DemandEncrypted with a certificate that wasn't
	// verified or is wrong, DemandVerified with the right one.
	Reached mx.Demand

	// VerifiedBy is by what the certificate was verified: as Requirement.Verify returned it, or "PKIX" for a
	// certificate of a trusted authority that is valid for the name of the host. If empty, the certificate wasn't
	// verified.
	VerifiedBy string

	// Version, CipherSuite and KeyExchange are those of TLS: "TLS 1.3", "TLS_AES_128_GCM_SHA256", "X25519MLKEM768".
	// If empty, the session is in cleartext.
	Version, CipherSuite, KeyExchange string

	// Err is why the session fell short of Wanted, or is in cleartext although the host offers TLS. If the failure of
	// TLS is only remembered (see Transport.RememberFor), it holds [ErrTLSFailedBefore].
	Err error
}

// PostQuantum reports whether the key exchange withstands quantum computers.
func (s Security) PostQuantum() bool { return strings.Contains(s.KeyExchange, "MLKEM") }

// summary returns what a Result has of it.
func (s Security) summary() *smtp.Security {
	return &smtp.Security{Wanted: s.Wanted.String(), Reached: s.Reached.String(), CipherSuite: s.CipherSuite,
		KeyExchange: s.KeyExchange, PostQuantum: s.PostQuantum(), VerifiedBy: s.VerifiedBy}
}

// secured notes the state of TLS.
func (s *Security) secured(state tls.ConnectionState) {
	s.Reached = mx.DemandEncrypted
	s.Version, s.CipherSuite = tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite)
	if state.CurveID != 0 {
		s.KeyExchange = state.CurveID.String()
	}
}

// securityOf returns the Security of a session that isn't open.
func securityOf(r *mx.Requirement) Security {
	return Security{Policy: r.Name, Wanted: r.Level, Testing: r.Testing}
}

// secure returns the Security of the session.
func (c *Conn) secure() Security {
	s := c.security
	s.Policy, s.Wanted, s.Testing = c.required.Name, c.demand().level, c.demand().testing
	return s
}

// summary returns what Results have of the Security. After Open it is the same for all messages.
func (c *Conn) summary() *smtp.Security {
	if !c.opened {
		return c.secure().summary()
	}
	if c.shared == nil {
		c.shared = c.secure().summary()
	}
	return c.shared
}

// classical are the key exchanges whose ClientHello fits into one segment of TCP. That of X25519MLKEM768 doesn't, and
// some hosts and middleboxes fail at the second segment.
var classical = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}

// firstHello bounds a handshake with a large ClientHello, if one with a smaller ClientHello follows.
const firstHello = time.Minute

// shrink makes the ClientHello small, if that is wanted. It reports whether the ClientHello is large.
func shrink(cfg *tls.Config, want bool) (large bool) {
	other := func(id tls.CurveID) bool { return !slices.Contains(classical, id) }
	if v := cfg.MaxVersion; v != 0 && v < tls.VersionTLS13 {
		return false
	}
	small := classical
	if len(cfg.CurvePreferences) > 0 {
		small = slices.DeleteFunc(slices.Clone(cfg.CurvePreferences), other)
		if len(small) == 0 || len(small) == len(cfg.CurvePreferences) {
			return false // post-quantum key exchanges alone, or none: the caller wants it so
		}
	}
	if want {
		cfg.CurvePreferences = small
	}
	return !want
}

// mayBeLarge reports whether a handshake may have failed because of a large ClientHello. It hasn't if the host answered
// by something else than TLS, or if its certificate was refused.
func mayBeLarge(err error) bool {
	_, garbage := errors.AsType[tls.RecordHeaderError](err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	return !garbage && !certificate
}
