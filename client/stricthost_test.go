package client

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
)

// What a strictHost offers and how it behaves, one bit each.
const (
	offerPipelining uint = 1 << iota
	offerSize
	offer8BitMIME
	offerSMTPUTF8
	offerDSN
	offerChunking
	offerBinaryMIME
	offerSTARTTLS
	offerAuth  // the mechanisms in strictHost.mechs
	onlyHELO   // no EHLO
	speaksLMTP // RFC 2033
	beginsTLS  // RFC 8314 §3.3
	refusesTLS // 454 to STARTTLS

	allOffers = refusesTLS<<1 - 1
)

// strictHost is the host's end of a session. It takes every message, and nothing that isn't by the letter of the
// RFCs: it is written from them, apart from package smtp, so that a slip in the one isn't made in the other.
type strictHost struct {
	offers     uint
	mechs      string   // what stands behind AUTH in the answer to EHLO
	challenges []string // of AUTH, before the 235
	cert       *tls.Config

	// What it understood. Read it when serve has returned.
	err       error // what it didn't take; the session ended there
	octets    int   // heard in all, on the wire
	name      string
	sni       string // of the handshake
	auth      string // the mechanism
	responses []string
	mails     []*strictMail
	quit      bool

	wire   *countConn
	conn   net.Conn
	in     *bufio.Reader
	hello  bool
	secure bool
	open   *strictMail // the transaction that is going on
}

// strictMail is one transaction.
type strictMail struct {
	from      string
	params    map[string]string // decoded
	rcpts     []strictRcpt
	content   []byte
	chunked   bool // came with BDAT
	committed bool // the whole of it came
}

type strictRcpt struct {
	to     string
	params map[string]string
}

// countConn counts what is read.
type countConn struct {
	net.Conn
	n int
}

func (c *countConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.n += n
	return n, err
}

func (h *strictHost) has(offer uint) bool { return h.offers&offer != 0 }

// plain says that there are no extensions. LMTP has no HELO.
func (h *strictHost) plain() bool { return h.has(onlyHELO) && !h.has(speaksLMTP) }

func (h *strictHost) say(format string, args ...any) { fmt.Fprintf(h.conn, format+"\r\n", args...) }

func (h *strictHost) refuse(format string, args ...any) bool {
	h.err = fmt.Errorf(format, args...)
	return false
}

// serve goes through a session, up to its end or the first fault.
func (h *strictHost) serve(nc net.Conn) {
	h.wire = &countConn{Conn: nc}
	h.conn, h.in = h.wire, bufio.NewReader(h.wire)
	defer nc.Close()
	defer func() { h.octets = h.wire.n }()
	if h.has(beginsTLS) && !h.handshake() {
		return
	}
	h.say("220 strict.test")
	for h.command() {
	}
}

func (h *strictHost) handshake() bool {
	cfg := h.cert.Clone()
	cfg.GetConfigForClient = func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		h.sni = info.ServerName
		return nil, nil
	}
	tc := tls.Server(h.wire, cfg)
	if tc.Handshake() != nil {
		return false // it is the client's to refuse us
	}
	h.conn, h.secure, h.hello, h.open = tc, true, false, nil
	h.in.Reset(tc)
	return true
}

// line reads a line of at most so many octets with its CRLF, and gives it without.
func (h *strictHost) line(most int) (string, bool) {
	b, err := h.in.ReadBytes('\n')
	if err != nil {
		if len(b) > 0 {
			h.refuse("half a line: %q", b)
		}
		return "", false
	}
	text, ok := strings.CutSuffix(string(b), "\r\n")
	if !ok || strings.ContainsAny(text, "\r\n\x00") {
		return "", h.refuse("bare CR, bare LF or NUL: %q", b)
	}
	if len(b) > most {
		return "", h.refuse("%d octets on a line of at most %d: %.40q", len(b), most, b)
	}
	return text, true
}

// last says that the client has to wait for the answer (RFC 2920 §3.1).
func (h *strictHost) last(verb string) bool {
	if n := h.in.Buffered(); n > 0 {
		return h.refuse("%d octets behind %s", n, verb)
	}
	return true
}

// command reads one, and reports whether to go on.
func (h *strictHost) command() bool {
	const most = 512 + 26 + 17 + 10 + 9 + 107 + 506 // all that the parameters below may add
	line, ok := h.line(most)
	if !ok {
		return false
	}
	verb, args, spaced := strings.Cut(line, " ")
	verb = asciiUpper(verb)
	pipelined := strings.Contains(" MAIL RCPT RSET BDAT ", " "+verb+" ") && h.has(offerPipelining)
	if !pipelined && verb != "BDAT" && !h.last(verb) {
		return false
	}
	if len(line)+2 > 512 && verb != "MAIL" && verb != "RCPT" {
		return h.refuse("a line of %d octets: %.40q", len(line)+2, line)
	}
	if spaced == strings.Contains(" DATA RSET QUIT STARTTLS ", " "+verb+" ") {
		return h.refuse("arguments: %q", line)
	}
	if !h.hello && !strings.Contains(" EHLO HELO LHLO QUIT ", " "+verb+" ") {
		return h.refuse("before EHLO: %q", line)
	}
	switch verb {
	case "EHLO", "HELO", "LHLO":
		return h.greet(verb, args)
	case "STARTTLS":
		return h.startTLS()
	case "AUTH":
		return h.authenticate(args)
	case "MAIL":
		return h.mail(args)
	case "RCPT":
		return h.rcpt(args)
	case "DATA":
		return h.data()
	case "BDAT":
		return h.bdat(args)
	case "RSET":
		h.open = nil
		h.say("250 2.0.0 ok")
		return true
	case "QUIT":
		h.quit = true
		h.say("221 2.0.0 bye")
		if b, err := h.in.ReadByte(); err == nil {
			return h.refuse("%q behind QUIT", b)
		}
		return false
	}
	return h.refuse("command %q", line)
}

