package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// startTLS sends STARTTLS (RFC 3207) if the host offers it. It fails if TLS is required and can't be established.
func (c *Conn) startTLS(ctx context.Context, name string) *failure {
	if c.TLS == mx.TLSNone {
		return nil
	}
	if !c.ext.startTLS {
		r := smtp.NewReply(451, "4.7.10", "the host doesn't offer STARTTLS, and TLS is required")
		return c.short(noSTARTTLS, c.local(smtp.StageTLS, nil, r))
	}
	r, f := c.command(ctx, smtp.StageTLS, "STARTTLS")
	if f != nil {
		return f.breaksTLS()
	}
	if !positive(r.Code) {
		f := c.refused(smtp.StageTLS, r)
		if f.local || c.spoiled {
			return f.breaksTLS() // a 3xx: is more to come? Another session does without STARTTLS
		}
		return c.short(refusesSTARTTLS, f) // RFC 3207 §4: TLS is unavailable
	}
	// Octets after the 2xx arrived in cleartext, perhaps from an attacker, and would be read as if TLS had protected
	// them. Not even an empty line may be among them.
	if c.br.Buffered() > 0 {
		c.spoiled = true
		r := smtp.NewReply(451, "4.7.0", "the host sent data between STARTTLS and TLS")
		return c.short(injects, c.local(smtp.StageTLS, errPremature, r))
	}
	if f := c.handshake(ctx); f != nil {
		return f
	}
	// RFC 3207 §4.2: the extensions from before TLS are discarded.
	if f := c.hello(ctx, name); f != nil {
		return f.breaksTLS() // TLS 1.3: only now does a host's alert arrive that refuses the handshake
	}
	return nil
}

// short notes that a session falls short of its demand because of t. It returns nil if the session goes on, and f else.
func (c *Conn) short(t trouble, f *failure) *failure {
	f.trouble, c.shortfall = t, f
	switch decide(c.demand(), t) {
	case reject: // RFC 8689 §4.2.1
		f.reply = smtp.NewReply(550, "5.7.10", "REQUIRETLS: "+f.reply.Text)
		return f
	case proceed:
	default:
		return f
	}
	if c.security.Err == nil && (c.required.Level != mx.DemandNothing || t == refusesSTARTTLS) {
		c.security.Err = f
	}
	return nil
}

// breaksTLS notes that the session ended because of TLS, unless a reply of the host says why it ended.
func (f *failure) breaksTLS() *failure {
	if f.local {
		f.trouble = failsTLS
	}
	return f
}

// demand returns how much TLS the session demands: the stricter one of the fields and the requirement of a policy.
func (c *Conn) demand() tlsDemand {
	if c.verifies() {
		return tlsDemand{level: mx.DemandVerified, strict: c.strict}
	}
	return tlsDemand{c.required.Level, c.required.Testing, c.strict}
}

// checkTLS fails if TLS and TLSStart contradict each other or have no meaning.
func (c *Conn) checkTLS() *failure {
	if c.TLS <= mx.TLSNone && c.TLSStart <= mx.TLSStartTLS && (c.TLS != mx.TLSNone || c.TLSStart == mx.TLSByPort) {
		return nil
	}
	c.spoiled = true // so that not even QUIT is sent
	text := fmt.Sprintf("TLS %q can't begin as TLSStart %q: clear one of them", c.TLS, c.TLSStart)
	return c.local(smtp.StageTLS, nil, smtp.NewReply(451, "4.3.5", text))
}

// implicitTLS reports whether the session begins with the TLS handshake.
func (c *Conn) implicitTLS() bool {
	if c.TLS == mx.TLSNone {
		return false
	}
	_, port, _ := net.SplitHostPort(c.Addr)
	n, _ := strconv.Atoi(port) // 0 for a Unix socket
	return c.TLSStart.Implicit(n)
}

// verifies reports whether the session requires TLS with a certificate that is valid for the host.
func (c *Conn) verifies() bool {
	switch c.TLS {
	case mx.TLSRequired:
		return true
	case mx.TLSOpportunistic:
		// Without verification, an impostor would learn the password. After implicit TLS there is no cleartext to go
		// back to.
		return c.Auth != nil && !c.loopback() || c.implicitTLS()
	}
	return false
}

