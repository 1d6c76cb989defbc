package bounce

import (
	"bytes"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"

	"golang.org/x/text/encoding/htmlindex"
)

// fields are the fields of a header, unfolded, in their order.
type fields []fieldValue

// maxFields bounds the fields of a header that are read.
const maxFields = 1000

type fieldValue struct{ name, value string } // name in lower case

// parseFields reads a header with LF line ends. A line that begins with a space continues the field before it. A line
// that is no field is skipped.
func parseFields(header []byte) fields {
	var f fields
	rest := string(header)
	for rest != "" && len(f) < maxFields {
		end := fieldEnd(rest)
		if name, value, ok := strings.Cut(rest[:end], ":"); ok {
			f = append(f, fieldValue{strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)})
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

// get returns the unfolded value of the first field with that name that isn't empty.
func (f fields) get(name string) string { return unfold(f.lines(name)) }

// lines returns the value of the first field with that name that isn't empty, with the folds as "\n" and spaces.
func (f fields) lines(name string) string {
	for _, field := range f {
		if field.value != "" && strings.EqualFold(field.name, name) {
			return field.value
		}
	}
	return ""
}

// has reports whether there is a field with that name.
func (f fields) has(name string) bool {
	for _, field := range f {
		if strings.EqualFold(field.name, name) {
			return true
		}
	}
	return false
}

// unfold returns a value in one line, with single spaces.
func unfold(value string) string { return strings.Join(strings.Fields(value), " ") }

// isField reports whether a line begins a field: a name of printable characters, and ":".
func isField(line []byte) bool {
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

// parseType reads a Content-Type. Unlike mime.ParseMediaType, it takes what is malformed: a parameter that isn't
// quoted, a quote that doesn't end, a type without a subtype.
func parseType(value string) mimeType {
	var t mimeType
	name, rest, _ := strings.Cut(value, ";")
	t.name = strings.ToLower(strings.TrimSpace(name))
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
		switch key {
		case "charset":
			t.charset = strings.ToLower(v)
		case "boundary":
			t.boundary = strings.TrimRight(v, " \t")
		case "report-type":
			t.report = strings.ToLower(v)
		}
	}
	return t
}

// toUTF8 converts text from a charset. Of an unknown charset, and for octets that are invalid in it, the ASCII stays.
func toUTF8(text []byte, charset string) []byte {
	switch charset {
	case "", "us-ascii", "utf-8", "ascii":
	default:
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

// decodeWords decodes the encoded words (RFC 2047) of a value. What can't be decoded stays.
func decodeWords(value string) string {
	d := mime.WordDecoder{CharsetReader: charsetReader}
	out, err := d.DecodeHeader(value)
	if err != nil {
		return value
	}
	return out
}

// parseDate reads a date of a header. It returns the zero time for one that isn't valid.
func parseDate(value string) time.Time {
	t, err := mail.ParseDate(value)
	if err != nil {
		return time.Time{}
	}
	return t
}
