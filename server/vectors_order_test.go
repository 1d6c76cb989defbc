package server

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/postrider/postrider/smtp"
)

const (
	taken1 = "Subject: x\r\n\r\nhello\r\n" // body, as the Handler receives it
	rset   = "RSET\r\n"
)

// orderVectors: commands out of their order change nothing (RFC 5321 §4.1.4).
var orderVectors = []vector{
	{name: "MAIL before EHLO", source: "RFC 5321 §4.1.4", in: mail + rcpt + data, codes: "503 503 503"},
	{name: "RCPT before MAIL", source: "RFC 5321 §4.1.4", in: ehlo + rcpt + data, codes: "250 503 503"},
	{name: "DATA before RCPT", source: "RFC 5321 §4.1.4", in: ehlo + mail + data + rcpt + data + body,
		codes: "250 250 503 250 354 250", mails: []string{taken1}},
	{name: "DATA before EHLO", source: "RFC 5321 §4.1.4", in: data + body, codes: "503 500 500 500 500"},
	{name: "two MAIL", source: "RFC 5321 §4.1.4", in: ehlo + mail + "MAIL FROM:<mallory@example.com>\r\n" + rcpt + data + body,
		codes: "250 250 503 250 354 250", mails: []string{taken1}, env: "ann@example.com>bob@example.net"},
	{name: "EHLO in a transaction", source: "RFC 5321 §4.1.4", in: talked + ehlo + data, codes: "250 250 250 250 503"},
	{name: "HELO in a transaction", source: "RFC 5321 §4.1.4", in: talked + "HELO x\r\n" + rcpt + data,
		codes: "250 250 250 250 503 503"},
	{name: "bad EHLO in a transaction", source: "RFC 5321 §4.1.4", in: talked + "EHLO\r\n" + data + body,
		codes: "250 250 250 501 354 250", mails: []string{taken1}},
	{name: "RSET in a transaction", source: "RFC 5321 §4.1.1.5", in: talked + rset + data, codes: "250 250 250 250 503"},
	{name: "RSET before EHLO", source: "RFC 5321 §4.1.4", in: rset + mail, codes: "250 503"},
	{name: "NOOP, VRFY, HELP and EXPN before EHLO", source: "RFC 5321 §4.1.4",
		in: "NOOP\r\nVRFY a\r\nHELP\r\nEXPN b\r\n", codes: "250 252 214 502"},
	{name: "NOOP in a transaction", source: "RFC 5321 §4.1.1.9", in: talked + "NOOP\r\nVRFY x\r\nHELP\r\n" + data + body,
		codes: "250 250 250 250 252 214 354 250", mails: []string{taken1}},
	{name: "unknown command in a transaction", source: "RFC 5321 §4.2.4", in: talked + "XYZZY\r\n" + data + body,
		codes: "250 250 250 500 354 250", mails: []string{taken1}},
	{name: "QUIT in a transaction", source: "RFC 5321 §4.1.1.10", in: talked + "QUIT\r\n", codes: "250 250 250 221",
		closed: true},
	{name: "leaves in a transaction", source: "RFC 5321 §4.1.1.10", in: talked + leaves, codes: "250 250 250", closed: true},
	{name: "bad RCPT among good", source: "RFC 5321 §3.3", in: ehlo + mail + rcpt + "RCPT TO:<b@>\r\n" + data + body,
		codes: "250 250 250 501 354 250", mails: []string{taken1}, env: "ann@example.com>bob@example.net"},
	{name: "all RCPT refused", source: "RFC 5321 §3.3", in: ehlo + mail + "RCPT TO:<b@>\r\n" + data + rcpt + data + body,
		codes: "250 250 501 554 250 354 250", mails: []string{taken1}},
	{name: "MAIL refused, the rest pipelined", source: "RFC 2920 §3.1", in: ehlo + "MAIL FROM:<x>\r\n" + rcpt + data,
		codes: "250 501 503 503"},
	{name: "all in one piece", source: "RFC 2920 §3.2", in: talked + data + body + mail + rcpt + data + body + "QUIT\r\n",
		codes: "250 250 250 354 250 250 250 354 250 221", mails: []string{taken1, taken1}, closed: true},
	{name: "HELP DATA", source: "RFC 5321 §4.1.1.8", in: talked + "HELP DATA\r\n" + data + body,
		codes: "250 250 250 214 354 250", mails: []string{taken1}},
	{name: "SEND, SOML, SAML and TURN", source: "RFC 5321 appendix F.6",
		in:    ehlo + "SEND FROM:<a@b.example>\r\nSOML FROM:<a@b.example>\r\nSAML FROM:<a@b.example>\r\nTURN\r\n" + rcpt,
		codes: "250 500 500 500 500 503"},
	{name: "ETRN and ATRN", source: "RFC 1985 §5", in: ehlo + "ETRN example.com\r\nATRN example.com\r\n", codes: "250 500 500"},
	{name: "WIZ and DEBUG", source: "CVE-1999-0095", in: "WIZ\r\nDEBUG\r\nSHOWQ\r\nKILL\r\n", codes: "500 500 500 500"},
	{name: "VRFY tells nothing", source: "RFC 5321 §7.3", in: ehlo + "VRFY root\r\nVRFY nobody-here\r\nEXPN staff\r\n",
		codes: "250 252 252 502"},
	{name: "LHLO", source: "RFC 2033 §4.1", in: "LHLO client.example\r\n" + mail, codes: "500 503"},
	{name: "XCLIENT from a stranger", source: "RFC 5321 §4.1.5", in: ehlo + "XCLIENT ADDR=127.0.0.1 LOGIN=ann\r\n" + mail,
		codes: "250 550 250"},
	{name: "XFORWARD", source: "RFC 5321 §4.1.5", in: ehlo + "XFORWARD ADDR=127.0.0.1\r\n", codes: "250 500"},
	{name: "PROXY from a stranger", source: "RFC 5321 §4.1.5", in: "PROXY TCP4 127.0.0.1 127.0.0.1 25 25\r\n" + ehlo + mail,
		codes: "500 250 250"},
}