func (c *Conn) handshake(ctx context.Context) *failure {
	cfg := &tls.Config{}
	if c.TLSConfig != nil {
		cfg = c.TLSConfig.Clone()
	}
	switch {
	case c.required.ServerName != "":
		cfg.ServerName = c.required.ServerName
	case cfg.ServerName == "":
		cfg.ServerName = c.Host
	}
	// The name is sent in cleartext. A host that reads the handshake as lines must not find commands in it.
	if ip, err := netip.ParseAddr(cfg.ServerName); err == nil {
		cfg.ServerName = ip.WithZone("").String() // a zone may hold any characters
	} else if cfg.ServerName != "" {
		name, err := smtp.ASCIIDomain(cfg.ServerName)
		if err != nil || strings.HasPrefix(name, "[") {
			c.spoiled = true
			text := fmt.Sprintf("the host's name %+q is not a valid domain", clip(cfg.ServerName))
			r := smtp.NewReply(451, "4.3.5", text)
			return c.local(smtp.StageTLS, nil, r)
		}
		cfg.ServerName = name
	}
	// A policy takes the place of the checks of crypto/tls, unless it is in testing.
	cfg.InsecureSkipVerify = cfg.InsecureSkipVerify || !c.verifies() || c.required.Verify != nil && !c.required.Testing
	cfg.DynamicRecordSizingDisabled = true // a message is read whole: one record for each write
	wait, large := c.Timeouts.hello(), shrink(cfg, c.small)
	if large && c.again {
		wait = min(wait, firstHello) // a new connection with a smaller ClientHello has the whole time
	}
	tc := tls.Client(c.nc, cfg)
	c.arm(ctx, wait)
	if err := tc.Handshake(); err != nil {
		c.spoiled = true
		if ctx.Err() != nil {
			return c.failed(ctx, smtp.StageTLS, err)
		}
		f := c.local(smtp.StageTLS, err, smtp.NewReply(451, "4.7.5", "the TLS handshake failed: "+withoutAddrs(err)))
		f.trouble = failsTLS
		if large && c.again && mayBeLarge(err) {
			f.trouble = failsLargeHello
		}
		return f
	}
	c.conn = tc
	c.br.Reset(tc)
	state := tc.ConnectionState()
	c.security.secured(state)
	if c.Trace != nil && c.Trace.Secured != nil {
		c.look(func() { c.Trace.Secured(c.session(), state) })
	}
	if !cfg.InsecureSkipVerify {
		c.security.Reached, c.security.VerifiedBy = mx.DemandVerified, "PKIX"
	}
	return c.verify(state)
}

// verify asks the requirement of a policy about the certificate.
func (c *Conn) verify(state tls.ConnectionState) *failure {
	if c.required.Verify == nil {
		return nil
	}
	var by string
	var err error
	if c.call("Verify of a Requirement", func() { by, err = c.required.Verify(state) }) != nil {
		err = errPanic
	}
	if err == nil {
		c.security.Reached, c.security.VerifiedBy = mx.DemandVerified, by
		return nil
	}
	f := c.short(badCertificate, c.local(smtp.StageTLS, err, smtp.NewReply(451, "4.7.5", whyRefused(&c.required, err))))
	c.spoiled = f != nil
	return f
}

// whyRefused describes an error of Requirement.Verify in words for anybody. The name of the requirement, which may be a
// digest, is in the Result.
func whyRefused(r *mx.Requirement, err error) string {
	switch mx.TLSFailureOf(err).Type {
	case mx.CertificateExpired:
		return "the certificate has expired, or isn't valid yet"
	case mx.CertificateHostMismatch:
		return "the certificate is for another host"
	case mx.CertificateNotTrusted:
		return "the certificate isn't from a trusted authority"
	}
	_, invalid := errors.AsType[x509.CertificateInvalidError](err) // which is about a certificate that a record matches
	if r.Found != nil && r.Found.Type == "tlsa" && !invalid && err != errPanic {
		return "the certificate matches none of the host's TLSA records"
	}
	return "the certificate can't be verified"
}
