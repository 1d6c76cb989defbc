package server

import (
	"fmt"
	"strings"
)

// octets returns a chunk with its command.
func octets(content string) string { return fmt.Sprintf("BDAT %d\r\n%s", len(content), content) }

// final returns a last chunk with its command.
func final(content string) string { return fmt.Sprintf("BDAT %d LAST\r\n%s", len(content), content) }

// chunkedVectors: the octets of a chunk are never commands (RFC 3030 §2). If their number isn't known, the connection is
// closed. A message without one of its chunks is never accepted.
func chunkedVectors() []vector {
	const evil = "a\r\n.\r\nRSET\r\nMAIL FROM:<mallory@example.com>\r\nRCPT TO:<victim@example.net>\r\nBDAT 1 LAST\r\n!\r\n"
	var list []vector
	for _, c := range []struct{ command, source string }{
		{"BDAT", "RFC 3030 §2"}, {"BDAT ", "RFC 3030 §2"}, {"BDAT LAST", "RFC 3030 §2"}, {"BDAT .", "CVE-2017-16944"},
		{"BDAT -1", "RFC 3030 §2"}, {"BDAT -1 LAST", "CVE-2017-16943"}, {"BDAT +10 LAST", "RFC 3030 §2"}, {"BDAT 0x5", "RFC 3030 §2"},
		{"BDAT 1e2", "RFC 3030 §2"}, {"BDAT 10,0", "RFC 3030 §2"}, {"BDAT 10.0", "RFC 3030 §2"}, {"BDAT 10;LAST", "RFC 3030 §2"},
		{"BDAT 10LAST", "RFC 3030 §2"}, {"BDAT 10 LASTLY", "RFC 3030 §2"}, {"BDAT 10 LAS", "RFC 3030 §2"}, {"BDAT 10 FIRST", "RFC 3030 §2"},
		{"BDAT 10 LAST LAST", "RFC 3030 §2"}, {"BDAT 10 20", "RFC 3030 §2"}, {"BDAT  10", "RFC 3030 §2"}, {"BDAT 10  LAST", "RFC 3030 §2"},
		{"BDAT\t10", "RFC 3030 §2"}, {"BDAT 10\tLAST", "RFC 3030 §2"}, {"BDAT10", "RFC 3030 §2"}, {" BDAT 10", "RFC 3030 §2"},
		{"BDAT 10 LA\u017fT", "RFC 5321 §2.4"}, {"BDAT 10 \uff2c\uff21\uff33\uff34", "RFC 5321 §2.4"}, {"BDAT \u0661\u0660", "RFC 3030 §2"},
		{"BDAT \uff11\uff10", "RFC 3030 §2"}, {"BDAT 9223372036854775808", "RFC 3030 §2"}, {"BDAT 18446744073709551626 LAST", "RFC 3030 §2"},
		{"BDAT 4294967306x", "RFC 3030 §2"}, {"BDAT " + strings.Repeat("9", 100), "RFC 3030 §2"}, {"BDAT " + strings.Repeat("1", 600), "RFC 5321 §4.5.3.1.4"},
		{"BDAT 10\x00 LAST", "RFC 5321 §4.1.2"}, {"BDAT 10 LAST\x00", "RFC 5321 §4.1.2"}, {"BDAT\x0010", "RFC 5321 §4.1.2"},
		{"BDAT 10 LAST\n", "RFC 5321 §2.3.8"}, {"BDAT 10\rLAST", "RFC 5321 §2.3.8"}, {"BDAT 10 LAST\r", "RFC 5321 §2.3.8"},
		{"BDAT 10 LAST\nBDAT 1 LAST", "RFC 5321 §2.3.8"},
	} {
		list = append(list,
			vector{name: c.command, source: c.source, in: talked + c.command + "\r\n" + evil, codes: "250 250 250 501", closed: true},
			vector{name: c.command + " as second chunk", source: c.source, in: talked + octets("a\r\n") + c.command + "\r\n" + evil,
				codes: "250 250 250 250 501", closed: true},
			vector{name: c.command + " without a transaction", source: c.source, in: ehlo + c.command + "\r\n" + evil, codes: "250 501", closed: true},
		)
	}
	for _, content := range []string{evil, "\r\n.\r\n", ".\r\n", "QUIT\r\n", "..\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\r\n", "", "a", "\r\n"} {
		list = append(list,
			vector{name: "last chunk " + content, source: "RFC 3030 §2", in: talked + final(content), codes: "250 250 250 250", mails: []string{content},
				env: "ann@example.com>bob@example.net"},
			vector{name: "chunk, then no octets " + content, source: "RFC 3030 §2", in: talked + octets(content) + final(""),
				codes: "250 250 250 250 250", mails: []string{content}},
			vector{name: "discarded " + content, source: "RFC 3030 §2", in: ehlo + final(content), codes: "250 503"},
		)
	}
	for _, bad := range []struct{ first, last, source string }{
		{"a\n", "", "CVE-2023-51764"}, {"a\n.\n", evil, "CVE-2023-51764"}, {"a\r", "b", "RFC 5321 §2.3.8"}, {"a\r", "", "RFC 5321 §2.3.8"},
		{"a\r", "\r\n", "RFC 5321 §2.3.8"}, {"a", "\nb", "RFC 5321 §2.3.8"}, {"\x00", "a", "RFC 5322 §2.2"}, {"a\r\n.\r", "\r\n", "CVE-2023-51766"},
	} {
		codes := "250 250 250 521"
		if strings.HasSuffix(bad.first, "\r") || bad.first == "a" {
			codes = "250 250 250 250 521"
		}
		list = append(list, vector{name: "bad octets " + bad.first + " and " + bad.last, source: bad.source,
			in: talked + octets(bad.first) + final(bad.last) + evil, codes: codes, closed: true})
	}
	return append(append(list, chunkOrder...), chunkRest()...)
}

