package client

import (
	"context"
	"crypto/tls"
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
		if c.verifies() {
			r := smtp.NewReply(451, "4.7.10", "the host doesn't offer STARTTLS, and TLS is required")
			return c.local(smtp.StageTLS, nil, r)
		}
		return nil
	}
	r, f := c.command(ctx, smtp.StageTLS, "STARTTLS")
	if f != nil {
		f.clear = f.local
		return f
	}
	if !positive(r.Code) {
		if c.verifies() || r.Positive() || c.spoiled {
			f := c.refused(smtp.StageTLS, r)
			f.clear = f.local // a 3xx: is more to come? Another session does without STARTTLS
			return f
		}
		return nil // RFC 3207 §4: TLS is unavailable; an opportunistic session goes on in cleartext
	}
	// Octets after the 2xx arrived in cleartext, perhaps from an attacker, and would be read as if TLS had protected
	// them. Not even an empty line may be among them.
	if c.br.Buffered() > 0 {
		c.spoiled = true
		r := smtp.NewReply(451, "4.7.0", "the host sent data between STARTTLS and TLS")
		return c.local(smtp.StageTLS, errPremature, r)
	}
	if f := c.handshake(ctx); f != nil {
		return f
	}
	// RFC 3207 §4.2: the extensions from before TLS are discarded.
	if f := c.hello(ctx, name); f != nil {
		f.clear = f.local // TLS 1.3: only now does a host's alert arrive that refuses the handshake
		return f
	}
	return nil
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
	if cfg.ServerName == "" {
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
	if !c.verifies() {
		cfg.InsecureSkipVerify = true
	}
	cfg.DynamicRecordSizingDisabled = true // a message is read whole: one record for each write

	tc := tls.Client(c.nc, cfg)
	c.arm(ctx, c.Timeouts.hello())
	if err := tc.Handshake(); err != nil {
		c.spoiled = true
		if ctx.Err() != nil {
			return c.failed(ctx, smtp.StageTLS, err)
		}
		f := c.local(smtp.StageTLS, err, smtp.NewReply(451, "4.7.5", "the TLS handshake failed: "+withoutAddrs(err)))
		f.clear = true
		return f
	}
	c.conn = tc
	c.br.Reset(tc)
	state := tc.ConnectionState()
	c.version = tls.VersionName(state.Version)
	if c.Trace != nil && c.Trace.Secured != nil {
		c.look(func() { c.Trace.Secured(c.session(), state) })
	}
	return nil
}
