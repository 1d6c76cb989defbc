package smtp

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

const hexDigits = "0123456789ABCDEF"

// EncodeXtext returns s as xtext (RFC 3461 §4). Each "+", "=", and each octet that is no graphic character of ASCII
// becomes "+" and two hexadecimal digits.
func EncodeXtext(s string) string {
	n := 0
	for i := range len(s) {
		if !isXchar(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; isXchar(c) {
			b = append(b, c)
		} else {
			b = append(b, '+', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(b)
}

// DecodeXtext is the reverse of [EncodeXtext]. The result may have any octet, CR and LF included: the caller must check
// it. Digits may be in lower case, though RFC 3461 §4 allows upper case only. The error names the value and the rule.
func DecodeXtext(s string) (string, error) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) || unhex(s[i+1]) < 0 || unhex(s[i+2]) < 0 {
				const rule = `"+" without two hexadecimal digits (RFC 3461 section 4)`
				return "", fmt.Errorf("smtp: xtext %q: %s", shorten(s), rule)
			}
			c = byte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
		} else if !isXchar(c) {
			return "", fmt.Errorf("smtp: xtext %q: octet %#02x must be encoded (RFC 3461 section 4)", shorten(s), c)
		}
		b = append(b, c)
	}
	return string(b), nil
}

// EncodeORCPT returns "type;address" as the value of the ORCPT parameter. The address becomes xtext. For the type
// "utf-8" it becomes utf-8-addr-unitext if smtputf8 is true, which needs SMTPUTF8, and otherwise utf-8-addr-xtext,
// which is ASCII (RFC 6533 §3).
func EncodeORCPT(orcpt string, smtputf8 bool) string {
	kind, address, _ := strings.Cut(orcpt, ";")
	if !equalFold(kind, "utf-8") {
		return kind + ";" + EncodeXtext(address)
	}
	b := append(make([]byte, 0, len(orcpt)), kind...)
	b = append(b, ';')
	for _, c := range address {
		switch {
		case c < 0x80 && isXchar(byte(c)) && c != '\\':
			b = append(b, byte(c))
		case c >= 0x80 && smtputf8:
			b = utf8.AppendRune(b, c)
		default:
			b = append(b, `\x{`...)
			if c < 0x10 {
				b = append(b, '0')
			}
			b = append(b, strings.ToUpper(strconv.FormatInt(int64(c), 16))...)
			b = append(b, '}')
		}
	}
	return string(b)
}

// decodeORCPT is the reverse of EncodeORCPT.
func decodeORCPT(s string) (string, error) {
	kind, address, ok := strings.Cut(s, ";")
	if !ok || kind == "" || address == "" || !isAtom(kind) {
		return "", fmt.Errorf(`smtp: ORCPT %q: not "type;address" (RFC 3461 section 4.2)`, shorten(s))
	}
	var err error
	if equalFold(kind, "utf-8") {
		address, err = decodeUnitext(address)
	} else {
		address, err = DecodeXtext(address)
	}
	if err != nil {
		return "", err
	}
	return kind + ";" + address, nil
}

// decodeUnitext decodes utf-8-addr-unitext, which includes utf-8-addr-xtext (RFC 6533 §3).
func decodeUnitext(s string) (string, error) {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		c := s[i]
		if c == '\\' {
			r, n := embedded(s[i:])
			if n == 0 {
				return "", fmt.Errorf(`smtp: ORCPT %q: "\" without "x{…}" (RFC 6533 section 3)`, shorten(s))
			}
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		if c < 0x80 && !isXchar(c) {
			return "", fmt.Errorf("smtp: ORCPT %q: octet %#02x must be encoded (RFC 6533 section 3)", shorten(s), c)
		}
		b = append(b, c)
		i++
	}
	return string(b), nil
}

// embedded parses the EmbeddedUnicodeChar at the start of s, "\x{2B}" for example, and returns its length in octets.
// The length is 0 if there is none.
func embedded(s string) (rune, int) {
	hex, ok := strings.CutPrefix(s, `\x{`)
	if !ok {
		return 0, 0
	}
	end := strings.IndexByte(hex, '}')
	if end < 2 || end > 6 {
		return 0, 0
	}
	var r rune
	for i := range end {
		d := unhex(hex[i])
		if d < 0 {
			return 0, 0
		}
		r = r<<4 | rune(d)
	}
	if !utf8.ValidRune(r) {
		return 0, 0
	}
	return r, len(`\x{`) + end + len("}")
}

// isXchar reports whether c stands for itself in xtext.
func isXchar(c byte) bool { return '!' <= c && c <= '~' && c != '+' && c != '=' }

func unhex(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	}
	return -1
}
