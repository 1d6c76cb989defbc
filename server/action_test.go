package server

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// TestAct: the reply and the message of each Action. The tag comes once for several recipients.
func TestAct(t *testing.T) {
	const said = "MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<c@y.test>\r\n"
	long := strings.Repeat("word ", 30)
	tests := []struct {
		name      string
		action    Action
		text, tag string
		reply     string // to RCPT
		top       string // of the message
	}{
		{"refuse", Refuse, "listed", "yes", "554 5.7.1 listed\r\n", ""},
		{"defer", Defer, "listed", "yes", "451 4.7.1 listed\r\n", ""},
		{"tag", Tag, "listed", "yes; score=2", "250 2.1.5 recipient ok\r\n", "X-Bad: yes; score=2\r\n"},
		{"tell", Tell, "listed", "yes", "250 2.1.5 recipient ok\r\n", ""},
		{"text that smuggles", Refuse, "a\r\n250 ok\nü\x00\xff", "", "554 5.7.1 a??250 ok????\r\n", ""},
		{"a long text", Refuse, strings.Repeat("x", 5000), "", "554 5.7.1 " + strings.Repeat("x", 400) + "\r\n", ""},
		{"a tag that smuggles", Tag, "", "a\r\nBcc: b\r\n\r\nü", "250 2.1.5 recipient ok\r\n", "X-Bad: a??Bcc: b?????\r\n"},
		{"a long tag", Tag, "", long, "250 2.1.5 recipient ok\r\n", "X-Bad:" + strings.Repeat(" word", 14) + "\r\n\tword" +
			strings.Repeat(" word", 14) + "\r\n\tword\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				w := newWorld(t, &Server{Handler: d, Checks: []Check{{
					Name: "c",
					Rcpt: func(_ context.Context, s *Session, _ smtp.Recipient) error {
						return s.Act(tt.action, tt.text, "X-Bad", tt.tag)
					},
				}}})
				c := w.dial()
				c.want(ehlo, "220", "250")
				if got, want := c.ask(said), "250 2.1.0 sender ok\r\n"+tt.reply+tt.reply; got != want {
					t.Fatalf("got %q, want %q", got, want)
				}
				if tt.action == Refuse || tt.action == Defer {
					return
				}
				c.want("DATA\r\nSubject: hi\r\n\r\n.\r\n", "354", "250")
				if got, want := d.all()[0].body, tt.top+"Subject: hi\r\n\r\n"; got != want {
					t.Errorf("got %q, want %q", got, want)
				}
			})
		})
	}
}

// TestFault: a server with a check that is set up badly doesn't start.
func TestFault(t *testing.T) {
	users := &Server{Handler: &desk{}, RequireAuth: true, Authenticate: func(context.Context, *Peer, string, string) error { return nil }}
	for _, c := range []Check{
		{Name: "never", Mail: func(context.Context, *Session) error { return nil }},
		{Name: "always", Trusted: true, Mail: func(context.Context, *Session) error { return nil }},
		{Name: "before", Connect: func(context.Context, *Session) error { return nil }},
	} {
		users.Checks = []Check{c}
		if err := users.Check(); (err != nil) != (c.Name == "never") {
			t.Errorf("%s: got %v of a server for users", c.Name, err)
		}
	}
	err := (&Server{Handler: &desk{}, Checks: []Check{{Name: "bl", Fault: errors.New("Zones is empty")}}}).Check()
	if err == nil || !strings.Contains(err.Error(), "Checks[0], bl: Zones is empty") {
		t.Errorf("got %v, want the Fault", err)
	}
}

// TestPeerIP: the address of each kind of connection.
func TestPeerIP(t *testing.T) {
	for _, tt := range []struct {
		name string
		addr net.Addr
		want string
	}{
		{"IPv4", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1}, "192.0.2.1"},
		{"IPv4 in IPv6", &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1").To16()}, "192.0.2.1"},
		{"IPv6", &net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, "fe80::1"},
		{"another type", other("[2001:db8::1]:25"), "2001:db8::1"},
		{"Unix socket", &net.UnixAddr{Name: "/run/x"}, "invalid IP"},
		{"none", nil, "invalid IP"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := (&Peer{RemoteAddr: tt.addr}).IP().String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

type other string

func (o other) Network() string { return "other" }
func (o other) String() string  { return string(o) }
