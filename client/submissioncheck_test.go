package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// Pieces of scripts of a submission server.
const (
	subOffer = "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250-AUTH PLAIN\nS: 250 PIPELINING\n"
	subClear = "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250-STARTTLS\nS: 250 PIPELINING\nC: STARTTLS\n"
	subTLS   = subClear + "S: 220 go\ntls\nC: EHLO client.test\nS: 250-host\nS: 250-AUTH PLAIN\nS: 250 PIPELINING\n"
	subAuth  = "C: AUTH PLAIN AGFubgB4\nS: 235 ok\n"
)

// newSubmission returns a Submission to smtp.test, which is at 192.0.2.1 and has the names of cert.
func newSubmission(t *testing.T, addr string, names ...string) (*Submission, *internet, *tls.Config) {
	inet := newInternet(t)
	inet.ips["smtp.test."] = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
	cert, roots := testTLS(t, names...)
	sub := &Submission{LeaveIncomplete: true, Addr: addr, Hostname: "client.test", Resolver: inet, DialContext: inet.DialContext,
		TLSConfig: &tls.Config{RootCAs: roots},
		Auth:      smtp.AuthMechanism(func() smtp.AuthExchange { return sasl.NewPlainClient("", "ann", "x") })}
	return sub, inet, cert
}

// TestSubmissionCheck: each fault has an error that names the field and the remedy, and holds the cause.
// oddRules has a rule that can't be used.
var oddRules = &replies.Classifier{Rules: []replies.Rule{{Name: "odd", Says: []string{".. nothing"}, Reason: smtp.Other}}}

