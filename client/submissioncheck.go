package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/smtp"
)

// Check reports whether a Send would get as far as the message: for a program that starts. It always opens a new
// session: it connects to Addr, secures the session and authenticates as Send does, and keeps the session for the next
// Send. It sends no mail. If Wrap returned a value with a method Check(context.Context) error, Check calls that first.
// Several goroutines may call it. At MaxSessions it waits as Send does.
//
// The error names the field at fault and the remedy, and holds the cause for errors.As: the *smtp.Reply of a server
// that refused, a *tls.CertificateVerificationError, a *net.DNSError. A wrong port may show only as a time-out: give
// ctx one of 30 seconds, for example. After Close the error is [ErrClosed].
func (s *Submission) Check(ctx context.Context) error {
	s.once.Do(s.prepare)
	if s.err != nil {
		return s.err
	}
	if err := s.checkWrap(ctx); err != nil {
		return fmt.Errorf("client: Submission.Wrap: %w", err)
	}
	c, f := s.transport.check(ctx, s)
	if f == nil {
		return nil
	}
	if errors.Is(f, ErrClosed) {
		return f
	}
	return &checkFault{hint: s.hint(c, f), failure: f}
}

func (s *Submission) checkWrap(ctx context.Context) (err error) {
	if s.Wrap == nil {
		return nil
	}
	if p := guard.Call(func() { err = checkNext(ctx, s.sender) }); p != nil {
		return p
	}
	return err
}

// checkFault is a failure with the field at fault and the remedy.
type checkFault struct {
	hint    string
	failure *failure
}

func (e *checkFault) Error() string {
	text := strings.TrimPrefix(e.failure.Error(), "client: ")
	if strings.HasPrefix(e.hint, "Addr ") { // the host
		text = strings.TrimPrefix(text, e.failure.host+": ")
	}
	if e.failure.stage == smtp.StageTLS { // the reply and its cause name TLS
		text = strings.Replace(text, smtp.StageTLS.String()+": ", "", 1)
	}
	return "client: Submission." + e.hint + ": " + text
}

func (e *checkFault) Unwrap() error { return e.failure }

// check opens a session with the server and keeps it. Of a session that failed it returns the Conn, if there was one.
func (t *Transport) check(ctx context.Context, s *Submission) (*Conn, *failure) {
	if !t.pool.enter() {
		return nil, closed()
	}
	defer t.pool.leave()
	if f := t.takeTurn(ctx); f != nil {
		return nil, f
	}
	defer t.pool.giveTurn("", t.maxSessions)

	d := delivery{t: t, router: t.Router, route: s.route, begun: time.Now(), message: new(message), most: t.maxSessions}
	host := s.route.Hosts[0]
	addrs, err := d.addrs(ctx, host)
	if ctx.Err() != nil {
		return nil, calledOff(ctx, smtp.StageRoute)
	}
	if err != nil {
		return nil, routeFailure(host.Name, err)
	}
	var (
		c *Conn
		f *failure
	)
	for _, addr := range addrs {
		begun := time.Now()
		if c, f = d.connect(ctx, ends{host, addr, egress{hostname: t.Hostname}}); f == nil {
			t.pool.put(&session{Conn: c, key: d.key(host), remote: addr, opened: begun}, t.limits())
			return c, nil
		}
		if !f.local || ctx.Err() != nil || time.Since(d.begun) > t.Timeouts.attempt() {
			break // as in delivery.address and delivery.over
		}
	}
	return c, f
}

// hint returns the field at fault for f, with its value, what is wrong and what to do. c is nil if there was no
// session.
func (s *Submission) hint(c *Conn, f *failure) string {
	addr := fmt.Sprintf("Addr %q", s.Addr)
	if code := f.reply.Code; !f.local && (code == 421 || code == 432) {
		return addr + " takes no session now: try later, or lower MaxSessions"
	}
	switch f.stage {
	case smtp.StageRoute:
		if dns, ok := errors.AsType[*net.DNSError](f); ok && dns.IsNotFound {
			return addr + ": the name has no address: check its spelling"
		}
		return addr + ": the DNS lookup failed: check the network and Resolver"
	case smtp.StageConnect:
		return addr + " can't be connected to: check name, port (587 or 465 at most servers) and firewall"
	case smtp.StageGreeting:
		return s.greetingHint(c, f, addr)
	case smtp.StageHello:
		if f.reply.Code/100 == 5 || f.reply.Enhanced[1] == 3 {
			return fmt.Sprintf("Hostname %q is refused: set it to a name of this machine in the DNS", s.Hostname)
		}
	case smtp.StageTLS:
		return s.tlsHint(c, f, addr)
	case smtp.StageAuth:
		return s.authHint(c, f, addr)
	}
	return addr + " failed: check that an SMTP submission server listens there"
}

