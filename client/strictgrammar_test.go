package client

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// rules reads text from the left by the grammars of the RFCs. A method that finds its rule broken leaves
// bad set, and what it gives means nothing then.
type rules struct {
	s    string
	utf8 bool // RFC 6531 §3.3 widens the rules
	bad  bool
}

func (r *rules) fail() { r.bad, r.s = true, "" }

// word takes a keyword, in any case (RFC 5321 §2.4).
func (r *rules) word(w string) {
	if len(r.s) < len(w) || asciiLower(r.s[:len(w)]) != asciiLower(w) {
		r.fail()
		return
	}
	r.s = r.s[len(w):]
}

func (r *rules) has(prefix string) bool { return strings.HasPrefix(r.s, prefix) }

// run takes the characters of a class, one at least.
func (r *rules) run(class func(rune) bool) string {
	n := 0
	for n < len(r.s) {
		c, size := utf8.DecodeRuneInString(r.s[n:])
		if c == utf8.RuneError && size == 1 || !class(c) {
			break
		}
		n += size
	}
	if n == 0 {
		r.fail()
		return ""
	}
	took := r.s[:n]
	r.s = r.s[n:]
	return took
}

// end says that nothing may be left.
func (r *rules) end() bool { return !r.bad && r.s == "" }

func (r *rules) atext(c rune) bool {
	return alnum(c) || c < 0x80 && strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", c) || r.wide(c)
}

// wide is UTF8-non-ascii (RFC 6531 §3.3).
func (r *rules) wide(c rune) bool { return r.utf8 && c >= 0x80 }

// path is Reverse-path or Forward-path (RFC 5321 §4.1.2) without a source route, which nobody may write any more
// (RFC 5321 appendix C).
func (r *rules) path(null bool) string {
	r.word("<")
	if null && r.has(">") {
		r.s = r.s[1:]
		return ""
	}
	if len(r.s) > len("postmaster") && asciiLower(r.s[:len("postmaster")+1]) == "postmaster>" && !null {
		address := r.s[:len("postmaster")]
		r.s = r.s[len("postmaster>"):]
		return address
	}
	address := r.mailbox()
	r.word(">")
	if len(address) > 500 { // as many as RCPT has room for (RFC 5321 §4.5.3.1.4); 256 is the least to be taken
		r.fail()
	}
	return address
}

func (r *rules) mailbox() string {
	whole := r.s
	if r.has(`"`) {
		r.quoted()
	} else {
		r.run(r.atext)
		for r.has(".") {
			r.s = r.s[1:]
			r.run(r.atext)
		}
	}
	r.word("@")
	r.domain()
	return whole[:len(whole)-len(r.s)]
}

