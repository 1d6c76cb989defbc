package server

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// proxyNets are the networks of the proxies in these tests.
var proxyNets = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}

// TestXClient: the attributes become the Peer that the Handler sees.
func TestXClient(t *testing.T) {
	for _, tt := range []struct {
		name, said string
		want       string // address, EHLO name and user in the Handler
		code       string // of XCLIENT
	}{
		{"name", "NAME=c.test ADDR=192.0.2.1", "192.0.2.1:0 x ", "220"},
		{"bad name", "NAME=a+20b", "", "501"},
		{"address", "ADDR=192.0.2.1", "192.0.2.1:0 x ", "220"},
		{"address and port", "ADDR=192.0.2.1 PORT=1234", "192.0.2.1:1234 x ", "220"},
		{"port first", "PORT=1234 ADDR=192.0.2.1", "192.0.2.1:1234 x ", "220"},
		{"IPv6", "ADDR=IPV6:2001:db8::1 PORT=1", "[2001:db8::1]:1 x ", "220"},
		{"lower case", "addr=192.0.2.1", "192.0.2.1:0 x ", "220"},
		{"unknown address", "ADDR=[UNAVAILABLE] NAME=[TEMPUNAVAIL]", "0.0.0.0:0 x ", "220"}, // not the proxy's
		{"unknown port", "ADDR=192.0.2.1 PORT=[UNAVAILABLE]", "192.0.2.1:0 x ", "220"},
		{"user", "LOGIN=ann", "198.51.100.7:50000 x ann", "220"},
		{"xtext", "LOGIN=a+2Bnn", "198.51.100.7:50000 x a+nn", "220"},
		{"no user", "LOGIN=[UNAVAILABLE]", "198.51.100.7:50000 x ", "220"},
		{"no attribute", "", "", "501"},
		{"no value", "ADDR", "", "501"},
		{"bad xtext", "LOGIN=a+zz", "", "501"},
		{"bad address", "ADDR=192.0.2.256", "", "501"},
		{"bad port", "ADDR=192.0.2.1 PORT=65536", "", "501"},
		{"bad protocol", "PROTO=HTTP", "", "501"},
		{"unknown attribute", "ADDR=192.0.2.1 COLOR=red", "", "501"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				srv := &Server{Handler: d, XClient: proxyNets, AllowInsecureAuth: true, Authenticate: authenticate}
				c := newWorld(t, srv).dial()
				if got := c.want(ehlo, "220", "250"); !strings.Contains(got, "XCLIENT") {
					t.Errorf("got %q, want XCLIENT offered", got)
				}
				c.want("XCLIENT "+tt.said+"\r\n", tt.code)
				if tt.code != "220" {
					c.want("MAIL FROM:<>\r\n", "250") // as before
					return
				}
				c.want("MAIL FROM:<>\r\n"+plainLogin, "503", "503")
				c.want("EHLO x\r\n"+envelope+hiMail, "250", "250", "250", "354", "250")
				p := d.all()[0].peer
				if got := strings.Join([]string{p.RemoteAddr.String(), p.Hello, p.Username}, " "); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if p.Allowed != (p.Username != "") {
					t.Errorf("got Allowed %t, want it for a user", p.Allowed)
				}
			})
		})
	}
}

// TestXClientHello: with HELO no EHLO has to follow, and PROTO says which it was.
func TestXClientHello(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		c := newWorld(t, &Server{Handler: d, XClient: proxyNets}).dial()
		c.want(ehlo+"XCLIENT HELO=laptop PROTO=SMTP\r\n"+envelope+hiMail, "220", "250", "220", "250", "250", "354", "250")
		if p := d.all()[0].peer; p.Hello != "laptop" || p.ESMTP {
			t.Errorf("got %q, ESMTP %t, want laptop by HELO", p.Hello, p.ESMTP)
		}
	})
}

// TestXClientChecks: the checks are asked about a name and a user that XCLIENT has. What they refuse is unknown.
func TestXClientChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		w := newWorld(t, &Server{Handler: d, XClient: proxyNets, RequireAuth: true, Authenticate: authenticate,
			AllowInsecureAuth: true, Checks: []Check{{
				Name: "c", Trusted: true,
				Hello: func(_ context.Context, s *Session) error {
					if s.Peer.Hello == "bad" {
						return smtp.NewReply(550, "5.7.1", "not you")
					}
					s.SetValue(s.Peer.Hello)
					return nil
				},
				Auth: func(_ context.Context, s *Session) error {
					if s.Peer.Username == "bad" {
						return ErrAuthFailed
					}
					return nil
				},
				Mail: func(_ context.Context, s *Session) error {
					if name, _ := Value[string](s); name != s.Peer.Hello {
						t.Errorf("got %q left at EHLO, want %q", name, s.Peer.Hello)
					}
					return nil
				},
			}}})
		c := w.dial()
		c.want(ehlo+"XCLIENT HELO=bad LOGIN=ann\r\nMAIL FROM:<>\r\nEHLO x\r\nMAIL FROM:<>\r\n", "220", "250", "220", "503", "250", "250")
		c.want("RSET\r\nXCLIENT HELO=good LOGIN=bad\r\nMAIL FROM:<>\r\n", "250", "220", "530")
		c.want("XCLIENT HELO=good LOGIN=ann\r\nMAIL FROM:<>\r\n", "220", "250")
	})
}

// TestXClientRefused: strangers can't pretend, and nobody within a transaction.
func TestXClientRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{XClient: proxyNets})
		c := w.dialFrom("203.0.113.1")
		if got := c.want(ehlo, "220", "250"); strings.Contains(got, "XCLIENT") {
			t.Errorf("got %q, want no XCLIENT", got)
		}
		c.want("XCLIENT ADDR=192.0.2.1\r\n", "550")
		c = w.dial()
		c.want(ehlo+envelope+"XCLIENT ADDR=192.0.2.1\r\n", "220", "250", "250", "250", "503")
	})
}

// TestXClientStarts: the client is a new one for the Handler and the checks, and may be refused.
func TestXClientStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{connect: func(p *Peer) error {
			if strings.HasPrefix(p.RemoteAddr.String(), "192.0.2.1:") {
				return smtp.NewReply(550, "5.7.1", "not you")
			}
			return nil
		}}
		var left []bool
		check := Check{Name: "c", Connect: func(_ context.Context, s *Session) error {
			_, ok := Value[string](s)
			left = append(left, ok)
			s.SetValue("found")
			return nil
		}}
		w := newWorld(t, &Server{Handler: d, XClient: proxyNets, Checks: []Check{check}})
		c := w.dial()
		c.want(ehlo+"XCLIENT ADDR=192.0.2.2\r\nEHLO x\r\n", "220", "250", "220", "250")
		c.want("XCLIENT ADDR=192.0.2.1\r\nEHLO x\r\n", "550", "503")
		if len(left) != 2 || left[0] || left[1] {
			t.Errorf("got findings %v at connect, want none of another client", left)
		}
	})
}

// TestXClientCounts: connections of a proxy don't count as one client's.
func TestXClientCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{XClient: proxyNets, MaxConnsPerIP: 1})
		w.dial().want(ehlo, "220", "250")
		w.dial().want(ehlo, "220", "250")
		w.dialFrom("203.0.113.1").want(ehlo, "220", "250")
		w.dialFrom("203.0.113.1").want("", "421")
	})
}
