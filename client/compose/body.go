package compose

import (
	"encoding/base64"
	"strings"
)

const (
	textLine   = 78 // octets of a line of text that is sent as it is (RFC 5322 §2.1.1)
	qpLine     = 75 // characters of a line, without the "=" at its end (RFC 2045 §6.7)
	base64Line = 57 // octets in a line of 76 characters (RFC 2045 §6.8)
	lineLen    = 78 // octets of that line with its CRLF
)

// text is a text that was encoded: lines with CRLF, in ASCII, none over 78 octets.
type text struct {
	encoding string // the value of Content-Transfer-Encoding
	b        []byte
}

// encodeText leaves text as it is, or encodes it in quoted-printable if a host on the way might change it, such as the
// spaces at the end of a line: signatures depend on it.
func encodeText(s string) text {
	plain, lines, eight := true, 0, 0
	for rest := s; rest != ""; lines++ {
		line := rest
		if i := strings.IndexByte(rest, '\n'); i >= 0 {
			line, rest = strings.TrimSuffix(rest[:i], "\r"), rest[i+1:]
		} else {
			rest = ""
		}
		other := 0
		for i := range len(line) {
			if c := line[i]; c >= 0x80 || c < ' ' && c != '\t' || c == 0x7f {
				other++
			}
		}
		eight += other
		plain = plain && other == 0 && len(line) <= textLine && !hasFragileEnd(line) && !hasFragileStart(line)
	}
	room := len(s) + 2*lines
	if plain {
		return text{"7bit", appendLines(make([]byte, 0, room), s)}
	}
	// Base64 would be shorter for many scripts. Filters hold it against a text.
	return text{"quoted-printable", appendQP(make([]byte, 0, room+2*eight+len(s)/20), s)}
}

// hasFragileStart reports whether hosts and mailboxes change the start of a line: "From " becomes ">From " (RFC 4155),
// and a dot may fall away.
func hasFragileStart(line string) bool {
	return strings.HasPrefix(line, "From ") || strings.HasPrefix(line, ".")
}

func hasFragileEnd(line string) bool {
	return strings.HasSuffix(line, " ") || strings.HasSuffix(line, "\t")
}

// appendLines appends s with CRLF line ends. The last line gets one, too.
func appendLines(dst []byte, s string) []byte {
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		dst = append(append(dst, line...), "\r\n"...)
	}
	return dst
}

// appendBase64 appends lines of base64, each with its CRLF.
func appendBase64(dst, b []byte) []byte {
	for len(b) > 0 {
		n := min(base64Line, len(b))
		dst = append(base64.StdEncoding.AppendEncode(dst, b[:n]), "\r\n"...)
		b = b[n:]
	}
	return dst
}

// base64Size returns the length of appendBase64 for so many octets.
func base64Size(octets int64) int64 {
	lines := (octets + base64Line - 1) / base64Line
	return (octets+2)/3*4 + 2*lines
}

// literal are the octets that quoted-printable leaves as they are, except for a space or a tab at the end of a line.
var literal = func() (table [256]bool) {
	for c := '!'; c <= '~'; c++ {
		table[c] = c != '='
	}
	table[' '], table['\t'] = true, true
	return table
}()

// appendQP appends s in quoted-printable (RFC 2045 §6.7), with CRLF line ends.
func appendQP(dst []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for line := range strings.Lines(s) {
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		last := len(line)
		if hasFragileEnd(line) {
			last--
		}
		for i, col := 0, 0; i < len(line); {
			c := line[i]
			plain := literal[c] && i < last
			if col == qpLine || !plain && col > qpLine-len("=00") {
				dst, col = append(dst, "=\r\n"...), 0
			}
			if !plain || col == 0 && hasFragileStart(line[i:]) {
				dst = append(dst, '=', digits[c>>4], digits[c&15])
				col += len("=00")
				i++
				continue
			}
			end, most := i+1, min(last, i+qpLine-col)
			for end < most && literal[line[end]] {
				end++
			}
			dst = append(dst, line[i:end]...)
			col += end - i
			i = end
		}
		dst = append(dst, "\r\n"...)
	}
	return dst
}
