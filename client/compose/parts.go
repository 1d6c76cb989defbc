package compose

import (
	"fmt"
	"strings"
)

// part is a part of the mail: a text, a file, or others (RFC 2046).
type part struct {
	kind  string // the media type
	param string // a parameter of it, as in "charset=utf-8"; may be empty

	text  text
	file  *source
	parts []*part

	name string // of a file
	id   string // of an inline file; if empty, it is an attachment
}

// root returns the parts in the order that mail programs show best:
//
//	multipart/mixed
//	  multipart/alternative
//	    text/plain
//	    multipart/related
//	      text/html
//	      the inline files
//	    text/calendar
//	  the attachments
//
// A multipart that would have one part is that part.
func (m *Message) root(b *builder) (*part, error) {
	var alternatives []*part
	html, plain := m.HTML, m.Text
	if plain == "" && html != "" {
		made, err := TextOf(html)
		if err != nil {
			return nil, fmt.Errorf("HTML: %w: set Text", err)
		}
		plain = made
	}
	if plain != "" || html == "" && m.Calendar == nil && len(m.Attachments) == 0 {
		alternatives = append(alternatives, textPart("text/plain", plain))
	}
	if html != "" {
		related, err := m.related(b)
		if err != nil {
			return nil, err
		}
		alternatives = append(alternatives, related)
	}
	if m.Calendar != nil {
		alternatives = append(alternatives, m.Calendar.part())
	}
	var mixed []*part
	if len(alternatives) > 0 {
		mixed = append(mixed, b.multipart("alternative", alternatives))
	}
	for i := range m.Attachments {
		p, err := b.file(&m.Attachments[i])
		if err != nil {
			return nil, fmt.Errorf("Attachments[%d]: %w", i, err)
		}
		mixed = append(mixed, p)
	}
	return b.multipart("mixed", mixed), nil
}

// related returns HTML with the files that it shows (RFC 2387).
func (m *Message) related(b *builder) (*part, error) {
	ids := make(map[string]string, len(m.Inline)) // the ID in HTML, and the one in the mail
	parts := []*part{nil}
	for i := range m.Inline {
		f := &m.Inline[i]
		p, err := b.file(f)
		if err != nil {
			return nil, fmt.Errorf("Inline[%d]: %w", i, err)
		}
		p.id = f.id()
		if !strings.Contains(p.id, "@") {
			p.id += "@" + strings.ToLower(b.random) + "." + strings.Trim(b.domain, "[]")
		}
		ids[f.id()] = p.id
		parts = append(parts, p)
	}
	html, err := withIDs(m.HTML, ids)
	if err != nil {
		return nil, err
	}
	parts[0] = textPart("text/html", html)
	p := b.multipart("related", parts)
	if len(parts) > 1 {
		p.param = `type="text/html"; ` + p.param
	}
	return p, nil
}

func textPart(kind, s string) *part {
	return &part{kind: kind, param: "charset=utf-8", text: encodeText(s)}
}

func (b *builder) file(f *File) (*part, error) {
	s, err := b.content.source(f.name(), f, b.max)
	if err != nil {
		return nil, err
	}
	return &part{kind: f.contentType(), file: s, name: f.name()}, nil
}

// multipart returns a part with these parts. Boundaries have an "=" and "_" side by side, which neither base64 nor
// quoted-printable has, and all are equally long.
func (b *builder) multipart(kind string, parts []*part) *part {
	if len(parts) == 1 {
		return parts[0]
	}
	b.boundary++
	boundary := fmt.Sprintf("=_%d%s", b.boundary, b.random)
	return &part{kind: "multipart/" + kind, param: `boundary="` + boundary + `"`, parts: parts}
}

// part writes a part: its header and its body.
func (b *builder) part(p *part) {
	b.begin("Content-Type")
	b.folded(strings.TrimSuffix(p.kind+"; "+p.param, "; "))
	if p.name != "" {
		b.fileType(p.name)
	}
	b.end()
	switch {
	case p.parts != nil:
		_, boundary, _ := strings.Cut(strings.TrimSuffix(p.param, `"`), `boundary="`)
		b.b = append(b.b, "\r\n"...)
		for _, child := range p.parts {
			b.b = append(append(append(b.b, "--"...), boundary...), "\r\n"...)
			b.part(child)
			b.b = append(b.b, "\r\n"...)
		}
		b.b = append(append(append(b.b, "--"...), boundary...), "--\r\n"...)
	case p.file != nil:
		b.field("Content-Transfer-Encoding", "base64")
		b.begin("Content-Disposition")
		if p.id == "" {
			b.raw(" attachment")
		} else {
			b.raw(" inline")
		}
		b.fileName(p.name)
		b.end()
		if p.id != "" {
			b.field("Content-ID", "<"+p.id+">")
		}
		b.b = append(b.b, "\r\n"...)
		b.flush()
		b.content.append(segment{file: p.file, size: base64Size(p.file.size)})
	default:
		b.field("Content-Transfer-Encoding", p.text.encoding)
		b.b = append(b.b, "\r\n"...)
		if len(p.text.b) > 4<<10 { // no copy of what is large
			b.flush()
			b.content.append(segment{text: p.text.b, size: int64(len(p.text.b))})
		} else {
			b.b = append(b.b, p.text.b...)
		}
	}
}