func (h *strictHost) greet(verb, name string) bool {
	if h.has(speaksLMTP) != (verb == "LHLO") {
		return h.refuse("%s", verb)
	}
	r := rules{s: name}
	if r.domain(); !r.end() {
		return h.refuse("%s %q", verb, name)
	}
	h.name, h.open = name, nil
	if h.plain() && verb == "EHLO" {
		h.say("502 5.5.1 what?")
		return true
	}
	h.hello = true
	lines := []string{"strict.test"}
	if verb != "HELO" {
		for i, keyword := range []string{"PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "BINARYMIME", "STARTTLS", "AUTH " + h.mechs} {
			if h.has(1<<i) && !(keyword == "STARTTLS" && h.secure) {
				lines = append(lines, keyword)
			}
		}
	}
	for i, l := range lines {
		more := "-"
		if i == len(lines)-1 {
			more = " "
		}
		h.say("250%s%s", more, l)
	}
	return true
}

func (h *strictHost) startTLS() bool {
	if !h.has(offerSTARTTLS) || h.secure || h.open != nil {
		return h.refuse("STARTTLS out of place")
	}
	if h.has(refusesTLS) {
		h.say("454 4.7.0 not now")
		return true
	}
	h.say("220 2.0.0 go")
	return h.handshake()
}

// authenticate is RFC 4954 §4: whatever is said, it is right.
func (h *strictHost) authenticate(args string) bool {
	if !h.has(offerAuth) || h.auth != "" || h.open != nil {
		return h.refuse("AUTH out of place")
	}
	r := rules{s: args}
	// RFC 4422 §3.1: sasl-mech.
	h.auth = r.run(func(c rune) bool { return 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' })
	if len(h.auth) > 20 || r.bad || r.s != "" && !r.has(" ") {
		return h.refuse("AUTH %q", args)
	}
	challenges := h.challenges
	if r.s == "" {
		challenges = append([]string{""}, challenges...) // it has yet to speak
	} else if r.s == " =" {
		h.responses = append(h.responses, "")
	} else if !h.response(r.s[1:]) {
		return false
	}
	for _, c := range challenges {
		h.say("334 %s", base64.StdEncoding.EncodeToString([]byte(c)))
		line, ok := h.line(1 << 20) // RFC 4954 §4: without a bound that is the same for all
		if !ok {
			return false
		}
		if line == "*" {
			h.say("501 5.7.0 as you like")
			return true
		}
		if !h.last("AUTH") || line != "" && !h.response(line) {
			return false
		}
		if line == "" {
			h.responses = append(h.responses, "")
		}
	}
	h.say("235 2.7.0 welcome")
	return true
}

func (h *strictHost) response(line string) bool {
	b, err := base64.StdEncoding.Strict().DecodeString(line)
	if err != nil || line == "" {
		return h.refuse("response %q: %v", line, err)
	}
	h.responses = append(h.responses, string(b))
	return true
}

func (h *strictHost) mail(args string) bool {
	m := &strictMail{}
	utf8ok := strings.HasSuffix(args, " SMTPUTF8") || strings.Contains(args, " SMTPUTF8 ") // widens the path that stands before it
	r := rules{s: args, utf8: utf8ok && h.has(offerSMTPUTF8)}
	r.word("FROM:")
	m.from = r.path(true)
	m.params = h.params("MAIL", args, &r, mailParams)
	if m.params == nil || h.open != nil {
		return h.refuse("MAIL %q: %v", args, h.err)
	}
	if _, ok := m.params["SMTPUTF8"]; ok != utf8ok {
		return h.refuse("MAIL %q: UTF-8", args)
	}
	body := m.params["BODY"]
	if body == "BINARYMIME" && !h.has(offerBinaryMIME) || body != "" && body != "BINARYMIME" && !h.has(offer8BitMIME) {
		return h.refuse("MAIL %q: BODY wasn't offered", args)
	}
	h.open = m
	h.mails = append(h.mails, m)
	h.say("250 2.1.0 ok")
	return true
}

func (h *strictHost) rcpt(args string) bool {
	if h.open == nil {
		return h.refuse("RCPT out of place")
	}
	_, utf8ok := h.open.params["SMTPUTF8"]
	r := rules{s: args, utf8: utf8ok}
	r.word("TO:")
	rcpt := strictRcpt{to: r.path(false)}
	rcpt.params = h.params("RCPT", args, &r, rcptParams)
	if rcpt.params == nil {
		return h.refuse("RCPT %q: %v", args, h.err)
	}
	h.open.rcpts = append(h.open.rcpts, rcpt)
	h.say("250 2.1.5 ok")
	return true
}

// params reads the parameters of a command, each offered and by its rule. It gives nil if one isn't.
func (h *strictHost) params(verb, args string, r *rules, known map[string]paramRule) map[string]string {
	list := r.params()
	if !r.end() {
		return nil
	}
	most := 512
	for keyword, value := range list {
		rule, ok := known[keyword]
		if !ok || h.offers&rule.offer == 0 || len(value) > rule.most {
			h.refuse("parameter %s", keyword)
			return nil
		}
		most += rule.room
		if list[keyword], ok = rule.value(value, r.utf8); !ok {
			h.refuse("parameter %s=%q", keyword, value)
			return nil
		}
	}
	if n := len(verb) + 1 + len(args) + 2; n > most {
		h.refuse("a line of %d octets", n)
		return nil
	}
	return list
}
