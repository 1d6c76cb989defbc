package smtp

import (
	"bytes"
	"mime"
	"strings"
)

// header is the header of an entity, as far as a walker needs it.
type header struct {
	begun bool  // there was a line
	done  bool  // the end was reached
	end   int64 // the offset of the empty line
	open  bool  // there is no empty line: the body follows at once

	contentType string // the value of the first Content-Type
	kind        string // its media type in lower case, known at the end; "" if there is none that is valid
	encoding    string // the value of the first Content-Transfer-Encoding; from the end on, its token in lower case
	encodings   []span // all Content-Transfer-Encodings
	version     bool   // there is a MIME-Version
	sealed      bool   // there is a signature over the body

	value *string // for the value of the current field; nil if it isn't kept
	lines []byte  // the value so far
	at    *span   // the current field; nil if its place isn't kept
}

// maxEncodings bounds the Content-Transfer-Encodings of a header that are changed. RFC 2045 §3: there is one at most.
const maxEncodings = 100

// span is a field in a message.
type span struct{ off, n int64 }

// add takes a line at off, or a piece of one. It reports whether the line belongs to the header. The empty line does.
func (h *header) add(b []byte, off int64, whole bool) (taken bool, err error) {
	first := !h.begun
	h.begun = true
	value := b
	switch {
	case !whole, !first && (b[0] == ' ' || b[0] == '\t'): // more of the field
	case len(bytes.TrimRight(b, "\r\n")) == 0:
		h.finish(off)
		return true, nil
	case first && (bytes.HasPrefix(b, []byte("From ")) || bytes.HasPrefix(b, []byte(">From "))):
		return true, nil // the line of a mailbox file
	default:
		name, rest, ok := bytes.Cut(b, []byte(":"))
		if !ok || !isFieldName(name) {
			// Readers take this line for the first one of the body.
			h.finish(off)
			h.open = true
			return false, nil
		}
		h.field(strings.ToLower(strings.TrimRight(string(name), " \t")), off)
		value = rest
	}
	if h.at != nil {
		h.at.n = off + int64(len(b)) - h.at.off
	}
	if h.value != nil {
		if h.lines = append(h.lines, bytes.TrimRight(value, "\r\n")...); len(h.lines) > maxFieldValue {
			return true, inconvertible("the header of a part has a field over 16 KiB")
		}
	}
	return true, nil
}

// isFieldName reports whether b can be the name of a field. RFC 5322 §4.5: white space may follow it. Octets above 127
// are accepted, as many readers do.
func isFieldName(b []byte) bool {
	b = bytes.TrimRight(b, " \t")
	return len(b) > 0 && !bytes.ContainsFunc(b, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// field begins a field. name is in lower case.
func (h *header) field(name string, off int64) {
	h.endField()
	switch name {
	case "content-type":
		if h.contentType == "" { // of several, readers take the first one
			h.value = &h.contentType
		}
	case "content-transfer-encoding":
		if len(h.encodings) == 0 {
			h.value = &h.encoding
		}
		if len(h.encodings) < maxEncodings {
			h.encodings = append(h.encodings, span{off: off})
			h.at = &h.encodings[len(h.encodings)-1]
		}
	case "mime-version":
		h.version = true
	case "dkim-signature", "arc-message-signature": // RFC 6376 §3.5, RFC 8617 §4.1.2: with a hash of the body
		h.sealed = true
	}
}

// endField keeps the value of the current field.
func (h *header) endField() {
	if h.value != nil {
		*h.value = string(h.lines)
	}
	h.value, h.lines, h.at = nil, h.lines[:0], nil
}

func (h *header) finish(off int64) {
	h.endField()
	h.done, h.end = true, off
	h.encoding = strings.ToLower(strings.TrimSpace(withoutComments(h.encoding)))
	if i := strings.IndexAny(h.encoding, " \t;,"); i >= 0 {
		h.encoding = h.encoding[:i]
	}
}

// identity reports whether the body stands in the message as it is. RFC 2045 §6.3: names of other encodings begin with
// "x-". Without that, an unknown name, such as "8-bit", is a mistake.
func (h *header) identity() bool {
	switch h.encoding {
	case "quoted-printable", "base64", "uuencode":
		return false
	}
	return !strings.HasPrefix(h.encoding, "x-")
}

// encodable reports whether an entity of this type may be encoded if it has no parts.
func (h *header) encodable() bool {
	switch h.kind {
	case "message/partial", "message/external-body": // RFC 2046 §5.2.2, §5.2.3: 7bit
		return false
	}
	return !strings.HasPrefix(h.kind, "multipart/") // RFC 2045 §6.4: not encoded, and this one has no part to encode
}

// mediaType returns the media type in lower case, "" if there is no valid one, and the boundary if there is one.
func (h *header) mediaType() (kind, boundary string) {
	value := withoutComments(h.contentType)
	kind, params, err := mime.ParseMediaType(value)
	if err == nil {
		boundary = params["boundary"]
	} else {
		kind, boundary = looseMediaType(value)
	}
	main, sub, _ := strings.Cut(kind, "/")
	// RFC 822 §3.1.4: white space may stand between tokens, so around the slash.
	if main, sub = strings.TrimSpace(main), strings.TrimSpace(sub); main == "" || sub == "" {
		return "", ""
	}
	// RFC 2046 §5.1.1: a boundary is ASCII. With another one, its delimiters couldn't be made 7-bit.
	if boundary = strings.TrimRight(boundary, " \t"); len(boundary) > maxText-len("--") || !isASCII([]byte(boundary)) {
		boundary = ""
	}
	return main + "/" + sub, boundary
}

// looseMediaType is mime.ParseMediaType for values that are common and not valid: "boundary=a=b" for example.
func looseMediaType(value string) (kind, boundary string) {
	kind, value, _ = strings.Cut(value, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	for value != "" {
		name, rest, ok := strings.Cut(value, "=")
		if i := strings.LastIndexByte(name, ';'); i >= 0 { // before it, a parameter without a value
			name = name[i+1:]
		}
		if !ok {
			break
		}
		var param string
		param, value = looseValue(strings.TrimLeft(rest, " \t"))
		if strings.EqualFold(strings.TrimSpace(name), "boundary") {
			return kind, param
		}
		_, value, _ = strings.Cut(value, ";")
	}
	return kind, ""
}

// looseValue splits s after the value of a parameter.
func looseValue(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		i := strings.IndexAny(s, "; \t")
		if i < 0 {
			return s, ""
		}
		return s[:i], s[i:]
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:]
		case '\\':
			if i++; i == len(s) {
				return b.String(), ""
			}
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

// withoutComments returns s without what is in parentheses (RFC 822 §3.4.3), except within quotes.
func withoutComments(s string) string {
	if !strings.Contains(s, "(") {
		return s
	}
	var b strings.Builder
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && (quoted || depth > 0) && i+1 < len(s):
			if depth == 0 {
				b.WriteString(s[i : i+2])
			}
			i++
			continue
		case c == '"' && depth == 0:
			quoted = !quoted
		case c == '(' && !quoted:
			depth++
			continue
		case c == ')' && depth > 0:
			depth--
			continue
		}
		if depth == 0 {
			b.WriteByte(c)
		}
	}
	return b.String()
}
