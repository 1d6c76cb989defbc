package server

import "strings"

// smuggled is a second message, which an end that isn't one would let in.
const smuggled = "MAIL FROM:<mallory@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nsmuggled\r\n"

// smuggleVectors: only CRLF.CRLF ends a message (RFC 5321 §4.1.1.4). After octets that some server takes for another
// end, the message is refused and the connection closed, or all of it is one message.
func smuggleVectors() []vector {
	var list []vector
	for _, bad := range []struct{ end, source string }{
		{"\n.\n", "CVE-2023-51764"},
		{"\n.\r\n", "CVE-2023-51765"},
		{"\r\n.\n", "CVE-2023-51766"},
		{"\r.\r", "CVE-2023-51764"},
		{"\r.\n", "CVE-2024-27305"},
		{"\r.\r\n", "CVE-2023-51747"},
		{"\n.\r", "RFC 5321 §2.3.8"},
		{"\r\n.\r", "RFC 5321 §2.3.8"},
		{"\r\n.\r\r\n", "RFC 5321 §2.3.8"},
		{"\r\r\n.\r\n", "RFC 5321 §2.3.8"},
		{"\n\n.\n\n", "CVE-2023-51764"},
		{"\n\n.\r\n", "CVE-2023-51765"},
		{"\r\n\n.\n\r\n", "RFC 5321 §2.3.8"},
		{"\n\r.\n\r", "RFC 5321 §2.3.8"},
		{"\r\n\r.\r\n", "RFC 5321 §2.3.8"},
		{"\n..\n", "RFC 5321 §2.3.8"},
		{"\r\n.\n\r\n", "RFC 5321 §2.3.8"},
		{"\r\n.\x00\r\n", "RFC 5321 §4.5.2"},
		{"\r\n\x00.\r\n", "RFC 5321 §4.5.2"},
		{"\r\n.\r\x00\n", "RFC 5321 §4.5.2"},
		{"\r\x00\n.\r\x00\n", "RFC 5321 §4.5.2"},
		{"\r\n.\r\n\x00", "RFC 5321 §4.1.1.4"},               // see below
		{"\x00\r\x00\n\x00.\x00\r\x00\n", "RFC 5321 §2.3.8"}, // UTF-16
		{"\n", "RFC 5321 §2.3.8"},
		{"\r", "RFC 5321 §2.3.8"},
		{"\x00", "RFC 5322 §2.2"},
	} {
		if bad.end == "\r\n.\r\n\x00" { // the true end, with garbage behind it
			list = append(list, vector{name: "NUL after the end", source: bad.source,
				in: talked + data + "a" + bad.end + "\r\n", codes: "250 250 250 354 250 500", mails: []string{"a\r\n"}})
			continue
		}
		list = append(list, vector{
			name: "end " + bad.end, source: bad.source, in: talked + data + "a" + bad.end + smuggled + ".\r\n",
			codes: "250 250 250 354 521", closed: true,
		})
	}
	for _, good := range []string{
		"\r\n. \r\n", "\r\n.\t\r\n", "\r\n ..\r\n", "\r\n .\r\n", "\r\n.a\r\n", "\r\n..\r\n", "\r\n...\r\n", "\v.\v", "\f.\f",
		"\r\n.\v\r\n", "\r\n.\x1a\r\n", "\r\n\x1a\r\n", "\r\n\x04\r\n", "\r\n.\x7f\r\n", "\r\n.\b\r\n", "\x8d\x8a.\x8d\x8a",
		"\u0085.\u0085", "\u2028.\u2028", "\u2029.\u2029", "\r\n\u200b.\r\n", "\r\n\ufeff.\r\n", "\r\n.\u00a0\r\n",
		"\r\n\u3002\r\n", "\r\n\uff0e\r\n", "\xc0\x8d\xc0\x8a.\xc0\x8d\xc0\x8a", "\xc4\x8d\xc4\x8a.\xc4\x8d\xc4\x8a",
		"\x15.\x15", "\x25.\x25", "+AA0ACg-.+AA0ACg-", "=0D=0A.=0D=0A", `\r\n.\r\n`, "%0d%0a.%0d%0a", "&#13;&#10;.&#13;&#10;",
		"\r\n=2E\r\n", "\r\n-.\r\n", "\r\nQUIT\r\n", "\r\nRSET\r\n", "\r\nBDAT 5 LAST\r\n", "\r\nSTARTTLS\r\n",
	} {
		body := "a" + good + smuggled
		list = append(list, vector{
			name: "no end " + good, source: "RFC 5321 §4.1.1.4", in: talked + data + body + ".\r\n",
			codes: "250 250 250 354 250", mails: []string{strings.ReplaceAll(body, "\r\n.", "\r\n")},
			env: "ann@example.com>bob@example.net",
		})
	}
	return append(list, beginVectors...)
}

