package server

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// reference says what a server must do with the octets of a client, by the tables of RFC 5321 §4.1.4 and §4.3.2, RFC
// 2920, RFC 3030, RFC 3207 and RFC 4954, with lmtp by RFC 2033, and by the description of XCLIENT. It was written from these, and shares no code with the server. Where they leave
// a choice, it goes on by what the server has answered. It knows the lines in vocabulary; others are unknown commands.
type reference struct {
	lmtp    bool     // it is an LMTP server
	replies []string // codes that the server sent and that aren't consumed yet
	fault   string   // the first disagreement

	in     string // octets of the present segment that aren't read yet
	more   []string
	hello  bool // EHLO or HELO was accepted
	esmtp  bool // it was EHLO
	tls    bool
	user   bool // authenticated
	open   bool // a transaction
	binary bool // of BODY=BINARYMIME
	from   string
	to     []string
	chunks bool   // a message that comes by BDAT has begun
	text   string // its octets so far
	owed   int    // the recipients of such a message
	void   bool   // a chunk was refused: RFC 3030 §2 leaves the state open until RSET
	closed bool

	mails []string // what the Handler must have received: envelope and octets
}

const (
	refMaxSize  = 300     // Server.MaxSize
	refMaxDrain = 1 << 20 // Server.MaxDrain
)

// line is a command in the vocabulary.
type line struct {
	verb string
	good bool   // its syntax
	arg  string // an address
	code string // if not empty, the reply to it where the command is allowed
}

// scramFirst begins an exchange of SCRAM-SHA-256. The octets of a session are fixed, so none has the right proof.
var scramFirst = base64.StdEncoding.EncodeToString([]byte("n,,n=ann,r=abc"))

var goodPlain = base64.StdEncoding.EncodeToString([]byte("\x00ann\x00secret"))

// vocabulary are the commands by their lines.
var vocabulary = map[string]line{
	"EHLO client.example": {verb: "EHLO", good: true}, "ehlo x": {verb: "EHLO", good: true}, "EHLO": {verb: "EHLO"},
	"HELO client.example": {verb: "HELO", good: true}, "HELO": {verb: "HELO"},
	"LHLO client.example": {verb: "LHLO", good: true}, "LHLO": {verb: "LHLO"},
	"XCLIENT ADDR=192.0.2.1":                  {verb: "XCLIENT", good: true},
	"xclient login=ann":                       {verb: "XCLIENT", good: true, arg: "user"},
	"XCLIENT LOGIN=[UNAVAILABLE]":             {verb: "XCLIENT", good: true, arg: "nobody"},
	"XCLIENT PROTO=ESMTP HELO=client.example": {verb: "XCLIENT", good: true, arg: "hello"},
	"XCLIENT": {verb: "XCLIENT", good: true, code: "501"}, "XCLIENT PORT=x": {verb: "XCLIENT", good: true, code: "501"},
	"MAIL FROM:<ann@example.com>":                 {verb: "MAIL", good: true, arg: "ann@example.com"},
	"mail from:<>":                                {verb: "MAIL", good: true},
	"MAIL FROM:<ann@example.com> SIZE=50":         {verb: "MAIL", good: true, arg: "ann@example.com"},
	"MAIL FROM:<ann@example.com> BODY=8BITMIME":   {verb: "MAIL", good: true, arg: "ann@example.com"},
	"MAIL FROM:<ann@example.com> BODY=BINARYMIME": {verb: "MAIL", good: true, arg: "ann@example.com"},
	"MAIL FROM:<ann@example.com> SIZE=1000":       {verb: "MAIL", good: true, code: "552"},
	"MAIL FROM:<refused@example.com>":             {verb: "MAIL", good: true, code: "550"},
	"MAIL FROM:<ann@example.com> COLOUR=1":        {verb: "MAIL", good: true, code: "555"},
	"MAIL FROM:<ann@example.com":                  {verb: "MAIL"}, "MAIL": {verb: "MAIL"},
	"RCPT TO:<bob@example.net>":               {verb: "RCPT", good: true, arg: "bob@example.net"},
	"rcpt to:<carl@example.net> NOTIFY=NEVER": {verb: "RCPT", good: true, arg: "carl@example.net"},
	"RCPT TO:<unknown@example.net>":           {verb: "RCPT", good: true, code: "550"},
	"RCPT TO:<later@example.net>":             {verb: "RCPT", good: true, code: "450"},
	"RCPT TO:<>":                              {verb: "RCPT"}, "RCPT": {verb: "RCPT"},
	"DATA": {verb: "DATA", good: true}, "data": {verb: "DATA", good: true}, "DATA x": {verb: "DATA"},
	"RSET": {verb: "RSET", good: true}, "RSET x": {verb: "RSET"}, "QUIT": {verb: "QUIT", good: true}, "QUIT x": {verb: "QUIT"},
	"NOOP": {verb: "NOOP", good: true}, "NOOP x": {verb: "NOOP", good: true}, "HELP": {verb: "HELP", good: true},
	"VRFY bob": {verb: "VRFY", good: true}, "VRFY": {verb: "VRFY"}, "EXPN x": {verb: "EXPN", good: true},
	"STARTTLS": {verb: "STARTTLS", good: true}, "STARTTLS x": {verb: "STARTTLS"},
	"AUTH PLAIN " + goodPlain: {verb: "AUTH", good: true, code: "235"}, "AUTH PLAIN AGFubgB4": {verb: "AUTH", good: true, code: "535"},
	"AUTH PLAIN !": {verb: "AUTH", good: true, code: "501"}, "AUTH X": {verb: "AUTH", good: true, code: "504"},
	"AUTH PLAIN": {verb: "AUTH", good: true, arg: "PLAIN"}, "AUTH LOGIN": {verb: "AUTH", good: true, arg: "LOGIN"},
	"AUTH SCRAM-SHA-256":               {verb: "AUTH", good: true, arg: "SCRAM"},
	"AUTH SCRAM-SHA-256 " + scramFirst: {verb: "AUTH", good: true, arg: "SCRAM", code: "334"},
}

