// Package mimetext reads what is in a mail as it comes, malformed or not: header fields, a Content-Type, charsets,
// encoded words, base64 and quoted-printable.
package mimetext

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"

	"golang.org/x/text/encoding/htmlindex"
)

// Type is a Content-Type, in lower case except for the boundary.
type Type struct {
	Name     string // "text/plain"
	Charset  string
	Boundary string // at most 70 octets (RFC 2046 §5.1.1); a longer one is none
	Report   string // the report-type
}

// Fields are the fields of a header, unfolded, in their order.
type Fields []Field

// maxFields bounds the fields of a header that are read.
const maxFields = 1000

// Field is a field; Name is in lower case, and Value has its folds as "\n" and spaces.
type Field struct{ Name, Value string }

// ReadFields reads a header with LF line ends. A line that begins with a space continues the field before it. A line
// that is no field is skipped.
func ReadFields(header []byte) Fields {
	var f Fields
	rest := string(header)
	for rest != "" && len(f) < maxFields {
		end := fieldEnd(rest)
		if name, value, ok := strings.Cut(rest[:end], ":"); ok {
			f = append(f, Field{strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)})
		}
		rest = rest[end:]
	}
	return f
}

// fieldEnd returns the length of the first line of header and of those that continue it.
func fieldEnd(header string) int {
	for i := 0; ; {
		n := strings.IndexByte(header[i:], '\n')
		if n < 0 {
			return len(header)
		}
		i += n + 1
		if i == len(header) || header[i] != ' ' && header[i] != '\t' {
			return i
		}
	}
}

// Get returns the unfolded value of the first field with that name that isn't empty.
func (f Fields) Get(name string) string { return Unfold(f.Lines(name)) }

// Lines returns the value of the first field with that name that isn't empty, with the folds as "\n" and spaces.
func (f Fields) Lines(name string) string {
	for _, field := range f {
		if field.Value != "" && strings.EqualFold(field.Name, name) {
			return field.Value
		}
	}
	return ""
}

// Has reports whether there is a field with that name.
func (f Fields) Has(name string) bool {
	for _, field := range f {
		if strings.EqualFold(field.Name, name) {
			return true
		}
	}
	return false
}

// Unfold returns a value in one line, with single spaces.
func Unfold(value string) string { return strings.Join(strings.Fields(value), " ") }

