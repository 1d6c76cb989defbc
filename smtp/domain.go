package smtp

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"
)

const (
	maxLabel = 63  // RFC 1035 §2.3.4
	maxName  = 253 // as text. With its length octets it has 255 (RFC 1035 §2.3.4, RFC 5321 §4.5.3.1.2).

	// maxUnicode bounds the work on a domain before its length as A-labels is known.
	maxUnicode = 4 * maxName
)

// ASCIIDomain returns the domain as A-labels in lower case (UTS 46, non-transitional), without a trailing dot. An
// address literal is returned in lower case, with IPv6 addresses in the form of RFC 5952. Two domains are the same if
// their ASCII forms are equal.
//
// A result that is no literal consists of ASCII letters, digits, "-", "_" and dots. Underscores, and "--" as the third
// and fourth characters, are allowed because mail domains have them. The error names the value and the rule.
func ASCIIDomain(domain string) (string, error) {
	if isPlain(domain) {
		return domain, nil
	}
	if strings.HasPrefix(domain, "[") {
		if literal, ok := parseLiteral(domain); ok {
			return literal, nil
		}
		return "", fmt.Errorf("smtp: domain %q: not an address literal (RFC 5321 section 4.1.3)", shorten(domain))
	}
	ascii, rule := mapDomain(domain)
	if rule != "" {
		return "", fmt.Errorf("smtp: domain %q: %s", shorten(domain), rule)
	}
	return ascii, nil
}

// isPlain reports whether domain is equal to its ASCII form.
func isPlain(domain string) bool {
	for i := range len(domain) {
		c := domain[i]
		if c >= utf8.RuneSelf || 'A' <= c && c <= 'Z' || c == 'x' && strings.HasPrefix(domain[i:], "xn--") {
			return false
		}
	}
	return checkLabels(domain) == ""
}

// mapDomain returns the ASCII form of a domain that is no literal, or the rule that the domain breaks.
func mapDomain(domain string) (ascii, rule string) {
	if len(domain) > maxUnicode {
		return "", "too long (RFC 5321 section 4.5.3.1.2)"
	}
	ascii = strings.ToLower(domain)
	if NeedsUTF8(domain) || strings.Contains(ascii, "xn--") {
		if !utf8.ValidString(domain) {
			return "", "not UTF-8 (RFC 6531 section 3.3)"
		}
		var err error
		if ascii, err = toASCII(domain); err != nil {
			return "", err.Error() + " (UTS 46)"
		}
	}
	ascii = strings.TrimSuffix(ascii, ".")
	// UTS 46 maps characters to anything in ASCII: U+FF20 to "@", U+2024 to a dot.
	return ascii, checkLabels(ascii)
}

// checkLabels returns the rule of Domain that a name in ASCII breaks, or "". Underscores are allowed.
func checkLabels(name string) string {
	if len(name) > maxName {
		return "over 253 octets (RFC 1035 section 2.3.4)"
	}
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '.' {
			if c := name[i]; !isAlnum(c) && c != '-' && c != '_' {
				return fmt.Sprintf("%q in a label (RFC 5321 section 4.1.2)", rune(c))
			}
			continue
		}
		switch {
		case i == start:
			return "empty label (RFC 5321 section 4.1.2)"
		case i-start > maxLabel:
			return "label over 63 octets (RFC 1035 section 2.3.4)"
		case name[start] == '-' || name[i-1] == '-':
			return `label begins or ends with "-" (RFC 5321 section 4.1.2)`
		}
		start = i + 1
	}
	return ""
}

// checkDomain returns the rule that the domain of a Mailbox breaks, or "". domain is UTF-8.
func checkDomain(domain string) string {
	if strings.HasPrefix(domain, "[") {
		if _, ok := parseLiteral(domain); !ok {
			return "not an address literal (RFC 5321 section 4.1.3)"
		}
		return ""
	}
	if strings.HasSuffix(domain, ".") {
		return "empty label (RFC 5321 section 4.1.2)"
	}
	if isPlain(domain) {
		return ""
	}
	_, rule := mapDomain(domain)
	if rule == "" && NeedsUTF8(domain) {
		// UTS 46 maps U+3002, U+FF0E and U+FF61 to dots. A host that doesn't sees another domain.
		if mapped, _ := toASCII(domain); strings.Count(mapped, ".") != strings.Count(domain, ".") {
			return "a dot that isn't ASCII (RFC 6531 section 3.3)"
		}
	}
	return rule
}

// parseLiteral reads "[192.0.2.1]" or "[IPv6:2001:db8::1]". No other tag is registered (RFC 5321 §4.1.3).
func parseLiteral(domain string) (string, bool) {
	s, open := strings.CutPrefix(domain, "[")
	s, closed := strings.CutSuffix(s, "]")
	if !open || !closed {
		return "", false
	}
	const tag = "IPv6:"
	v6 := len(s) > len(tag) && equalFold(s[:len(tag)], tag)
	if v6 {
		s = s[len(tag):]
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Is6() != v6 || addr.Zone() != "" {
		return "", false
	}
	if v6 {
		return "[ipv6:" + addr.String() + "]", true
	}
	return "[" + addr.String() + "]", true
}
