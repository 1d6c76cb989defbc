package server

import (
	"net/netip"
	"strings"
	"time"
)

// withAll offers the extensions that are off by default.
func withAll(s *Server, _ *desk) {
	s.BinaryMIME, s.DeliverBy, s.Priorities, s.MaxHold = true, true, true, time.Hour
}

// extensionVectors: what an extension asks for in a form that isn't its own begins no transaction.
func extensionVectors() []vector {
	var list []vector
	for _, p := range []param{
		{"BY=0;R", "501", "RFC 2852 §4"}, {"BY=-1;R", "501", "RFC 2852 §4"}, {"BY=10", "501", "RFC 2852 §4"}, {"BY=10;", "501", "RFC 2852 §4"},
		{"BY=10;X", "501", "RFC 2852 §4"}, {"BY=10;RTT", "501", "RFC 2852 §4"}, {"BY=10; R", "501", "RFC 2852 §4"},
		{"BY=9999999999;N", "501", "RFC 2852 §4"}, {"BY=+-1;N", "501", "RFC 2852 §4"}, {"BY=-999999999;nt", "250", "RFC 2852 §4"},
		{"HOLDFOR=0", "501", "RFC 4865 §4"}, {"HOLDFOR=-1", "501", "RFC 4865 §4"}, {"HOLDFOR=999999", "501", "RFC 4865 §4.1"},
		{"HOLDFOR=60 HOLDUNTIL=2000-01-01T00:30:00Z", "501", "RFC 4865 §4.2"}, {"HOLDUNTIL=2000-13-01T00:30:00Z", "501", "RFC 4865 §4"},
		{"HOLDUNTIL=1999-12-01T00:30:00Z", "501", "RFC 4865 §4"}, {"HOLDFOR=3600", "250", "RFC 4865 §4.1"},
		{"MT-PRIORITY=10", "501", "RFC 6710 §3"}, {"MT-PRIORITY=+3", "501", "RFC 6710 §3"}, {"MT-PRIORITY=-0", "501", "RFC 6710 §3"},
		{"MT-PRIORITY=03", "501", "RFC 6710 §3"}, {"MT-PRIORITY=-9", "250", "RFC 6710 §3"},
		{"AUTH=<> AUTH=<>", "501", "RFC 5321 §4.1.2"},
	} {
		v := paramVector("MAIL", mail, p)
		v.set = withAll
		list = append(list, v)
	}
	const binary = "MAIL FROM:<ann@example.com> BODY=BINARYMIME\r\n"
	return append(list,
		vector{name: "DATA for BINARYMIME", source: "RFC 3030 §3", in: ehlo + binary + rcpt + data + "RSET\r\n", codes: "250 250 250 503 250",
			set: withAll},
		vector{name: "line ends in BINARYMIME", source: "RFC 3030 §3", in: ehlo + binary + rcpt + final("a\n.\n\x00\r") + "NOOP\r\n",
			codes: "250 250 250 250 250", mails: []string{"a\n.\n\x00\r"}, set: withAll},
		vector{name: "STARTTLS between chunks", source: "RFC 3207 §4", in: talked + octets("a\r\n") + startTLS + final("b\r\n"),
			codes: "250 250 250 250 503 250", mails: []string{"a\r\nb\r\n"}, set: withTLS},
		vector{name: "SCRAM of a client that was told of no PLUS", source: "RFC 5802 §6", in: ehlo + startTLS + handshake + ehlo +
			"AUTH SCRAM-SHA-256 " + b64("y,,n=ann,r=abc") + "\r\n" + mail, codes: "250 220 250 535 530",
			set: func(s *Server, d *desk) { withTLS(s, d); mustAuth(s, d) }},
		vector{name: "a line of dots beyond the buffer", source: "RFC 5321 §4.5.2", in: talked + data + strings.Repeat(".", 9000) + "\r\n.\r\n",
			codes: "250 250 250 354 250", mails: []string{strings.Repeat(".", 8999) + "\r\n"}},
		vector{name: "chunks that overflow in sum", source: "RFC 3030 §2", in: talked + octets("a\r\n") + "BDAT 9223372036854775807 LAST\r\na",
			codes: "250 250 250 250 552", closed: true},
	)
}

// withXCLIENT trusts every client.
func withXCLIENT(s *Server, _ *desk) {
	s.XClient = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
}