// IsField reports whether a line begins a field: a name of printable characters, and ":".
func IsField(line []byte) bool {
	i := bytes.IndexByte(line, ':')
	if i <= 0 || i > 76 {
		return false
	}
	for _, c := range bytes.TrimRight(line[:i], " \t") {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return true
}

// maxBoundary bounds a boundary in octets. Each line of a mail is compared with each boundary.
const maxBoundary = 70 // RFC 2046 §5.1.1

// IsDelimiter reports whether a line without its line end is a delimiter of the multipart with this boundary, and
// whether it is the last one (RFC 2046 §5.1.1).
func IsDelimiter(line []byte, boundary string) (ok, last bool) {
	if len(line) < len("--")+len(boundary) || string(line[:2]) != "--" || string(line[2:2+len(boundary)]) != boundary {
		return false, false
	}
	switch string(bytes.TrimRight(line[2+len(boundary):], " \t")) {
	case "":
		return true, false
	case "--":
		return true, true
	}
	return false, false
}

// ReadType reads a Content-Type. Unlike mime.ParseMediaType, it takes what is malformed: a parameter that isn't
// quoted, a quote that doesn't end, a type without a subtype.
func ReadType(value string) Type {
	var t Type
	t.Name = readParams(value, func(key, v string) {
		switch key {
		case "charset":
			t.Charset = strings.ToLower(v)
		case "boundary":
			if t.Boundary = strings.TrimRight(v, " \t"); len(t.Boundary) > maxBoundary {
				t.Boundary = ""
			}
		case "report-type":
			t.Report = strings.ToLower(v)
		}
	})
	return t
}

// ReadDisposition reads the name of the file that a body part is, and whether it is an attachment, from its
// Content-Disposition and Content-Type. The name is "" if it has none.
func ReadDisposition(disposition, contentType string) (name string, attached bool) {
	for _, value := range []string{disposition, contentType} {
		_, params, _ := mime.ParseMediaType(value) // RFC 2231
		read := func(key, v string) {
			if key == "filename" || key == "name" {
				name = cmp.Or(name, DecodeWords(v)) // against RFC 2047 §5, and common
			}
		}
		for _, key := range []string{"filename", "name"} {
			read(key, params[key])
		}
		kind := readParams(value, read)
		if value == disposition {
			attached = kind == "attachment"
		}
	}
	return name, attached
}

// readParams returns what is before the first ";", and calls f with each parameter behind it.
func readParams(value string, f func(key, v string)) (name string) {
	name, rest, _ := strings.Cut(value, ";")
	for rest != "" {
		var key, v string
		key, rest, _ = strings.Cut(rest, "=")
		key = strings.ToLower(strings.Trim(key, " \t;"))
		rest = strings.TrimLeft(rest, " \t")
		if strings.HasPrefix(rest, `"`) {
			v, rest, _ = strings.Cut(rest[1:], `"`)
			_, rest, _ = strings.Cut(rest, ";")
		} else {
			v, rest, _ = strings.Cut(rest, ";")
			v = strings.TrimSpace(v)
		}
		f(key, v)
	}
	return strings.ToLower(strings.TrimSpace(name))
}

// KnowsCharset reports whether ToUTF8 can read text in a charset.
func KnowsCharset(charset string) bool {
	_, err := htmlindex.Get(charset)
	return err == nil || isUTF8(charset)
}

func isUTF8(charset string) bool {
	switch charset {
	case "", "us-ascii", "utf-8", "ascii":
		return true
	}
	return false
}

// ToUTF8 converts text from a charset. Of an unknown charset, and for octets that are invalid in it, the ASCII stays.
func ToUTF8(text []byte, charset string) []byte {
	if !isUTF8(charset) {
		if e, err := htmlindex.Get(charset); err == nil {
			if out, err := e.NewDecoder().Bytes(text); err == nil {
				text = out
			}
		}
	}
	return bytes.ToValidUTF8(text, []byte("\ufffd"))
}

func charsetReader(charset string, input io.Reader) (io.Reader, error) {
	e, err := htmlindex.Get(charset)
	if err != nil {
		return nil, err
	}
	return e.NewDecoder().Reader(input), nil
}

// DecodeWords decodes the encoded words (RFC 2047) of a value. What can't be decoded stays.
func DecodeWords(value string) string {
	d := mime.WordDecoder{CharsetReader: charsetReader}
	out, err := d.DecodeHeader(value)
	if err != nil {
		return value
	}
	return out
}

// ReadDate reads a date of a header. It returns the zero time for one that isn't valid.
func ReadDate(value string) time.Time {
	t, err := mail.ParseDate(value)
	if err != nil {
		return time.Time{}
	}
	return t
}

// AppendBase64 appends the characters of base64 in line, without padding and others.
func AppendBase64(b, line []byte) []byte {
	for _, c := range line {
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/' {
			b = append(b, c)
		}
	}
	return b
}

// DecodeBase64 appends the decoded form of characters as AppendBase64 returns them.
func DecodeBase64(b, chars []byte) []byte {
	if len(chars)%4 == 1 {
		chars = chars[:len(chars)-1] // six bits make no octet
	}
	b, _ = base64.RawStdEncoding.AppendDecode(b, chars)
	return b
}

// AppendQuotedPrintable appends a decoded line (RFC 2045 §6.7). soft is set if the line goes on. What isn't valid
// stays as it is.
func AppendQuotedPrintable(b, line []byte) (out []byte, soft bool) {
	line = bytes.TrimRight(line, " \t")
	for i := 0; i < len(line); i++ {
		if line[i] != '=' {
			b = append(b, line[i])
			continue
		}
		if i+1 == len(line) {
			return b, true
		}
		if i+2 < len(line) && isHex(line[i+1]) && isHex(line[i+2]) {
			b = append(b, unhex(line[i+1])<<4|unhex(line[i+2]))
			i += 2
			continue
		}
		b = append(b, '=')
	}
	return b, false
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' || c >= 'a' && c <= 'f' }

func unhex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
