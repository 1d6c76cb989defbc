package compose

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"reflect"
	"regexp"
	"strings"
	"testing"

	gomessage "github.com/emersion/go-message"
	gomail "github.com/emersion/go-message/mail"

	"github.com/postrider/postrider/smtp"
)

// view is a mail as a reader reads it.
type view struct {
	Addresses map[string][][2]string // by field: names and addresses
	Subject   string
	MessageID string
	Leaves    []leaf
}

type leaf struct {
	Kind, Name, ID string
	Body           string // a text with "\n"
}

// wanted is what all readers must read of m.
func wanted(m *Message) view {
	v := view{Addresses: make(map[string][][2]string), Subject: m.Subject, MessageID: bare(m.MessageID)}
	for _, l := range m.lists() {
		if l.name == "Bcc" {
			continue
		}
		list, _ := ascii(l.addresses)
		for _, a := range list {
			v.Addresses[l.name] = append(v.Addresses[l.name], [2]string{a.Name, a.Address})
		}
	}
	text := func(kind, s string) {
		if s != "" {
			s = strings.ReplaceAll(s, "\r\n", "\n")
			v.Leaves = append(v.Leaves, leaf{Kind: kind, Body: strings.TrimSuffix(s, "\n") + "\n"})
		}
	}
	file := func(f File, id string) {
		b, err := io.ReadAll(smtp.NewReader(f.Reader.(smtp.Content)))
		if err != nil {
			panic(err)
		}
		kind, _, _ := mime.ParseMediaType(f.contentType())
		v.Leaves = append(v.Leaves, leaf{kind, f.name(), id, string(b)})
	}
	text("text/plain", m.Text)
	text("text/html", m.HTML)
	for _, f := range m.Inline {
		file(f, f.id())
	}
	if m.Calendar != nil {
		text("text/calendar", m.Calendar.Data)
	}
	for _, f := range m.Attachments {
		file(f, "")
	}
	return v
}

// uniqueID is the URL of a picture, with what Compose adds.
var uniqueID = regexp.MustCompile(`cid:(\w+)@[\w.-]+`)

// compare reports where a reader read something else.
func compare(t *testing.T, reader string, got, want view, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", reader, err)
		return
	}
	for i := range got.Leaves {
		if strings.HasPrefix(got.Leaves[i].Kind, "text/") && got.Leaves[i].Name == "" {
			got.Leaves[i].Body = uniqueID.ReplaceAllString(strings.ReplaceAll(got.Leaves[i].Body, "\r\n", "\n"), "cid:$1")
		}
	}
	if reflect.DeepEqual(got, want) {
		return
	}
	if len(got.Leaves) == len(want.Leaves) {
		for i := range got.Leaves {
			if got.Leaves[i] != want.Leaves[i] {
				t.Errorf("%s: part %d: got %.600q, want %.600q", reader, i, got.Leaves[i], want.Leaves[i])
			}
		}
		got.Leaves, want.Leaves = nil, nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\ngot  %.2000q\nwant %.2000q", reader, got, want)
	}
}

var addressFields = []string{"From", "Sender", "Reply-To", "To", "Cc"}

// byStrict is what our own strict reader reads.
func byStrict(s string) (v view, err error) {
	p, err := readStrict(s)
	if err != nil {
		return v, err
	}
	v = view{Addresses: make(map[string][][2]string), MessageID: strings.Trim(p.get("Message-ID"), "<>")}
	if v.Subject, err = readWords(p.get("Subject")); err != nil {
		return v, err
	}
	for _, name := range addressFields {
		if value := p.get(name); value != "" && value != "undisclosed-recipients:;" {
			if v.Addresses[name], err = readAddresses(value); err != nil {
				return v, err
			}
		}
	}
	var walk func(p *strictPart) error
	walk = func(p *strictPart) error {
		for _, child := range p.parts {
			if err := walk(child); err != nil {
				return err
			}
		}
		if p.parts != nil {
			return nil
		}
		_, params, err := readParams(p.get("Content-Disposition"))
		id, _, _ := strings.Cut(strings.Trim(p.get("Content-ID"), "<>"), "@")
		v.Leaves = append(v.Leaves, leaf{p.kind, params["filename"], id, p.body})
		return err
	}
	return v, walk(p)
}

// byGoMessage is what github.com/emersion/go-message reads.
func byGoMessage(s string) (v view, err error) {
	e, err := gomessage.Read(strings.NewReader(s))
	if err != nil {
		return v, err
	}
	h := gomail.Header{Header: e.Header}
	v.Addresses = make(map[string][][2]string)
	for _, name := range addressFields {
		list, err := h.AddressList(name)
		if err != nil {
			return v, fmt.Errorf("%s: %w", name, err)
		}
		for _, a := range list {
			v.Addresses[name] = append(v.Addresses[name], [2]string{a.Name, a.Address})
		}
	}
	if v.Subject, err = h.Subject(); err != nil {
		return v, err
	}
	if v.MessageID, err = h.MessageID(); err != nil {
		return v, err
	}
	return v, e.Walk(func(_ []int, e *gomessage.Entity, err error) error {
		kind, _, kindErr := e.Header.ContentType()
		if err != nil || kindErr != nil || strings.HasPrefix(kind, "multipart/") {
			return cmpOr(err, kindErr)
		}
		_, params, _ := e.Header.ContentDisposition()
		id, _, _ := strings.Cut(strings.Trim(e.Header.Get("Content-Id"), "<>"), "@")
		b, err := io.ReadAll(e.Body)
		v.Leaves = append(v.Leaves, leaf{kind, params["filename"], id, string(b)})
		return err
	})
}

func cmpOr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// byStandard is what the standard library reads: net/mail, mime and mime/multipart.
func byStandard(s string) (v view, err error) {
	m, err := mail.ReadMessage(bufio.NewReader(strings.NewReader(s)))
	if err != nil {
		return v, err
	}
	v.Addresses = make(map[string][][2]string)
	for _, name := range addressFields {
		if m.Header.Get(name) == "" {
			continue
		}
		list, err := m.Header.AddressList(name)
		if err != nil {
			return v, fmt.Errorf("%s: %w", name, err)
		}
		for _, a := range list {
			v.Addresses[name] = append(v.Addresses[name], [2]string{a.Name, a.Address})
		}
	}
	if v.Subject, err = new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject")); err != nil {
		return v, err
	}
	v.MessageID = strings.Trim(m.Header.Get("Message-Id"), "<>")
	var walk func(get func(string) string, body io.Reader) error
	walk = func(get func(string) string, body io.Reader) error {
		kind, params, err := mime.ParseMediaType(get("Content-Type"))
		if err != nil {
			return err
		}
		if strings.HasPrefix(kind, "multipart/") {
			parts := multipart.NewReader(body, params["boundary"])
			for {
				p, err := parts.NextRawPart()
				if err == io.EOF {
					return nil
				}
				if err != nil {
					return err
				}
				if err := walk(p.Header.Get, p); err != nil {
					return err
				}
			}
		}
		switch get("Content-Transfer-Encoding") {
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, body)
		case "quoted-printable":
			body = quotedprintable.NewReader(body)
		}
		_, params, _ = mime.ParseMediaType(get("Content-Disposition"))
		id, _, _ := strings.Cut(strings.Trim(get("Content-Id"), "<>"), "@")
		var b bytes.Buffer
		_, err = b.ReadFrom(body)
		v.Leaves = append(v.Leaves, leaf{kind, params["filename"], id, b.String()})
		return err
	}
	return v, walk(m.Header.Get, m.Body)
}