func (r *rules) quoted() {
	r.word(`"`)
	for !r.bad && !r.has(`"`) {
		if !r.has(`\`) {
			r.run(func(c rune) bool { return c >= ' ' && c < 0x7f && c != '"' && c != '\\' || r.wide(c) })
			continue
		}
		if len(r.s) < 2 || r.s[1] < ' ' || r.s[1] > '~' {
			r.fail()
			return
		}
		r.s = r.s[2:]
	}
	r.word(`"`)
}

// domain is Domain or address-literal. Beyond RFC 5321 §4.1.2 it takes an underscore, as names in the DNS have.
func (r *rules) domain() string {
	whole := r.s
	if r.has("[") {
		literal, rest, ok := strings.Cut(r.s[1:], "]")
		if r.s = rest; !ok || !isLiteral(literal) {
			r.fail()
		}
	} else {
		r.label()
		for r.has(".") {
			r.s = r.s[1:]
			r.label()
		}
	}
	if len(whole)-len(r.s) > 255 { // RFC 5321 §4.5.3.1.2
		r.fail()
	}
	return whole[:len(whole)-len(r.s)]
}

func (r *rules) label() {
	l := r.run(func(c rune) bool { return alnum(c) || c == '-' || c == '_' || r.wide(c) })
	if strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") {
		r.fail()
	}
	if isASCIIText(l) {
		if len(l) > 63 { // RFC 1035 §2.3.4
			r.fail()
		}
		return
	}
	// RFC 6531 §3.3: a label that isn't ASCII is a U-label; RFC 5890 §2.3.2.1: it comes back from its A-label.
	ascii, err := idna.Registration.ToASCII(strings.ReplaceAll(l, "_", "a"))
	if err != nil || len(ascii) > 63 {
		r.fail()
	}
}

// isLiteral is IPv4-address-literal or IPv6-address-literal (RFC 5321 §4.1.3).
func isLiteral(s string) bool {
	v6 := len(s) >= 5 && asciiLower(s[:5]) == "ipv6:"
	if v6 {
		s = s[5:]
	}
	ip, err := netip.ParseAddr(s)
	return err == nil && ip.Is6() == v6 && ip.Zone() == ""
}

// params is Mail-parameters or Rcpt-parameters, to the end of the line: one space before each, none twice.
func (r *rules) params() map[string]string {
	found := make(map[string]string)
	for !r.bad && r.s != "" {
		r.word(" ")
		keyword := asciiUpper(r.run(func(c rune) bool { return alnum(c) || c == '-' }))
		value := ""
		if r.has("=") {
			r.s = r.s[1:]
			value = r.run(func(c rune) bool { return c > ' ' && c < 0x7f && c != '=' || r.wide(c) })
		}
		if _, twice := found[keyword]; twice || strings.HasPrefix(keyword, "-") {
			r.fail()
		}
		found[keyword] = value
	}
	return found
}

// paramRule is what the RFC of a parameter says of it.
type paramRule struct {
	offer uint // the extensions that it takes, one of which must be offered
	room  int  // octets that it adds to a command line
	most  int  // octets of its value
	value func(value string, utf8 bool) (decoded string, ok bool)
}

var mailParams = map[string]paramRule{
	"SIZE":     {offerSize, 26, 20, oneOf(isDigits)},                                                                                // RFC 1870 §3
	"BODY":     {offer8BitMIME | offerBinaryMIME, 17, 10, oneOf("7BIT", "8BITMIME", "BINARYMIME")},                                  // RFC 6152 §2, RFC 3030 §3
	"SMTPUTF8": {offerSMTPUTF8, 10, 0, oneOf("")},                                                                                   // RFC 6531 §3.1
	"RET":      {offerDSN, 9, 4, oneOf("FULL", "HDRS")},                                                                             // RFC 3461 §4.3
	"ENVID":    {offerDSN, 107, 100, func(v string, _ bool) (string, bool) { s, ok := unxtext(v); return s, ok && isPrintable(s) }}, // RFC 3461 §4.4
	"AUTH":     {offerAuth, 506, 500, authParam},                                                                                    // RFC 4954 §5
}

var rcptParams = map[string]paramRule{
	"NOTIFY": {offerDSN, 29, 28, notifyParam},  // RFC 3461 §4.1
	"ORCPT":  {offerDSN, 507, 500, orcptParam}, // RFC 3461 §4.2, RFC 6533 §3
}

// isDigits stands for 1*DIGIT in oneOf.
const isDigits = "1*DIGIT"

func oneOf(list ...string) func(string, bool) (string, bool) {
	return func(value string, _ bool) (string, bool) {
		for _, v := range list {
			if v == isDigits && value != "" && strings.Trim(value, "0123456789") == "" || asciiUpper(value) == v {
				return asciiUpper(value), true
			}
		}
		return "", false
	}
}

func authParam(value string, _ bool) (string, bool) {
	s, ok := unxtext(value)
	r := rules{s: s}
	if s != "<>" {
		r.mailbox()
		ok = ok && r.end()
	}
	return s, ok
}

func notifyParam(value string, _ bool) (string, bool) {
	seen := ""
	for name := range strings.SplitSeq(asciiUpper(value), ",") {
		if strings.Contains(seen, name) || seen != "" && name == "NEVER" || seen == "NEVER" {
			return "", false
		}
		if name != "NEVER" && name != "SUCCESS" && name != "FAILURE" && name != "DELAY" {
			return "", false
		}
		seen += name
	}
	return asciiUpper(value), true
}

func orcptParam(value string, utf8ok bool) (string, bool) {
	r := rules{s: value}
	kind := r.run(r.atext)
	r.word(";")
	address, ok := r.s, false
	if asciiLower(kind) == "utf-8" {
		address, ok = ununitext(address, utf8ok)
	} else {
		address, ok = unxtext(address)
		ok = ok && isPrintable(address)
	}
	return kind + ";" + address, ok && !r.bad && address != ""
}

// unxtext reads xtext (RFC 3461 §4), its digits in upper case.
func unxtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			if i+3 > len(s) || asciiUpper(s[i+1:i+3]) != s[i+1:i+3] {
				return "", false
			}
			octet, err := hex.DecodeString(s[i+1 : i+3])
			if err != nil {
				return "", false
			}
			b.Write(octet)
			i += 2
		case c <= ' ' || c > '~' || c == '=':
			return "", false
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}

// ununitext reads utf-8-addr-xtext, or with SMTPUTF8 utf-8-addr-unitext (RFC 6533 §3).
func ununitext(s string, wide bool) (string, bool) {
	var b strings.Builder
	for s != "" {
		c, size := utf8.DecodeRuneInString(s)
		if c == '\\' {
			digits, rest, ok := strings.Cut(strings.TrimPrefix(s, `\x{`), "}")
			if !strings.HasPrefix(s, `\x{`) || !ok || len(digits) < 2 || len(digits) > 6 || asciiUpper(digits) != digits || len(digits) > 2 && digits[0] == '0' {
				return "", false
			}
			raw, err := hex.DecodeString(strings.Repeat("0", 6-len(digits)) + digits)
			if err != nil {
				return "", false
			}
			c = rune(raw[0])<<16 | rune(raw[1])<<8 | rune(raw[2])
			if c < 0x7f && !strings.ContainsRune(" +=\\", c) || !utf8.ValidRune(c) {
				return "", false
			}
			b.WriteRune(c)
			s = rest
			continue
		}
		if c <= ' ' || c == '+' || c == '=' || c == 0x7f || c > 0x7f && !wide || c == utf8.RuneError && size == 1 {
			return "", false
		}
		b.WriteRune(c)
		s = s[size:]
	}
	return b.String(), true
}

// isPrintable is "graphic and white space" (RFC 3461 §4.2, §4.4).
func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c != '\t' && (c < ' ' || c > '~') })
}

func isASCIIText(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c >= 0x80 })
}

func alnum(c rune) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func asciiLower(s string) string { return mapASCII(s, 'A', 'Z', 'a'-'A') }
func asciiUpper(s string) string { return mapASCII(s, 'a', 'z', 'A'-'a') }

func mapASCII(s string, first, last byte, by int) string {
	b := []byte(s)
	for i, c := range b {
		if first <= c && c <= last {
			b[i] = byte(int(c) + by)
		}
	}
	return string(b)
}
