package bounce

import (
	"bytes"
	"io"
	"strings"

	"github.com/postrider/postrider/internal/mimetext"
)

// Bounds of what is held of a mail.
const (
	maxDepth      = 16       // multiparts within each other; a deeper one is read as text
	maxParts      = 200      // body parts that are looked at
	maxPartHeader = 64 << 10 // octets of the header of a mail or a body part
	maxText       = 256 << 10
	maxStatus     = 1 << 20
	maxOriginal   = 64 << 10
)

// document is what [Parse] holds of a mail.
type document struct {
	header   mimetext.Fields // the header of the mail
	typ      mimetext.Type   // its Content-Type
	text     []byte          // the decoded text/plain parts, in UTF-8, with LF line ends
	html     []byte          // the same of text/html, without the markup
	status   []byte          // the decoded delivery-status parts, with LF line ends
	feedback []byte          // the decoded feedback-report part
	receipt  []byte          // the decoded disposition-notification part (RFC 8098)
	original []byte          // the header of the first message that is a part, with LF line ends; nil if there is none
	parts    int             // body parts that aren't multiparts
	work     int             // for tests: octets and lines that were looked at, each as often as that was done
}

// walker reads a mail line by line into a document.
//
// Between two lines: boundaries has the boundary of each multipart that is open, the outermost first. While inHeader
// is set, header collects the lines of the header of the part. Otherwise sink takes the lines of its body; a nil sink
// drops them.
type walker struct {
	d          document
	boundaries []string
	inHeader   bool
	top        bool // whether the header is that of the mail
	header     []byte
	sink       *sink
}

// readDocument reads a mail. The error is that of r.
func readDocument(r io.Reader) (*document, error) {
	lines := newLineReader(r)
	w := &walker{inHeader: true, top: true}
	for {
		line, ok := lines.next()
		if !ok {
			break
		}
		w.line(line)
	}
	if lines.err != io.EOF {
		return nil, lines.err
	}
	if w.inHeader {
		w.endHeader()
	}
	if w.sink != nil {
		w.sink.preamble = false // no part begins
	}
	w.endPart()
	w.d.work += lines.work
	return &w.d, nil
}

func (w *walker) line(line []byte) {
	if w.delimiter(line) {
		return
	}
	if !w.inHeader {
		if w.sink != nil {
			w.sink.line(line)
		}
		return
	}
	switch {
	case len(line) == 0:
		if w.top && len(w.header) == 0 {
			return // empty lines in front of the mail
		}
		w.endHeader()
	case w.top && len(w.header) == 0 && bytes.HasPrefix(bytes.TrimPrefix(line, []byte(">")), []byte("From ")):
		// The line that separates mails in a file.
	case line[0] != ' ' && line[0] != '\t' && !mimetext.IsField(line):
		// A header without an empty line at its end.
		w.endHeader()
		w.line(line)
	default:
		w.header = appendLine(w.header, line, maxPartHeader)
	}
}

// delimiter reports whether line is a boundary of an open multipart, and begins or ends a part if so.
func (w *walker) delimiter(line []byte) bool {
	for i := len(w.boundaries) - 1; i >= 0; i-- {
		ok, last := mimetext.IsDelimiter(line, w.boundaries[i])
		if !ok {
			continue
		}
		if w.inHeader {
			w.endHeader()
		}
		w.endPart()
		w.boundaries = w.boundaries[:i+1]
		w.inHeader, w.top, w.header = !last, false, w.header[:0]
		if last {
			w.boundaries = w.boundaries[:i]
			w.sink = nil
		}
		return true
	}
	return false
}

// endHeader looks at the header of a part, and chooses what happens to its body.
func (w *walker) endHeader() {
	w.inHeader = false
	header := mimetext.ReadFields(w.header)
	typ := mimetext.ReadType(header.Get("Content-Type"))
	if w.top {
		w.d.header, w.d.typ = mimetext.ReadFields(bytes.Clone(w.header)), typ
	}
	if strings.HasPrefix(typ.Name, "multipart/") && typ.Boundary != "" && len(w.boundaries) < maxDepth {
		w.boundaries = append(w.boundaries, typ.Boundary)
		w.sink = nil
		if w.top { // some hosts write the boundary differently in the body: the preamble is then all there is
			w.sink = &sink{into: &w.d.text, max: maxText, preamble: true}
		}
		return
	}
	if w.d.parts++; w.d.parts > maxParts {
		w.sink = nil
		return
	}
	w.sink = w.d.sinkFor(typ, header)
}

