package inbox

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"

	"github.com/postrider/postrider/internal/mimetext"
	"github.com/postrider/postrider/internal/web"
)

// Bounds of what is read of a message.
const (
	maxDepth    = 20        // multiparts within each other; a deeper one is a part that isn't taken apart
	maxParts    = 1000      // parts that aren't multiparts
	maxHeader   = 128 << 10 // octets of the header of the message or a part
	maxText     = 1 << 20   // octets of Text
	maxHTML     = 4 << 20   // octets of HTML: images may be in it
	maxSearched = 256 << 10 // octets of each in which a text is looked for
	maxProblems = 20
)

// Mail is a message as a mail program reads it. What is malformed is read as far as possible.
type Mail struct {
	Header   []Field  // the fields of the header, decoded, in their order
	Text     string   // the text/plain parts that are no attachments, in UTF-8, at most 1 MiB
	HTML     string   // the first text/html part that is no attachment, as it came, in UTF-8, at most 4 MiB
	Parts    []Part   // all parts except multiparts, in their order, at most 1000
	Problems []string // why something isn't shown, or not as it was meant
}

// Field is a field of a header.
type Field struct {
	Name  string `json:"name"` // in lower case
	Value string `json:"value"`
}

// Part is a part of a message.
type Part struct {
	Path       string // its place: "2.1" is the first part of the second one
	Type       string // "text/plain", in lower case
	Charset    string // in lower case; "" if there is none
	Name       string // of a file, decoded; "" if there is none
	ContentID  string // without angle brackets; "" if there is none
	Attachment bool   // its Content-Disposition is attachment, or it is nothing that is shown in a message

	encoding string
	location string // Content-Location
	raw      []byte
	shown    bool // it is part of Text or HTML
}

// Get returns the value of the first field with this name, in upper or lower case, that isn't empty.
func (m *Mail) Get(name string) string {
	for _, f := range m.Header {
		if f.Value != "" && strings.EqualFold(f.Name, name) {
			return f.Value
		}
	}
	return ""
}

// Decode returns the content of a part without its Content-Transfer-Encoding. Octets that are no base64 are skipped,
// and what is no quoted-printable stays as it is. The result may be a part of the message: it must not be changed.
func (p *Part) Decode() []byte {
	switch p.encoding {
	case "base64":
		chars := mimetext.AppendBase64(make([]byte, 0, len(p.raw)), p.raw)
		return mimetext.DecodeBase64(make([]byte, 0, len(chars)/4*3+3), chars)
	case "quoted-printable":
		out := make([]byte, 0, len(p.raw))
		for line := range bytes.Lines(p.raw) {
			text := bytes.TrimRight(line, "\r\n")
			var soft bool
			if out, soft = mimetext.AppendQuotedPrintable(out, text); !soft {
				out = append(out, line[len(text):]...)
			}
		}
		return out
	}
	return p.raw
}

// text returns the first octets of a part in UTF-8, with LF line ends, and whether there is more.
func (p *Part) text(most int) (s string, more bool) {
	b := bytes.ReplaceAll(mimetext.ToUTF8(p.Decode(), p.Charset), []byte("\r\n"), []byte("\n"))
	if more = len(b) > most; more {
		b = b[:most]
	}
	return strings.ToValidUTF8(string(b), ""), more
}

// imageType returns the type of an image that a browser may show, or "": the beginning of the content decides.
func imageType(content []byte) string {
	switch t := http.DetectContentType(content); t {
	case "image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp", "image/x-icon":
		return t
	}
	return ""
}

// Read reads the message. It does so at each call: Messages have no memory of it.
func (m *Message) Read() *Mail {
	w := &walker{data: m.Data, mail: new(Mail)}
	w.walk()
	mail := w.mail
	var text strings.Builder
	for i := range mail.Parts {
		p := &mail.Parts[i]
		html := p.Type == "text/html"
		if p.Attachment || html && mail.HTML != "" || text.Len() >= maxText {
			p.Attachment = true
			continue
		}
		if !mimetext.KnowsCharset(p.Charset) {
			w.problem("part %s: the charset %s is unknown, so only ASCII and UTF-8 can be read.", p.Path, p.Charset)
		}
		var more bool
		if html {
			mail.HTML, more = p.text(maxHTML)
		} else {
			var s string
			s, more = p.text(maxText - text.Len())
			if text.Len() > 0 && s != "" {
				text.WriteByte('\n')
			}
			text.WriteString(s)
		}
		p.shown = true
		if more {
			w.problem("part %s is cut: it is too long to be shown as a whole.", p.Path)
		}
	}
	mail.Text = text.String()
	return mail
}

// summary is what is kept of a message for a list, with bounded texts.
type summary struct {
	subject, from string
	attachments   int
}

func summarize(m *Message) summary {
	w := &walker{data: m.Data, mail: new(Mail)}
	w.walk()
	s := summary{subject: web.Cut(w.mail.Get("subject"), web.MaxLong), from: web.Cut(w.mail.Get("from"), web.MaxLong)}
	for i := range w.mail.Parts {
		if w.mail.Parts[i].Attachment {
			s.attachments++
		}
	}
	return s
}

// walker takes a message apart, line by line, in one pass.
//
// Between two lines: open has the multiparts that are open, the outermost first. begin is where the header or the body
// begins that the next line belongs to. While inHeader is set, that is a header; otherwise part is its part, or nil if
// nobody looks at the body.
type walker struct {
	data []byte
	mail *Mail

	open     []container
	begin    int
	inHeader bool
	part     *Part
	skipped  int // parts beyond maxParts
}

// container is a multipart that is open.
type container struct {
	boundary string
	path     string
	parts    int // that have begun
	body     int // where its body begins
}

