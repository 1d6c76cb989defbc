package preflight

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// maxDepth bounds the multiparts inside each other that are looked at.
const maxDepth = 20

// entity is the message or a part of it, by its MIME fields.
type entity struct {
	name     string // "1.2" for the second part of the first one; "" for the message
	kind     string // the media type in lower case
	params   map[string]string
	encoding string // in lower case; "" if there is none
}

func (e *entity) multipart() bool { return strings.HasPrefix(e.kind, "multipart/") }

// at returns the Where of a finding about a field of e.
func (e *entity) at(field string) string {
	if e.name == "" {
		return field
	}
	return field + " of part " + e.name
}

// where returns the Where of a finding about the body of e.
func (e *entity) where() string {
	if e.name == "" {
		return "body"
	}
	return "part " + e.name
}

// entity looks at MIME fields. ok is false if the body can't be understood by them.
func (m *message) entity(name, contentType, encoding string) (e entity, ok bool) {
	encoding, _, _ = strings.Cut(strings.ToLower(encoding), " ")
	e = entity{name: name, kind: "text/plain", encoding: encoding}
	if contentType != "" {
		var err error
		if e.kind, e.params, err = mime.ParseMediaType(contentType); err != nil {
			m.refuse(BadMIME, e.at("Content-Type"), fmt.Sprintf("%s: %s", clip(contentType), err),
				"write it as mime.FormatMediaType does", "RFC 2045 §5.1")
			return e, false
		}
	}
	where := e.at("Content-Transfer-Encoding")
	identity := slices.Contains([]string{"", "7bit", "8bit", "binary"}, encoding)
	switch {
	case e.multipart() && e.params["boundary"] == "":
		m.refuse(BadMIME, e.at("Content-Type"), clip(contentType)+" has no boundary", "add the one between the parts",
			"RFC 2046 §5.1.1")
		return e, false
	case e.multipart() && !identity:
		m.refuse(BadMIME, where, clip(encoding)+" encodes a multipart", "encode its parts instead", "RFC 2045 §6.4")
		return e, false
	case !identity && encoding != "quoted-printable" && encoding != "base64":
		m.refuse(BadMIME, where, clip(encoding)+" is unknown", "use quoted-printable, base64, 7bit or 8bit",
			"RFC 2045 §6.1")
	}
	switch strings.ToLower(e.params["charset"]) {
	case "utf-7", "unicode-1-1-utf-7":
		m.warn(BadCharset, e.at("Content-Type"), clip(contentType)+" is a charset that most readers don't decode",
			"use utf-8", "RFC 2152")
	}
	return e, true
}

// body returns the body of the message.
func (m *message) body(content smtp.Content) io.Reader {
	off := int64(m.header)
	end := make([]byte, len("\r\n"))
	if n, _ := content.ReadAt(end, off); n == len(end) && string(end) == "\r\n" {
		off += int64(n)
	}
	return io.NewSectionReader(content, off, content.Size()-off)
}

// checkBody looks at the body of e: whether it can be decoded, and whether its parts begin and end. A message inside it
// isn't looked at.
func (m *message) checkBody(e *entity, body io.Reader, depth int) {
	switch {
	case e.multipart() && depth == maxDepth:
		m.warn(BadMIME, e.where(), fmt.Sprintf("there are more than %d multiparts inside each other", maxDepth),
			"put the parts side by side", "")
	case e.multipart():
		m.checkParts(e, body, depth)
	case e.encoding == "base64":
		m.checkEncoded(e, body, new(base64Check), "RFC 2045 §6.8")
	case e.encoding == "quoted-printable":
		m.checkEncoded(e, body, new(quotedCheck), "RFC 2045 §6.7")
	}
}

