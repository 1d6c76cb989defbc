package server

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// TestHello: any name that can be printed is good (RFC 5321 §4.1.4).
func TestHello(t *testing.T) {
	tests := []struct{ name, arg, want string }{
		{"host name", "client.example", "client.example"},
		{"one label", "localhost", "localhost"},
		{"underscore", "my_host.local", "my_host.local"},
		{"only an underscore", "_", "_"},
		{"dot at the end", "client.example.", "client.example."},
		{"address literal", "[192.0.2.1]", "[192.0.2.1]"},
		{"bare IPv4", "192.0.2.1", "192.0.2.1"},
		{"bare IPv6", "2001:db8::1", "2001:db8::1"},
		{"bare IPv6 with a zone", "fe80::1%eth0", "fe80::1%eth0"},
		{"literal with a zone", "[fe80::1%eth0]", "[fe80::1%eth0]"},
		{"empty brackets", "[]", "[]"},
		{"bracket not closed", "[192.0.2.1", "[192.0.2.1"},
		{"spaces", "My  Printer 9.0.3", "My  Printer 9.0.3"},
		{"two spaces after the verb", " client.example", "client.example"},
		{"spaces and tabs at the end", "client.example \t ", "client.example"},
		{"wildcard", "~^(.+)*", "~^(.+)*"},
		{"brackets and quotes", `<a>("b\)`, `<a>("b\)`},
		{"umlaut in UTF-8", "müller-pc", "müller-pc"},
		{"umlaut in Latin-1", "m\xfcller-pc", "m?ller-pc"},
		{"octets of no UTF-8 alone", "\xff\xfe", "??"},
		{"control character of Latin-1", "a\x85b", "a?b"},
		{"control character of Unicode", "a\u0085b", "a?b"},
		{"line separator", "a\u2028b", "a?b"},
		{"direction override", "a\u202eb", "a?b"},
		{"no-break space", "a\u00a0b", "a?b"},
		{"as long as the line", strings.Repeat("x", 505), strings.Repeat("x", 505)},

		{"longer", strings.Repeat("x", 506), "500"},
		{"none", "", "501"},
		{"spaces alone", "   ", "501"},
		{"tab within", "a\tb", "500"},
		{"escape", "a\x1b[2J", "500"},
		{"NUL", "a\x00", "500"},
		{"DEL", "a\x7f", "500"},
		{"bare CR", "a\rb", "500"},
		{"bare LF", "a\nb", "500"},
	}
	for _, tt := range tests {
		for _, verb := range []string{"EHLO ", "HELO "} {
			t.Run(verb+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := &desk{}
					c := newWorld(t, &Server{Handler: d}).dial()
					c.want("", "220")
					got := replyCodes(c.ask(verb + tt.arg + "\r\n"))[0]
					if got == "250" {
						c.want(mail+rcpt+data+body, "250", "250", "354", "250")
						got = d.all()[0].peer.Hello
					}
					if got != tt.want {
						t.Errorf("got %q, want %q", got, tt.want)
					}
				})
			})
		}
	}
}

// TestHelloRefused: after an EHLO that a check refuses, the session is as before (RFC 5321 §4.1.4): its name, its
// transaction, and what the checks have set.
func TestHelloRefused(t *testing.T) {
	type note string
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		var seen []string
		see := func(s *Session) {
			n, _ := Value[note](s)
			seen = append(seen, string(n)+" "+s.Peer.Hello)
		}
		check := Check{
			Name: "names",
			Hello: func(_ context.Context, s *Session) error {
				see(s)
				s.SetValue(note(s.Peer.Hello))
				if s.Envelope != nil {
					t.Error("got an Envelope at EHLO, want none")
				}
				if s.Peer.Hello == "bad" {
					return smtp.NewReply(550, "5.7.1", "not that name")
				}
				return nil
			},
			Mail: func(_ context.Context, s *Session) error { s.SetValue(note("mail")); return nil },
			Content: func(_ context.Context, s *Session, _ *Message) error {
				see(s)
				return nil
			},
			Done: func(_ context.Context, s *Session, _ *smtp.Reply) { see(s) },
		}
		w := newWorld(t, &Server{Handler: d, Checks: []Check{check}, AllowInsecureAuth: true, Authenticate: authenticate})
		c := w.dial()
		c.want("EHLO bad\r\n", "220", "550")
		c.want("MAIL FROM:<>\r\n"+plainLogin, "503", "503") // no EHLO yet
		c.want(ehlo+mail+rcpt+"EHLO bad\r\nHELO bad\r\n", "250", "250", "250", "550", "550")
		c.want(data+body, "354", "250")
		c.want(mail+"EHLO client2.example\r\n"+rcpt, "250", "250", "503")
		mails := d.all()
		if len(mails) != 1 || mails[0].peer.Hello != "client.example" || !mails[0].peer.ESMTP {
			t.Errorf("got mails %+v, want one of client.example by ESMTP", mails)
		}
		want := []string{" bad", " client.example", " bad", " bad", "mail client.example", "mail client.example",
			" client2.example", "mail client.example"}
		if !slices.Equal(seen, want) {
			t.Errorf("got values and names %q, want %q", seen, want)
		}
	})
}
