package server

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/server/internal/spill"
	"github.com/postrider/postrider/smtp"
)

// Message is the content of a transaction as a Check sees it. A Content func may change Header and Body; the next check
// and the Handler get the changed message. It must not be used after the func has returned.
type Message struct {
	// Original is the content as it came, without the changes of other checks. It must not be changed.
	Original smtp.Content

	// Header has the fields of the header, in their order, without those of [Session.AddField]. An
	// Authentication-Results of this host has been removed: it was forged (RFC 8601 §5). One that a check puts here
	// goes to the top.
	Header []Field

	// Body is what follows the header and its empty line. If nil, the body is empty.
	Body smtp.Content

	header []Field // as it came
	body   smtp.Content
}

// Reader returns a reader of the message with all changes so far. Without changes, it is the Original.
func (m *Message) Reader() io.Reader {
	if m.Body == m.body && slices.Equal(m.Header, m.header) {
		return smtp.NewReader(m.Original)
	}
	var b bytes.Buffer
	for _, f := range m.Header {
		b.WriteString(f.String())
	}
	b.WriteString("\r\n")
	if m.Body == nil {
		return &b
	}
	return io.MultiReader(&b, smtp.NewReader(m.Body))
}

// check returns an error if the checks have made something of the message that can't be sent.
func (m *Message) check(binary bool) error {
	for _, f := range m.Header {
		if err := f.Check(); err != nil {
			return err
		}
	}
	if m.Body == nil || m.Body == m.body || binary {
		return nil
	}
	if _, err := smtp.Scan(m.Body); err != nil {
		return fmt.Errorf("the body that a check has set: %v", err) // without its reply: the client isn't at fault
	}
	return nil
}

// Field is a header field. On the wire it is Name, ":", Value and CRLF. So a Value normally begins with a space. A long
// Value is folded: its lines end in CRLF, and each line after the first begins with a space or a tab (RFC 5322 §2.2.3).
type Field struct {
	Name, Value string
}

// Is reports whether the field has this name. Case is ignored.
func (f Field) Is(name string) bool { return strings.EqualFold(strings.TrimRight(f.Name, " \t"), name) }

// String returns the field as it is on the wire, with its CRLF.
func (f Field) String() string { return f.Name + ":" + f.Value + "\r\n" }

// Check returns an error unless the field, as it is written, is one field: its Name is 1 to 900 printable ASCII
// characters, and its Value has no line that isn't folded.
func (f Field) Check() error {
	line := f.String()
	if !header.BeginsField([]byte(line)) || len(f.Name) > 900 || strings.ContainsAny(f.Name, ":\r\n") {
		return fmt.Errorf("header field %q: its name isn't 1 to 900 printable ASCII characters", f.Name)
	}
	if header.FieldEnd([]byte(line)) != len(line) {
		return fmt.Errorf("header field %s: a further line of its value doesn't begin with a space or a tab", f.Name)
	}
	if strings.ContainsAny(strings.ReplaceAll(line, "\r\n", ""), "\r\n\x00") {
		return fmt.Errorf("header field %s: its value has a bare CR, a bare LF or a NUL", f.Name)
	}
	return nil
}

// splitMessage makes a Message of a content with a header of less than most octets. Authentication-Results of the host
// id are left out of its Header.
func splitMessage(content smtp.Content, id string, most int) (*Message, error) {
	top, dropped, err := header.ReadMost(smtp.NewReader(content), most)
	if err != nil {
		return nil, err
	}
	m := &Message{Original: content}
	rest := top
	for header.BeginsField(rest) {
		end := header.FieldEnd(rest)
		name, value, _ := bytes.Cut(rest[:end], []byte(":"))
		field := Field{string(name), string(bytes.TrimSuffix(value, []byte("\r\n")))}
		if !bytes.HasSuffix(value, []byte("\r\n")) || field.Check() != nil {
			break // a bare LF, which only binary content has
		}
		m.Header = append(m.Header, field)
		rest = rest[end:]
	}
	// Without an empty line, the first line that isn't a field begins the body.
	rest = bytes.TrimPrefix(rest, []byte("\r\n"))
	begin := int64(dropped + len(top) - len(rest))
	m.Body = io.NewSectionReader(content, begin, content.Size()-begin)
	m.header, m.body = slices.Clone(m.Header), m.Body
	m.Header = slices.DeleteFunc(m.Header, func(f Field) bool { return header.IsResults([]byte(f.String()), id) })
	return m, nil
}

// takeResults takes the Authentication-Results of the host id out of the Header: those that the checks put there.
func (m *Message) takeResults(id string) (taken []Field) {
	m.Header = slices.DeleteFunc(slices.Clone(m.Header), func(f Field) bool {
		is := header.IsResults([]byte(f.String()), id)
		if is {
			taken = append(taken, f)
		}
		return is
	})
	return taken
}

// withFields returns body, which has a header of less than most octets, with fields on top, and without
// Authentication-Results of the host id.
func withFields(fields []Field, body io.Reader, id string, most int) (io.Reader, error) {
	var b bytes.Buffer
	for _, f := range fields {
		if err := f.Check(); err != nil {
			return nil, err
		}
		b.WriteString(f.String())
	}
	top, _, err := header.ReadMost(body, most)
	if err != nil {
		return nil, err
	}
	switch {
	case header.Begins(top) && len(top) > 0:
		top = header.WithoutResults(top, id)
	case len(fields) > 0:
		b.WriteString("\r\n") // else its text would belong to our last field
	}
	b.Write(top)
	return io.MultiReader(&b, body), nil
}

// inspects reports whether a check looks at the message.
func (s *session) inspects() bool {
	return slices.ContainsFunc(s.srv.Checks, func(c Check) bool { return c.Content != nil && s.asks(&c) })
}

// headerCopies returns how many copies of a message's header are in memory at a time.
func (s *session) headerCopies() int {
	if s.inspects() {
		return 3 // as it came, as fields, and as the Handler reads it
	}
	return 1
}

// inspect has the checks look at a message, which store keeps in memory or in a file, and returns the message for the
// Handler. If body is nil, the message is to be discarded.
func (s *session) inspect(ctx context.Context, raw io.Reader, store *spill.Store) (body io.Reader, err error) {
	v := s.visit
	var results []Field
	if s.inspects() {
		if !s.hold(spill.MaxInMemory) {
			return nil, errMemory
		}
		if _, err := io.Copy(store, raw); err != nil {
			return nil, err
		}
		m, err := splitMessage(store.Content(), s.srv.hostname(), s.headerBound())
		if err != nil {
			return nil, err
		}
		if err := s.ask(ctx, "content", func(c *Check) func() error {
			return orNil(c.Content != nil, func() error { return c.Content(ctx, v, m) })
		}); err != nil {
			return nil, err
		}
		if err := m.check(s.env.Body == smtp.BodyBinaryMIME); err != nil {
			return nil, err
		}
		results = m.takeResults(s.srv.hostname())
		raw = m.Reader()
	}
	if v.marks.discard != "" || len(s.env.Recipients) == 0 {
		return nil, nil
	}
	return withFields(slices.Concat(v.marks.fields, results), raw, s.srv.hostname(), s.headerBound())
}

// headerBound returns the bound of a header that checks may have changed: they may add header.Max octets.
func (s *session) headerBound() int {
	return min(cmp.Or(s.srv.MaxHeader, defaultMaxHeader), math.MaxInt-header.Max) + header.Max
}
