package server

import (
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestHelloName: the name in EHLO can't break out of its place in a Received field, whatever it is.
func TestHelloName(t *testing.T) {
	tests := []struct{ name, hello, want string }{
		{"host name", "Client.example", "Client.example"},
		{"underscore", "my_host.local", "my_host.local"},
		{"address literal", "[192.0.2.1]", "[192.0.2.1]"},
		{"IPv6 literal", "[IPv6:2001:db8::1]", "[IPv6:2001:db8::1]"},
		{"bare IPv4", "192.0.2.1", "192.0.2.1"},
		{"bare IPv6", "2001:db8::1", "[IPv6:2001:db8::1]"},
		{"bare IPv6 with a zone", "fe80::1%eth0", "[IPv6:fe80::1%eth0]"},
		{"literal with a zone", "[fe80::1%eth0]", "[fe80::1%eth0]"},
		{"empty brackets", "[]", "??"},
		{"bracket not closed", "[192.0.2.1", "?192.0.2.1"},
		{"brackets within brackets", "[a]([b]", "[a???b]"},
		{"spaces", "my printer", "my?printer"},
		{"another host in a comment", "good.example ([192.0.2.9])", "good.example???192.0.2.9??"},
		{"another field", "a\r\nBcc: eve@evil.test", "a??Bcc??eve?evil.test"},
		{"the end of the field", "a; Mon, 02 Jan 2006", "a??Mon??02?Jan?2006"},
		{"quotes", `"a\`, "?a?"},
		{"angle brackets", "<a>", "?a?"},
		{"umlaut", "müller-pc", "m?ller-pc"},
		{"colon without brackets", "a:b", "a?b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := helloName(tt.hello); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestProtocol(t *testing.T) {
	inTheClear, secure := Peer{ESMTP: true}, Peer{ESMTP: true, TLS: &tls.ConnectionState{}}
	user := secure
	user.Username = "ann"
	for _, test := range []struct {
		want string
		utf8 bool
		peer *Peer
	}{
		{"local", false, nil},
		{"SMTP", false, &Peer{}},
		{"ESMTP", false, &inTheClear},
		{"ESMTPS", false, &secure},
		{"ESMTPSA", false, &user},
		{"UTF8SMTP", true, &inTheClear},
		{"UTF8SMTPSA", true, &user},
	} {
		if got := protocol(&smtp.Envelope{UTF8: test.utf8}, test.peer); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
	for addr, want := range map[net.Addr]string{
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:25")):          "[192.0.2.1]",
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[::ffff:192.0.2.1]:25")): "[192.0.2.1]",
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort("[fe80::1%eth0]:25")):     "[IPv6:fe80::1]",
		&net.UnixAddr{Name: "/run/relay"}:                                         "local",
	} {
		if got := addressLiteral(addr); got != want {
			t.Errorf("%v: got %s, want %s", addr, got, want)
		}
	}
}

// TestReceivedHides: without an address, the field doesn't name the client.
func TestReceivedHides(t *testing.T) {
	at := time.Date(2026, 2, 2, 10, 0, 0, 0, time.UTC)
	p := &Peer{ID: "abc", Tx: 1, Hello: "laptop", ESMTP: true, Username: "ann"}
	env := &smtp.Envelope{}
	got := ReceivedField("mx.test", p, env, "", at).String()
	if want := "Received: by mx.test with ESMTPA id abc-1;\r\n\tMon, 02 Feb 2026 10:00:00 +0000\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.RemoteAddr = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}
	if got := ReceivedField("mx.test", p, env, "", at).String(); !strings.HasPrefix(got, "Received: from laptop ([192.0.2.1])\r\n\tby") {
		t.Errorf("got %q, want the client named", got)
	}
}

// TestReceivedPriority: a priority is the last clause (RFC 6710 §7), and the usual one is left out.
func TestReceivedPriority(t *testing.T) {
	at := time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)
	for priority, want := range map[int8]string{
		0:  " by mx.test with local id 7\r\n\tfor <b@y.test>;\r\n\tTue, 02 Jan 2024 03:04:05 +0000",
		9:  " by mx.test with local id 7\r\n\tfor <b@y.test>\r\n\tPRIORITY 9;\r\n\tTue, 02 Jan 2024 03:04:05 +0000",
		-3: " by mx.test with local id 7\r\n\tfor <b@y.test>\r\n\tPRIORITY -3;\r\n\tTue, 02 Jan 2024 03:04:05 +0000",
	} {
		env := smtp.NewEnvelope("a@x.test", "b@y.test")
		env.Priority = priority
		if got := ReceivedField("mx.test", nil, env, "7", at); got.Value != want {
			t.Errorf("priority %d: got %q, want %q", priority, got.Value, want)
		}
	}
}
