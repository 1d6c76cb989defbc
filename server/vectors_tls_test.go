package server

import (
	"crypto/tls"
	"strings"
	"testing"
)

// withTLS offers STARTTLS. The certificate is made in the bubble.
func withTLS(s *Server, _ *desk) { s.TLSConfig = vectorTLS() }

func vectorTLS() *tls.Config { return testTLS(noTest{}) }

// noTest is a testing.TB of which testTLS calls only Helper and Fatal.
type noTest struct{ testing.TB }

func (noTest) Helper()           {}
func (noTest) Fatal(args ...any) { panic(args) }

func withTLSAndAuth(s *Server, d *desk) {
	withTLS(s, d)
	s.Authenticate = authenticate
}

const (
	startTLS   = "STARTTLS\r\n"
	requireTLS = "MAIL FROM:<ann@example.com> REQUIRETLS\r\n"
)

// tlsVectors: nothing that came before the handshake counts after it (RFC 3207 §4.2). A vector with late has commands
// behind STARTTLS. In the same piece, they are seen and refused. In a later one, they are no ClientHello, and the
// handshake fails. They are commands in neither case.
var tlsVectors = []vector{
	{name: "NOOP behind STARTTLS", source: "CVE-2011-0411", in: ehlo + startTLS + "NOOP\r\n", codes: "250 554",
		late: "250 220", closed: true, set: withTLS},
	{name: "a message behind STARTTLS", source: "CVE-2021-38542", in: ehlo + startTLS + talked + data + body,
		codes: "250 554", late: "250 220", closed: true, set: withTLS},
	{name: "RSET behind STARTTLS", source: "CVE-2011-0411", in: ehlo + startTLS + "RSET\r\n", codes: "250 554",
		late: "250 220", closed: true, set: withTLS},
	{name: "AUTH behind STARTTLS", source: "CVE-2021-33515", in: ehlo + startTLS + "AUTH PLAIN " + b64("\x00ann\x00secret") +
		"\r\n" + mail, codes: "250 554", late: "250 220", closed: true, set: withTLSAndAuth},
	{name: "one octet behind STARTTLS", source: "CVE-2011-0411", in: ehlo + startTLS + "N", codes: "250 554",
		late: "250 220", closed: true, set: withTLS, whole: true},
	{name: "CRLF behind STARTTLS", source: "CVE-2011-0411", in: ehlo + startTLS + "\r\n\r\n\r\n", codes: "250 554",
		late: "250 220", closed: true, set: withTLS},
	{name: "STARTTLS twice", source: "CVE-2011-0411", in: ehlo + startTLS + startTLS, codes: "250 554", late: "250 220",
		closed: true, set: withTLS},
	{name: "a ClientHello behind STARTTLS", source: "CVE-2011-0411", in: ehlo + startTLS + "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
		codes: "250 554", late: "250 220", closed: true, set: withTLS, whole: true},
	{name: "a command after the 220", source: "CVE-2024-34083", in: ehlo + startTLS + answered + mail + rcpt + data,
		codes: "250 220", closed: true, set: withTLS},
	{name: "QUIT after the 220", source: "CVE-2024-34083", in: ehlo + startTLS + answered + "QUIT\r\n",
		codes: "250 220", closed: true, set: withTLS},
	{name: "leaves after the 220", source: "CVE-2020-28018", in: ehlo + startTLS + leaves, codes: "250 220",
		closed: true, set: withTLS},
	{name: "a transaction before STARTTLS", source: "RFC 3207 §4", in: talked + startTLS + "DATA\r\n" + body,
		codes: "250 250 250 503 354 250", mails: []string{"Subject: x\r\n\r\nhello\r\n"}, set: withTLS},
	{name: "no EHLO after TLS", source: "RFC 3207 §4.2", in: ehlo + startTLS + handshake + mail, codes: "250 220 503",
		set: withTLS},
	{name: "EHLO after TLS", source: "RFC 3207 §4.2", in: ehlo + startTLS + handshake + talked + data + body,
		codes: "250 220 250 250 250 354 250", mails: []string{"Subject: x\r\n\r\nhello\r\n"}, set: withTLS},
	{name: "REQUIRETLS in TLS", source: "RFC 8689 §2", in: ehlo + startTLS + handshake + ehlo + requireTLS + rcpt + data + body,
		codes: "250 220 250 250 250 354 250", mails: []string{"Subject: x\r\n\r\nhello\r\n"}, set: withTLS},
	{name: "REQUIRETLS in clear", source: "RFC 8689 §2", in: ehlo + requireTLS + rcpt, codes: "250 555 503", set: withTLS},
	{name: "REQUIRETLS not offered", source: "RFC 8689 §2", in: ehlo + startTLS + handshake + ehlo + requireTLS + rcpt,
		codes: "250 220 250 555 503", set: func(s *Server, d *desk) { withTLS(s, d); s.NoRequireTLS = true }},
	{name: "REQUIRETLS with a value", source: "RFC 8689 §2", in: ehlo + startTLS + handshake + ehlo +
		"MAIL FROM:<ann@example.com> REQUIRETLS=no\r\n" + rcpt, codes: "250 220 250 501 503", set: withTLS},
	{name: "STARTTLS in TLS", source: "RFC 3207 §4.2", in: ehlo + startTLS + handshake + ehlo + startTLS,
		codes: "250 220 250 503", set: withTLS},
	{name: "AUTH before TLS is forgotten", source: "RFC 3207 §4.2", in: ehlo + "AUTH PLAIN " + b64("\x00ann\x00secret") +
		"\r\n" + startTLS + handshake + ehlo + mail, codes: "250 235 220 250 530",
		set: func(s *Server, d *desk) { withTLSAndAuth(s, d); s.AllowInsecureAuth, s.RequireAuth = true, true }},
	{name: "HELO before TLS", source: "RFC 3207 §4.2", in: "HELO client.example\r\n" + startTLS, codes: "250 503",
		set: withTLS},
	{name: "STARTTLS without EHLO", source: "RFC 3207 §4", in: startTLS, codes: "503", set: withTLS},
	{name: "STARTTLS not offered", source: "RFC 3207 §4", in: ehlo + startTLS + mail, codes: "250 502 250"},
	{name: "STARTTLS with an argument", source: "RFC 3207 §4", in: ehlo + "STARTTLS now\r\n" + mail, codes: "250 501 250",
		set: withTLS},
	{name: "STARTTLS with LF", source: "CVE-2011-0411", in: ehlo + "STARTTLS\nNOOP\r\n", codes: "250 500", set: withTLS},
	{name: "STARTTLS with spaces", source: "RFC 5321 §4.1.1", in: ehlo + "STARTTLS  \r\n" + handshake + mail,
		codes: "250 220 503", set: withTLS},
	{name: "AUTH before TLS", source: "RFC 4954 §4", in: ehlo + "AUTH PLAIN " + b64("\x00ann\x00secret") + "\r\n",
		codes: "250 538", set: withTLSAndAuth},
	{name: "a message in clear where AUTH is required", source: "RFC 6409 §4.3", in: talked + data, codes: "250 530 503 503",
		set: func(s *Server, d *desk) { withTLSAndAuth(s, d); s.RequireAuth = true }},
	{name: "garbage in the handshake", source: "RFC 8446 §5.1", in: ehlo + startTLS + answered + strings.Repeat("\xff", 300),
		codes: "250 220", closed: true, set: withTLS},
	{name: "a huge TLS record", source: "RFC 8446 §5.1", in: ehlo + startTLS + answered + "\x16\x03\x01\xff\xff\x01",
		codes: "250 220", closed: true, set: withTLS, whole: true},
	{name: "handshake never sent", source: "RFC 5321 §4.5.3.2", in: ehlo + startTLS + waits("5m"), codes: "250 220",
		closed: true, set: withTLS},
	{name: "handshake octet by octet", source: "RFC 5321 §4.5.3.2", in: ehlo + startTLS + "⟪⟫\x16" + waits("4m") + "\x03" +
		waits("1m"), codes: "250 220", closed: true, set: withTLS},
	{name: "smuggling in TLS", source: "CVE-2023-51764", in: ehlo + startTLS + handshake + talked + data + "a\n.\n" + smuggled +
		".\r\n", codes: "250 220 250 250 250 354 521", closed: true, set: withTLS},
}