// xclientVectors are those of a proxy that is trusted: it can't bring in line ends, and doesn't log its client in.
var xclientVectors = []vector{
	{name: "line ends in a name", source: "CWE-93", in: ehlo + "XCLIENT NAME=a+0D+0Ab ADDR=192.0.2.9\r\n" + mail, codes: "250 501 250",
		set: withXCLIENT},
	{name: "line ends in a login", source: "CWE-93", in: ehlo + "XCLIENT LOGIN=ann+0D+0A\r\n" + mail, codes: "250 501 250", set: withXCLIENT},
	{name: "a login that isn't UTF-8", source: "CWE-176", in: ehlo + "XCLIENT LOGIN=ann+FF\r\n" + mail, codes: "250 501 250", set: withXCLIENT},
	{name: "a login in UTF-8", source: "CWE-176", in: ehlo + "XCLIENT LOGIN=b+C3+BCcher PROTO=ESMTP HELO=x\r\n" + mail, codes: "250 220 250",
		set: withXCLIENT},
	{name: "nothing", source: "CWE-20", in: ehlo + "XCLIENT\r\n" + mail, codes: "250 501 250", set: withXCLIENT},
	{name: "an attribute that isn't known", source: "CWE-20", in: ehlo + "XCLIENT FOO=bar\r\n" + mail, codes: "250 501 250", set: withXCLIENT},
	{name: "in a transaction", source: "CWE-362", in: talked + "XCLIENT ADDR=192.0.2.9\r\n" + rset, codes: "250 250 250 503 250",
		set: withXCLIENT},
	{name: "then MAIL without EHLO", source: "RFC 5321 §4.1.4", in: ehlo + "XCLIENT ADDR=192.0.2.9\r\n" + mail, codes: "250 220 503",
		set: withXCLIENT},
	{name: "after AUTH", source: "CWE-287", in: ehlo + plainLogin + "XCLIENT ADDR=192.0.2.9\r\n" + ehlo + mail, codes: "250 235 220 250 530",
		set: func(s *Server, d *desk) { withXCLIENT(s, d); mustAuth(s, d) }},
}

func withLMTP(s *Server, _ *desk) { s.LMTP = true }

// lmtpVectors: there is a reply for each recipient, and never one too many or too few, which the client would take for
// that to its next command. The first code is that of the greeting.
var lmtpVectors = []vector{
	{name: "EHLO", source: "RFC 2033 §4.1", in: ehlo + mail, codes: "220 500 503", set: withLMTP},
	{name: "HELO", source: "RFC 2033 §4.1", in: "HELO x\r\n" + mail, codes: "220 500 503", set: withLMTP},
	{name: "DATA without a recipient", source: "RFC 2033 §4.2", in: lhlo + mail + data, codes: "220 250 250 503", set: withLMTP},
	{name: "DATA after refused recipients", source: "RFC 2033 §4.2", in: lhlo + mail + "RCPT TO:<b@>\r\n" + data, codes: "220 250 250 501 503",
		set: withLMTP},
	{name: "one of three recipients refused", source: "RFC 2033 §4.2", in: lhlo + mail + rcpt + "RCPT TO:<b@>\r\n" + rcpt + data + body +
		"NOOP\r\n", codes: "220 250 250 250 501 250 354 250 250 250", mails: []string{taken1}, set: withLMTP},
	{name: "chunks", source: "RFC 2033 §4.3", in: lhlo + mail + rcpt + rcpt + octets("a\r\n") + final("b\r\n") + "NOOP\r\n",
		codes: "220 250 250 250 250 250 250 250 250", mails: []string{"a\r\nb\r\n"}, set: withLMTP},
	{name: "a bare LF", source: "CVE-2023-51764", in: lhlo + mail + rcpt + rcpt + data + "a\n.\n" + smuggled + ".\r\n",
		codes: "220 250 250 250 250 354 521 521", closed: true, set: withLMTP},
	{name: "a bare LF in a chunk", source: "CVE-2023-51764", in: lhlo + mail + rcpt + rcpt + final("a\n.\n") + smuggled,
		codes: "220 250 250 250 250 521 521", closed: true, set: withLMTP},
	{name: "a bad BDAT", source: "RFC 3030 §2", in: lhlo + mail + rcpt + rcpt + "BDAT x LAST\r\nabc", codes: "220 250 250 250 250 501", closed: true,
		set: withLMTP},
	{name: "refused unread in two chunks", source: "RFC 2033 §4.3", in: lhlo + mail + rcpt + rcpt + octets("a\r\n") + final("b\r\n") + "NOOP\r\n",
		codes: "220 250 250 250 250 550 503 503 250", set: func(s *Server, d *desk) { withLMTP(s, d); deafAnd(550)(s, d) }},
	{name: "too big", source: "RFC 2033 §4.2", in: lhlo + mail + rcpt + rcpt + data + strings.Repeat("x", 30) + "\r\n.\r\n" + mail,
		codes: "220 250 250 250 250 354 552 552 250", set: func(s *Server, d *desk) { withLMTP(s, d); s.MaxSize, s.MaxDrain = 10, 1000 }},
}