func TestSubmissionCheck(t *testing.T) {
	isReply := func(code int) func(error) bool {
		return func(err error) bool {
			r, ok := errors.AsType[*smtp.Reply](err)
			return ok && r.Code == code
		}
	}
	isCause := func(target error) func(error) bool { return func(err error) bool { return errors.Is(err, target) } }
	tests := []struct {
		name   string
		addr   string // if empty, smtp.test:587
		set    func(*Submission)
		cert   string // the name in the certificate; if empty, smtp.test
		script string // if empty, nothing listens
		want   string // what the error begins with, after "client: Submission."; if empty, there must be none
		cause  func(error) bool
	}{
		{name: "STARTTLS", script: subTLS + subAuth + quit},
		{name: "implicit TLS", addr: "smtp.test:465", script: "tls\n" + subOffer + subAuth + quit},
		{name: "no Auth", set: func(s *Submission) { s.Auth = nil }, script: subTLS + quit},

		{name: "empty Addr", addr: "-", set: func(s *Submission) { s.Addr = "" },
			want: `Addr "": set it to "host:port", as in "smtp.example.com:587": `},
		{name: "no port", addr: "smtp.test", want: `Addr "smtp.test": set it to "host:port", as in "smtp.example.com:587": `},
		{name: "TLS and TLSStart", set: func(s *Submission) { s.TLS, s.TLSStart = mx.TLSNone, mx.TLSImplicit },
			want: `TLS "none" and TLSStart "implicit" contradict each other: clear one of them: `},
		{name: "a rule", set: func(s *Submission) { s.Replies = oddRules }, want: `Replies: replies: `},
		{name: "bad Hostname", set: func(s *Submission) { s.Hostname = "client test" }, script: "eof",
			want: `Hostname "client test" is refused: set it to a name of this machine in the DNS: `},
		{name: "refused Hostname", script: "S: 220 hi\nC: EHLO client.test\nS: 550 who?\nC: HELO client.test\nS: 550 who?\nC: QUIT\neof",
			want: `Hostname "client.test" is refused: set it to a name of this machine in the DNS: `, cause: isReply(550)},

		{name: "no such host", addr: "smpt.test:587", want: `Addr "smpt.test:587": the name has no address: check its spelling: `},
		{name: "no DNS", set: func(s *Submission) { s.Resolver = silent{} }, cause: isCause(context.DeadlineExceeded),
			want: `Addr "smtp.test:587": the DNS lookup failed: check the network and Resolver: `},
		{name: "nothing listens", addr: "smtp.test:578",
			want: `Addr "smtp.test:578" can't be connected to: check name, port (587 or 465 at most servers) and firewall: connect: 451 4.4.1 `},

		{name: "silence, as at a port with implicit TLS", addr: "smtp.test:2465", script: "sleep 30s\neof", cause: isCause(context.DeadlineExceeded),
			want: `Addr "smtp.test:2465" sends no SMTP greeting: if its port has implicit TLS, set TLSStart to mx.TLSImplicit: `},
		{name: "silence, until the time-out", script: "sleep 5s\neof", set: func(s *Submission) { s.Timeouts.Greeting = 5 * time.Second },
			want: `Addr "smtp.test:587" sends no SMTP greeting: if its port has implicit TLS, set TLSStart to mx.TLSImplicit: `},
		{name: "another protocol", script: "S: +OK POP3 ready\neof",
			want: `Addr "smtp.test:587" sends no SMTP greeting: if its port has implicit TLS, set TLSStart to mx.TLSImplicit: `},
		{name: "another protocol over TLS", addr: "smtp.test:465", script: "tls\nS: +OK POP3 ready\neof",
			want: `Addr "smtp.test:465" sends no SMTP greeting: check the port (587 or 465 at most servers): `},
		{name: "refused greeting", script: "S: 554 5.7.1 go away\nC: QUIT\neof", cause: isReply(554),
			want: `Addr "smtp.test:587" refuses sessions from this machine: ask its operator: `},
		{name: "too many sessions", script: "S: 421 4.3.2 busy\neof", cause: isReply(421),
			want: `Addr "smtp.test:587" takes no session now: try later, or lower MaxSessions: `},
		{name: "too many sessions of an account", script: subTLS + "C: AUTH PLAIN AGFubgB4\nS: 432 4.3.2 limit exceeded\nC: QUIT\neof", cause: isReply(432),
			want: `Addr "smtp.test:587" takes no session now: try later, or lower MaxSessions: `},

		{name: "no STARTTLS", addr: "smtp.test:25", script: subOffer + "C: QUIT\neof",
			want: `Addr "smtp.test:25" offers no STARTTLS: use its submission port, which is 587 or 465 at most servers: `},
		{name: "no STARTTLS at the port", script: subOffer + "C: QUIT\neof",
			want: `Addr "smtp.test:587" offers no STARTTLS: ask its operator for the host and port of users: `},
		{name: "no STARTTLS on this machine", addr: "127.0.0.1:2525", script: subOffer + "C: QUIT\neof",
			want: `Addr "127.0.0.1:2525" offers no STARTTLS: use its submission port, which is 587 or 465 at most servers, ` +
				`or, for a server without TLS on this machine, set TLS to mx.TLSNone: `},
		{name: "STARTTLS refused", script: subClear + "S: 454 4.7.0 no\nC: QUIT\neof", cause: isReply(454),
			want: `Addr "smtp.test:587" refuses TLS now: try later, or use its port for implicit TLS, which is 465 at most servers: `},
		{name: "STARTTLS at a port for implicit TLS", addr: "smtp.test:465", script: "S: 220 hi\nsleep 1s\nclose", cause: isA[tls.RecordHeaderError],
			want: `Addr "smtp.test:465" doesn't begin with TLS: use port 587, or set TLSStart to mx.TLSStartTLS: ` +
				`451 4.7.5 the TLS handshake failed: tls: first record`},
		{name: "silence in the handshake", addr: "smtp.test:465", script: "sleep 31s\nclose", // not at the end of ctx
			want: `Addr "smtp.test:465" doesn't answer the TLS handshake: check the port (587 or 465 at most servers) and TLSStart: `},
		{name: "closed in the handshake", addr: "smtp.test:465", script: "close",
			want: `Addr "smtp.test:465" doesn't answer the TLS handshake: check the port (587 or 465 at most servers) and TLSStart: `},
		{name: "certificate for another name", cert: "other.test", script: subClear + "S: 220 go\ntls refused", cause: isA[x509.HostnameError],
			want: `Addr "smtp.test:587" has a certificate for another name: use a name in the certificate, or set TLSConfig.ServerName: `},
		{name: "certificate of an unknown authority", set: func(s *Submission) { s.TLSConfig = &tls.Config{RootCAs: x509.NewCertPool()} },
			script: subClear + "S: 220 go\ntls refused", cause: isA[*tls.CertificateVerificationError],
			want: "TLSConfig trusts no authority of the server's certificate: put it into TLSConfig.RootCAs: "},
		{name: "expired certificate", set: func(s *Submission) { s.TLSConfig.Time = func() time.Time { return time.Now().Add(1000 * time.Hour) } },
			script: subClear + "S: 220 go\ntls refused", cause: isA[x509.CertificateInvalidError],
			want: `Addr "smtp.test:587" has a certificate that isn't valid: renew it, and check the clock of this machine: `},
		{name: "versions", set: func(s *Submission) {
			s.TLSConfig.MinVersion, s.TLSConfig.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		},
			script: subClear + "S: 220 go\ntls refused", want: "TLSConfig doesn't agree with the server: check its versions, ServerName and Certificates: " +
				"smtp.test: 451 4.7.5 the TLS handshake failed: remote error: tls: "},

		{name: "password in cleartext", set: func(s *Submission) { s.TLS = mx.TLSNone }, script: subOffer + "C: QUIT\neof",
			want: `TLS "none": a password needs TLS, except to this machine: leave TLS zero: `},
		{name: "no AUTH", addr: "smtp.test:25", script: strings.ReplaceAll(subTLS, "S: 250-AUTH PLAIN\n", "") + "C: QUIT\neof",
			want: `Addr "smtp.test:25" offers no AUTH: use its submission port, which is 587 or 465 at most servers: `},
		{name: "no AUTH at the port", script: strings.ReplaceAll(subTLS, "S: 250-AUTH PLAIN\n", "") + "C: QUIT\neof",
			want: `Addr "smtp.test:587" offers no AUTH: leave Auth nil if it needs no login, or ask its operator for the host and port of users: `},
		{name: "no mechanism in common", set: func(s *Submission) {
			s.Auth = &Credentials{Username: "ann", Password: "x", Mechanisms: []string{"LOGIN"}}
		},
			script: subTLS + "C: QUIT\neof", want: "Auth can't authenticate to this server: check its fields: "},
		{name: "no user name", set: func(s *Submission) { s.Auth = &Credentials{Password: "x"} },
			script: subTLS + "C: QUIT\neof", want: "Auth can't authenticate to this server: check its fields: "},
		{name: "silence after AUTH", script: subTLS + "C: AUTH PLAIN AGFubgB4\nsleep 30s\neof", cause: isCause(context.DeadlineExceeded),
			want: "Auth broke off: the server or Credentials.Token doesn't answer: try later, or give Check more time: "},
		{name: "closed after AUTH", script: subTLS + "C: AUTH PLAIN AGFubgB4\nclose",
			want: "Auth broke off: the server or Credentials.Token doesn't answer: try later, or give Check more time: "},
		{name: "wrong password", script: subTLS + "C: AUTH PLAIN AGFubgB4\nS: 535 5.7.8 no\nC: QUIT\neof", cause: isReply(535),
			want: "Auth has a wrong user name, password or token: check them; some providers want an application password: "},
		{name: "weak mechanism", script: subTLS + "C: AUTH PLAIN AGFubgB4\nS: 534 5.7.9 no\nC: QUIT\neof", cause: isReply(534),
			want: "Auth has too weak a mechanism for this server: use another one: "},
		{name: "user database down", script: subTLS + "C: AUTH PLAIN AGFubgB4\nS: 454 4.7.0 no\nC: QUIT\neof", cause: isReply(454),
			want: "Auth can't be verified by the server now: try later: "},
		{name: "account disabled", script: subTLS + "C: AUTH PLAIN AGFubgB4\nS: 550 5.7.1 no\nC: QUIT\neof", cause: isReply(550),
			want: "Auth is refused: check the user name, the mechanism, and that the account may send: "},
		{name: "no passwords", script: subTLS + "C: AUTH PLAIN AGFubgB4\nS: 550 5.7.30 no\nC: QUIT\neof", cause: isReply(550),
			want: "Auth has a password, and the server takes tokens only: see package client/oauth: "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				addr, name := test.addr, test.cert
				if addr == "" {
					addr = "smtp.test:587"
				}
				if name == "" {
					name = "smtp.test"
				}
				sub, inet, cert := newSubmission(t, addr, name)
				if test.set != nil {
					test.set(sub)
				}
				if test.name == "versions" {
					cert.MinVersion = tls.VersionTLS13
				}
				if test.script != "" {
					ip, port, _ := strings.Cut(strings.Replace(addr, "smtp.test", "192.0.2.1", 1), ":")
					inet.serve(ip+":"+port, func(c *pipeConn) {
						script := steps(test.script)
						if g, w := strings.Join(play(c, script, cert, nil), "\n"), strings.Join(script, "\n"); g != w {
							t.Errorf("got\n%s\nwant\n%s", g, w)
						}
					})
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				err := sub.Check(ctx)
				switch {
				case test.want == "" && err != nil:
					t.Errorf("got %v, want no error", err)
				case test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "client: Submission."+test.want)):
					t.Errorf("got\n%v, want\nclient: Submission.%s", err, test.want)
				case test.cause != nil && !test.cause(err):
					t.Errorf("got %v, whose cause isn't the one to want", err)
				case err != nil && (strings.Contains(err.Error()[1:], "client: ") || strings.Contains(err.Error(), "AGFubgB4")):
					t.Errorf("got %v, with the prefix twice or a secret", err)
				}
				sub.Close()
				if err := sub.Check(ctx); test.want == "" && !errors.Is(err, ErrClosed) {
					t.Errorf("got %v after Close, want ErrClosed", err)
				}
			})
		})
	}
}