func (s *Submission) greetingHint(c *Conn, f *failure, addr string) string {
	if !f.local {
		return addr + " refuses sessions from this machine: ask its operator"
	}
	if c != nil && !c.implicitTLS() {
		// A server with implicit TLS waits for our handshake while we wait for its greeting.
		return addr + " sends no SMTP greeting: if its port has implicit TLS, set TLSStart to mx.TLSImplicit"
	}
	return addr + " sends no SMTP greeting: check the port (587 or 465 at most servers)"
}

func (s *Submission) tlsHint(c *Conn, f *failure, addr string) string {
	if !f.local {
		return addr + " refuses TLS now: try later, or use its port for implicit TLS, which is 465 at most servers"
	}
	switch {
	case f.reply.Enhanced == smtp.EnhancedCode{4, 7, 10}:
		hint := addr + " offers no STARTTLS: " + s.otherPort("ask its operator for the host and port of users")
		if c != nil && c.loopback() {
			hint += ", or, for a server without TLS on this machine, set TLS to mx.TLSNone"
		}
		return hint
	case isA[x509.HostnameError](f):
		return addr + " has a certificate for another name: use a name in the certificate, or set TLSConfig.ServerName"
	case isA[x509.UnknownAuthorityError](f):
		return "TLSConfig trusts no authority of the server's certificate: put it into TLSConfig.RootCAs"
	case isA[x509.CertificateInvalidError](f):
		return addr + " has a certificate that isn't valid: renew it, and check the clock of this machine"
	case isA[x509.SystemRootsError](f):
		return "TLSConfig: this machine has no root certificates: install them, or set TLSConfig.RootCAs"
	case isA[tls.RecordHeaderError](f):
		return addr + " doesn't begin with TLS: use port 587, or set TLSStart to mx.TLSStartTLS"
	}
	op, ok := errors.AsType[*net.OpError](f)
	alert := ok && op.Op == "remote error" // the server's, as package tls returns it
	closed := errors.Is(f, io.EOF) || errors.Is(f, io.ErrUnexpectedEOF) || errors.Is(f, io.ErrClosedPipe)
	if !alert && (closed || isA[net.Error](f) || errors.Is(f, context.Canceled)) {
		return addr + " doesn't answer the TLS handshake: check the port (587 or 465 at most servers) and TLSStart"
	}
	return "TLSConfig doesn't agree with the server: check its versions, ServerName and Certificates"
}

// otherPort returns the advice to use a submission port, or else if Addr has one.
func (s *Submission) otherPort(instead string) string {
	if _, port, err := net.SplitHostPort(s.Addr); err == nil && port != "587" && port != "465" {
		return "use its submission port, which is 587 or 465 at most servers"
	}
	return instead
}

func (s *Submission) authHint(c *Conn, f *failure, addr string) string {
	switch code := f.reply.Code; {
	case f.reply.Enhanced == smtp.EnhancedCode{4, 7, 11}:
		return fmt.Sprintf("TLS %q: a password needs TLS, except to this machine: leave TLS zero", s.TLS)
	case c != nil && len(c.ext.auth) == 0:
		return addr + " offers no AUTH: " +
			s.otherPort("leave Auth nil if it needs no login, or ask its operator for the host and port of users")
	case f.reply.Enhanced == smtp.EnhancedCode{5, 7, 30}: // of Microsoft 365, from 2027 on
		return "Auth has a password, and the server takes tokens only: see package client/oauth"
	case f.local && f.reply.Enhanced == smtp.EnhancedCode{4, 4, 2}: // a time-out, or a connection that broke
		return "Auth broke off: the server or Credentials.Token doesn't answer: try later, or give Check more time"
	case f.local:
		return "Auth can't authenticate to this server: check its fields"
	case code == 535: // RFC 4954 §6: authentication credentials invalid
		return "Auth has a wrong user name, password or token: check them; some providers want an application password"
	case code == 534 || code == 538: // RFC 4954 §6: the mechanism is too weak, or needs encryption
		return "Auth has too weak a mechanism for this server: use another one"
	case f.reply.Temporary(): // RFC 4954 §6: 454, temporary authentication failure
		return "Auth can't be verified by the server now: try later"
	}
	return "Auth is refused: check the user name, the mechanism, and that the account may send"
}

// isA reports whether err holds an error of type E.
func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
