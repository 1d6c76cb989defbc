package smtp

import (
	"encoding/base64"
	"errors"
)

var errNegativeOffset = errors.New("smtp: ReadAt: negative offset")

const (
	base64Line = 57 // octets in a line of 76 characters (RFC 2045 §6.8)
	qpLine     = 75 // characters in a line, without the "=" at its end (RFC 2045 §6.7)
)

// appendBase64 is an encoding by RFC 2045 §6.8. Its last line has no CRLF: in a multipart, that of the delimiter
// follows.
func appendBase64(dst, b []byte, _ byte, next int) []byte {
	for len(b) > 0 {
		line := b[:min(base64Line, len(b))]
		b = b[len(line):]
		dst = base64.StdEncoding.AppendEncode(dst, line)
		if len(b) > 0 || next >= 0 {
			dst = append(dst, "\r\n"...)
		}
	}
	return dst
}

// appendQP is an encoding by RFC 2045 §6.7. A block that ends within a line ends in a soft line break.
func appendQP(dst, b []byte, prev byte, next int) []byte {
	col, soft := 0, prev != '\n' // the characters in the line so far; whether it began by a soft line break
	for i, c := range b {
		after := next
		if i+1 < len(b) {
			after = int(b[i+1])
		}
		switch {
		case c == '\r' && after == '\n':
			dst, col, soft = append(dst, "\r\n"...), 0, false
			prev = c
			continue
		case c == '\n' && prev == '\r':
			prev = c
			continue
		}
		prev = c
		if plain := isPlainQP(c, after); col == qpLine || !plain && col > qpLine-len("=00") {
			dst, col, soft = append(dst, "=\r\n"...), 0, true
		}
		// A line that begins here must not become the delimiter of a multipart.
		if isPlainQP(c, after) && (c != '-' || col > 0 || !soft) {
			dst, col = append(dst, c), col+1
		} else {
			dst, col = appendHex(dst, c), col+len("=00")
		}
	}
	if next >= 0 && col > 0 {
		dst = append(dst, "=\r\n"...)
	}
	return dst
}

// isPlainQP reports whether c stands for itself before the octet after. RFC 2045 §6.7: white space at the end of a
// line doesn't.
func isPlainQP(c byte, after int) bool {
	if c == ' ' || c == '\t' {
		return after >= 0 && after != '\r' && after != '\n'
	}
	return c > ' ' && c <= '~' && c != '='
}

func appendHex(dst []byte, c byte) []byte {
	const digits = "0123456789ABCDEF"
	return append(dst, '=', digits[c>>4], digits[c&15])
}

// repairQP is an encoding for a body in quoted-printable that has octets above 127. It encodes these, and keeps all
// others, except a "=" right before one: readers take such a "=" for itself, and "==E9" is read in several ways.
func repairQP(dst, b []byte, _ byte, next int) []byte {
	col := 0 // since the last line break in this block
	for i, c := range b {
		after := next
		if i+1 < len(b) {
			after = int(b[i+1])
		}
		if c < 0x80 && (c != '=' || after < 0x80) {
			dst, col = append(dst, c), col+1
			if c == '\n' {
				col = 0
			}
			continue
		}
		if col > qpLine-len("=00") {
			dst, col = append(dst, "=\r\n"...), 0
		}
		dst, col = appendHex(dst, c), col+len("=00")
	}
	return dst
}

// mask is an encoding for octets that readers skip: "?" stands for each one above 127.
func mask(dst, b []byte, _ byte, _ int) []byte {
	for _, c := range b {
		if c >= 0x80 {
			c = '?'
		}
		dst = append(dst, c)
	}
	return dst
}
