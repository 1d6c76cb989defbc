package authres

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/server/internal/words"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/dmarc"
	"github.com/postrider/postrider/smtp/spf"
)

// Field returns the Authentication-Results field (RFC 8601). id is the name of the host that evaluated (authserv-id).
// Its text has no address of a name server, and nothing from outside that isn't printable ASCII.
func (r *Results) Field(id string) server.Field {
	if r == nil {
		r = new(Results)
	}
	f := field{line: len("Authentication-Results: ")}
	f.word(value(id) + ";")
	f.method("iprev", r.IPRev.String(), "")
	if r.IP.IsValid() {
		f.property("policy.iprev", r.IP.String())
	}
	f.spf("smtp.helo", r.Hello)
	if !r.null {
		f.spf("smtp.mailfrom", r.SPF)
	}
	for _, s := range r.DKIM {
		f.dkim(s)
	}
	if len(r.DKIM) == 0 {
		f.method("dkim", "none", "")
	}
	f.dmarc(r.DMARC)
	return server.Field{Name: "Authentication-Results", Value: strings.TrimSuffix(f.String(), ";")}
}

// field builds the value. Lines have up to 78 octets where the words allow it (RFC 5322 §2.1.1).
type field struct {
	strings.Builder
	line int
}

func (f *field) word(s string) {
	if f.line+1+len(s) > 78 {
		f.WriteString("\r\n\t")
		f.line = 1
	} else {
		f.WriteByte(' ')
		f.line++
	}
	f.WriteString(s)
	f.line += len(s)
}

// method begins the result of a method, on a line of its own.
func (f *field) method(name, result, reason string) {
	if text := f.String(); !strings.HasSuffix(text, ";") {
		f.WriteByte(';')
	}
	f.line = 78
	f.word(name + "=" + result)
	if reason != "" {
		f.property("reason", reason)
	}
}

const maxValue = 320

// property adds a property, unless its value is empty.
func (f *field) property(name, text string) {
	if text != "" {
		f.word(name + "=" + value(text))
	}
}

func (f *field) spf(property string, r spf.Result) {
	reason := ""
	if r.Code == spf.PermError {
		reason = r.Err.Error()
	}
	f.method("spf", r.Code.String(), reason)
	f.property(property, r.Domain)
}

func (f *field) dkim(s Signature) {
	reason := ""
	if s.Err != nil && s.Verdict != TempError {
		reason = s.Err.Error()
	}
	f.method("dkim", s.Verdict.String(), reason)
	f.property("header.d", s.Domain)
	f.property("header.s", s.Selector)
	if s.Identity != "@"+s.Domain {
		f.property("header.i", s.Identity)
	}
	f.property("header.a", s.Algorithm)
	f.property("header.b", s.Start)
}

func (f *field) dmarc(r dmarc.Result) {
	reason := ""
	if r.Code == dmarc.PermError {
		reason = r.Err.Error()
	}
	f.method("dmarc", r.Code.String(), reason)
	f.property("header.from", r.Domain)
	f.property("policy.dmarc", string(r.Policy))
}

// value returns text as a value: a token, an address of token characters, or a quoted string (RFC 8601 §2.2). It is cut
// at maxValue octets, and what isn't printable ASCII becomes "?".
func value(text string) string {
	text = words.Line(text, maxValue)
	local, domain, isAddress := strings.Cut(text, "@")
	if isToken(text) || isAddress && (local == "" || isToken(local)) && smtp.CheckAddress("x@"+domain) == nil &&
		isToken(domain) {
		return text
	}
	return fmt.Sprintf(`"%s"`, strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text))
}

// isToken reports whether s is a token (RFC 2045 §5.1).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return c <= ' ' || c > '~' || strings.ContainsRune(`()<>@,;:\"/[]?=`, c)
	})
}
