package compose

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

const (
	maxWord = 74 // octets of an encoded-word: RFC 2047 §2 allows 75, and fileType needs one for a quote
	minRoom = 30 // octets: with less room, an encoded-word begins a line of its own
)

// encoded appends s as encoded-words that are right in text and in a phrase. Each stands alone between white space:
// Yahoo refuses others.
func (h *header) encoded(s string) {
	base := inBase64(s)
	for first := true; s != ""; first = false {
		room := min(maxWord, softLine-h.col-len(" "))
		if !first || room < minRoom {
			h.fold()
			room = maxWord
		} else {
			h.raw(" ")
		}
		n := fitting(s, room-len("=?utf-8?b??="), base)
		if base {
			h.raw("=?utf-8?b?")
			before := len(h.b)
			h.b = base64.StdEncoding.AppendEncode(h.b, []byte(s[:n]))
			h.col += len(h.b) - before
		} else {
			h.raw("=?utf-8?q?")
			for i := range n {
				h.q(s[i])
			}
		}
		h.raw("?=")
		s = s[n:]
	}
}

// fitting returns how many octets of s, in whole characters, are encoded in at most room octets.
func fitting(s string, room int, base bool) int {
	n, used := 0, 0
	for n < len(s) {
		_, size := utf8.DecodeRuneInString(s[n:])
		for i := range size {
			used += qLen(s[n+i])
		}
		if base && base64.StdEncoding.EncodedLen(n+size) > room || !base && used > room {
			break
		}
		n += size
	}
	return n
}

// isQ reports whether an octet stands for itself in the Q encoding. Those of RFC 2047 §5 (3) are right everywhere.
func isQ(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!*+-/", c) >= 0
}

func qLen(c byte) int {
	if isQ(c) || c == ' ' {
		return 1
	}
	return len("=00")
}

func (h *header) q(c byte) {
	const digits = "0123456789ABCDEF"
	switch {
	case c == ' ':
		h.raw("_")
	case isQ(c):
		h.b = append(h.b, c)
		h.col++
	default:
		h.b = append(h.b, '=', digits[c>>4], digits[c&15])
		h.col += len("=00")
	}
}

// inBase64 reports whether base64 is shorter than Q.
func inBase64(s string) bool {
	q := 0
	for i := range len(s) {
		q += qLen(s[i])
	}
	return q > base64.StdEncoding.EncodedLen(len(s))
}

// looksEncoded reports whether readers would decode something in s, which is ASCII.
func looksEncoded(s string) bool {
	if !strings.Contains(s, "=?") {
		return false
	}
	// Many readers also decode words that touch others, and those in an unknown charset.
	_, rest, _ := strings.Cut(s, "=?")
	return strings.Count(rest, "?") >= 3 || strings.Contains(rest, "?=")
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// fileType appends "; name=…" for old versions of Outlook, which know RFC 2047 only. RFC 2047 §5 forbids
// encoded-words in parameters.
func (h *header) fileType(name string) {
	h.raw(";")
	if !needsExtended(name) {
		h.word(`name="` + name + `"`)
		return
	}
	h.fold()
	h.raw(`name="`)
	words := header{col: h.col} // the first space falls away, and leaves an octet for the last quote
	words.encoded(name)
	h.b = append(h.b, strings.TrimPrefix(string(words.b), " ")...)
	h.col = words.col
	h.raw(`"`)
}

// fileName appends "; filename=…" (RFC 2183 §2.3), in the form of RFC 2231 where it is needed.
func (h *header) fileName(name string) {
	if !needsExtended(name) {
		h.raw(";")
		h.word(`filename="` + name + `"`)
		return
	}
	const most = softLine - len(" filename*10*=utf-8'';")
	var sections []string
	var b strings.Builder
	for _, c := range name {
		escaped := percent(string(c))
		if b.Len()+len(escaped) > most {
			sections = append(sections, b.String())
			b.Reset()
		}
		b.WriteString(escaped)
	}
	sections = append(sections, b.String())
	if len(sections) == 1 {
		h.raw(";")
		h.word("filename*=utf-8''" + sections[0])
		return
	}
	charset := "utf-8''"
	for i, section := range sections { // RFC 2231 §4.1
		h.raw(";")
		h.word("filename*" + itoa(i) + "*=" + charset + section)
		charset = ""
	}
}

// needsExtended reports whether a name can't stand in a plain quoted-string that all readers read alike.
func needsExtended(name string) bool {
	return !isASCII(name) || strings.ContainsAny(name, `"\%`) || looksEncoded(name) || strings.TrimSpace(name) != name
}

// percent escapes all except attribute-chars (RFC 2231 §7).
func percent(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("._-", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}
