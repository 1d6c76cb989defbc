package client

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestOpportunisticTLS: after a failure of TLS, a second connection goes on in cleartext, unless TLS is required.
func TestOpportunisticTLS(t *testing.T) {
	const (
		offer   = "S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250-STARTTLS\nS: 250 PIPELINING\n"
		clear   = offer + toBob + ready + body + taken + quit
		secure  = offer + "C: STARTTLS\nS: 220 go\ntls\nC: EHLO client.test\nS: 250-host\nS: 250 PIPELINING\n" + toBob + ready + body + taken + quit
		garbage = offer + "C: STARTTLS\nS: 220 go\ntls garbage\n"
	)
	tests := []struct {
		name    string
		scripts []string
		port    string // if empty, 25
		tls     mx.TLSLevel
		start   mx.TLSStart
		auth    bool
		roots   bool // the certificate is trusted
		want    string
	}{
		{name: "any certificate", scripts: []string{secure}, want: "delivered TLS 1.3"},
		{name: "garbage", scripts: []string{garbage, clear}, want: "delivered"},
		{name: "closed at the handshake", scripts: []string{offer + "C: STARTTLS\nS: 220 go\nclose", offer + "C: STARTTLS\nS: 220 go\nclose", clear}, want: "delivered"},
		{name: "closed at the large hello", scripts: []string{offer + "C: STARTTLS\nS: 220 go\nclose", secure}, want: "delivered TLS 1.3"},
		{name: "closed at STARTTLS", scripts: []string{offer + "C: STARTTLS\nclose", clear}, want: "delivered"},
		{name: "stalled at the handshake", scripts: []string{offer + "C: STARTTLS\nS: 220 go\nsleep 2m", offer + "C: STARTTLS\nS: 220 go\nsleep 6m", clear}, want: "delivered"},
		{name: "required, closed at the handshake", tls: mx.TLSRequired, scripts: []string{offer + "C: STARTTLS\nS: 220 go\nclose", offer + "C: STARTTLS\nS: 220 go\nclose"}, want: "deferred"},
		{name: "stalled at STARTTLS", scripts: []string{offer + "C: STARTTLS\nsleep 6m", clear}, want: "delivered"},
		{name: "refused", scripts: []string{offer + "C: STARTTLS\nS: 454 no\n" + toBob + ready + body + taken + quit}, want: "delivered"},
		{name: "injection", scripts: []string{offer + "C: STARTTLS\nS: 220 go\nS: 250 host\neof"}, want: "deferred"},
		{name: "only once", scripts: []string{garbage, "S: 421 busy\neof"}, want: "deferred"},
		{name: "none", tls: mx.TLSNone, scripts: []string{clear}, want: "delivered"},
		{name: "required", tls: mx.TLSRequired, roots: true, scripts: []string{secure}, want: "delivered TLS 1.3"},
		{name: "required, untrusted", tls: mx.TLSRequired, scripts: []string{offer + "C: STARTTLS\nS: 220 go\ntls refused"}, want: "deferred"},
		{name: "required, garbage", tls: mx.TLSRequired, scripts: []string{garbage}, want: "deferred"},
		{name: "required, refused", tls: mx.TLSRequired, scripts: []string{offer + "C: STARTTLS\nS: 454 no\nC: QUIT\neof"}, want: "deferred"},
		{name: "STARTTLS, garbage", start: mx.TLSStartTLS, scripts: []string{garbage, clear}, want: "delivered"},
		{name: "STARTTLS at 465", port: "465", start: mx.TLSStartTLS, scripts: []string{secure}, want: "delivered TLS 1.3"},
		{name: "465", port: "465", roots: true, scripts: []string{"tls\n" + hello + toBob + ready + body + taken + quit}, want: "delivered TLS 1.3"},
		{name: "465, untrusted", port: "465", scripts: []string{"tls refused"}, want: "deferred"},
		{name: "implicit, untrusted", start: mx.TLSImplicit, scripts: []string{"tls refused"}, want: "deferred"},
		{name: "implicit, garbage", start: mx.TLSImplicit, scripts: []string{"tls garbage"}, want: "deferred"},
		{name: "AUTH, garbage", auth: true, scripts: []string{garbage}, want: "deferred"},
		{name: "AUTH, untrusted", auth: true, scripts: []string{offer + "C: STARTTLS\nS: 220 go\ntls refused"}, want: "deferred"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr, inet := newTransport(t)
				route := mustRoute(mx.Smarthost("relay.test:" + cmp.Or(test.port, "25")))
				route.TLS, route.TLSStart = test.tls, test.start
				if test.auth {
					route.Auth = plainAuth("x")
				}
				tr.Router.Routes = map[string]mx.Route{"*": route}
				inet.ips["relay.test."] = []netip.Addr{netip.MustParseAddr("192.0.2.9")}
				cert, roots := testTLS(t, "relay.test")
				if test.roots {
					tr.TLSConfig = &tls.Config{RootCAs: roots}
				}
				next := 0
				inet.serve("192.0.2.9:"+cmp.Or(test.port, "25"), func(c *pipeConn) {
					script := steps(test.scripts[next])
					next++
					got := play(c, script, cert, nil)
					if g, w := strings.Join(got, "\n"), strings.Join(script, "\n"); g != w {
						t.Errorf("connection %d: got\n%s\nwant\n%s", next, g, w)
					}
				})
				results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
				tr.Close()
				if got := strings.TrimSpace(fmt.Sprint(results[0].Outcome, " ", results[0].TLS)); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
				if next != len(test.scripts) {
					t.Errorf("got %d connections, want %d", next, len(test.scripts))
				}
			})
		})
	}
}

// TestContradictoryTLS: a session whose TLS fields contradict each other sends nothing.
func TestContradictoryTLS(t *testing.T) {
	for _, tt := range []struct {
		level mx.TLSLevel
		start mx.TLSStart
		want  string
	}{
		{mx.TLSNone, mx.TLSImplicit, `TLS "none" can't begin as TLSStart "implicit": clear one of them`},
		{mx.TLSNone, mx.TLSStartTLS, `TLS "none" can't begin as TLSStart "STARTTLS": clear one of them`},
		{3, mx.TLSByPort, `TLS "unknown" can't begin as TLSStart "by port": clear one of them`},
		{mx.TLSRequired, 3, `TLS "required" can't begin as TLSStart "unknown": clear one of them`},
	} {
		client, server := pipe("192.0.2.1:25")
		heard := make(chan string)
		go func() {
			b, _ := io.ReadAll(server)
			heard <- string(b)
		}()
		c := &Conn{Hostname: "client.test", Host: "a.test", TLS: tt.level, TLSStart: tt.start}
		err := c.Open(t.Context(), client)
		if want := "client: a.test: tls: 451 4.3.5 " + tt.want; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		if got := <-heard; got != "" {
			t.Errorf("%v, %v: got %q on the wire, want nothing", tt.level, tt.start, got)
		}
	}
}