func (w *walker) walk() {
	w.inHeader = true
	for pos := 0; pos < len(w.data); {
		next := len(w.data)
		if i := bytes.IndexByte(w.data[pos:], '\n'); i >= 0 {
			next = pos + i + 1
		}
		line := bytes.TrimSuffix(bytes.TrimSuffix(w.data[pos:next], []byte("\n")), []byte("\r"))
		switch {
		case w.delimiter(line, pos, next):
		case !w.inHeader:
		case len(line) == 0:
			w.header(w.data[w.begin:pos], next)
		case line[0] != ' ' && line[0] != '\t' && !mimetext.IsField(line):
			w.problem("the header of %s has no empty line at its end.", w.place())
			w.header(w.data[w.begin:pos], pos)
		}
		pos = next
	}
	if w.inHeader {
		w.header(w.data[w.begin:], len(w.data))
	}
	w.end(len(w.data))
	for len(w.open) > 0 {
		w.close()
	}
	if w.skipped > 0 {
		w.problem("%s not shown.", web.Plural(w.skipped, "further part is", "further parts are"))
	}
}

// place names the part that the walker is in.
func (w *walker) place() string {
	if len(w.open) == 0 {
		return "the message"
	}
	return "part " + w.path()
}

func (w *walker) path() string {
	if len(w.open) == 0 {
		return "1"
	}
	c := &w.open[len(w.open)-1]
	return fmt.Sprintf("%s%d", c.path, c.parts)
}

// delimiter reports whether a line is a boundary of an open multipart, and begins or ends a part if so.
func (w *walker) delimiter(line []byte, pos, next int) bool {
	for i := len(w.open) - 1; i >= 0; i-- {
		ok, last := mimetext.IsDelimiter(line, w.open[i].boundary)
		if !ok {
			continue
		}
		if w.inHeader {
			w.header(w.data[w.begin:pos], pos)
		}
		w.end(pos)
		for len(w.open) > i+1 {
			w.close()
		}
		if last {
			w.close()
			return true
		}
		w.open[i].parts++
		w.inHeader, w.begin = true, next
		return true
	}
	return false
}

// close ends a multipart. One in which no part has begun is a part itself.
func (w *walker) close() {
	c := w.open[len(w.open)-1]
	w.open = w.open[:len(w.open)-1]
	if c.parts == 0 {
		w.problem("%s has no line with its boundary.", w.place())
		w.add(Part{Type: "text/plain", Path: w.path(), raw: w.data[c.body:w.begin]})
	}
}

// header looks at a header, and begins the body after it.
func (w *walker) header(header []byte, body int) {
	w.inHeader, w.begin, w.part = false, body, nil
	if len(header) > maxHeader {
		w.problem("the header of %s is cut after %s.", w.place(), web.Octets(maxHeader))
		header = header[:maxHeader]
	}
	fields := mimetext.ReadFields(bytes.ReplaceAll(header, []byte("\r\n"), []byte("\n")))
	if len(w.open) == 0 && w.mail.Header == nil {
		w.mail.Header = make([]Field, len(fields))
		for i, f := range fields {
			w.mail.Header[i] = Field{f.Name, mimetext.DecodeWords(mimetext.Unfold(f.Value))}
		}
	}
	typ := mimetext.ReadType(fields.Get("Content-Type"))
	if strings.HasPrefix(typ.Name, "multipart/") {
		switch {
		case typ.Boundary == "":
			w.problem("%s is a multipart without a boundary of 1 to 70 octets.", w.place())
			typ.Name = "text/plain"
		case len(w.open) == maxDepth:
			w.problem("%s is the %dth multipart within others: it isn't taken apart.", w.place(), maxDepth+1)
		default:
			path := ""
			if len(w.open) > 0 {
				path = w.path() + "."
			}
			w.open = append(w.open, container{boundary: typ.Boundary, path: path, body: body})
			return
		}
	}
	p := Part{Path: w.path(), Type: typ.Name, Charset: web.Cut(typ.Charset, web.MaxText)}
	if p.Type == "" {
		p.Type = "text/plain"
	}
	p.Type = web.Cut(p.Type, web.MaxText)
	p.Name, p.Attachment = mimetext.ReadDisposition(fields.Get("Content-Disposition"), fields.Get("Content-Type"))
	p.Name = web.Cut(p.Name, web.MaxLong)
	if p.Type != "text/plain" && p.Type != "text/html" {
		p.Attachment = true
	}
	p.ContentID = web.Cut(strings.Trim(fields.Get("Content-ID"), "<> "), web.MaxLong)
	p.location = web.Cut(fields.Get("Content-Location"), web.MaxLong)
	p.encoding, _, _ = strings.Cut(strings.ToLower(fields.Get("Content-Transfer-Encoding")), " ")
	w.part = &p
}

// end ends the body of a part before pos. The line end before a boundary belongs to the boundary (RFC 2046 §5.1.1).
func (w *walker) end(pos int) {
	p, begin := w.part, min(w.begin, pos)
	w.part, w.begin, w.inHeader = nil, pos, false
	if p == nil {
		return
	}
	p.raw = w.data[begin:pos]
	if len(w.open) > 0 && pos < len(w.data) {
		p.raw = bytes.TrimSuffix(bytes.TrimSuffix(p.raw, []byte("\n")), []byte("\r"))
	}
	w.add(*p)
}

func (w *walker) add(p Part) {
	if len(w.mail.Parts) == maxParts {
		w.skipped++
		return
	}
	w.mail.Parts = append(w.mail.Parts, p)
}

func (w *walker) problem(format string, args ...any) {
	if len(w.mail.Problems) < maxProblems {
		text := fmt.Sprintf(format, args...)
		w.mail.Problems = append(w.mail.Problems, strings.ToUpper(text[:1])+text[1:])
	}
}
