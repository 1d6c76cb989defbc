package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// gate is a Handler that records Peer.Allowed in each call. Allow returns true for recipients that begin with "ok", and
// an error for those that begin with "busy" and "broken". CheckRcpt refuses recipients that end with "unknown".
type gate struct {
	desk
	seen []string
}

func newGate() *gate {
	g := &gate{}
	note := func(where string, p *Peer) { g.seen = append(g.seen, fmt.Sprintf("%s %t", where, p.Allowed)) }
	g.connect = func(p *Peer) error {
		note("connect", p)
		return nil
	}
	g.mail = func(_ context.Context, p *Peer, _ *smtp.Envelope) error {
		note("mail", p)
		return nil
	}
	g.rcpt = func(p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
		local, _ := smtp.SplitAddress(rcpt.Address)
		note(local, p)
		if strings.HasSuffix(local, "unknown") {
			return smtp.NewReply(550, "5.1.1", "no such user")
		}
		return nil
	}
	g.handle = func(_ context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
		note("handle", p)
		return nil, g.file(p, env, body)
	}
	return g
}

func (g *gate) Allow(_ context.Context, p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) (bool, error) {
	local, _ := smtp.SplitAddress(rcpt.Address)
	g.seen = append(g.seen, fmt.Sprintf("allow %s after %d %t", local, len(env.Recipients), p.Allowed))
	switch {
	case strings.HasPrefix(local, "busy"):
		return true, smtp.NewReply(450, "4.7.1", "come back")
	case strings.HasPrefix(local, "broken"):
		return true, errors.New("the directory is down")
	}
	return strings.HasPrefix(local, "ok"), nil
}

func to(locals ...string) string {
	var b strings.Builder
	for _, local := range locals {
		b.WriteString("RCPT TO:<" + local + "@example.net>\r\n")
	}
	return b.String()
}

func TestAllow(t *testing.T) {
	const login = "AUTH PLAIN AGFubgBzZWNyZXQ=\r\n"
	tests := []struct {
		name  string
		said  string // after EHLO
		codes string
		seen  []string // after connect
	}{
		{"allowed", mail + to("ok") + data, "250 250 354",
			[]string{"mail false", "allow ok after 0 false", "ok true", "handle true"}},
		{"not allowed is no refusal", mail + to("no") + data, "250 250 354",
			[]string{"mail false", "allow no after 0 false", "no false", "handle false"}},
		{"each recipient on its own", mail + to("ok", "no", "ok2") + data, "250 250 250 250 354",
			[]string{"mail false", "allow ok after 0 false", "ok true", "allow no after 1 false", "no false",
				"allow ok2 after 2 false", "ok2 true", "handle false"}},
		{"a refused recipient doesn't count", mail + to("unknown", "ok") + data, "250 550 250 354",
			[]string{"mail false", "allow unknown after 0 false", "unknown false", "allow ok after 0 false", "ok true",
				"handle true"}},
		{"allowed and refused", mail + to("no", "ok-unknown") + data, "250 250 550 354",
			[]string{"mail false", "allow no after 0 false", "no false", "allow ok-unknown after 1 false",
				"ok-unknown true", "handle false"}},
		{"errors refuse", mail + to("busy", "broken", "ok") + data, "250 450 451 250 354",
			[]string{"mail false", "allow busy after 0 false", "allow broken after 0 false", "allow ok after 0 false",
				"ok true", "handle true"}},
		{"RSET forgets", mail + to("no") + "RSET\r\n" + mail + to("ok") + data, "250 250 250 250 250 354",
			[]string{"mail false", "allow no after 0 false", "no false", "mail false", "allow ok after 0 false",
				"ok true", "handle true"}},
		{"EHLO forgets", mail + to("ok") + ehlo + mail + to("no") + data, "250 250 250 250 250 354",
			[]string{"mail false", "allow ok after 0 false", "ok true", "mail false", "allow no after 0 false",
				"no false", "handle false"}},
		{"authenticated clients are not asked about", login + mail + to("no") + data, "235 250 250 354",
			[]string{"mail true", "no true", "handle true"}},
		{"authenticated, second transaction", login + mail + to("no") + "RSET\r\n" + mail + to("no") + data,
			"235 250 250 250 250 250 354", []string{"mail true", "no true", "mail true", "no true", "handle true"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGate()
				c := newWorld(t, &Server{Handler: g, Authenticate: authenticate, AllowInsecureAuth: true}).dial()
				c.want(ehlo, "220", "250")
				c.want(tt.said, strings.Fields(tt.codes)...)
				c.want(body, "250")
				if want := append([]string{"connect false"}, tt.seen...); !slices.Equal(g.seen, want) {
					t.Errorf("got %q, want %q", g.seen, want)
				}
			})
		})
	}
}

// TestAllowNextMail: the recipients of an earlier message don't count.
func TestAllowNextMail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		c := newWorld(t, &Server{Handler: g}).dial()
		c.ask(ehlo + mail + to("ok") + data)
		c.want(body+mail+to("no")+data, "250", "250", "250", "354")
		c.want(body+mail+to("ok")+data, "250", "250", "250", "354")
		c.want(body, "250")
		var got []bool
		for _, m := range g.all() {
			got = append(got, m.peer.Allowed)
		}
		if want := []bool{true, false, true}; !slices.Equal(got, want) {
			t.Errorf("got Allowed %t, want %t", got, want)
		}
	})
}

// TestAllowStartTLS: after STARTTLS, an AUTH without TLS is forgotten.
func TestAllowStartTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		srv := &Server{Handler: g, Authenticate: authenticate, AllowInsecureAuth: true, TLSConfig: testTLS(t)}
		c := newWorld(t, srv).dial()
		c.want(ehlo+"AUTH PLAIN AGFubgBzZWNyZXQ=\r\nSTARTTLS\r\n", "220", "250", "235", "220")
		c.startTLS()
		c.want(ehlo+mail+to("no")+data, "250", "250", "250", "354")
		c.want(body, "250")
		want := []string{"connect false", "mail false", "allow no after 0 false", "no false", "handle false"}
		if !slices.Equal(g.seen, want) {
			t.Errorf("got %q, want %q", g.seen, want)
		}
	})
}

// TestAllowedWithoutAllower: without Allow, only clients that authenticated are allowed.
func TestAllowedWithoutAllower(t *testing.T) {
	for _, login := range []bool{false, true} {
		t.Run(fmt.Sprintf("authenticated %t", login), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				c := newWorld(t, &Server{Handler: d, Authenticate: authenticate, AllowInsecureAuth: true}).dial()
				c.ask(ehlo)
				if login {
					c.want("AUTH PLAIN AGFubgBzZWNyZXQ=\r\n", "235")
				}
				c.ask(mail + rcpt + data)
				c.want(body, "250")
				if got := d.all()[0].peer.Allowed; got != login {
					t.Errorf("got Allowed %t, want %t", got, login)
				}
			})
		})
	}
}
