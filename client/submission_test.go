package client

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

func TestSubmission(t *testing.T) {
	const (
		auth   = "C: AUTH PLAIN AGFubgB4\nS: 235 ok\n"
		offer  = "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250-STARTTLS\nS: 250-AUTH PLAIN\nS: 250 PIPELINING\n"
		tls587 = offer + "C: STARTTLS\nS: 220 go\ntls\nC: EHLO client.test\nS: 250-host\nS: 250-AUTH PLAIN\nS: 250 PIPELINING\n" + auth
		send   = toBob + ready + body + taken + quit
	)
	tests := []struct {
		name   string
		addr   string // of the server; it is at 192.0.2.1 or at 127.0.0.1
		tls    mx.TLSLevel
		start  mx.TLSStart
		script string
		want   string // outcome and TLS, or what the error ends in
	}{
		{name: "STARTTLS", addr: "smtp.test:587", script: tls587 + send, want: "delivered TLS 1.3"},
		{name: "implicit TLS", addr: "smtp.test:465", script: "tls\n" + strings.Replace(offer, "S: 250-STARTTLS\n", "", 1) + auth + send, want: "delivered TLS 1.3"},
		{name: "at an address", addr: "192.0.2.1:587", script: tls587 + send, want: "delivered TLS 1.3"},
		{name: "wrong name", addr: "other.test:587", script: offer + "C: STARTTLS\nS: 220 go\ntls refused", want: "deferred tls"},
		{name: "wrong name, implicit TLS", addr: "other.test:465", script: "tls refused", want: "deferred tls"},
		{name: "no STARTTLS", addr: "smtp.test:587", script: strings.Replace(offer, "S: 250-STARTTLS\n", "", 1) + "C: QUIT\neof", want: "deferred tls"},
		{name: "no STARTTLS on this machine", addr: "127.0.0.1:587", script: strings.Replace(offer, "S: 250-STARTTLS\n", "", 1) + "C: QUIT\neof", want: "deferred tls"},
		{name: "wrong password", addr: "smtp.test:587", script: strings.Replace(tls587, "S: 235 ok", "S: 535 5.7.8 no\nC: QUIT\neof", 1), want: "deferred auth"},
		{name: "implicit TLS at another port", addr: "smtp.test:2465", start: mx.TLSImplicit, script: "tls\n" + strings.Replace(offer, "S: 250-STARTTLS\n", "", 1) + auth + send, want: "delivered TLS 1.3"},
		{name: "STARTTLS at 465", addr: "smtp.test:465", start: mx.TLSStartTLS, script: tls587 + send, want: "delivered TLS 1.3"},
		{name: "no STARTTLS at 465", addr: "smtp.test:465", start: mx.TLSStartTLS, script: strings.Replace(offer, "S: 250-STARTTLS\n", "", 1) + "C: QUIT\neof", want: "deferred tls"},
		{name: "no TLS with a password", addr: "smtp.test:25", tls: mx.TLSNone, script: offer + "C: QUIT\neof", want: "deferred auth"},
		{name: "no TLS with a password, on this machine", addr: "127.0.0.1:25", tls: mx.TLSNone, script: offer + auth + send, want: "delivered"},
		{name: "no TLS at 465", addr: "127.0.0.1:465", tls: mx.TLSNone, script: offer + auth + send, want: "delivered"},
		{name: "none and implicit", addr: "127.0.0.1:465", tls: mx.TLSNone, start: mx.TLSImplicit, want: "deferred route"},
		{name: "no port", addr: "smtp.test", want: "deferred route"},
		{name: "no such host", addr: "nowhere.test:587", want: "deferred route"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := newInternet(t)
				for _, name := range []string{"smtp.test.", "other.test."} {
					inet.ips[name] = []netip.Addr{netip.MustParseAddr("192.0.2.1")}
				}
				cert, roots := testTLS(t, "smtp.test", "192.0.2.1", "127.0.0.1")
				f := func(c *pipeConn) {
					script := steps(test.script)
					if g, w := strings.Join(play(c, script, cert, nil), "\n"), strings.Join(script, "\n"); g != w {
						t.Errorf("got\n%s\nwant\n%s", g, w)
					}
				}
				for _, port := range []string{":25", ":465", ":587", ":2465"} {
					inet.serve("192.0.2.1"+port, f)
					inet.serve("127.0.0.1"+port, f)
				}
				sub := &Submission{LeaveIncomplete: true, Addr: test.addr, TLS: test.tls, TLSStart: test.start, Hostname: "client.test", Resolver: inet, DialContext: inet.DialContext,
					TLSConfig: &tls.Config{RootCAs: roots}, Auth: plainAuth("x")}
				defer sub.Close()
				results, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
				checkError(t, results, err)
				r := results[0]
				got := r.Outcome.String() + " " + r.TLS
				if r.Outcome != smtp.Delivered {
					got = r.Outcome.String() + " " + r.Stage.String()
				}
				if got = strings.TrimSpace(got); got != test.want {
					t.Errorf("got %s (%v), want %s", got, err, test.want)
				}
			})
		})
	}
}

// TestSubmissionSessions: messages share a session, until Close or until it was idle for too long.
func TestSubmissionSessions(t *testing.T) {
	const msg = toBob + ready + body + taken
	tests := []struct {
		name    string
		idle    time.Duration
		wait    time.Duration // after each message
		scripts []string
	}{
		{name: "one for three", scripts: []string{hello + msg + msg + msg + quit}},
		{name: "five seconds", wait: 5 * time.Second, scripts: []string{hello + msg + quit, hello + msg + quit, hello + msg + quit}},
		{name: "a minute", idle: time.Minute, wait: 59 * time.Second, scripts: []string{hello + msg + msg + msg + quit}},
		{name: "one each", idle: -1, scripts: []string{hello + msg + quit, hello + msg + quit, hello + msg + quit}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := newInternet(t)
				inet.scripts("127.0.0.1:25", test.scripts...)
				sub := &Submission{LeaveIncomplete: true, Addr: "127.0.0.1:25", TLS: mx.TLSNone, Hostname: "client.test", DialContext: inet.DialContext, IdleTimeout: test.idle}
				for range 3 {
					if _, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n")); err != nil {
						t.Error(err)
					}
					time.Sleep(test.wait)
				}
				sub.Close()
				if _, err := sub.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n")); !errors.Is(err, ErrClosed) {
					t.Errorf("got %v after Close, want ErrClosed", err)
				}
			})
		})
	}
}