// checkParts looks at the parts of a multipart.
func (m *message) checkParts(e *entity, body io.Reader, depth int) {
	parts := multipart.NewReader(body, e.params["boundary"])
	for n := 1; ; n++ {
		part, err := parts.NextRawPart()
		switch {
		case err == io.EOF:
			return // its last boundary
		case errors.Is(err, io.EOF) && n == 1, errors.Is(err, io.ErrUnexpectedEOF) && n == 1:
			m.refuse(BadMIME, e.where(), "no line has the boundary "+clip("--"+e.params["boundary"]),
				"begin each part with a line of \"--\" and the boundary", "RFC 2046 §5.1.1")
			return
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			m.refuse(BadMIME, e.where(), "it has no end: no line is "+clip("--"+e.params["boundary"]+"--"),
				"end it with that line; if it was there, the message is cut short", "RFC 2046 §5.1.1")
			return
		case err != nil:
			m.refuse(BadMIME, e.where(), "a part can't be read: "+err.Error(), "write parts as mime/multipart does",
				"RFC 2046 §5.1")
			return
		}
		name := fmt.Sprint(e.name, ".", n)
		inner, ok := m.entity(strings.TrimPrefix(name, "."), part.Header.Get("Content-Type"),
			part.Header.Get("Content-Transfer-Encoding"))
		if ok {
			m.checkBody(&inner, part, depth+1)
		}
	}
}

// encodingCheck takes the octets of an encoded body, and then has its first fault, "" for none.
type encodingCheck interface {
	io.Writer
	fault() string
}

func (m *message) checkEncoded(e *entity, body io.Reader, check encodingCheck, reference string) {
	if _, err := io.Copy(check, body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return // the multipart around it isn't right
	}
	if fault := check.fault(); fault != "" {
		m.refuse(BadEncoding, e.where(), "it isn't "+e.encoding+": "+fault,
			"encode it with encoding/base64 or mime/quotedprintable, and nothing after that", reference)
	}
}

// base64Check looks for what no base64 has (RFC 2045 §6.8). Line ends and blanks may be anywhere.
type base64Check struct {
	n      int // characters, with the padding
	padded int // of them
	bad    string
}

func (c *base64Check) Write(b []byte) (int, error) {
	for _, x := range b {
		switch {
		case x == '\r' || x == '\n' || x == ' ' || x == '\t':
			continue
		case x == '=':
			c.padded++
		case c.padded > 0:
			c.say("there is more after the padding")
		case 'A' <= x && x <= 'Z', 'a' <= x && x <= 'z', '0' <= x && x <= '9', x == '+', x == '/':
		default:
			c.say(fmt.Sprintf("it has the character %+q", x))
		}
		c.n++
	}
	return len(b), nil
}

func (c *base64Check) say(fault string) {
	if c.bad == "" {
		c.bad = fault
	}
}

func (c *base64Check) fault() string {
	if c.n%4 != 0 || c.padded > 2 {
		c.say("its length is wrong, so it may be cut short")
	}
	return c.bad
}

// quotedCheck looks for a "=" that stands neither before two hexadecimal digits nor at the end of a line (RFC 2045
// §6.7). Blanks may follow it there: a host on the way may have added them.
type quotedCheck struct {
	after []byte // what follows the last "=", while that isn't decided; nil: it is
	bad   string
}

func (c *quotedCheck) Write(b []byte) (int, error) {
	for _, x := range b {
		switch {
		case c.after == nil && x == '=':
			c.after = make([]byte, 0, 2)
		case c.after == nil:
		case x == '\n', x == '\r':
			if len(c.after) > 0 {
				c.say(c.after)
			}
			c.after = nil
		case len(c.after) == 0 && (x == ' ' || x == '\t'):
		default:
			c.after = append(c.after, x)
			if !isHex(x) {
				c.say(c.after)
				c.after = nil
			} else if len(c.after) == 2 {
				c.after = nil
			}
		}
	}
	return len(b), nil
}

func isHex(x byte) bool { return '0' <= x && x <= '9' || 'A' <= x && x <= 'F' || 'a' <= x && x <= 'f' }

func (c *quotedCheck) say(after []byte) {
	if c.bad == "" {
		c.bad = fmt.Sprintf("it has %+q", "="+string(after))
	}
}

func (c *quotedCheck) fault() string {
	if len(c.after) > 0 {
		c.say(c.after)
	}
	return c.bad
}
