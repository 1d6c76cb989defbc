package bounce

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// readAddress reads the address of a field "type; address" (RFC 3464 §2.3.2), in any of the forms that hosts write:
// with "<>", with a name in front of it, with a comment after it, as utf-8-addr-xtext (RFC 6533 §3). It returns "" if
// there is none.
func readAddress(s string) string {
	typ, address := typed(s)
	if i := strings.LastIndexByte(address, '<'); i >= 0 {
		if j := strings.IndexByte(address[i:], '>'); j > 0 {
			address = address[i+1 : i+j]
		}
	}
	address = strings.TrimSpace(address)
	if !strings.HasPrefix(address, `"`) {
		address, _, _ = strings.Cut(address, " ")
	}
	if strings.EqualFold(typ, "utf-8") && len(address) < 4*maxToken {
		address = decodeUnitext(address)
	}
	return cleanAddress(address)
}

// cleanAddress returns address without what can't be part of it at its ends, or "" if it has spaces, control characters
// or more than maxToken octets.
func cleanAddress(address string) string {
	address = strings.Trim(address, "<>()[]{},;: \t\r\n'")
	address = strings.TrimPrefix(address, "mailto:")
	quoted := strings.HasPrefix(address, `"`)
	if len(address) > maxToken || !utf8.ValidString(address) || strings.ContainsFunc(address, func(r rune) bool {
		return unicode.IsSpace(r) && !quoted || unicode.IsControl(r)
	}) {
		return ""
	}
	return address
}

// decodeUnitext decodes each "\x{HEX}" (RFC 6533 §3). What is malformed stays.
func decodeUnitext(s string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		digits, rest, ok := strings.Cut(after, "}")
		if n, err := strconv.ParseUint(digits, 16, 32); ok && err == nil && utf8.ValidRune(rune(n)) {
			b.WriteRune(rune(n))
			s = rest
		} else {
			b.WriteString(`\x{`)
			s = after
		}
	}
}