// noop may have any parameters (RFC 5321 §4.1.1.9).
var noop = regexp.MustCompile("^NOOP [ -~]*$")

// want consumes the next reply, which must have one of the codes, and returns it.
func (r *reference) want(what string, codes ...string) string {
	if r.fault != "" {
		return ""
	}
	if len(r.replies) == 0 {
		r.fault = fmt.Sprintf("no reply to %.60q, want one of %v", what, codes)
		return ""
	}
	got := r.replies[0]
	r.replies = r.replies[1:]
	if !slices.Contains(codes, got) {
		r.fault = fmt.Sprintf("reply %s to %.60q, want one of %v", got, what, codes)
	}
	return got
}

// play goes through the segments, to the end of the session. After the last one the client leaves.
func (r *reference) play(segments []string) {
	r.more = segments
	for !r.closed && r.fault == "" {
		text, ok := r.readLine()
		if !ok {
			break
		}
		r.line(text)
	}
	if r.fault == "" && len(r.replies) > 0 {
		r.fault = fmt.Sprintf("replies %v that nothing asked for", r.replies)
	}
}

// read makes more octets visible. It reports false at the end of the input.
func (r *reference) read() bool {
	if len(r.more) == 0 {
		return false
	}
	r.in += r.more[0]
	r.more = r.more[1:]
	return true
}

// until takes the octets up to end, with it.
func (r *reference) until(end string) (string, bool) {
	for {
		if i := strings.Index(r.in, end); i >= 0 {
			text := r.in[:i+len(end)]
			r.in = r.in[i+len(end):]
			return text, true
		}
		if !r.read() {
			return "", false
		}
	}
}

// readLine takes a line without its CRLF. RFC 5321 §2.3.8: no other octets end it. A line with a BDAT that begins behind
// a bare CR or LF ends the session.
func (r *reference) readLine() (string, bool) {
	text, ok := r.until("\r\n")
	if !ok {
		if bdatWithin(r.in) && len(r.replies) > 0 { // the server may see it before the end
			r.want(r.in, "501")
		}
		return "", false
	}
	return strings.TrimSuffix(text, "\r\n"), true
}

func bdatWithin(text string) bool {
	for part := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == '\r' || c == '\n' }) {
		if isChunk(part) {
			return true
		}
	}
	return false
}

func isChunk(text string) bool {
	return strings.HasPrefix(strings.ToUpper(strings.TrimLeft(text, " \t")), "BDAT")
}

// bad reports whether text has a bare CR, a bare LF or a NUL.
func bad(text string) bool {
	return strings.ContainsAny(strings.ReplaceAll(text, "\r\n", ""), "\r\n\x00")
}

// oddLine answers a line that has a bare CR or LF, and reports whether it was one.
func (r *reference) oddLine(text string) bool {
	switch {
	case !strings.ContainsAny(text, "\r\n"):
		return false
	case bdatWithin(text):
		r.want(text, "501")
		r.closed = true
	default:
		r.want(text, "500")
	}
	return true
}

// line runs one command.
func (r *reference) line(text string) {
	if r.oddLine(text) {
		return
	}
	if isChunk(text) {
		r.chunk(text)
		return
	}
	l, known := vocabulary[text]
	if known && r.foreign(l.verb) {
		known = false
	}
	if noop.MatchString(text) {
		l, known = vocabulary["NOOP"], true
	}
	switch {
	case !known:
		r.want(text, "500")
	case !l.good && (l.verb == "MAIL" && (!r.hello || r.open) || l.verb == "RCPT" && (!r.open || r.chunks)):
		r.want(text, "501", "503")
	case !l.good:
		r.want(text, "501") // RFC 5321 §4.1.4: a bad EHLO changes nothing
	default:
		r.command(text, l)
	}
}

// foreign reports whether a verb is one of the other protocol (RFC 2033 §4.1).
func (r *reference) foreign(verb string) bool {
	return r.lmtp && (verb == "EHLO" || verb == "HELO") || !r.lmtp && verb == "LHLO"
}
