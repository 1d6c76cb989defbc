package client

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// usual is what most hosts offer.
const usual = offerPipelining | offerSize | offer8BitMIME | offerSMTPUTF8 | offerDSN

// mailAttacks change one thing in a good message. What the host shall hear of it is told as by heardLines, and a
// reply is what the error shall hold; both where some have the message and others don't. Most of those
// that shall be heard look like an attack and aren't one.
var mailAttacks = attacks([]attackCase{
	{"nothing", func(m *mailAttack) {}, "FROM <ann@a.test> TO <bob@b.test> TO <eve@b.test>"},
	{"CRLF in the reverse-path", func(m *mailAttack) { m.from = "ann@a.test>\r\nRCPT TO:<mallory@b.test" }, "501 5.5.4"},
	{"LF in the reverse-path", func(m *mailAttack) { m.from = "ann@a.test\nDATA" }, "501 5.5.4"},
	{"CRLF in a quoted local part", func(m *mailAttack) { m.to1 = "\"a\r\nRSET\r\n\"@b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"CRLF behind a backslash", func(m *mailAttack) { m.to1 = "\"a\\\r\\\nRSET\"@b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"parameter behind a space", func(m *mailAttack) { m.from = "ann@a.test> SIZE=1" }, "501 5.5.4"},
	{"parameter in a quoted local part", func(m *mailAttack) { m.from = `"a> SIZE=1 <b"@a.test` }, `FROM <"a> SIZE=1 <b"@a.test> TO <bob@b.test> TO <eve@b.test>`},
	{"parameter of RCPT in a quoted local part", func(m *mailAttack) { m.to1 = `"a> NOTIFY=NEVER"@b.test` }, `FROM <ann@a.test> TO <"a> NOTIFY=NEVER"@b.test> TO <eve@b.test>`},
	{"quote closed early", func(m *mailAttack) { m.to1 = `"a"> NOTIFY=NEVER "@b.test` }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"quote closed and opened again", func(m *mailAttack) { m.to1 = `"a"> NOTIFY=NEVER ""@b.test` }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"quote escaped at the end", func(m *mailAttack) { m.to1 = `"a\"@b.test` }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"address in a quoted local part", func(m *mailAttack) { m.to1 = `"mallory@c.test>"@b.test` }, `FROM <ann@a.test> TO <"mallory@c.test>"@b.test> TO <eve@b.test>`},
	{"empty quoted local part", func(m *mailAttack) { m.to1 = `""@b.test` }, `FROM <ann@a.test> TO <""@b.test> TO <eve@b.test>`},
	{"characters whose low octets are CRLF", func(m *mailAttack) { m.to1 = "a\u560d\u560aRSET@b.test" }, "FROM <ann@a.test> SMTPUTF8= TO <a\u560d\u560aRSET@b.test> TO <eve@b.test>"},
	{"the same for a host in ASCII", func(m *mailAttack) { m.to1, m.offers = "a\u560d\u560aRSET@b.test", offerPipelining }, "FROM <ann@a.test> TO <eve@b.test> 553 5.6.7"},
	{"the same in the reverse-path", func(m *mailAttack) { m.from, m.offers = "a\u560d\u560a@a.test", 0 }, "553 5.6.7"},
	{"NUL in an address", func(m *mailAttack) { m.to1 = "bob\x00@b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"DEL in a quoted local part", func(m *mailAttack) { m.to1 = "\"bob\x7f\"@b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"wide at sign", func(m *mailAttack) { m.to1 = "bob\uff20b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"wide at sign in the domain", func(m *mailAttack) { m.to1 = "bob@b.test\uff20c.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"line separator in the domain", func(m *mailAttack) { m.to1 = "bob@b\u2028.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"next line, U+0085", func(m *mailAttack) { m.to1 = "bob\u0085RSET@b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"an octet of no UTF-8", func(m *mailAttack) { m.to1 = "bob\x85@b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"source route", func(m *mailAttack) { m.to1 = "@c.test,@d.test:bob@b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"percent route", func(m *mailAttack) { m.to1 = "bob%c.test@b.test" }, "FROM <ann@a.test> TO <bob%c.test@b.test> TO <eve@b.test>"},
	{"junk in an address literal", func(m *mailAttack) { m.to1 = "bob@[192.0.2.1> SIZE=1]" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"zone in an address literal", func(m *mailAttack) { m.to1 = "bob@[IPv6:fe80::1%> NOTIFY=NEVER]" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"unknown tag in an address literal", func(m *mailAttack) { m.to1 = "bob@[x:\r\n]" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"angle brackets", func(m *mailAttack) { m.to1 = "<bob@b.test>" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"two addresses", func(m *mailAttack) { m.to1 = "bob@b.test,mallory@b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"empty recipient", func(m *mailAttack) { m.to1 = "" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"null reverse-path", func(m *mailAttack) { m.from = "" }, "FROM <> TO <bob@b.test> TO <eve@b.test>"},
	{"null reverse-path in brackets", func(m *mailAttack) { m.from = "<>" }, "501 5.5.4"},
	{"local part of 400 octets", func(m *mailAttack) { m.to1 = strings.Repeat("a", 400) + "@b.test" },
		"FROM <ann@a.test> TO <" + strings.Repeat("a", 400) + "@b.test> TO <eve@b.test>"},
	{"address of 501 octets", func(m *mailAttack) { m.to1 = strings.Repeat("a", 494) + "@b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.1.3"},
	{"IDN domain for a host in ASCII", func(m *mailAttack) { m.to1, m.offers = "bob@bücher.test", offerPipelining }, "FROM <ann@a.test> TO <bob@xn--bcher-kva.test> TO <eve@b.test>"},
	{"IDN domain beside a UTF-8 local part", func(m *mailAttack) { m.to1, m.to2 = "bob@bücher.test", "jürgen@b.test" }, "FROM <ann@a.test> SMTPUTF8= TO <bob@bücher.test> TO <jürgen@b.test>"},
	{"ideographic dot beside a UTF-8 local part", func(m *mailAttack) { m.to1, m.to2 = "bob@b\u3002test", "jürgen@b.test" }, "FROM <ann@a.test> SMTPUTF8= TO <jürgen@b.test> 501 5.1.3"},
	{"wide letters beside a UTF-8 local part", func(m *mailAttack) { m.to1, m.to2 = "bob@\uff42.test", "jürgen@b.test" }, "FROM <ann@a.test> SMTPUTF8= TO <bob@b.test> TO <jürgen@b.test>"},
	{"ENVID with CRLF", func(m *mailAttack) { m.envID = "id\r\nRSET" }, "501 5.5.4"},
	{"ENVID with plus, equals and space", func(m *mailAttack) { m.envID = "a+0D+0A=b RET=FULL" }, "FROM <ann@a.test> ENVID=a+0D+0A=b RET=FULL TO <bob@b.test> TO <eve@b.test>"},
	{"ENVID of 101 octets as xtext", func(m *mailAttack) { m.envID = strings.Repeat("+", 33) + "ab" }, "501 5.5.4"},
	{"ENVID for a host without DSN", func(m *mailAttack) { m.envID, m.ret, m.notify, m.offers = "id", 1, 1, 0 }, "FROM <ann@a.test> TO <bob@b.test> TO <eve@b.test>"},
	{"ORCPT without a type", func(m *mailAttack) { m.orcpt = "bob@b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.5.4"},
	{"ORCPT with CRLF", func(m *mailAttack) { m.orcpt = "rfc822;bob\r\nDATA" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.5.4"},
	{"ORCPT with a space in its type", func(m *mailAttack) { m.orcpt = "rfc822 NOTIFY=NEVER;bob" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.5.4"},
	{"ORCPT with an equals sign in its type", func(m *mailAttack) { m.orcpt = "rfc822=x;bob" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.5.4"},
	{"ORCPT with plus and a space", func(m *mailAttack) { m.orcpt = "rfc822;bob+0D NOTIFY=NEVER" }, "FROM <ann@a.test> TO <bob@b.test> ORCPT=rfc822;bob+0D NOTIFY=NEVER TO <eve@b.test>"},
	{"ORCPT in UTF-8 for ASCII", func(m *mailAttack) { m.orcpt, m.offers = `utf-8;j\x{0A}ü`, offerDSN }, `FROM <ann@a.test> TO <bob@b.test> ORCPT=utf-8;j\x{0A}ü TO <eve@b.test>`},
	{"ORCPT in UTF-8 of type rfc822", func(m *mailAttack) { m.orcpt = "rfc822;jürgen@b.test" }, "FROM <ann@a.test> TO <eve@b.test> 501 5.5.4"},
	{"no such NOTIFY", func(m *mailAttack) { m.notify = 16 }, "FROM <ann@a.test> TO <eve@b.test> 501 5.5.4"},
	{"NEVER and SUCCESS", func(m *mailAttack) { m.notify = 3 }, "FROM <ann@a.test> TO <eve@b.test> 501 5.5.4"},
	{"no such RET", func(m *mailAttack) { m.ret = 3 }, "501 5.5.4"},
	{"no such BODY", func(m *mailAttack) { m.body = 4 }, "501 5.5.4"},
	{"negative SIZE", func(m *mailAttack) { m.size = -1 }, "501 5.5.4"},
	{"AUTH with CRLF", func(m *mailAttack) { m.auth = "ann@a.test\r\nRSET" }, "501 5.5.4"},
	{"SMTPUTF8 that no host has", func(m *mailAttack) { m.utf8, m.offers = true, 0 }, "FROM <ann@a.test> TO <bob@b.test> TO <eve@b.test>"},
	{"dots that could end it", func(m *mailAttack) { m.content = ".\r\n..\r\n\r\n.\r\nMAIL FROM:<x@y.test>\r\n.\r\n" }, "FROM <ann@a.test> TO <bob@b.test> TO <eve@b.test>"},
	{"open end in a dot", func(m *mailAttack) { m.content = "\r\n\r\n." }, "FROM <ann@a.test> TO <bob@b.test> TO <eve@b.test>"},
	{"LF.LF", func(m *mailAttack) { m.content = "a\n.\nMAIL FROM:<x@y.test>\n" }, "554 5.6.0"},
	{"CRLF.CR", func(m *mailAttack) { m.content = "a\r\n.\rb\r\n" }, "554 5.6.0"},
	{"NUL behind the dot", func(m *mailAttack) { m.content = "a\r\n.\x00\r\n" }, "554 5.6.0"},
	{"8-bit for a host with 7", func(m *mailAttack) { m.content, m.offers = "\r\nü\r\n", 0 }, "FROM <ann@a.test> TO <bob@b.test> TO <eve@b.test>"},
	{"signed 8-bit for a host with 7", func(m *mailAttack) { m.content, m.offers = "DKIM-Signature: x\r\n\r\nü\r\n", 0 }, "554 5.6.3"},
	{"UTF-8 header for a host without", func(m *mailAttack) { m.content, m.offers, m.utf8 = "X: ü\r\n", offer8BitMIME, true }, "554 5.6.9"},
	{"UTF-8 header, undeclared", func(m *mailAttack) { m.content, m.offers = "X: ü\r\n", 0 }, "FROM <ann@a.test> TO <bob@b.test> TO <eve@b.test>"},
	{"Latin-1 header, declared", func(m *mailAttack) { m.content, m.utf8 = "X: \xfc\r\n", true }, "FROM <ann@a.test> BODY=8BITMIME TO <bob@b.test> TO <eve@b.test>"},
	{"HELO takes nothing", func(m *mailAttack) { m.envID, m.ret, m.body, m.offers = "id", 1, 2, usual|onlyHELO }, "FROM <ann@a.test> TO <bob@b.test> TO <eve@b.test>"},
})

type attackCase struct {
	name string
	set  func(*mailAttack)
	want string
}

type namedAttack struct {
	name string
	mailAttack
	want string
}

func attacks(cases []attackCase) (list []namedAttack) {
	for _, c := range cases {
		m := mailAttack{from: "ann@a.test", to1: "bob@b.test", to2: "eve@b.test", content: "Hello.\r\n", offers: usual}
		c.set(&m)
		list = append(list, namedAttack{c.name, m, c.want})
	}
	return list
}

func TestInjection(t *testing.T) {
	for _, tt := range mailAttacks {
		t.Run(tt.name, func(t *testing.T) {
			for way, send := range ways {
				a := tt.attack()
				results, err := send(a)
				a.judge(t, results, err)
				got := a.on.heardLines()
				if r, ok := errors.AsType[*smtp.Reply](err); ok {
					got = strings.TrimSpace(fmt.Sprintf("%s %d %s", got, r.Code, r.Enhanced))
				}
				if got != tt.want {
					t.Errorf("%s: got %s, want %s; error %v", way, got, tt.want, err)
				}
			}
		})
	}
}

// TestNames: our own name, and the host's in a handshake. An empty want is a refusal before any octet.
func TestNames(t *testing.T) {
	cert, _ := testTLS(t, "strict.test")
	tests := []struct {
		name, hostname, host string
		wantName, wantSNI    string
	}{
		{"good", "client.test", "strict.test", "client.test", "strict.test"},
		{"dot at the end", "client.test.", "strict.test.", "client.test", "strict.test"},
		{"IDN", "bücher.test", "bücher.test", "xn--bcher-kva.test", "xn--bcher-kva.test"},
		{"literal", "[192.0.2.1]", "192.0.2.1", "[192.0.2.1]", ""},
		{"IPv6 with a zone", "[IPv6:2001:db8::1]", "fe80::1%eth0", "[IPv6:2001:db8::1]", ""},
		{"command in our name", "a\r\nMAIL FROM:<x@y.test>", "strict.test", "", ""},
		{"space in our name", "a b", "strict.test", "", ""},
		{"junk in a literal", "[192.0.2.1\r\n]", "strict.test", "", ""},
		{"U+2028 in our name", "a\u2028b", "strict.test", "", ""},
		{"wide at sign in our name", "a\uff20b", "strict.test", "", ""},
		{"command in the host's name", "client.test", "a\r\nMAIL FROM:<x@y.test>\r\n", "", ""},
		{"NUL in the host's name", "client.test", "a\x00.test", "", ""},
		{"path as the host's name", "client.test", "a/b", "", ""},
		{"literal as the host's name", "client.test", "[IPv6:2001:db8::1]", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := mailAttack{from: "ann@a.test", to1: "bob@b.test", to2: "eve@b.test", content: "Hello.\r\n", offers: usual | beginsTLS}.attack()
			a.hostname, a.host, a.on.cert = tt.hostname, tt.host, cert
			results, err := viaConn(a)
			a.judge(t, results, err)
			if a.on.name != tt.wantName || a.on.sni != tt.wantSNI || (err != nil) != (tt.wantName == "") || err != nil && a.on.octets > 0 {
				t.Errorf("got EHLO %q, SNI %q, %d octets, error %v, want %q and %q", a.on.name, a.on.sni, a.on.octets, err, tt.wantName, tt.wantSNI)
			}
		})
	}
}
