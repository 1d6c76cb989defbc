package smtp

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of RFC 5321 §4.5.3.1, in octets. A path of 256 octets has its angle brackets in them.
const (
	maxLocal   = 64
	maxAddress = 254
)

// SplitAddress parts an address at its last unquoted "@". The domain is empty where there is none,
// as in "postmaster" (RFC 5321 §4.5.1).
func SplitAddress(address string) (local, domain string) {
	at := strings.LastIndexByte(address, '@')
	if strings.IndexByte(address, '"') >= 0 {
		at = lastUnquotedAt(address)
	}
	if at < 0 {
		return address, ""
	}
	return address[:at], address[at+1:]
}

// CheckAddress says whether address is a Mailbox by RFC 5321 §4.1.2 (with RFC 6531 §3.3): dot-string or
// quoted local part, domain or address literal; the local part at most 64 octets, the whole 254, and the
// domain what that leaves of its 255 (RFC 5321 §4.5.3.1). "postmaster" alone is good (RFC 5321 §4.1.1.3). A
// domain must be one of which [ASCIIDomain] has a form, without a dot at its end. No control character is
// good, U+0080 to U+009F included. The error names the value and the rule.
func CheckAddress(address string) error {
	rule := checkMailbox(address)
	if rule == "" || equalFold(address, "postmaster") {
		return nil
	}
	return fmt.Errorf("smtp: address %q: %s", shorten(address), rule)
}

// NeedsUTF8 reports whether the address, as it is written, can only travel with SMTPUTF8: whether it has
// an octet above 127. [ASCIIAddress] gives the form without, where there is one.
func NeedsUTF8(address string) bool {
	for i := range len(address) {
		if address[i] >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// ASCIIAddress gives the address with its domain as an A-label; an address in ASCII comes back unchanged.
// ok is false if the local part still needs SMTPUTF8, or the domain has no such form.
func ASCIIAddress(address string) (ascii string, ok bool) {
	if !NeedsUTF8(address) {
		return address, true
	}
	local, domain := SplitAddress(address)
	if NeedsUTF8(domain) {
		a, err := ASCIIDomain(domain)
		if err != nil {
			return address, false
		}
		address = local + "@" + a
	}
	return address, !NeedsUTF8(local)
}

func lastUnquotedAt(address string) int {
	at, quoted := -1, false
	for i := 0; i < len(address); i++ {
		switch address[i] {
		case '"':
			quoted = !quoted
		case '\\':
			if quoted {
				i++
			}
		case '@':
			if !quoted {
				at = i
			}
		}
	}
	return at
}

// checkMailbox gives the rule that address breaks, "" if it is a Mailbox.
func checkMailbox(address string) string {
	if len(address) > maxAddress {
		return "over 254 octets (RFC 5321 section 4.5.3.1.3)"
	}
	if !utf8.ValidString(address) {
		return "not UTF-8 (RFC 6531 section 3.3)"
	}
	local, domain := SplitAddress(address)
	if rule := checkLocal(local); rule != "" {
		return rule
	}
	if len(local) == len(address) {
		return `no "@" (RFC 5321 section 4.1.2)`
	}
	return checkDomain(domain)
}

// checkLocal gives the rule of Local-part that local, which is UTF-8, breaks.
func checkLocal(local string) string {
	switch {
	case local == "":
		return "empty local part (RFC 5321 section 4.1.2)"
	case len(local) > maxLocal:
		return "local part over 64 octets (RFC 5321 section 4.5.3.1.1)"
	case local[0] == '"':
		return checkQuoted(local)
	}
	dot := true // no dot may come next
	for _, c := range local {
		if c == '.' && dot || c != '.' && !isAtext(c) {
			return fmt.Sprintf("%q out of place in the local part (RFC 5321 section 4.1.2)", c)
		}
		dot = c == '.'
	}
	if dot {
		return `local part ends in "." (RFC 5321 section 4.1.2)`
	}
	return ""
}

// checkQuoted gives the rule of Quoted-string that s, which begins with a quote, breaks.
func checkQuoted(s string) string {
	end, escaped := false, false
	for _, c := range s[1:] {
		switch {
		case end:
			return fmt.Sprintf("%q behind the quoted local part (RFC 5321 section 4.1.2)", c)
		case unicode.IsControl(c):
			return fmt.Sprintf("%q in the local part (RFC 5321 section 4.1.2)", c)
		case escaped:
			if c >= utf8.RuneSelf {
				return fmt.Sprintf(`%q behind "\" (RFC 5321 section 4.1.2)`, c)
			}
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			end = true
		}
	}
	if !end {
		return "quote not closed (RFC 5321 section 4.1.2)"
	}
	return ""
}

// isAtext reports whether c may stand in an atom (RFC 5322 §3.2.3, RFC 6531 §3.3).
func isAtext(c rune) bool {
	if c >= utf8.RuneSelf {
		return !unicode.IsControl(c)
	}
	return isAlnum(byte(c)) || strings.IndexByte("!#$%&'*+-/=?^_`{|}~", byte(c)) >= 0
}

func isAtom(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf || !isAtext(rune(s[i])) {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// shorten bounds what an error repeats of a value from outside.
func shorten(s string) string {
	const most = 320
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