// chunkOrder: commands before, between and after chunks.
var chunkOrder = []vector{
	{name: "DATA behind BDAT", source: "RFC 3030 §2", in: talked + octets("a\r\n") + data + final("b\r\n"), codes: "250 250 250 250 503 250",
		mails: []string{"a\r\nb\r\n"}},
	{name: "DATA behind BDAT, with a body", source: "RFC 3030 §2", in: talked + octets("a\r\n") + data + "x\r\n.\r\n" + final("b\r\n"),
		codes: "250 250 250 250 503 500 500 250", mails: []string{"a\r\nb\r\n"}},
	{name: "DATA behind a refused BDAT", source: "CVE-2020-28019", in: ehlo + octets("abc") + data + "x\r\n", codes: "250 503 503 500"},
	{name: "DATA behind BDAT that had no recipient", source: "CVE-2020-28019", in: ehlo + mail + octets("abc") + rcpt + data,
		codes: "250 250 503 503 503"},
	{name: "BDAT behind DATA", source: "RFC 3030 §2", in: talked + data + "x\r\n.\r\n" + final("abc"), codes: "250 250 250 354 250 503",
		mails: []string{"x\r\n"}},
	{name: "MAIL between chunks", source: "RFC 3030 §2", in: talked + octets("a") + "MAIL FROM:<mallory@example.com>\r\n" + final("b"),
		codes: "250 250 250 250 503 250", mails: []string{"ab"}, env: "ann@example.com>bob@example.net"},
	{name: "RCPT between chunks", source: "RFC 3030 §2", in: talked + octets("a") + "RCPT TO:<victim@example.net>\r\n" + final("b"),
		codes: "250 250 250 250 503 250", mails: []string{"ab"}, env: "ann@example.com>bob@example.net"},
	{name: "RSET between chunks", source: "RFC 3030 §2", in: talked + octets("a") + rset + final("b"), codes: "250 250 250 250 250 503"},
	{name: "RSET between chunks, then a message", source: "CVE-2020-28019", in: talked + octets("a") + rset + mail + rcpt + final("b"),
		codes: "250 250 250 250 250 250 250 250", mails: []string{"b"}},
	{name: "RSET between chunks, then DATA", source: "CVE-2020-28019", in: talked + octets("a") + rset + mail + rcpt + data + "b\r\n.\r\n",
		codes: "250 250 250 250 250 250 250 354 250", mails: []string{"b\r\n"}},
	{name: "EHLO between chunks", source: "RFC 5321 §4.1.4", in: talked + octets("a") + ehlo + final("b"), codes: "250 250 250 250 250 503"},
	{name: "bad EHLO between chunks", source: "RFC 5321 §4.1.4", in: talked + octets("a") + "EHLO\r\n" + final("b"),
		codes: "250 250 250 250 501 250", mails: []string{"ab"}},
	{name: "RSET with an argument between chunks", source: "RFC 5321 §4.1.1.5", in: talked + octets("a") + "RSET x\r\n" + final("b"),
		codes: "250 250 250 250 501 250", mails: []string{"ab"}},
	{name: "QUIT between chunks", source: "RFC 3030 §2", in: talked + octets("a") + "QUIT\r\n" + final("b"), codes: "250 250 250 250 221",
		closed: true},
	{name: "NOOP between chunks", source: "RFC 3030 §2", in: talked + octets("a") + "NOOP\r\n" + final("b"), codes: "250 250 250 250 250 250",
		mails: []string{"ab"}},
	{name: "STARTTLS between chunks", source: "RFC 3207 §4", in: talked + octets("a") + startTLS + final("b"), codes: "250 250 250 250 503 250",
		mails: []string{"ab"}, set: withTLS},
	{name: "AUTH between chunks", source: "RFC 4954 §4", in: talked + octets("a") + plainLogin + final("b"), codes: "250 250 250 250 503 250",
		mails: []string{"ab"}, set: withAuth},
	{name: "HTTP between chunks", source: "CVE-2021-3618", in: talked + octets("a") + "GET / HTTP/1.1\r\n" + final("b"), codes: "250 250 250 250",
		closed: true},
	{name: "a ClientHello between chunks", source: "RFC 3207 §4", in: talked + octets("a") + "\x16\x03\x01\r\n" + final("b"), codes: "250 250 250 250",
		closed: true},
	{name: "leaves between chunks", source: "RFC 3030 §2", in: talked + octets("a") + leaves, codes: "250 250 250 250", closed: true},
	{name: "leaves within a chunk", source: "RFC 3030 §2", in: talked + "BDAT 10 LAST\r\nabc" + leaves, codes: "250 250 250", closed: true},
	{name: "leaves within a discarded chunk", source: "RFC 3030 §2", in: ehlo + "BDAT 10 LAST\r\nabc" + leaves, codes: "250", closed: true},
	{name: "leaves before the octets", source: "RFC 3030 §2", in: talked + "BDAT 10 LAST\r\n" + leaves, codes: "250 250 250", closed: true},
	{name: "STARTTLS behind the last chunk", source: "CVE-2011-0411", in: talked + final("a") + startTLS + ehlo, codes: "250 250 250 250 554",
		late: "250 250 250 250 220", mails: []string{"a"}, closed: true, set: withTLS},
	{name: "BDAT behind STARTTLS", source: "CVE-2011-0411", in: ehlo + startTLS + final(mail), codes: "250 554", late: "250 220", closed: true,
		set: withTLS},
	{name: "behind a bare LF", source: "RFC 5321 §2.3.8", in: talked + "NOOP\nBDAT 90 LAST\r\n" + mail + rcpt, codes: "250 250 250 501", closed: true},
	{name: "behind a bare LF, with one", source: "RFC 5321 §2.3.8", in: talked + "NOOP\nBDAT 90 LAST\n" + mail + rcpt, codes: "250 250 250 501",
		closed: true},
	{name: "behind a bare CR", source: "RFC 5321 §2.3.8", in: talked + "NOOP\rBDAT 90 LAST\r" + mail + rcpt, codes: "250 250 250 501", closed: true},
	{name: "behind a bare LF in a message in chunks", source: "RFC 5321 §2.3.8", in: talked + octets("a") + "NOOP\nBDAT 90 LAST\r\n" + mail + rcpt,
		codes: "250 250 250 250 501", closed: true},
	{name: "BDAT before EHLO", source: "RFC 5321 §4.1.4", in: final(mail) + "NOOP\r\n", codes: "503 250"},
	{name: "BDAT after HELO", source: "RFC 3030 §2", in: "HELO x\r\n" + mail + rcpt + final("a"), codes: "250 250 250 250", mails: []string{"a"}},
	{name: "chunks, then chunks of another message", source: "RFC 3030 §2", in: talked + final("a") + mail + rcpt + octets("b") + final("c"),
		codes: "250 250 250 250 250 250 250 250", mails: []string{"a", "bc"}},
	{name: "BINARYMIME not offered", source: "RFC 3030 §3", in: ehlo + "MAIL FROM:<ann@example.com> BODY=BINARYMIME\r\n" + rcpt + final("\x00\n"),
		codes: "250 555 503 503"},
	{name: "BINARYMIME", source: "RFC 3030 §3", in: ehlo + "MAIL FROM:<ann@example.com> BODY=BINARYMIME\r\n" + rcpt + octets("\x00\r") + final("\n\n.\n"),
		codes: "250 250 250 250 250", mails: []string{"\x00\r\n\n.\n"}, set: func(s *Server, _ *desk) { s.BinaryMIME = true }},
	{name: "BINARYMIME by DATA", source: "RFC 3030 §3", in: ehlo + "MAIL FROM:<ann@example.com> BODY=BINARYMIME\r\n" + rcpt + data + rset,
		codes: "250 250 250 503 250", set: func(s *Server, _ *desk) { s.BinaryMIME = true }},
	{name: "100,000 chunks of one octet", source: "RFC 3030 §2", in: talked + strings.Repeat("BDAT 1\r\nx", 100_000) + final("!"),
		codes: answers(100_004, "250"), mails: []string{strings.Repeat("x", 100_000) + "!"}},
	{name: "chunks without octets", source: "RFC 3030 §2", in: talked + strings.Repeat("BDAT 0\r\n", 150), codes: answers(101, "250") + " 421",
		closed: true},
	{name: "chunks without a transaction", source: "RFC 3030 §2", in: ehlo + strings.Repeat(octets("abc"), 50), codes: "250 " + answers(50, "503")},
	{name: "a chunk over any memory", source: "RFC 1870 §6.3", in: talked + "BDAT 9223372036854775807 LAST\r\n" + mail, codes: "250 250 250 552",
		closed: true},
	{name: "a discarded chunk over any memory", source: "RFC 3030 §2", in: ehlo + "BDAT 9223372036854775807\r\n" + mail, codes: "250 503",
		closed: true},
	{name: "sizes whose sum overflows", source: "RFC 1870 §6.3", in: talked + octets("a") + "BDAT 9223372036854775807\r\n" + mail,
		codes: "250 250 250 250 552", closed: true},
	{name: "header over its bound", source: "CVE-2010-4344", in: talked + final("X: "+strings.Repeat("x", 100)+"\r\n") + mail, codes: "250 250 250 552 250",
		set: func(s *Server, _ *desk) { s.MaxHeader = 50 }},
	{name: "header over its bound, in chunks", source: "CVE-2010-4344", in: talked + octets("X: "+strings.Repeat("x", 40)) + octets(strings.Repeat("x", 20)) +
		final("\r\n") + mail, codes: "250 250 250 250 552 503 250", set: func(s *Server, _ *desk) { s.MaxHeader = 50 }},
}

