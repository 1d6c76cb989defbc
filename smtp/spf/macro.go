package spf

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// macroString is a macro-string or an explain-string (RFC 7208 §7.1), in parts.
type macroString []macroPart

// macroPart is a literal if its letter is 0, or a macro-expand. That stands for its literal if its letter is "%".
type macroPart struct {
	letter  byte // in lower case
	literal string

	escape  bool // for URLs: the letter is in upper case
	keep    int  // the number of parts on the right that are kept
	reverse bool
	split   string // the delimiters
}

const (
	macroLetters   = "slodiphv"
	explainLetters = "crt" // RFC 7208 §7.2: allowed only in the text of an explanation
	delimiters     = ".-+,/_="
)

// parseMacros reads a macro-string, or an explain-string if explain is true: explainLetters are allowed then. Spaces
// are allowed in both, as a term has none.
func parseMacros(s string, explain bool) (macroString, error) {
	var parts macroString
	for s != "" {
		n := strings.IndexByte(s, '%')
		if n < 0 {
			n = len(s)
		}
		for i := range n {
			if c := s[i]; c < ' ' || c > '~' {
				return nil, fmt.Errorf("%q isn't a printable ASCII character (RFC 7208 section 7.1)", s[i:i+1])
			}
		}
		if n > 0 {
			parts, s = append(parts, macroPart{literal: s[:n]}), s[n:]
			continue
		}
		part, length, err := parseMacro(s, explain)
		if err != nil {
			return nil, err
		}
		parts, s = append(parts, part), s[length:]
	}
	return parts, nil
}

// parseMacro reads the macro-expand that begins with the "%" of s. It returns its length.
func parseMacro(s string, explain bool) (macroPart, int, error) {
	for escape, literal := range map[string]string{"%%": "%", "%_": " ", "%-": "%20"} {
		if strings.HasPrefix(s, escape) {
			return macroPart{letter: '%', literal: literal}, len(escape), nil
		}
	}
	body, _, closed := strings.Cut(s, "}")
	body, open := strings.CutPrefix(body, "%{")
	if !open || !closed || body == "" {
		return macroPart{}, 0, fmt.Errorf(`%.20q begins no macro: write "%%%%" for "%%" (RFC 7208 section 7.1)`, s)
	}
	part, err := parseMacroBody(body, explain)
	if err != nil {
		return macroPart{}, 0, fmt.Errorf("macro \"%%{%.40s}\": %w (RFC 7208 section 7.1)", body, err)
	}
	return part, len("%{") + len(body) + len("}"), nil
}

// parseMacroBody reads a letter, its transformers and delimiters.
func parseMacroBody(body string, explain bool) (macroPart, error) {
	letter := body[0] | 0x20
	part := macroPart{letter: letter, escape: body[0] != letter, keep: math.MaxInt, split: "."}
	switch {
	case strings.IndexByte(macroLetters, letter) >= 0:
	case strings.IndexByte(explainLetters, letter) < 0:
		return part, fmt.Errorf("there is no letter %q", body[:1])
	case !explain:
		return part, fmt.Errorf("the letter %q is allowed only in the text of an explanation", body[:1])
	}
	rest := strings.TrimLeft(body[1:], "0123456789")
	if digits := body[1 : len(body)-len(rest)]; digits != "" {
		if strings.Trim(digits, "0") == "" {
			return part, errors.New("the number of parts is 0")
		}
		// A number that is too large keeps all parts.
		if n, err := strconv.Atoi(digits); err == nil {
			part.keep = n
		}
	}
	if rest != "" && rest[0]|0x20 == 'r' {
		part.reverse, rest = true, rest[1:]
	}
	if other := strings.Trim(rest, delimiters); other != "" {
		return part, fmt.Errorf("%q isn't a delimiter", other)
	}
	if rest != "" {
		part.split = rest
	}
	return part, nil
}

// transform applies the transformers to the value of a macro (RFC 7208 §7.3).
func (p *macroPart) transform(value string) string {
	var parts []string
	for {
		i := strings.IndexAny(value, p.split)
		if i < 0 {
			break
		}
		parts, value = append(parts, value[:i]), value[i+1:]
	}
	parts = append(parts, value)
	if p.reverse {
		slices.Reverse(parts)
	}
	if len(parts) > p.keep {
		parts = parts[len(parts)-p.keep:]
	}
	value = strings.Join(parts, ".")
	if p.escape {
		return escapeURL(value)
	}
	return value
}

// escapeURL encodes all characters but the unreserved ones of RFC 3986 §2.3.
func escapeURL(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; isAlnum(c) || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func isAlpha(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isAlnum(c byte) bool { return isAlpha(c) || isDigit(c) }

// dotted returns the value of the macro i: an IPv6 address has a dot between any two of its 32 digits. Their upper
// case, which SPF libraries have in common, is seen only in explanations.
func dotted(ip netip.Addr) string {
	if ip.Is4() {
		return ip.String()
	}
	digits := strings.ToUpper(strings.ReplaceAll(ip.StringExpanded(), ":", ""))
	return strings.Join(strings.Split(digits, ""), ".")
}
