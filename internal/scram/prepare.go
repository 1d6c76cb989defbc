package scram

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// Prepare returns the normal form of a name or a password (SASLprep, RFC 4013), so that its hash is the same
// however it was typed. The RFC has Unicode 3.2, Prepare that of golang.org/x/text: characters assigned since then are
// normalized too, and further format characters are refused. Its errors don't contain s.
func Prepare(s string) (string, error) {
	if !utf8.ValidString(s) {
		return "", errors.New("not UTF-8")
	}
	s = norm.NFKC.String(strings.Map(mapped, s)) // RFC 4013 §2.1, §2.2
	if s == "" {
		return "", errors.New("empty, or invisible characters only")
	}
	if strings.ContainsFunc(s, prohibited) {
		return "", errors.New("has control characters, or others that SASLprep prohibits: remove them")
	}
	if !oneDirection(s) {
		return "", errors.New("mixes directions of writing in a way that SASLprep prohibits")
	}
	return s, nil
}

// mapped returns the replacement of a character, or -1 to remove it.
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

// prohibited reports whether RFC 4013 §2.3 prohibits a character.
func prohibited(r rune) bool {
	return unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) || // tables C.2.1, C.2.2, C.3, C.5, C.8, C.9
		unicode.Is(unicode.Noncharacter_Code_Point, r) || // C.4
		0x2ff0 <= r && r <= 0x2ffb || r == 0xfffc || r == 0xfffd // C.7, C.6
}

// oneDirection is the check of RFC 3454 §6: a string with right-to-left letters has no left-to-right letters, and
// begins and ends with right-to-left ones.
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