// endPart ends the body of a part.
func (w *walker) endPart() {
	if w.sink != nil {
		w.sink.end()
		w.sink = nil
	}
}

// sinkFor returns the sink for the body of a part, or nil if it isn't looked at.
func (d *document) sinkFor(typ mimetext.Type, header mimetext.Fields) *sink {
	s := &sink{charset: typ.Charset, max: maxText, encoding: strings.ToLower(header.Get("Content-Transfer-Encoding"))}
	switch typ.Name {
	case "message/delivery-status", "message/global-delivery-status":
		s.into, s.max = &d.status, maxStatus
	case "message/feedback-report":
		s.into = &d.feedback
	case "message/disposition-notification", "message/global-disposition-notification":
		s.into = &d.receipt
	case "message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers",
		"text/rfc822", "message/partial":
		if d.original != nil {
			return nil
		}
		s.into, s.max, s.headerOnly = &d.original, maxOriginal, true
	case "text/html":
		s.into, s.html = &d.html, true
	case "text/plain", "text", "":
		s.into = &d.text
	default:
		if !strings.HasPrefix(typ.Name, "text/") && !strings.HasPrefix(typ.Name, "multipart/") {
			return nil
		}
		s.into = &d.text
	}
	return s
}

// sink decodes the body of a part and keeps the beginning of it.
type sink struct {
	into       *[]byte
	max        int
	encoding   string
	charset    string
	html       bool
	headerOnly bool // keep the lines before the first empty line
	preamble   bool // dropped where a part begins

	body    []byte // what is decoded
	pending []byte // base64: fewer than four characters of the last line
	done    bool   // the rest isn't looked at
}

// line takes a line of the body.
func (s *sink) line(line []byte) {
	if s.done {
		return
	}
	if s.headerOnly && (s.encoding == "" || s.encoding == "7bit" || s.encoding == "8bit") && len(line) == 0 {
		s.done = len(s.body) > 0
		return
	}
	switch s.encoding {
	case "base64":
		s.pending = mimetext.AppendBase64(s.pending, line)
		n := len(s.pending) / 4 * 4
		s.body = mimetext.DecodeBase64(s.body, s.pending[:n])
		s.pending = append(s.pending[:0], s.pending[n:]...)
	case "quoted-printable":
		var soft bool
		if s.body, soft = mimetext.AppendQuotedPrintable(s.body, line); !soft {
			s.body = append(s.body, '\n')
		}
	default:
		s.body = append(append(s.body, line...), '\n')
	}
	if len(s.body) >= s.max {
		s.body, s.done = s.body[:s.max], true
	}
}

// end decodes what is left, and adds the body to the document.
func (s *sink) end() {
	if s.preamble {
		return
	}
	s.body = mimetext.DecodeBase64(s.body, s.pending)
	body := normalizeLines(s.body)
	if s.headerOnly {
		body = bytes.TrimLeft(body, "\n")
		if i := bytes.Index(body, []byte("\n\n")); i >= 0 {
			body = body[:i+1]
		}
		if *s.into = body; body == nil {
			*s.into = []byte{}
		}
		return
	}
	body = mimetext.ToUTF8(body, s.charset)
	if s.html {
		body = stripMarkup(body)
	}
	if room := s.max - len(*s.into); len(body) > room {
		body = body[:room]
	}
	if len(*s.into) > 0 && len(body) > 0 {
		*s.into = append(*s.into, '\n')
	}
	*s.into = append(*s.into, body...)
}

// appendLine appends a line and LF to b, unless b would get longer than max.
func appendLine(b, line []byte, max int) []byte {
	if len(b)+len(line)+1 > max {
		return b
	}
	return append(append(b, line...), '\n')
}

// normalizeLines returns b with LF line ends.
func normalizeLines(b []byte) []byte {
	if bytes.IndexByte(b, '\r') < 0 {
		return b
	}
	out := b[:0]
	for i, c := range b {
		switch {
		case c != '\r':
			out = append(out, c)
		case i+1 == len(b) || b[i+1] != '\n':
			out = append(out, '\n')
		}
	}
	return out
}
