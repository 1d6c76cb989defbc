package bounce

import (
	"bytes"
	"io"
	"mime/quotedprintable"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/smtp"
)

// maxHeader is the size in octets of the longest header that is returned, maxStrangersHeader to a stranger.
const (
	maxHeader          = 64 << 10
	maxStrangersHeader = 8 << 10
)

// original returns the part with the original message, if whole is set and it can be a part, or with its header.
func (c *composition) original(whole bool) (part, error) {
	bound := int64(maxHeader)
	if c.Stranger {
		bound = maxStrangersHeader
	}
	beginning, err := io.ReadAll(io.NewSectionReader(c.Original, 0, bound))
	if err != nil {
		return part{}, err
	}
	header := headerOf(beginning)
	id, subject := messageID(header), field(header, "Subject")
	if whole {
		message, err := io.ReadAll(smtp.NewReader(c.Original))
		if err != nil {
			return part{}, err
		}
		if contentType, encoding, ok := c.wholeType(header, message); ok {
			return part{
				contentType: contentType, encoding: encoding, body: message,
				whole: true, messageID: id, subject: subject,
			}, nil
		}
	}
	contentType, encoding, body := c.headerPart(header)
	return part{contentType: contentType, encoding: encoding, body: body, messageID: id, subject: subject}, nil
}

// returnsWhole reports whether the whole message is to be returned: its sender asked for that and is no stranger, it
// wasn't sent with REQUIRETLS, a recipient failed, and it isn't longer than MaxReturn (RFC 3461 §6.2).
func (c *composition) returnsWhole() bool {
	limit := c.MaxReturn
	if limit == 0 {
		limit = defaultMaxReturn
	}
	return c.Envelope.Ret == smtp.RetFull && !c.Stranger && !c.RequireTLS && c.has(Failed) && c.Original.Size() <= limit
}

// wholeType returns the type and encoding of a part with the whole message. RFC 2046 §5.2.1: the message can't be
// encoded there. ok is false if it would have to be; its header is returned then (RFC 6522 §3).
func (c *composition) wholeType(header, message []byte) (contentType, encoding string, ok bool) {
	facts, err := smtp.Scan(bytes.NewReader(message))
	switch {
	case err != nil || facts.LongLine:
		return "", "", false
	case !isASCII(header):
		return "message/global", encoding8Bit, c.utf8 && utf8.Valid(header) // RFC 6533 §4.2
	case facts.EightBit:
		return "message/rfc822", encoding8Bit, true
	}
	return "message/rfc822", encoding7Bit, true
}

// headerPart returns the type, encoding and body of a part with the header. RFC 6522 §4: a header that isn't legal
// 7-bit text is encoded as quoted-printable, unless it can be a message/global-headers.
func (c *composition) headerPart(header []byte) (contentType, encoding string, body []byte) {
	facts, err := smtp.Scan(bytes.NewReader(header))
	legal := err == nil && !facts.LongLine
	switch {
	case legal && !facts.EightBit:
		return "text/rfc822-headers", encoding7Bit, header
	case legal && c.utf8 && utf8.Valid(header):
		return "message/global-headers", encoding8Bit, header
	}
	return "text/rfc822-headers", encodingQuotedPrintable, quotedPrintable(header)
}

// headerOf returns the header of the message that begins with b: the lines before the empty line. Without an empty line
// in b, it returns all complete lines of b.
func headerOf(b []byte) []byte {
	if bytes.HasPrefix(b, []byte("\r\n")) {
		return nil
	}
	if i := bytes.Index(b, []byte("\r\n\r\n")); i >= 0 {
		return b[:i+2]
	}
	return b[:bytes.LastIndexByte(b, '\n')+1]
}

// messageID returns the Message-ID of a header in "<>", or "" if it has none that is valid in In-Reply-To.
func messageID(header []byte) string {
	id, ok := strings.CutPrefix(field(header, "Message-ID"), "<")
	id, end := strings.CutSuffix(id, ">")
	if !ok || !end || len(id) > 250 || !strings.Contains(id, "@") || strings.ContainsFunc(id, notInID) {
		return ""
	}
	return "<" + id + ">"
}

// field returns the value of the first field with that name, unfolded and trimmed of spaces.
func field(header []byte, name string) string {
	var value []string
	for line := range strings.Lines(string(header)) {
		if value != nil {
			if line[0] != ' ' && line[0] != '\t' {
				break
			}
			value = append(value, strings.TrimRight(line, "\r\n"))
		} else if n, v, _ := strings.Cut(line, ":"); strings.EqualFold(n, name) {
			value = []string{strings.TrimRight(v, "\r\n")}
		}
	}
	return strings.TrimSpace(strings.Join(value, ""))
}

// notInID reports whether r is not allowed in a Message-ID.
func notInID(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("<>()", r) }

func quotedPrintable(b []byte) []byte {
	var out bytes.Buffer
	w := quotedprintable.NewWriter(&out)
	w.Write(b) // to memory: returns no error
	w.Close()
	return out.Bytes()
}
