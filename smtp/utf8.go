package smtp

import "unicode/utf8"

// utf8Check reports whether a text that comes in pieces is UTF-8.
type utf8Check struct {
	invalid bool
	rest    []byte // the octets of a character whose end hasn't come yet
}

// add adds a piece. It reports whether the piece is ASCII.
func (u *utf8Check) add(b []byte) (ascii bool) {
	ascii = isASCII(b)
	if ascii && len(u.rest) == 0 || u.invalid {
		return ascii
	}
	if len(u.rest) > 0 {
		b = append(u.rest, b...)
	}
	end := len(b)
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if last := b[len(b)-n:]; utf8.RuneStart(last[0]) {
			if !utf8.FullRune(last) {
				end -= n
			}
			break
		}
	}
	u.invalid = !utf8.Valid(b[:end])
	u.rest = append([]byte(nil), b[end:]...)
	return ascii
}

func (u *utf8Check) valid() bool { return !u.invalid && len(u.rest) == 0 }