// beginVectors have their end at the beginning: the first CRLF is that of DATA.
var beginVectors = []vector{
	{name: "empty", source: "RFC 5321 §4.1.1.4", in: talked + data + ".\r\n", codes: "250 250 250 354 250",
		mails: []string{""}},
	{name: "begins with .LF", source: "CVE-2023-51764", in: talked + data + ".\n" + smuggled + ".\r\n",
		codes: "250 250 250 354 521", closed: true},
	{name: "begins with .CR", source: "CVE-2023-51764", in: talked + data + ".\r" + smuggled + ".\r\n",
		codes: "250 250 250 354 521", closed: true},
	{name: "begins with LF.CRLF", source: "CVE-2023-51765", in: talked + data + "\n.\r\n" + smuggled + ".\r\n",
		codes: "250 250 250 354 521", closed: true},
	{name: "begins with CR.CRLF", source: "RFC 5321 §2.3.8", in: talked + data + "\r.\r\n" + smuggled + ".\r\n",
		codes: "250 250 250 354 521", closed: true},
	{name: "begins with ..CRLF", source: "RFC 5321 §4.5.2", in: talked + data + "..\r\n.\r\n",
		codes: "250 250 250 354 250", mails: []string{".\r\n"}},
	{name: "begins with a space", source: "RFC 5321 §4.1.1.4", in: talked + data + " .\r\n.\r\n",
		codes: "250 250 250 354 250", mails: []string{" .\r\n"}},
	{name: "two ends", source: "RFC 5321 §4.1.1.4", in: talked + data + "a\r\n.\r\n.\r\n",
		codes: "250 250 250 354 250 500", mails: []string{"a\r\n"}},
	{name: "no line end before the dot", source: "RFC 5321 §4.1.1.4", in: talked + data + "a.\r\n.\r\n",
		codes: "250 250 250 354 250", mails: []string{"a.\r\n"}},
	{name: "ends in CR", source: "RFC 5321 §4.1.1.4", in: talked + data + "a\r\n.\r" + leaves,
		codes: "250 250 250 354", closed: true},
	{name: "ends without its CRLF", source: "RFC 5321 §4.1.1.4", in: talked + data + "a\r\n." + leaves,
		codes: "250 250 250 354", closed: true},
	{name: "ends at LF", source: "RFC 5321 §4.1.1.4", in: talked + data + "a\n.\n" + leaves, codes: "250 250 250 354",
		closed: true},
	{name: "leaves within the message", source: "RFC 5321 §4.1.1.4", in: talked + data + "a\r\n" + leaves,
		codes: "250 250 250 354", closed: true},
	{name: "leaves after 354", source: "RFC 5321 §4.1.1.4", in: talked + data + leaves, codes: "250 250 250 354",
		closed: true},
	{name: "Handler that reads nothing", source: "CVE-2023-51764", in: talked + data + "a\n.\n" + smuggled + ".\r\n",
		codes: "250 250 250 354 521", closed: true, set: deafAnd(250)},
	{name: "Handler that refuses before reading", source: "CVE-2023-51764",
		in:    talked + data + "a\r\n.\r\n" + smuggled + ".\r\n",
		codes: "250 250 250 354 550 250 250 354 550", set: deafAnd(550)},
	{name: "behind a message too big", source: "CVE-2023-51764",
		in: talked + data + strings.Repeat("x", 120) + "\n.\n" + smuggled + ".\r\n", codes: "250 250 250 354 521", closed: true,
		set: func(s *Server, _ *desk) { s.MaxSize, s.MaxDrain = 100, 1000 }},
	{name: "behind a line too long", source: "CVE-2023-51766",
		in: talked + data + strings.Repeat("x", 120) + "\r\n\r.\r" + smuggled + ".\r\n", codes: "250 250 250 354 521",
		closed: true, set: func(s *Server, _ *desk) { s.MaxLine = 100 }},
	{name: "unread, behind a message too big", source: "CVE-2023-51764",
		in: talked + data + strings.Repeat("x", 120) + "\n.\n" + smuggled + ".\r\n", codes: "250 250 250 354 521", closed: true,
		set: deafWithin(550, 100, 0)},
	{name: "unread, behind a line too long", source: "CVE-2023-51764",
		in: talked + data + strings.Repeat("x", 120) + "\r\n\n.\n" + smuggled + ".\r\n", codes: "250 250 250 354 521",
		closed: true, set: deafWithin(550, 0, 100)},
	{name: "unread and accepted, behind a line too long", source: "CVE-2023-51764",
		in: talked + data + strings.Repeat("x", 120) + "\r\n\n.\n" + smuggled + ".\r\n", codes: "250 250 250 354 521",
		closed: true, set: deafWithin(250, 0, 100)},
}

