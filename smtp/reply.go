package smtp

import (
	"strconv"
	"strings"
)

// Reply is an answer to a command (RFC 5321 §4.2). As an error it says that the answer was no:
//
//	if reply, ok := errors.AsType[*smtp.Reply](err); ok && !reply.Temporary() { … }
type Reply struct {
	Code     int          // 250, 451, 550 …
	Enhanced EnhancedCode // if zero, the reply has none
	Text     string       // what follows the codes; lines are parted by "\n", without the codes
}

// NewReply makes a reply of constants: NewReply(550, "5.7.1", "relaying denied"). An enhanced code must be well formed and
// its class must be that of the code (RFC 2034 §4): one that isn't is left out. If empty, the reply has none.
func NewReply(code int, enhanced, text string) *Reply {
	r := &Reply{Code: code, Text: text}
	c, rest, ok := parseEnhanced([]byte(enhanced))
	if ok && rest == nil && c[0] == code/100 && (c[0] == 2 || c[0] == 4 || c[0] == 5) {
		r.Enhanced = c
	}
	return r
}

// Error gives the reply on one line, "550 5.1.1 no such user".
func (r *Reply) Error() string {
	var b strings.Builder
	b.WriteString(strconv.Itoa(r.Code))
	if r.Enhanced != (EnhancedCode{}) {
		b.WriteByte(' ')
		b.WriteString(r.Enhanced.String())
	}
	if r.Text != "" {
		b.WriteByte(' ')
		b.WriteString(strings.ReplaceAll(r.Text, "\n", " "))
	}
	return b.String()
}

// Positive reports whether the reply is 2xx or 3xx.
func (r *Reply) Positive() bool { return r.Code >= 200 && r.Code < 400 }

// Permanent reports whether trying again without a change is useless: 5xx.
func (r *Reply) Permanent() bool { return r.Code >= 500 && r.Code < 600 }

// Temporary reports whether the same command may succeed later. What isn't clearly permanent is
// temporary: a mail is never given up for a reply that no one understands.
func (r *Reply) Temporary() bool { return !r.Permanent() && !r.Positive() }

// EnhancedCode is an enhanced mail system status code (RFC 3463): class, subject, detail.
type EnhancedCode [3]int

// String gives "5.1.1", and "" for the zero code.
func (e EnhancedCode) String() string {
	if e == (EnhancedCode{}) {
		return ""
	}
	return string(e.appendTo(nil))
}

func (e EnhancedCode) appendTo(b []byte) []byte {
	for i, n := range e {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return b
}

// maxSent is the length of a reply line that we send, CRLF included (RFC 5321 §4.5.3.1.5).
const maxSent = 512

// AppendTo appends the reply as the wire has it: each line with the code and, where there is one, the
// enhanced code (RFC 2034 §4), ended by CRLF. What isn't printable ASCII in Text becomes "?", so that no
// text can pose as a line of its own; a line is cut at the 512 octets of RFC 5321 §4.5.3.1.5.
func (r *Reply) AppendTo(b []byte) []byte {
	for rest, more := r.Text, true; more; {
		var line string
		line, rest, more = strings.Cut(rest, "\n")
		start := len(b)
		b = strconv.AppendInt(b, int64(r.Code), 10)
		if more {
			b = append(b, '-')
		} else {
			b = append(b, ' ')
		}
		if r.Enhanced != (EnhancedCode{}) {
			b = r.Enhanced.appendTo(b)
			if line != "" {
				b = append(b, ' ')
			}
		}
		for _, c := range strings.TrimSuffix(line, "\r") {
			if len(b)-start == maxSent-len("\r\n") {
				break
			}
			if c < ' ' || c > '~' {
				c = '?'
			}
			b = append(b, byte(c))
		}
		b = append(b, "\r\n"...)
	}
	return b
}
