package client

import (
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/mx"
)

// Pieces of villains' scripts, beside those of TestTransport.
const (
	plainHello = "S: 220 hi\nC: EHLO\nS: 250 host\n" // no extensions
	greeted    = "S: 220 hi\nC: EHLO\n"
	pipelined  = "S: 250-host\nS: 250 PIPELINING\n"
	toOne      = "C: MAIL\nC: RCPT\nC: DATA\n" + ready
	inTurn     = "C: MAIL\nS: 250 ok\nC: RCPT\nS: 250 ok\nC: DATA\nS: 354 go\nmessage\nS: 250 taken\n" // without PIPELINING
	atOnce     = toOne + "message\n" + taken
)

var hostileGreetings = []hostileCase{
	{name: "silence", host: "", want: "no session greeting 451 local", takes: 5 * time.Minute},
	{name: "an octet a minute", host: "trickle 1m\nS: 220 hi", want: "no session greeting 451 local", takes: 5 * time.Minute},
	{name: "a line a minute", host: strings.Repeat("S: 220-hi\nflush\nsleep 1m\n", 9), want: "no session greeting 451 local", takes: 5 * time.Minute},
	{name: "a line of a megabyte", host: `repeat 1048576 "x"` + "\nS: \n", want: "no session greeting 451 local"},
	{name: "a line without end", host: `flood "xxxxxxxxxxxxxxxx"`, want: "no session greeting 451 local"},
	{name: "a 220 without end", host: "raw \"220 \"\n" + `flood "xxxxxxxxxxxxxxxx"`, want: "no session greeting 451 local"},
	{name: "lines without end", host: `flood "220-hi\r\n"`, want: "no session greeting 451 local"},
	{name: "long lines without end", host: `flood "220-` + strings.Repeat("x", 4000) + `\r\n"`, want: "no session greeting 451 local"},
	{name: "NULs without end", host: `flood "\x00\x00\x00\x00\x00\x00\x00\x00"`, want: "no session greeting 451 local"},
	{name: "a line of 4097 octets", host: "S: 220 " + strings.Repeat("x", 4091), want: "no session greeting 451 local"},
	{name: "a line of 4096 octets", host: "S: 220 " + strings.Repeat("x", 4090) + "\nC: EHLO\n" + pipelined + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "220 without text", host: "S: 220\nC: EHLO\n" + pipelined + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "220 of lines without text", host: "S: 220-\nS: 220\nC: EHLO\n" + pipelined + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "late, but in time", host: "sleep 299s\n" + greeted + pipelined + atOnce, want: "delivered final 250", ready: true, whole: 1, takes: 299 * time.Second},
	{name: "HTTP", host: "S: HTTP/1.1 400 Bad Request\nS: Connection: close\nS: \n", want: "no session greeting 451 local"},
	{name: "SSH", host: "S: SSH-2.0-OpenSSH_9.9", want: "no session greeting 451 local"},
	{name: "POP", host: "S: +OK hi", want: "no session greeting 451 local"},
	{name: "a TLS alert, and silence", host: `raw "\x15\x03\x01\x00\x02\x02\x28"`, want: "no session greeting 451 local", takes: 5 * time.Minute},
	{name: "NULs", host: `raw "\x00\x00\x00\r\n"`, want: "no session greeting 451 local"},
	{name: "a NUL in the code", host: `raw "22\x000 hi\r\n"`, want: "no session greeting 451 local"},
	{name: "a NUL in the text", host: `raw "220 h\x00i\r\n"` + "\nC: EHLO\n" + pipelined + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "8-bit", host: `raw "220 h\xfc\xff\r\n"` + "\nC: EHLO\n" + pipelined + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "8-bit digits", host: `raw "\xb2\xb20 hi\r\n"`, want: "no session greeting 451 local", takes: 5 * time.Minute},
	{name: "bare LF", host: `raw "220 hi\n"`, want: "no session greeting 451 local"},
	{name: "bare CR", host: `raw "220 hi\r250 host\r\n"`, want: "no session greeting 451 local"},
	{name: "bare LF between lines", host: `raw "220-hi\n220 hi\r\n"`, want: "no session greeting 451 local"},
	{name: "no space", host: "S: 220hi", want: "no session greeting 451 local"},
	{name: "a space too early", host: "S:  220 hi", want: "no session greeting 451 local", takes: 5 * time.Minute},
	{name: "the code changes", host: "S: 220-hi\nS: 554 no", want: "no session greeting 554", left: "QUIT"},
	{name: "the code changes to good", host: "S: 554-no\nS: 220 hi", want: "no session greeting 451 local"},
	{name: "421", host: "S: 421 busy", want: "no session greeting 421"},
	{name: "421 of lines", host: "S: 421-busy\nS: 421 4.3.2 later", want: "no session greeting 421"},
	{name: "450", host: "S: 450 later", want: "no session greeting 450", left: "QUIT"},
	{name: "554", host: "S: 554 no", want: "no session greeting 554", left: "QUIT"},
	{name: "554 and more", host: "S: 554 no\nS: 554 no, no", want: "no session greeting 554"},
	{name: "554 and 220", host: "S: 554 no\nS: 220 hi", want: "no session greeting 554"},
	{name: "999", host: "S: 999 hi", want: "no session greeting 451 local"},
	{name: "120", host: "S: 120 wait", want: "no session greeting 451 local"},
	{name: "250", host: "S: 250 hi\nC: EHLO\n" + pipelined + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "354", host: "S: 354 go", want: "no session greeting 451 local"},
	{name: "220 twice", host: "S: 220 hi\nS: 220 hi", want: "no session hello 451 local"},
	{name: "220 for EHLO, too", host: greeted + "S: 220 hi\n" + inTurn, want: "delivered final 250", ready: true, whole: 1},
	{name: "220 and 421", host: "S: 220 hi\nS: 421 busy", want: "no session hello 421"},
	{name: "closed before it", host: "close", want: "no session greeting 451 local"},
	{name: "closed in a line", host: `raw "220 h"` + "\nclose", want: "no session greeting 451 local"},
	{name: "closed between lines", host: "S: 220-hi\nclose", want: "no session greeting 451 local"},
	{name: "closed after it", host: greeted + "close", want: "no session hello 451 local"},
	{name: "EHLO answered with it", host: "S: 220 hi\n" + pipelined, want: "no session hello 451 local"},
	{name: "all answered with it", host: "S: 220 hi\n" + pipelined + ready + taken, want: "no session hello 451 local"},
	{name: "a session's beginning in the same line", host: `raw "220 hi\r\n250"`, want: "no session hello 451 local"},
}

