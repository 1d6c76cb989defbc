package client

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// prepare makes one form of what can be typed in several ways (SASLprep, RFC 4013), so that the hash of a password
// is that of the host. It has today's Unicode where the RFC has 3.2: what has been assigned since is normalized
// like the rest, and other format characters are refused like those that the RFC lists. Its errors don't hold s.
func prepare(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errors.New("not UTF-8")
	}
	s = norm.NFKC.String(strings.Map(mapped, s)) // RFC 4013 §2.1, §2.2
	if s == "" {
		return "", errors.New("empty, or of invisible characters alone")
	}
	if strings.ContainsFunc(s, prohibited) {
		return "", errors.New("has control characters, or others that SASLprep prohibits")
	}
	if !oneDirection(s) {
		return "", errors.New("mixes directions of writing in a way that SASLprep prohibits")
	}
	return s, nil
}

// mapped gives what a character is replaced by; -1 takes it out.
func mapped(r rune) rune {
	switch {
	case r == 0xad, r == 0x34f, r == 0x1806, 0x180b <= r && r <= 0x180d, 0x200b <= r && r <= 0x200d, r == 0x2060,
		0xfe00 <= r && r <= 0xfe0f, r == 0xfeff:
		return -1 // RFC 3454 table B.1
	case unicode.Is(unicode.Zs, r):
		return ' '
	}
	return r
}

// prohibited reports what RFC 4013 §2.3 lists.
func prohibited(r rune) bool {
	return unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) || // tables C.2.1, C.2.2, C.3, C.5, C.8, C.9
		unicode.Is(unicode.Noncharacter_Code_Point, r) || // C.4
		0x2ff0 <= r && r <= 0x2ffb || r == 0xfffc || r == 0xfffd // C.7, C.6
}

// oneDirection is RFC 3454 §6: what has letters written from the right has none from the left, and both ends are such.
func oneDirection(s string) bool {
	var left, right, first, last bool
	for i, r := range s {
		p, _ := bidi.LookupRune(r)
		last = p.Class() == bidi.R || p.Class() == bidi.AL
		if i == 0 {
			first = last
		}
		left = left || p.Class() == bidi.L
		right = right || last
	}
	return !right || !left && first && last
}
