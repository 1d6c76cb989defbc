package server

import "strings"

// withAuth offers PLAIN, LOGIN, SCRAM-SHA-256, OAUTHBEARER and XOAUTH2 without TLS.
func withAuth(s *Server, _ *desk) {
	s.Authenticate, s.StoredCredentials, s.CheckToken, s.AllowInsecureAuth = authenticate, stored, checkToken, true
}

func mustAuth(s *Server, d *desk) {
	withAuth(s, d)
	s.RequireAuth = true
}

// plainLogin is AUTH with the password of ann.
var plainLogin = "AUTH PLAIN " + b64("\x00ann\x00secret") + "\r\n"

// authVectors: only a whole exchange with the right password authenticates, and MAIL is refused before it.
var authVectors = []vector{
	{name: "PLAIN", source: "RFC 4616 §2", in: ehlo + plainLogin + mail, codes: "250 235 250", set: mustAuth},
	{name: "PLAIN in two steps", source: "RFC 4954 §4", in: ehlo + "AUTH PLAIN\r\n" + b64("\x00ann\x00secret") + "\r\n" + mail,
		codes: "250 334 235 250", set: mustAuth},
	{name: "LOGIN", source: "RFC 4954 §4", in: ehlo + "AUTH LOGIN\r\n" + b64("ann") + "\r\n" + b64("secret") + "\r\n" + mail,
		codes: "250 334 334 235 250", set: mustAuth},
	{name: "wrong password", source: "RFC 4954 §6", in: ehlo + "AUTH PLAIN " + b64("\x00ann\x00wrong") + "\r\n" + mail,
		codes: "250 535 530", set: mustAuth},
	{name: "password in other case", source: "RFC 4616 §2", in: ehlo + "AUTH PLAIN " + b64("\x00ann\x00Secret") + "\r\n" + mail,
		codes: "250 535 530", set: mustAuth},
	{name: "longer password", source: "RFC 4616 §2", in: ehlo + "AUTH PLAIN " + b64("\x00ann\x00secret ") + "\r\n" + mail,
		codes: "250 535 530", set: mustAuth},
	{name: "no password", source: "RFC 4616 §2", in: ehlo + "AUTH PLAIN " + b64("\x00ann\x00") + "\r\n" + mail,
		codes: "250 501 530", set: mustAuth},
	{name: "no username", source: "RFC 4616 §2", in: ehlo + "AUTH PLAIN " + b64("\x00\x00secret") + "\r\n" + mail,
		codes: "250 501 530", set: mustAuth},
	{name: "NUL in the password", source: "RFC 4616 §2", in: ehlo + "AUTH PLAIN " + b64("\x00ann\x00secret\x00x") + "\r\n" + mail,
		codes: "250 501 530", set: mustAuth},
	{name: "another identity", source: "RFC 4616 §2", in: ehlo + "AUTH PLAIN " + b64("root\x00ann\x00secret") + "\r\n" + mail,
		codes: "250 535 530", set: mustAuth},
	{name: "not UTF-8", source: "RFC 4616 §2", in: ehlo + "AUTH PLAIN " + b64("\x00\xff\xfe\x00secret") + "\r\n" + mail,
		codes: "250 501 530", set: mustAuth},
	{name: "empty response", source: "RFC 4954 §4", in: ehlo + "AUTH PLAIN =\r\n" + mail, codes: "250 501 530", set: mustAuth},
	{name: "empty line as response", source: "RFC 4954 §4", in: ehlo + "AUTH PLAIN\r\n\r\n" + mail, codes: "250 334 501 530",
		set: mustAuth},
	{name: "no base64", source: "RFC 4954 §4", in: ehlo + "AUTH PLAIN !!!!\r\n" + mail, codes: "250 501 530", set: mustAuth},
	{name: "base64 without its padding", source: "RFC 4954 §4", in: ehlo + "AUTH PLAIN AGFubgBzZWNyZXQ\r\n" + mail,
		codes: "250 501 530", set: mustAuth},
	{name: "base64 of 1 octet less", source: "CVE-2018-6789", in: ehlo + "AUTH PLAIN AGFubgBzZWNyZ\r\n" + mail,
		codes: "250 501 530", set: mustAuth},
	{name: "base64 with an end in the middle", source: "CVE-2018-6789", in: ehlo + "AUTH PLAIN AGE=AGE=\r\n" + mail,
		codes: "250 501 530", set: mustAuth},
	{name: "base64 of the URL alphabet", source: "RFC 4954 §4", in: ehlo + "AUTH PLAIN AG-_\r\n" + mail,
		codes: "250 501 530", set: mustAuth},
	{name: "cancelled", source: "RFC 4954 §4", in: ehlo + "AUTH PLAIN\r\n*\r\n" + mail, codes: "250 334 501 530", set: mustAuth},
	{name: "LOGIN cancelled", source: "RFC 4954 §4", in: ehlo + "AUTH LOGIN\r\n" + b64("ann") + "\r\n*\r\n" + mail,
		codes: "250 334 334 501 530", set: mustAuth},
	{name: "MAIL as response", source: "RFC 4954 §4", in: ehlo + "AUTH PLAIN\r\n" + mail + rcpt, codes: "250 334 501 503",
		set: mustAuth},
	{name: "NOOP as name, then QUIT", source: "RFC 4954 §4", in: ehlo + "AUTH LOGIN\r\nNOOP\r\nQUIT\r\n" + mail,
		codes: "250 334 501 221", closed: true, set: mustAuth},
	{name: "a bare LF in a response", source: "RFC 5321 §2.3.8", in: ehlo + "AUTH PLAIN\r\nAGFu\nbgBzZWNyZXQ=\r\n" + mail,
		codes: "250 334 500 530", set: mustAuth},
	{name: "NUL in a response", source: "RFC 4954 §4", in: ehlo + "AUTH PLAIN\r\nAGFu\x00bgBzZWNyZXQ=\r\n" + mail,
		codes: "250 334 501 530", set: mustAuth},
	{name: "leaves in the exchange", source: "RFC 4954 §4", in: ehlo + "AUTH LOGIN\r\n" + b64("ann") + "\r\n" + leaves,
		codes: "250 334 334", closed: true, set: mustAuth},
	{name: "initial response over the line", source: "RFC 4954 §4", in: ehlo + "AUTH PLAIN " + strings.Repeat("A", 12300) + "\r\n" +
		mail, codes: "250 500 530", set: mustAuth},
	{name: "response over the line", source: "CVE-2018-6789", in: ehlo + "AUTH PLAIN\r\n" + strings.Repeat("A", 12300) + "\r\n" +
		mail, codes: "250 334 500 530", set: mustAuth},
	{name: "twice", source: "RFC 4954 §4", in: ehlo + plainLogin + plainLogin + mail, codes: "250 235 503 250", set: mustAuth},
	{name: "in a transaction", source: "RFC 4954 §4", in: talked + plainLogin + data + body, codes: "250 250 250 503 354 250",
		mails: []string{taken1}, set: withAuth},
	{name: "before EHLO", source: "RFC 4954 §4", in: plainLogin, codes: "503", set: mustAuth},
	{name: "after HELO", source: "RFC 4954 §4", in: "HELO client.example\r\n" + plainLogin, codes: "250 503", set: mustAuth},
	{name: "not offered", source: "RFC 4954 §4", in: ehlo + plainLogin + mail, codes: "250 502 250"},
	{name: "no mechanism", source: "RFC 4954 §4", in: ehlo + "AUTH\r\n" + mail, codes: "250 504 530", set: mustAuth},
	{name: "EXTERNAL", source: "CVE-2023-42115", in: ehlo + "AUTH EXTERNAL " + b64("ann") + "\r\n" + mail, codes: "250 504 530",
		set: mustAuth},
	{name: "NTLM", source: "CVE-2023-42116", in: ehlo + "AUTH NTLM TlRMTVNTUAABAAAA\r\n" + mail, codes: "250 504 530",
		set: mustAuth},
	{name: "ANONYMOUS", source: "RFC 4505 §3", in: ehlo + "AUTH ANONYMOUS " + b64("x") + "\r\n" + mail, codes: "250 504 530",
		set: mustAuth},
	{name: "CRAM-MD5", source: "RFC 6331 §1", in: ehlo + "AUTH CRAM-MD5\r\nAUTH DIGEST-MD5\r\n" + mail, codes: "250 504 504 530",
		set: mustAuth},
	{name: "a long mechanism", source: "RFC 4422 §3.1", in: ehlo + "AUTH " + strings.Repeat("A", 1000) + " x\r\n" + mail,
		codes: "250 504 530", set: mustAuth},
	{name: "another mechanism after a failure", source: "CVE-2011-1720", in: ehlo + "AUTH LOGIN\r\n*\r\nAUTH PLAIN " +
		b64("\x00ann\x00wrong") + "\r\n" + plainLogin + mail, codes: "250 334 501 535 235 250", set: mustAuth},
	{name: "EHLO keeps the user", source: "RFC 4954 §4", in: ehlo + plainLogin + ehlo + mail, codes: "250 235 250 250",
		set: mustAuth},
	{name: "RSET keeps the user", source: "RFC 4954 §4", in: ehlo + plainLogin + rset + mail, codes: "250 235 250 250",
		set: mustAuth},
	{name: "MAIL before AUTH", source: "RFC 4954 §6", in: talked + data, codes: "250 530 503 503", set: mustAuth},
	{name: "BDAT before AUTH", source: "RFC 4954 §6", in: talked + "BDAT 3 LAST\r\nabc", codes: "250 530 503 503", set: mustAuth},
	{name: "SCRAM with a made-up proof", source: "RFC 5802 §5.1", in: ehlo + "AUTH SCRAM-SHA-256 " + b64("n,,n=ann,r=abc") +
		"\r\n" + b64("c=biws,r=abc,p=AAAA") + "\r\n" + mail, codes: "250 334 501 530", set: mustAuth},
	{name: "SCRAM that ends at once", source: "RFC 5802 §5.1", in: ehlo + "AUTH SCRAM-SHA-256 " + b64("n,,n=ann,r=abc") +
		"\r\n\r\n" + mail, codes: "250 334 501 530", set: mustAuth},
	{name: "SCRAM-PLUS without TLS", source: "RFC 5802 §6", in: ehlo + "AUTH SCRAM-SHA-256-PLUS " + b64("p=tls-exporter,,n=ann,r=a") +
		"\r\n" + mail, codes: "250 504 530", set: mustAuth},
	{name: "OAUTHBEARER with a bad token", source: "RFC 7628 §3.2.3", in: ehlo + "AUTH OAUTHBEARER " +
		b64("n,a=ann,\x01auth=Bearer bad\x01\x01") + "\r\nAQ==\r\n" + mail, codes: "250 334 535 530", set: mustAuth},
	{name: "XOAUTH2 for another user", source: "RFC 7628 §3.2.3", in: ehlo + "AUTH XOAUTH2 " +
		b64("user=root\x01auth=Bearer good\x01\x01") + "\r\n\r\n" + mail, codes: "250 334 535 530", set: mustAuth},
	{name: "MAIL with AUTH of a stranger", source: "RFC 4954 §5", in: ehlo + "MAIL FROM:<ann@example.com> AUTH=root@example.com\r\n" +
		rcpt + data + body, codes: "250 250 250 354 250", mails: []string{taken1}, check: authIsUnknown},
	{name: "MAIL with line ends in AUTH", source: "CVE-2020-28021", in: ehlo + "MAIL FROM:<ann@example.com> AUTH=a+0D+0A@b.example\r\n" +
		rcpt + data + body, codes: "250 250 250 354 250", mails: []string{taken1}, check: authIsUnknown},
}
