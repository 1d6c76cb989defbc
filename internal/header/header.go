// Package header finds the header of a message and its fields, for the parts of the module that put fields on top or
// change some.
package header

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// maxStep bounds the octets by which the buffer of a header grows at a time. Doubled, it could be twice as large as the
// header: too much for a server with many clients that send large headers.
const maxStep = 16 << 10

// maxEmpty bounds the reads in a row that return neither octets nor an error.
const maxEmpty = 100

// Max bounds the octets of a header that Read reads.
const Max = 1 << 20

// Read reads the beginning of a message: at least its header section and the empty line after it, or the first line if
// there is no header. It drops a preamble before the first field, and returns its length. A header of Max octets or
// more is an error with a *smtp.Reply.
func Read(body io.Reader) (b []byte, dropped int, err error) { return ReadMost(body, Max) }

// ReadMost is Read with another bound in place of Max.
func ReadMost(body io.Reader, most int) (b []byte, dropped int, err error) {
	buf := make([]byte, 0, 2048)
	start := 0     // of the first line after a preamble
	whole := false // that line has been read to its end
	empty := 0     // reads in a row that returned nothing
	for searched := 0; ; {
		n, err := body.Read(buf[len(buf):cap(buf)])
		if empty++; n > 0 {
			empty = 0
		} else if err == nil && empty > maxEmpty {
			return nil, 0, io.ErrNoProgress
		}
		buf = buf[:len(buf)+n]
		if !whole && bytes.IndexByte(buf[len(buf)-n:], '\n') >= 0 {
			start += Preamble(buf[start:])
			if whole = bytes.IndexByte(buf[start:], '\n') >= 0; whole && !BeginsField(buf[start:]) {
				start = 0 // it is text that looks like a preamble
			}
		}
		if whole && !Begins(buf[start:]) || bytes.HasPrefix(buf[start:], []byte("\r\n")) ||
			bytes.Contains(buf[max(searched, start):], []byte("\r\n\r\n")) {
			return buf[start:], start, nil
		}
		searched = max(0, len(buf)-3)
		switch {
		case errors.Is(err, io.EOF) && !whole:
			return buf, 0, nil // no line, or only what looks like a preamble
		case errors.Is(err, io.EOF):
			return buf[start:], start, nil
		case err != nil:
			return nil, 0, err
		case len(buf) >= most:
			return nil, 0, smtp.NewReply(552, "5.3.4", "the header is too long")
		case len(buf) == cap(buf):
			buf = append(make([]byte, 0, len(buf)+min(len(buf), maxStep)), buf...)
		}
	}
}

// Preamble returns the length of what stands before the header in b and is no part of it: byte order marks, which
// editors put at the beginning of a file, and whole lines that begin with "From " or ">From ", which programs copy from
// a file of mail (RFC 4155) or have from UUCP (RFC 976 §2.3). Before them, our fields would end the header.
func Preamble(b []byte) int {
	rest := b
	for {
		rest = bytes.TrimPrefix(rest, []byte("\ufeff"))
		end := bytes.IndexByte(rest, '\n')
		if end < 0 || !bytes.HasPrefix(bytes.TrimLeft(rest, ">"), []byte("From ")) || BeginsField(rest) {
			return len(b) - len(rest)
		}
		rest = rest[end+1:]
	}
}

// Begins reports whether b begins with a header section, which may be empty: with a field or with the empty line.
func Begins(b []byte) bool {
	return len(b) == 0 || bytes.HasPrefix(b, []byte("\r\n")) || BeginsField(b)
}

// BeginsField reports whether b begins with a field's name and a colon (RFC 5322 §2.2; §4.5 allows white space
// between them).
func BeginsField(b []byte) bool {
	name := 0
	for name < len(b) && ' ' < b[name] && b[name] < 0x7f && b[name] != ':' {
		name++
	}
	colon := name
	for colon < len(b) && (b[colon] == ' ' || b[colon] == '\t') {
		colon++
	}
	return name > 0 && colon < len(b) && b[colon] == ':'
}

// FieldEnd returns the end of the field that b begins with, its folded lines included (RFC 5322 §2.2.3).
func FieldEnd(b []byte) int {
	for end := 0; ; {
		i := bytes.IndexByte(b[end:], '\n')
		if i < 0 {
			return len(b)
		}
		if end += i + 1; end == len(b) || b[end] != ' ' && b[end] != '\t' {
			return end
		}
	}
}

// Fields returns the fields that b begins with, each with its line ends, and the rest of b: from the empty line on, or
// from the first line on that is no field.
func Fields(b []byte) (fields []string, rest []byte) {
	end := 0
	for BeginsField(b[end:]) {
		end += FieldEnd(b[end:])
	}
	text := string(b[:end]) // one for all
	for begin := 0; begin < end; {
		n := FieldEnd(b[begin:end])
		fields, begin = append(fields, text[begin:begin+n]), begin+n
	}
	return fields, b[end:]
}

// WithoutResults returns the message that begins with b without the Authentication-Results fields in its header that
// claim to come from the host id, or whose host can't be read (RFC 8601 §5). It may change b.
func WithoutResults(b []byte, id string) []byte {
	kept := b[:0]
	rest := b
	for len(rest) > 0 && !bytes.HasPrefix(rest, []byte("\r\n")) {
		field := rest[:FieldEnd(rest)]
		rest = rest[len(field):]
		if !IsResults(field, id) {
			kept = append(kept, field...)
		}
	}
	return append(kept, rest...)
}

// IsResults reports whether a field is an Authentication-Results of the host id, or one whose host can't be read.
func IsResults(field []byte, id string) bool {
	name, value, _ := bytes.Cut(field, []byte(":"))
	// Some readers unfold before they look for the colon.
	if !bytes.EqualFold(bytes.TrimRight(name, " \t\r\n"), []byte("Authentication-Results")) {
		return false
	}
	words, ok := firstWords(string(value))
	if !ok {
		return true
	}
	host := ""
	most := 2*strings.Count(id, ".") + 2 // labels and dots of id, and a dot at the end
	for _, word := range words[:min(len(words), most)] {
		// Some readers skip white space and comments around the dots of a name.
		if host != "" && !strings.HasSuffix(host, ".") && !strings.HasPrefix(word, ".") {
			break
		}
		if host += word; isHost(host, id) {
			return true
		}
	}
	return false
}

// isHost reports whether a name is that of the host id. Both may be A-labels or in Unicode.
func isHost(name, id string) bool {
	name = strings.TrimSuffix(name, ".")
	if strings.EqualFold(name, id) {
		return true
	}
	ascii, err := smtp.ASCIIDomain(name)
	if err != nil {
		return false
	}
	own, err := smtp.ASCIIDomain(id)
	return err == nil && ascii == own
}

// firstWords returns the words before the first ";" of a structured value, without comments, or the quoted string that
// it begins with (RFC 8601 §2.2, RFC 5322 §3.2.2). ok is false if there are none.
func firstWords(value string) (words []string, ok bool) {
	var b strings.Builder
	depth := 0 // of comments
scan:
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && depth > 0:
			i++
		case c == '(':
			depth++
			b.WriteByte(' ')
		case c == ')' && depth > 0:
			depth--
		case depth > 0:
		case c == '"' && strings.TrimSpace(b.String()) == "":
			word, ok := unquote(value[i+1:])
			return []string{word}, ok
		case c == ';', c == '"':
			break scan
		default:
			b.WriteByte(c)
		}
	}
	words = strings.Fields(b.String())
	return words, len(words) > 0
}

// unquote returns the quoted string that s continues after its first quote.
func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), b.Len() > 0
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", false
}