// chunkRest: after a refused chunk nothing is left of the transaction, and what follows of its message is discarded.
func chunkRest() []vector {
	var list []vector
	for _, r := range []struct {
		name  string
		codes string // of two chunks
		set   func(*Server, *desk)
	}{
		{"refused with 550", "250 550", refusing(550)},
		{"refused with 451", "250 451", refusing(451)},
		{"refused unread", "552 503", deafAnd(552)},
		{"too big", "250 552", func(s *Server, _ *desk) { s.MaxSize, s.MaxDrain = 5, 1000 }},
		{"line too long", "250 554", func(s *Server, _ *desk) { s.MaxLine = 5 }},
	} {
		list = append(list,
			vector{name: r.name + ", then MAIL and a chunk", source: "CVE-2020-28019", in: talked + octets("abc") + final("def") + mail + final("x"),
				codes: "250 250 250 " + r.codes + " 250 503", set: r.set},
			vector{name: r.name + ", then RCPT and DATA", source: "CVE-2020-28019", in: talked + octets("abc") + final("def") + rcpt + data,
				codes: "250 250 250 " + r.codes + " 503 503", set: r.set},
			vector{name: r.name + ", then a chunk of commands", source: "CVE-2020-28019", in: talked + octets("abc") + final("def") + final(talked),
				codes: "250 250 250 " + r.codes + " 503", set: r.set},
		)
	}
	return append(list,
		vector{name: "accepted unread", source: "RFC 3030 §2", in: talked + octets("abc") + final("def") + mail + data,
			codes: "250 250 250 250 250 250 503", set: deafAnd(250)},
		vector{name: "accepted unread, with bad octets later", source: "CVE-2023-51764", in: talked + octets("abc") + octets("\n.\n") + final(talked),
			codes: "250 250 250 250 521", closed: true, set: deafAnd(250)},
		vector{name: "accepted unread, with a bad command later", source: "RFC 3030 §2", in: talked + octets("abc") + "BDAT x LAST\r\n" + talked,
			codes: "250 250 250 250 501", closed: true, set: deafAnd(250)},
		vector{name: "accepted unread, then too big", source: "RFC 1870 §6.3", in: talked + octets("abc") + final("defghi") + mail + data,
			codes: "250 250 250 250 552 250 503", set: func(s *Server, d *desk) { deafAnd(250)(s, d); s.MaxSize, s.MaxDrain = 5, 1000 }},
		vector{name: "accepted unread, then given up", source: "RFC 3030 §2", in: talked + octets("abc") + rset + mail + data,
			codes: "250 250 250 250 250 250 503", set: deafAnd(250)},
		vector{name: "421 at the first chunk", source: "RFC 5321 §3.8", in: talked + octets("abc") + final(mail) + mail, codes: "250 250 250 421", closed: true,
			set: deafAnd(421)},
		vector{name: "refused greeting, then a chunk", source: "RFC 5321 §3.1", in: final(talked) + ehlo + "QUIT\r\n",
			codes: "554 503 503 221", closed: true, set: refusedGreeting},
	)
}
