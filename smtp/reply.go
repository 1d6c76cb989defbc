package smtp

import (
	"strconv"
	"strings"
)

// Reply is an answer to a command (RFC 5321 §4.2). A *Reply is also an error: the host refused.
//
//	if reply, ok := errors.AsType[*smtp.Reply](err); ok {
//		log.Print("refused: ", reply.Code, reply.Enhanced, reply.Text)
//	}
//
// A permanent Reply alone doesn't show that an address is bad: the host may refuse our password or the content. To
// suppress an address, look for the Outcome Rejected with the Reason [UserUnknown] in a [Result].
type Reply struct {
	Code     int          // 200 to 599
	Enhanced EnhancedCode // if zero, the reply has none
	Text     string       // lines separated by "\n", without the codes
}

// NewReply returns a reply made of constants: NewReply(550, "5.7.1", "relaying denied"). The code isn't checked. If
// enhanced is empty, the reply has no enhanced code. The same holds if it is malformed, or if its class isn't that of
// code (RFC 2034 §4).
func NewReply(code int, enhanced, text string) *Reply {
	r := &Reply{Code: code, Text: text}
	c, rest, ok := parseEnhanced([]byte(enhanced))
	if ok && rest == nil && c[0] == code/100 && (c[0] == 2 || c[0] == 4 || c[0] == 5) {
		r.Enhanced = c
	}
	return r
}

// Error returns the reply on one line, "550 5.1.1 no such user". A nil Reply is "no reply".
func (r *Reply) Error() string {
	if r == nil {
		return "no reply"
	}
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
func (r *Reply) Positive() bool { return r != nil && r.Code >= 200 && r.Code < 400 }

// Permanent reports whether the reply is 5xx: the same command will fail again.
func (r *Reply) Permanent() bool { return r != nil && r.Code >= 500 && r.Code < 600 }

// Temporary reports whether the same command may succeed later. Every reply that is neither positive nor 5xx is
// temporary: no message fails because of a reply that nobody understands.
func (r *Reply) Temporary() bool { return !r.Permanent() && !r.Positive() }

// EnhancedCode is an enhanced mail system status code (RFC 3463): class, subject, detail.
type EnhancedCode [3]int

// String returns the code with dots, "5.1.1". It returns "" for the zero code.
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

// sendable returns r, or a reply in its place that has a form on the wire.
func (r *Reply) sendable() *Reply {
	if r == nil || r.Code < 200 || r.Code > 599 {
		odd := NewReply(451, "4.3.0", "")
		if r != nil {
			odd.Text = r.Text
		}
		return odd
	}
	e := r.Enhanced
	// RFC 2034 §4: the class is that of the code. RFC 3463 §2: up to three digits.
	if e != (EnhancedCode{}) && (e[0] != r.Code/100 || min(e[1], e[2]) < 0 || max(e[1], e[2]) > 999) {
		return &Reply{Code: r.Code, Text: r.Text}
	}
	return r
}

// maxSent bounds a reply line that we send, in octets with its CRLF (RFC 5321 §4.5.3.1.5).
const maxSent = 512

// AppendTo appends the reply in its wire form. Each line has the code, the enhanced code if there is one (RFC 2034
// §4), and CRLF. In Text, each character other than printable ASCII becomes "?", so that no text can pose as a line of
// its own. A line is cut at 512 octets (RFC 5321 §4.5.3.1.5). A nil Reply, and one whose Code isn't 200 to 599, is
// sent as 451 4.3.0. An enhanced code of another class, or with a number beyond 0 to 999, isn't sent.
func (r *Reply) AppendTo(b []byte) []byte {
	r = r.sendable()
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