// silent is a Resolver that never answers.
type silent struct{ mx.Resolver }

func (silent) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestCheckThenSend: the first Send goes on in the session that Check opened; a later Check opens one of its own.
func TestCheckThenSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const msg = toBob + ready + body + taken
		inet := newInternet(t)
		inet.scripts("127.0.0.1:25", hello+msg+quit, hello+quit)
		sub := &Submission{LeaveIncomplete: true, Addr: "127.0.0.1:25", TLS: mx.TLSNone, Hostname: "client.test", DialContext: inet.DialContext}
		if err := sub.Check(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n")); err != nil {
			t.Error(err)
		}
		if err := sub.Check(t.Context()); err != nil {
			t.Error(err)
		}
		sub.Close()
		if got := inet.dialled(); got != "127.0.0.1:25 127.0.0.1:25" {
			t.Errorf("got connections to %s, want two", got)
		}
	})
}

// TestCheckAddresses: Check goes on to the next address as Send does: not from one that has answered.
func TestCheckAddresses(t *testing.T) {
	tests := []struct{ name, first, dials string }{
		{"down", "", "192.0.2.1:25 192.0.2.2:25"},
		{"closes", "close", "192.0.2.1:25 192.0.2.2:25"},
		{"refuses", "S: 554 no\nC: QUIT\neof", "192.0.2.1:25"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := newInternet(t)
				inet.ips["smtp.test."] = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
				if test.first != "" {
					inet.scripts("192.0.2.1:25", test.first)
				}
				inet.scripts("192.0.2.2:25", hello+quit)
				sub := &Submission{LeaveIncomplete: true, Addr: "smtp.test:25", TLS: mx.TLSNone, Hostname: "client.test", Resolver: inet, DialContext: inet.DialContext}
				err := sub.Check(t.Context())
				if got := inet.dialled(); got != test.dials || (err == nil) != strings.Contains(test.dials, "192.0.2.2") {
					t.Errorf("got connections to %s and %v, want %s", got, err, test.dials)
				}
				sub.Close()
			})
		})
	}
}

// TestSubmissionReplies: a rule that would never be tried is an error at the first call.
func TestSubmissionReplies(t *testing.T) {
	sub, _, _ := newSubmission(t, "smtp.test:587")
	sub.Replies = &replies.Classifier{Rules: []replies.Rule{{Name: "mine"}}}
	const want = `client: Submission.Replies: replies: rule "mine": Reason is none`
	if err := sub.Check(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("Check: got %v, want %s", err, want)
	}
	_, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@a.test", "bob@b.test"), smtp.Text("Subject: hi\n\nHi.\n"))
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Send: got %v, want %s", err, want)
	}
}