var hostileHellos = []hostileCase{
	{name: "silence", host: greeted, want: "no session hello 451 local", takes: 5 * time.Minute},
	{name: "an octet every ten seconds", host: greeted + "trickle 10s\nS: 250-" + strings.Repeat("x", 60), want: "no session hello 451 local", takes: 5 * time.Minute},
	{name: "lines without end", host: greeted + `flood "250-X\r\n"`, want: "no session hello 451 local"},
	{name: "thousands of extensions", host: greeted + "S: 250-host\nrepeat 5000 \"250-X-MANY\\r\\n\"\nS: 250 PIPELINING", want: "no session hello 451 local"},
	{name: "126 extensions", host: greeted + "S: 250-host\nrepeat 126 \"250-X-MANY\\r\\n\"\nS: 250 PIPELINING\n" + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "controls in a keyword", host: greeted + "S: 250-host\n" + `raw "250 PIPE\x00LINING\r\n"` + "\n" + inTurn, want: "delivered final 250", ready: true, whole: 1},
	{name: "a bare CR in a keyword", host: greeted + `raw "250-host\r\n250 SIZE\r250 PIPELINING\r\n"`, want: "no session hello 451 local"},
	{name: "homoglyphs", host: greeted + "S: 250-host\nS: 250-P\u0406PELINING\nS: 250-\uff30IPELINING\nS: 250 P\u0131PELINING\n" + inTurn, want: "delivered final 250", ready: true, whole: 1},
	{name: "lower case", host: greeted + "S: 250-host\nS: 250 pipelining\n" + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "duplicates", host: greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250-SIZE 1\nS: 250-SIZE 1000\nS: 250 PIPELINING\n" + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "an extension for a name", host: greeted + "S: 250 PIPELINING\n" + inTurn, want: "delivered final 250", ready: true, whole: 1},
	{name: "SIZE over 64 bits", host: greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 SIZE 99999999999999999999999\n" + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "SIZE of 2^63", host: greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 SIZE 9223372036854775808\n" + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "SIZE negative", host: greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 SIZE -1\n" + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "SIZE garbage", host: greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 SIZE 1x\n" + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "SIZE two numbers", host: greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 SIZE 1 2\n" + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "SIZE hexadecimal", host: greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 SIZE 0x1\n" + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "SIZE too small", host: greeted + "S: 250-host\nS: 250 SIZE 7", want: "rejected mail 552 local", ready: true},
	{name: "250 without text", host: greeted + "S: 250\n" + inTurn, want: "delivered final 250", ready: true, whole: 1},
	{name: "lines without text", host: greeted + "S: 250-\nS: 250-\nS: 250\n" + inTurn, want: "delivered final 250", ready: true, whole: 1},
	{name: "251", host: greeted + "S: 251-host\nS: 251 PIPELINING\n" + atOnce, want: "delivered final 250", ready: true, whole: 1},
	{name: "the code changes", host: greeted + "S: 250-host\nS: 550 PIPELINING\nC: HELO\nS: 550 no", want: "no session hello 550", left: "QUIT"},
	{name: "5xx to HELO, too", host: greeted + "S: 502 what?\nC: HELO\nS: 502 what?", want: "no session hello 502", left: "QUIT"},
	{name: "5xx twice for EHLO", host: greeted + "S: 502 what?\nS: 502 what?", want: "no session hello 451 local"},
	{name: "5xx, and 421 to HELO", host: greeted + "S: 502 what?\nC: HELO\nS: 421 bye", want: "no session hello 421"},
	{name: "5xx, and silence for HELO", host: greeted + "S: 502 what?\nC: HELO", want: "no session hello 451 local", takes: 5 * time.Minute},
	{name: "5xx, and extensions for HELO", host: greeted + "S: 502 what?\nC: HELO\n" + pipelined + inTurn, want: "delivered final 250", ready: true, whole: 1},
	{name: "4xx", host: greeted + "S: 450 later", want: "no session hello 450", left: "QUIT"},
	{name: "421", host: greeted + "S: 421 busy", want: "no session hello 421"},
	{name: "two replies", host: greeted + "S: 250 host\nS: 250 host", want: "deferred mail 451 local"},
	{name: "closed between lines", host: greeted + "S: 250-host\nclose", want: "no session hello 451 local"},
	{name: "LHLO refused: no HELO for LMTP", host: "S: 220 hi\nC: LHLO\nS: 500 what?", with: lmtp, want: "no session hello 500", left: "QUIT"},
}

const (
	offersTLS = greeted + "S: 250-host\nS: 250-STARTTLS\nS: 250 PIPELINING\nC: STARTTLS\n"
	secured   = offersTLS + "S: 220 go\ntls\n"
)

var hostileTLS = []hostileCase{
	{name: "plaintext behind the 220", host: offersTLS + "S: 220 go\n" + pipelined, tls: mx.TLSOpportunistic, want: "no session tls 451 local"},
	{name: "an octet behind the 220", host: offersTLS + `raw "220 go\r\n2"`, tls: mx.TLSOpportunistic, want: "no session tls 451 local"},
	{name: "plaintext after the 220", host: offersTLS + "S: 220 go\nflush\n" + pipelined, tls: mx.TLSOpportunistic, want: "no session tls 451 local", left: "*"},
	{name: "silence", host: offersTLS, tls: mx.TLSOpportunistic, want: "no session tls 451 local", takes: 5 * time.Minute},
	{name: "220 and silence", host: offersTLS + "S: 220 go\npart 5", tls: mx.TLSRequired, want: "no session tls 451 local", takes: 5 * time.Minute, left: "*"},
	{name: "220 and garbage", host: offersTLS + "S: 220 go\npart 5\n" + `raw "\x00\x01\x02\x03\x04\x05\x06\x07"`, tls: mx.TLSRequired, want: "no session tls 451 local", left: "*"},
	{name: "220 and garbage without end", host: offersTLS + "S: 220 go\npart 5\n" + `flood "\x16\x03\x03\x40\x00"`, tls: mx.TLSRequired, want: "no session tls 451 local"},
	{name: "220 and a close", host: offersTLS + "S: 220 go\npart 5\nclose", tls: mx.TLSRequired, want: "no session tls 451 local"},
	{name: "250", host: offersTLS + "S: 250 go\ntls\nC: EHLO\n" + pipelined + atOnce, tls: mx.TLSRequired, want: "delivered final 250", ready: true, whole: 1},
	{name: "250, and an empty line", host: offersTLS + "S: 250 go\nS: \n", tls: mx.TLSRequired, want: "no session tls 451 local"},
	{name: "an empty line, and 220", host: offersTLS + "S: \nS: 220 go\ntls\nC: EHLO\n" + pipelined + atOnce, tls: mx.TLSRequired, want: "delivered final 250", ready: true, whole: 1},
	{name: "plaintext behind 250", host: offersTLS + "S: 250 go\n" + pipelined, tls: mx.TLSOpportunistic, want: "no session tls 451 local"},
	{name: "354", host: offersTLS + "S: 354 go", tls: mx.TLSRequired, want: "no session tls 451 local"},
	{name: "454", host: offersTLS + "S: 454 not now\n" + atOnce, tls: mx.TLSOpportunistic, want: "delivered final 250", ready: true, whole: 1},
	{name: "454, and TLS required", host: offersTLS + "S: 454 not now", tls: mx.TLSRequired, want: "no session tls 454", left: "QUIT"},
	{name: "501", host: offersTLS + "S: 501 no parameters\n" + atOnce, tls: mx.TLSOpportunistic, want: "delivered final 250", ready: true, whole: 1},
	{name: "501, and TLS required", host: offersTLS + "S: 501 no parameters", tls: mx.TLSRequired, want: "no session tls 501", left: "QUIT"},
	{name: "454 twice", host: offersTLS + "S: 454 not now\nS: 454 not now", tls: mx.TLSOpportunistic, want: "deferred mail 451 local"},
	{name: "421", host: offersTLS + "S: 421 busy", tls: mx.TLSOpportunistic, want: "no session tls 421"},
	{name: "offered with a parameter", host: greeted + "S: 250-host\nS: 250 STARTTLS NOW\nC: STARTTLS\nS: 220 go\ntls\nC: EHLO\n" + pipelined + atOnce, tls: mx.TLSRequired, want: "delivered final 250", ready: true, whole: 1},
	{name: "offered in homoglyphs", host: greeted + "S: 250-host\nS: 250 \u017fTARTTL\u017f", tls: mx.TLSRequired, want: "no session tls 451 local", left: "QUIT"},
	{name: "a handshake that trickles", host: offersTLS + "S: 220 go\nflush\ntrickle 2s\ntls", tls: mx.TLSRequired, want: "no session tls 451 local", takes: 5 * time.Minute},
	{name: "TLS 1.1", host: offersTLS + "S: 220 go\ntls 1.1", tls: mx.TLSOpportunistic, want: "no session tls 451 local"},
	{name: "a certificate for another name", host: secured, with: func(c *Conn) { c.TLS, c.Host = mx.TLSRequired, "b.test" }, want: "no session tls 451 local"},
	{name: "the same, and nobody verifies", host: secured + "C: EHLO\n" + pipelined + atOnce, with: func(c *Conn) { c.TLS, c.Host = mx.TLSOpportunistic, "b.test" }, want: "delivered final 250", ready: true, whole: 1},
	{name: "offered again", host: secured + "C: EHLO\nS: 250-host\nS: 250-STARTTLS\nS: 250 PIPELINING\n" + atOnce, tls: mx.TLSRequired, want: "delivered final 250", ready: true, whole: 1},
	{name: "extensions from before it", host: secured + "C: EHLO\nS: 250 host\n" + inTurn, tls: mx.TLSRequired, want: "delivered final 250", ready: true, whole: 1},
	{name: "replies from before it appear behind it", host: secured + pipelined + "C: EHLO\n" + pipelined + toOne, tls: mx.TLSRequired, want: "deferred data 451 local"},
	{name: "closed behind it", host: secured + "close", tls: mx.TLSRequired, want: "no session hello 451 local"},
	{name: "silence behind it", host: secured + "C: EHLO", tls: mx.TLSRequired, want: "no session hello 451 local", takes: 5 * time.Minute},
	{name: "EHLO refused behind it", host: secured + "C: EHLO\nS: 550 no\nC: HELO\nS: 550 no", tls: mx.TLSRequired, want: "no session hello 550", left: "QUIT"},
	{name: "lines without end behind it", host: secured + "C: EHLO\n" + `flood "250-X\r\n"`, tls: mx.TLSRequired, want: "no session hello 451 local"},
	{name: "implicit: plaintext", host: "S: 220 hi", with: implicit, want: "no session tls 451 local", left: "*"},
	{name: "implicit: silence", host: "part 5", with: implicit, want: "no session tls 451 local", takes: 5 * time.Minute, left: "*"},
}

const offersAuth = greeted + "S: 250-host\nS: 250-PIPELINING\nS: 250 AUTH PLAIN LOGIN X\nC: AUTH\n"

// willing is a mechanism that has an answer to anything.
type willing struct{}

func (willing) Start() (string, []byte, error)        { return "X", nil, nil }
func (willing) Next(challenge []byte) ([]byte, error) { return challenge, nil }

func implicit(c *Conn)  { c.TLSStart = mx.TLSImplicit }
func plain(c *Conn)     { c.Auth = plainAuth("secret") }
func login(c *Conn)     { c.Auth = loginAuth("secret") }
func answering(c *Conn) { c.Auth = once(willing{}) }
func lmtp(c *Conn)      { c.LMTP = true }

var hostileAuth = []hostileCase{
	{name: "silence", host: offersAuth, with: plain, want: "no session auth 451 local", takes: 5 * time.Minute},
	{name: "challenges without end", host: offersAuth + strings.Repeat("S: 334 eA==\nC: eA==\n", 16) + "S: 334 eA==\n", with: answering, want: "no session auth 451 local"},
	{name: "a challenge every four minutes", host: offersAuth + strings.Repeat("sleep 4m\nS: 334 eA==\nC: eA==\n", 15) + "sleep 4m\nS: 235 ok\n" + atOnce, with: answering, want: "delivered final 250", ready: true, whole: 1, takes: 64 * time.Minute},
	{name: "no base64", host: offersAuth + "S: 334 =?\nC: *\nS: 501 no", with: answering, want: "no session auth 451 local", left: "QUIT"},
	{name: "a challenge of lines", host: offersAuth + "S: 334-eA==\nS: 334 eA==\nC: *\nS: 501 no", with: answering, want: "no session auth 451 local", left: "QUIT"},
	{name: "a challenge of a megabyte", host: offersAuth + "raw \"334 \"\n" + `flood "QUFBQUFBQUFB"`, with: answering, want: "no session auth 451 local"},
	{name: "235 early", host: offersAuth + "S: 235 ok\n" + atOnce, with: login, want: "delivered final 250", ready: true, whole: 1},
	{name: "235 twice", host: offersAuth + "S: 235 ok\nS: 235 ok", with: plain, want: "deferred mail 451 local"},
	{name: "250 for 235", host: offersAuth + "S: 250 ok\n" + atOnce, with: plain, want: "delivered final 250", ready: true, whole: 1},
	{name: "334 when all is said", host: offersAuth + "S: 334 \nC: *\nS: 501 no", with: plain, want: "no session auth 451 local", left: "QUIT"},
	{name: "235 to the cancelling", host: offersAuth + "S: 334 \nC: *\nS: 235 ok", with: plain, want: "no session auth 451 local"},
	{name: "334 to the cancelling", host: offersAuth + "S: 334 \nC: *\nS: 334 ", with: plain, want: "no session auth 451 local"},
	{name: "silence to the cancelling", host: offersAuth + "S: 334 \nC: *", with: plain, want: "no session auth 451 local", takes: 5 * time.Minute},
	{name: "535", host: offersAuth + "S: 535 5.7.8 no", with: plain, want: "no session auth 535", left: "QUIT"},
	{name: "535 in the middle", host: offersAuth + "S: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 535 5.7.8 no", with: login, want: "no session auth 535", left: "QUIT"},
	{name: "454", host: offersAuth + "S: 454 4.7.0 later", with: plain, want: "no session auth 454", left: "QUIT"},
	{name: "504", host: offersAuth + "S: 504 what?", with: plain, want: "no session auth 504", left: "QUIT"},
	{name: "421 in the middle", host: offersAuth + "S: 334 UGFzc3dvcmQ6\nC: c2VjcmV0\nS: 421 bye", with: login, want: "no session auth 421"},
	{name: "535 and 235", host: offersAuth + "S: 535 no\nS: 235 ok", with: plain, want: "no session auth 535"},
	{name: "closed", host: offersAuth + "close", with: plain, want: "no session auth 451 local"},
	{name: "no mechanisms", host: greeted + "S: 250-host\nS: 250 AUTH", with: plain, want: "no session auth 451 local", left: "QUIT"},
	{name: "a mechanism in homoglyphs", host: greeted + "S: 250-host\nS: 250 AUTH PLA\u0130N PL\u0410IN PLAIN-PLUS", with: plain, want: "no session auth 451 local", left: "QUIT"},
	{name: "ten thousand mechanisms", host: greeted + manyMechanisms(), with: plain, want: "no session auth 451 local", left: "QUIT"},
}

// manyMechanisms is as many as fit into one reply to EHLO, and PLAIN at last.
func manyMechanisms() string {
	var b strings.Builder
	b.WriteString("S: 250-host\n")
	for line := range 15 {
		b.WriteString("S: 250-AUTH")
		for n := range 680 {
			fmt.Fprintf(&b, " %05X", line*680+n)
		}
		b.WriteByte('\n')
	}
	return b.String() + "S: 250 AUTH PLAIN\n"
}
