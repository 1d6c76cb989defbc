package client

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/postrider/postrider/internal/pkix"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// tlsWish is what the sender of a message asks of TLS (RFC 8689).
type tlsWish uint8

const (
	noWish  tlsWish = iota // what the policies demand
	anyTLS                 // TLS-Required: No
	softTLS                // REQUIRETLS, with the null reverse-path
	laxTLS                 // REQUIRETLS, with Transport.LaxRequireTLS
	fullTLS                // REQUIRETLS
)

// wishOf returns what the envelope asks for.
func wishOf(env *smtp.Envelope, lax bool) tlsWish {
	switch {
	case env.RequireTLS && env.From == "":
		return softTLS
	case env.RequireTLS && lax:
		return laxTLS
	case env.RequireTLS: // RFC 8689 §4.1: then the header field doesn't count
		return fullTLS
	case env.TLSOptional:
		return anyTLS
	}
	return noWish
}

// stricter returns the requirement of two that demands more of a session, or the first one.
func stricter(a, b mx.Requirement) mx.Requirement {
	force := func(r mx.Requirement) mx.Demand {
		if r.Testing {
			return mx.DemandNothing
		}
		return r.Level
	}
	if force(b) > force(a) || a.Level == mx.DemandNothing {
		return b
	}
	return a
}

// combine returns what a message with a wish demands of sessions with a host, from what the policies demand for any
// message. proven is whether DNSSEC proves that the host is one of the domain's, or nothing has to prove it. pkix
// verifies a certificate where no policy does. The trouble is the reason why there is no session at all.
//
//   - anyTLS: a policy counts as one in testing (RFC 8689 §4.2.2).
//   - softTLS: as for any message, and the certificate is verified for the sake of the parameter. A report isn't lost
//     because the way back lacks REQUIRETLS (RFC 8689 §5).
//   - laxTLS: TLS at least.
//   - fullTLS: a host that DNSSEC or a policy proves, and a certificate that is verified by the policy, or else by pkix
//     (RFC 8689 §4.2.1). A policy in testing proves as much as one that isn't.
func (w tlsWish) combine(r mx.Requirement, proven bool, pkix verifier) (mx.Requirement, trouble) {
	enforced := r.Level != mx.DemandNothing && !r.Testing
	verifies := r.Level == mx.DemandVerified && r.Excluded == nil
	switch {
	case w == noWish, w == anyTLS && r.Level == mx.DemandNothing:
		return r, noTrouble
	case w == anyTLS:
		r.Name, r.Testing = "tls-optional+"+r.Name, true
		return r, noTrouble
	case w == laxTLS && !enforced:
		return mx.Requirement{Name: "requiretls-lax", Level: mx.DemandEncrypted}, noTrouble
	case w == laxTLS, w == softTLS && enforced:
		r.Name = "requiretls+" + r.Name
		return r, noTrouble
	case enforced && r.Excluded != nil:
		r.Name = "requiretls+" + r.Name
		return r, excluded
	case !proven && !verifies && w == softTLS:
		return r, noTrouble
	case !proven && !verifies:
		return mx.Requirement{Name: "requiretls", Level: mx.DemandVerified}, unproven
	}
	need := mx.Requirement{Name: "requiretls", Level: mx.DemandVerified, Testing: w == softTLS, Verify: pkix}
	if verifies {
		need.Name, need.ServerName, need.Verify = need.Name+"+"+r.Name, r.ServerName, r.Verify
	}
	return need, noTrouble
}

// verifier is a Requirement.Verify.
type verifier = func(tls.ConnectionState) (by string, err error)

// pkix returns a verifier of a certificate of a trusted authority, for the name of a host or, on an explicit route, for
// the ServerName of the TLSConfig.
func (d *delivery) pkix(host mx.Host) verifier {
	opts := x509.VerifyOptions{DNSName: host.Name}
	if cfg := d.t.TLSConfig; cfg != nil {
		opts.Roots = cfg.RootCAs
		if !d.route.MX && cfg.ServerName != "" {
			opts.DNSName = cfg.ServerName
		}
	}
	return func(state tls.ConnectionState) (string, error) {
		opts := opts // Verify is called concurrently
		if cfg := d.t.TLSConfig; cfg != nil && cfg.Time != nil {
			opts.CurrentTime = cfg.Time()
		}
		_, err := pkix.Verify(state.PeerCertificates, opts)
		return "PKIX", err
	}
}

// unprovenHost returns the failure of a host that may not be one of the domain's.
func unprovenHost(host mx.Host, r *mx.Requirement) *failure {
	const text = "REQUIRETLS: neither DNSSEC nor MTA-STS shows that the host is one of the domain's"
	return &failure{host: host.Name, policy: r.Name, stage: smtp.StageTLS, local: true, trouble: unproven,
		reply: smtp.NewReply(550, "5.7.10", text)}
}

// fitTLS decides whether a message may go in the session. It returns whether MAIL has REQUIRETLS, or the reason why the
// host isn't sent the message. No MAIL of a message with REQUIRETLS is sent before it was asked.
//
// Over LMTP, and on this machine, the sender's wish is met in another way (against RFC 8689 §2): LMTP is the delivery,
// so that nothing is left to promise, and what stays on this machine passes no network.
func (c *Conn) fitTLS(w tlsWish) (param bool, no *smtp.Reply) {
	reached, here, demand := c.security.Reached, c.loopback(), c.demand()
	least := mx.DemandNothing
	switch w {
	case noWish, anyTLS:
		return false, nil
	case laxTLS:
		least = mx.DemandEncrypted
	case fullTLS:
		least, demand.strict = mx.DemandVerified, true
	}
	switch {
	case reached < least && !here:
		return false, smtp.NewReply(550, "5.7.10", "REQUIRETLS: the session has no TLS with a verified certificate")
	case c.ext.requireTLS: // with laxTLS also without the proofs that RFC 8689 §2 demands: the next hosts keep it
		return w == laxTLS || here || reached == mx.DemandVerified, nil
	case c.LMTP, decide(demand, noREQUIRETLS) == proceed:
		return false, nil
	}
	return false, smtp.NewReply(550, "5.7.30", "the host doesn't offer REQUIRETLS") // RFC 8689 §4.2.1
}