// restVectors: after a refusal at the final dot nothing is left of the transaction (RFC 5321 §4.1.1.4).
func restVectors() []vector {
	var list []vector
	after := mail + data // had a recipient been left, DATA would be answered 354
	for _, r := range []struct {
		name  string
		codes string
		body  string
		set   func(*Server, *desk)
	}{
		{"accepted", "250", body, nil},
		{"refused with 550", "550", body, refusing(550)},
		{"refused with 451", "451", body, refusing(451)},
		{"refused with 552 unread", "552", body, deafAnd(552)},
		{"no reply of the Handler counts as failed", "451", body, refusing(354)},
		{"reply with code 0", "451", body, refusing(0)},
		{"Handler with an error", "451", body, func(_ *Server, d *desk) {
			d.handle = func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) {
				return nil, errors.New("disk full")
			}
		}},
		{"too big", "552", strings.Repeat("x", 20) + "\r\n.\r\n", func(s *Server, _ *desk) { s.MaxSize, s.MaxDrain = 10, 1000 }},
		{"line too long", "554", strings.Repeat("x", 20) + "\r\n.\r\n", func(s *Server, _ *desk) { s.MaxLine = 10 }},
		{"header too long", "552", "A: " + strings.Repeat("x", 50) + "\r\n\r\n.\r\n", func(s *Server, _ *desk) { s.MaxHeader = 40 }},
		{"too many fields", "552", strings.Repeat("A: b\r\n", 5) + ".\r\n", func(s *Server, _ *desk) { s.MaxHeaderFields = 4 }},
	} {
		mails := []string(nil)
		if r.codes == "250" {
			mails = []string{taken1}
		}
		list = append(list,
			vector{name: r.name + ", then MAIL and DATA", source: "RFC 5321 §4.1.1.4", in: talked + data + r.body + after,
				codes: "250 250 250 354 " + r.codes + " 250 503", mails: mails, set: r.set},
			vector{name: r.name + ", then RCPT and DATA", source: "RFC 5321 §4.1.1.4", in: talked + data + r.body + rcpt + data,
				codes: "250 250 250 354 " + r.codes + " 503 503", mails: mails, set: r.set},
		)
	}
	return append(list, endVectors...)
}

// endVectors end the session with the reply to a message: what is pipelined behind it is no command.
var endVectors = []vector{
	{name: "421 of the Handler", source: "RFC 5321 §3.8", in: talked + data + body + mail + rcpt + data + body,
		codes: "250 250 250 354 421", closed: true, set: refusing(421)},
	{name: "521 of the Handler", source: "RFC 7504 §2", in: talked + data + body + mail + rcpt + data + body,
		codes: "250 250 250 354 521", closed: true, set: refusing(521)},
	{name: "panic of the Handler", source: "CWE-248", in: talked + data + body + mail + rcpt + data + body,
		codes: "250 250 250 354 451", closed: true, set: func(_ *Server, d *desk) {
			d.handle = func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) { panic("a bug") }
		}},
	{name: "refused greeting", source: "RFC 5321 §3.1", in: ehlo + mail + rcpt + data + "QUIT\r\n",
		codes: "554 503 503 503 503 221", closed: true, set: refusedGreeting},
	{name: "MAIL refused by the Handler", source: "RFC 5321 §3.3", in: talked + data, codes: "250 550 503 503",
		set: func(_ *Server, d *desk) {
			d.mail = func(context.Context, *Peer, *smtp.Envelope) error { return smtp.NewReply(550, "", "no") }
		}},
	{name: "RCPT refused by the Handler", source: "RFC 5321 §3.3", in: talked + data + rset + data, codes: "250 250 550 554 250 503",
		set: func(_ *Server, d *desk) {
			d.rcpt = func(*Peer, *smtp.Envelope, smtp.Recipient) error { return smtp.NewReply(550, "", "no") }
		}},
	{name: "reply with line ends", source: "CWE-93", in: talked + data + body + "NOOP\r\n", codes: "250 250 250 354 550 250",
		set: func(_ *Server, d *desk) {
			d.handle = func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) {
				return &smtp.Reply{Code: 550, Text: "no\r\n250 2.0.0 ok"}, nil
			}
		}},
}

// refusedGreeting refuses each client at its connection.
func refusedGreeting(_ *Server, d *desk) {
	d.connect = func(*Peer) error { return smtp.NewReply(554, "", "not you") }
}