// deafWithin is deafAnd with bounds of the content; 0 is none of its own.
func deafWithin(code, size, line int) func(*Server, *desk) {
	return func(s *Server, d *desk) {
		s.MaxSize, s.MaxLine, s.MaxDrain = int64(size), line, 1000
		deafAnd(code)(s, d)
	}
}

// lineVectors: only CRLF ends a command (RFC 5321 §2.3.8).
var lineVectors = []vector{
	{name: "NOOP LF", source: "RFC 5321 §2.3.8", in: "NOOP\nRSET\r\n", codes: "500"},
	{name: "NOOP CR", source: "RFC 5321 §2.3.8", in: "NOOP\rRSET\r\n", codes: "500"},
	{name: "CR CR LF", source: "RFC 5321 §2.3.8", in: "NOOP\r\r\n", codes: "500"},
	{name: "LF CR", source: "RFC 5321 §2.3.8", in: "NOOP\n\rNOOP\r\n", codes: "500"},
	{name: "LF before the CRLF", source: "RFC 5321 §2.3.8", in: "NOOP\n\r\n", codes: "500"},
	{name: "CR LF apart", source: "RFC 5321 §2.3.8", in: "NOOP\r \nNOOP\r\n", codes: "500"},
	{name: "command in MAIL", source: "RFC 5321 §2.3.8", in: ehlo + "MAIL FROM:<ann@example.com>\n" + rcpt + data,
		codes: "250 500 503"},
	{name: "command in MAIL by CR", source: "RFC 5321 §2.3.8", in: ehlo + "MAIL FROM:<ann@example.com>\r" + rcpt + data,
		codes: "250 500 503"},
	{name: "command in RCPT", source: "CVE-2020-28026", in: ehlo + mail + "RCPT TO:<bob@example.net>\nDATA\r\n" + data,
		codes: "250 250 500 503"},
	{name: "NUL in MAIL", source: "RFC 5321 §4.1.2", in: ehlo + "MAIL FROM:<ann@example.com>\x00\r\n" + rcpt,
		codes: "250 500 503"},
	{name: "NUL in RCPT", source: "RFC 5321 §4.1.2", in: ehlo + mail + "RCPT TO:<bob\x00@example.net>\r\n" + data,
		codes: "250 250 500 503"},
	{name: "NUL before a command", source: "RFC 5321 §4.1.2", in: "\x00NOOP\r\n", codes: "500"},
	{name: "NUL in EHLO", source: "RFC 5321 §4.1.1.1", in: "EHLO client\x00.example\r\n" + mail, codes: "500 503"},
	{name: "ESC in EHLO", source: "RFC 5321 §4.1.1.1", in: "EHLO \x1b[2J\r\n" + mail, codes: "500 503"},
	{name: "DEL in MAIL", source: "RFC 5321 §4.1.2", in: ehlo + "MAIL FROM:<a\x7f@example.com>\r\n", codes: "250 500"},
	{name: "tab in MAIL", source: "RFC 5321 §4.1.2", in: ehlo + "MAIL\tFROM:<ann@example.com>\r\n" + rcpt,
		codes: "250 500 503"},
	{name: "DATA LF", source: "RFC 5321 §2.3.8", in: talked + "DATA\nSubject: x\r\n.\r\n", codes: "250 250 250 500 500"},
	{name: "empty line", source: "RFC 5321 §4.1.1", in: "\r\n", codes: "500"},
	{name: "space alone", source: "RFC 5321 §4.1.1", in: " \r\n", codes: "500"},
	{name: "half a command, then the end", source: "RFC 5321 §2.3.8", in: talked + "DATA\r" + leaves,
		codes: "250 250 250", closed: true},
	{name: "QUIT without CRLF", source: "RFC 5321 §2.3.8", in: ehlo + "QUIT" + leaves, codes: "250", closed: true},
	{name: "commands behind QUIT", source: "RFC 5321 §4.1.1.10", in: ehlo + "QUIT\r\n" + mail + rcpt + data + body,
		codes: "250 221", closed: true},
	{name: "line of 512", source: "RFC 5321 §4.5.3.1.4", in: "NOOP " + strings.Repeat("x", 505) + "\r\n", codes: "250"},
	{name: "line of 513", source: "RFC 5321 §4.5.3.1.4", in: "NOOP " + strings.Repeat("x", 506) + "\r\n", codes: "500"},
}
