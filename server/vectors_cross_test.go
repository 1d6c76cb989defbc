package server

import "strings"

// crossVectors: a client of another protocol is closed, or gets errors until it is (CVE-2021-3618, ALPACA). What its
// request holds is no command. A browser would send it.
func crossVectors() []vector {
	const hidden = "\r\nHost: mx.test\r\n\r\nEHLO x\r\nMAIL FROM:<mallory@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"
	var list []vector
	for _, request := range []string{
		"GET / HTTP/1.1", "GET / HTTP/1.0", "GET /", "POST / HTTP/1.1", "POST /%0d%0aEHLO HTTP/1.1", "PUT / HTTP/1.1", "HEAD / HTTP/1.1",
		"DELETE / HTTP/1.1", "OPTIONS * HTTP/1.1", "PATCH / HTTP/1.1", "TRACE / HTTP/1.1", "CONNECT mx.test:25 HTTP/1.1",
		"PROPFIND / HTTP/1.1", "M-SEARCH * HTTP/1.1", "PRI * HTTP/2.0", "EHLO / HTTP/1.1", "MAIL / HTTP/1.1", "NOOP / HTTP/1.1",
	} {
		list = append(list,
			vector{name: request, source: "CVE-2021-3618", in: request + hidden, closed: true},
			vector{name: request + " after EHLO", source: "CVE-2021-3618", in: ehlo + request + hidden, codes: "250", closed: true},
		)
	}
	list = append(list,
		vector{name: "HTTP in TLS", source: "CVE-2021-3618", in: ehlo + startTLS + handshake + "POST / HTTP/1.1" + hidden, codes: "250 220",
			closed: true, set: withTLS},
		vector{name: "HTTP in a transaction", source: "CVE-2021-3618", in: talked + "POST / HTTP/1.1" + hidden, codes: "250 250 250",
			closed: true},
		vector{name: "HTTP as a response of AUTH", source: "CVE-2021-3618", in: ehlo + "AUTH LOGIN\r\nGET / HTTP/1.1" + hidden, codes: "250 334",
			closed: true, set: mustAuth},
		vector{name: "HTTP after a refused message", source: "CVE-2021-3618", in: talked + data + body + "POST / HTTP/1.1" + hidden,
			codes: "250 250 250 354 550", closed: true, set: refusing(550)},
		vector{name: "HTTP in a message", source: "RFC 5321 §4.1.1.4", in: talked + data + "POST / HTTP/1.1\r\n.\r\n", codes: "250 250 250 354 250",
			mails: []string{"POST / HTTP/1.1\r\n"}},
		vector{name: "HTTP behind a bare LF", source: "CVE-2021-3618", in: "X\nGET / HTTP/1.1" + hidden, closed: true},
		vector{name: "HTTP behind a bare CR", source: "CVE-2021-3618", in: "X\rGET / HTTP/1.1" + hidden, closed: true},
		vector{name: "long line of another method", source: "CVE-2021-3618", in: "PROPFIND /" + strings.Repeat("a", 20_000) + " HTTP/1.1" + hidden,
			closed: true},
		vector{name: "long line of another method, with its version over the buffer's end", source: "CVE-2021-3618",
			in: "PROPFIND /" + strings.Repeat("a", inSize-13) + " HTTP/1.1" + hidden, closed: true},
		vector{name: "long HTTP line", source: "CVE-2021-3618", in: "GET /" + strings.Repeat("a", 20_000) + " HTTP/1.1" + hidden, closed: true},
		vector{name: "HTTP/2 preface", source: "RFC 9113 §3.4", in: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", closed: true},
		vector{name: "ClientHello on the clear port", source: "RFC 3207 §4", in: "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\nEHLO x\r\n" + mail,
			closed: true},
		vector{name: "ClientHello after EHLO", source: "RFC 3207 §4", in: ehlo + "\x16\x03\x01\x00\xa5\x01\r\n" + mail, codes: "250", closed: true},
		vector{name: "SSLv2 ClientHello", source: "RFC 8446 §5.1", in: "\x80\x2e\x01\x03\x01\x00\x15\r\n", codes: "500"},
		vector{name: "SSH", source: "RFC 4253 §4.2", in: "SSH-2.0-OpenSSH_9.2\r\n", codes: "500"},
		vector{name: "IMAP", source: "RFC 9051 §6.2.3", in: "a1 LOGIN ann secret\r\na2 APPEND x {5}\r\nhello\r\n", codes: "500 500 500"},
		vector{name: "POP3", source: "RFC 1939 §7", in: "USER ann\r\nPASS secret\r\nRETR 1\r\nQUIT\r\n", codes: "500 500 500 221", closed: true},
		vector{name: "FTP", source: "CVE-2021-3618", in: "USER x\r\nPORT 10,0,0,1,0,25\r\nSTOR EHLO\r\n", codes: "500 500 500"},
		vector{name: "Redis", source: "CWE-918", in: "*1\r\n$4\r\nINFO\r\nSLAVEOF x 1\r\n", codes: "500 500 500 500"},
		vector{name: "memcached", source: "CWE-918", in: "set x 0 0 4\r\nNOOP\r\n", codes: "500 250"},
		vector{name: "SIP", source: "CVE-2021-3618", in: "INVITE sip:a@b.example SIP/2.0\r\nVia: SIP/2.0/TCP x\r\n\r\n", codes: "500 500 500"},
		vector{name: "RTSP", source: "CVE-2021-3618", in: "DESCRIBE rtsp://x RTSP/1.0\r\nCSeq: 1\r\n\r\n", codes: "500 500 500"},
		vector{name: "Gopher", source: "CWE-918", in: "/\r\n", codes: "500"},
		vector{name: "LDAP", source: "RFC 4511 §4.2", in: "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00\r\n", codes: "500"},
		vector{name: "RDP", source: "CWE-918", in: "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00\r\n", codes: "500"},
		vector{name: "telnet options", source: "RFC 854", in: "\xff\xfd\x03\xff\xfb\x18\r\nNOOP\r\n", codes: "500 250"},
		vector{name: "PROXY v2", source: "RFC 5321 §4.1.5", in: "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x00\x19\x00\x19\r\n",
			codes: "500 500 500 500"},
	)
	return list
}
