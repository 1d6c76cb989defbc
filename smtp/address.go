package smtp

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of an address, in octets: what a command of 512 octets has room for (RFC 5321 §4.5.3.1.4). RFC 5321 §4.5.3.1
// has 64 octets for a local part and 256 for a path as the least that must be accepted. Rewritten senders (SRS, BATV,
// VERP) are longer.
const (
	maxAddress = 512 - len("RCPT TO:<>\r\n")
	maxReverse = 512 - len("MAIL FROM:<>\r\n")
)

// SplitAddress splits an address at its last unquoted "@". If there is none, as in "postmaster" (RFC 5321 §4.5.1), the
// domain is empty. The address isn't checked.
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

// CheckAddress returns an error unless address is a Mailbox (RFC 5321 §4.1.2, RFC 6531 §3.3) or "postmaster"
// (RFC 5321 §4.1.1.3). The error names the value and the rule.
//
//   - The local part is a dot-string or a quoted string.
//   - The domain is an address literal, or a name for which [ASCIIDomain] returns no error, without a dot at its end.
//   - The address has at most 500 octets, as many as RCPT has room for (RFC 5321 §4.5.3.1.4). A reverse-path has at
//     most 498 octets, but CheckAddress can't know that the address is one: [Envelope.Check] does.
//   - There is no control character. Those of Unicode are U+0080 to U+009F.
func CheckAddress(address string) error {
	rule := checkMailbox(address)
	if rule == "" || equalFold(address, "postmaster") {
		return nil
	}
	return fmt.Errorf("smtp: address %q: %s", shorten(address), rule)
}

// NeedsUTF8 reports whether the address has an octet above 127. In this form it needs SMTPUTF8. [ASCIIAddress] returns
// the form that doesn't, if there is one.
func NeedsUTF8(address string) bool {
	for i := range len(address) {
		if address[i] >= utf8.RuneSelf {
			return true
		}
	}
	return false
}

// ASCIIAddress returns the address with its domain as A-labels. An address in ASCII is returned unchanged. ok is false
// if the local part still needs SMTPUTF8, or if the domain has no ASCII form.
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

// checkMailbox returns the rule that address breaks. It returns "" for a Mailbox.
func checkMailbox(address string) string {
	if len(address) > maxAddress {
		return "over 500 octets (RFC 5321 section 4.5.3.1.4)"
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

// checkReverse returns the rule that a reverse-path breaks. It returns "" for a Mailbox and for the null reverse-path.
func checkReverse(path string) string {
	switch {
	case path == "": // RFC 5321 §4.5.5
		return ""
	case len(path) > maxReverse:
		return "over 498 octets (RFC 5321 section 4.5.3.1.4)"
	}
	return checkMailbox(path)
}

// checkLocal returns the rule of Local-part that local breaks, or "". local is UTF-8.
func checkLocal(local string) string {
	switch {
	case local == "":
		return "empty local part (RFC 5321 section 4.1.2)"
	case local[0] == '"':
		return checkQuoted(local)
	}
	dot := true // no dot may follow
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

// checkQuoted returns the rule of Quoted-string that s breaks, or "". s begins with a quote.
func checkQuoted(s string) string {
	end, escaped := false, false
	for _, c := range s[1:] {
		switch {
		case end:
			return fmt.Sprintf("%q after the quoted local part (RFC 5321 section 4.1.2)", c)
		case unicode.IsControl(c):
			return fmt.Sprintf("%q in the local part (RFC 5321 section 4.1.2)", c)
		case escaped:
			if c >= utf8.RuneSelf {
				return fmt.Sprintf(`%q after "\" (RFC 5321 section 4.1.2)`, c)
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

// isAtext reports whether c is allowed in an atom (RFC 5322 §3.2.3, RFC 6531 §3.3).
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

// shorten bounds a value from outside that an error repeats.
func shorten(s string) string {
	const most = 320
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
