package server

import (
	"context"
	"strings"
)

// withCheck has a Check look at each message, so that its header is split into fields.
func withCheck(s *Server, _ *desk) {
	s.Checks = []Check{{Name: "looks", Trusted: true, Content: func(context.Context, *Session, *Message) error { return nil }}}
}

// contentVectors: the header and the body are passed on unchanged, however odd they are. None of them costs more than
// its octets.
func contentVectors() []vector {
	var list []vector
	// An mbox line and a BOM before the header are removed with a check, which needs to read it.
	for _, c := range []struct{ name, source, content string }{
		{"no header", "RFC 5322 §3.5", "\r\nhello\r\n"},
		{"no body", "RFC 5322 §2.1", "Subject: x\r\n"},
		{"text without a header", "RFC 5322 §2.2", "hello\r\nSubject: x\r\n\r\n"},
		{"a line that is no field in the header", "RFC 5322 §2.2", "Subject: x\r\nhello\r\nTo: y\r\n\r\n"},
		{"a header that begins with a space", "RFC 5322 §2.2", " x\r\nSubject: y\r\n\r\n"},
		{"an mbox line", "RFC 4155", "From ann@example.com Mon Jan  1 00:00:00 2024\r\nSubject: x\r\n\r\n"},
		{"fields without a name", "RFC 5322 §2.2", ": x\r\n: y\r\n\r\n"},
		{"space before the colon", "RFC 5322 §4.5", "Subject : x\r\n\r\n"},
		{"8-bit header", "RFC 6532 §3", "Subject: \xff\xfe\xfd\r\n\xff: x\r\n\r\n"},
		{"a long name", "RFC 5322 §2.2", strings.Repeat("A", 990) + ": x\r\n\r\n"},
		{"a line of 1500 octets", "RFC 5321 §4.5.3.1.6", "Subject: x\r\n\r\n" + strings.Repeat("x", 1500) + "\r\n"},
		{"a line of 100,000 octets", "RFC 5321 §4.5.3.1.6", "Subject: x\r\n\r\n" + strings.Repeat("x", 100_000) + "\r\n"},
		{"a folded line of spaces only", "RFC 5322 §4.2", "Subject: x\r\n   \r\n\t\r\n y\r\n\r\n"},
		{"nested comments", "CVE-2002-1337", "To: " + strings.Repeat("(", 900) + strings.Repeat(")", 900) + "\r\n\r\n"},
		{"open comments", "CVE-2002-1337", "To: " + strings.Repeat("(", 50_000) + "\r\n\r\n"},
		{"nested angle brackets", "CVE-2002-1337", "From: " + strings.Repeat("<><>", 400) + "\r\n\r\n"},
		{"nested groups", "RFC 5322 §3.4", "To: " + strings.Repeat("a:", 30_000) + strings.Repeat(";", 30_000) + "\r\n\r\n"},
		{"encoded words", "RFC 2047 §5", "Subject: " + strings.Repeat("=?utf-8?q?=0D=0ABcc:x?= ", 60) + "\r\n\r\n"},
		{"nested parts", "RFC 2046 §5.1", nested(1000)},
		{"nested messages", "RFC 2046 §5.2.1", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 2000)},
		{"a boundary of a dot", "RFC 2046 §5.1.1", "Content-Type: multipart/mixed; boundary=\".\"\r\n\r\n--.\r\n\r\n--.--\r\n"},
		{"continued parameters", "CVE-2024-39929", "Content-Disposition: attachment; filename*0=\"a\r\n b\"; filename*1=\"c.exe\"\r\n\r\n"},
		{"a MIME bomb of boundaries", "RFC 2046 §5.1", "Content-Type: multipart/mixed; boundary=a\r\n\r\n" + strings.Repeat("--a\r\n\r\n", 20_000)},
		{"100 Received", "RFC 5321 §6.3", strings.Repeat("Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n", 100) + "\r\n"},
		{"Received of 500 lines", "RFC 5321 §6.3", "Received: from a\r\n" + strings.Repeat(" by b\r\n", 500) + "\r\n"},
		{"two From", "RFC 5322 §3.6", "From: a@b.example\r\nFrom: c@d.example\r\n\r\n"},
		{"control characters in the body", "RFC 5321 §2.3.8", "\r\n" + "\x01\x02\x03\x07\x08\x0b\x0c\x1b\x7f\r\n"},
		{"dots at each line", "RFC 5321 §4.5.2", "\r\n" + strings.Repeat(" .\r\n", 100)},
		{"BOM", "RFC 5322 §2.2", "\xef\xbb\xbfSubject: x\r\n\r\n"},
		{"no line end at all", "RFC 5321 §4.1.1.4", ""},
	} {
		mails := []string{c.content}
		list = append(list,
			vector{name: c.name, source: c.source, in: talked + data + c.content + ".\r\n", codes: "250 250 250 354 250", mails: mails},
			vector{name: c.name + ", with a check", source: c.source, in: talked + data + c.content + ".\r\n", codes: "250 250 250 354 250",
				mails: []string{withoutMark(c.content)}, set: withCheck},
		)
	}
	return append(list,
		vector{name: "results of our own", source: "RFC 8601 §5", in: talked + data + "Authentication-Results: mx.test; spf=pass\r\n" +
			"authentication-results:\r\n mx.test; dkim=pass\r\nSubject: x\r\n\r\n.\r\n", codes: "250 250 250 354 250",
			mails: []string{"Subject: x\r\n\r\n"}, set: withCheck},
		vector{name: "a loop of 1,001 Received", source: "RFC 5321 §6.3", in: talked + data + strings.Repeat("Received: x\r\n", 1001) + "\r\n.\r\n",
			codes: "250 250 250 354 552"},
	)
}

// nested returns a multipart in a multipart, n times.
func nested(n int) string {
	part := "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n"
	return strings.Repeat(part, n) + "\r\nx\r\n" + strings.Repeat("--a--\r\n", n)
}

// withoutMark returns the content without what is before its header.
func withoutMark(content string) string {
	if line, rest, ok := strings.Cut(content, "\r\n"); ok && strings.HasPrefix(line, "From ") {
		return rest
	}
	return strings.TrimPrefix(content, "\ufeff")
}
