package preflight

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/smtp"
)

const (
	mb          = 1_000_000
	maxEachKind = 20 // findings of one kind: a broken header could have 100,000
	maxProblem  = 500
	mostAhead   = 24 * time.Hour
	mostAge     = 7 * 24 * time.Hour
	maxLine     = 998 // RFC 5322 §2.1.1
	gmailHeader = 500_000
	gmailFields = 5000
	gmailField  = 32 << 10
	gmailID     = 500
	gmailName   = 1024
	appleSize   = 20 * mb
)

// Message returns what is wrong with a message: what receivers refuse, and what RFC 5322 and its like forbid. It asks
// no DNS: for alignment and the DNS of the sender see Sender. It reads the content a few times, and keeps its header,
// of 1 MiB at most, but not the body.
//
// A nil envelope or content is a finding. There are at most 20 findings of one kind.
func (c *Checker) Message(env *smtp.Envelope, content smtp.Content) Findings {
	if f := c.settings(); f != nil {
		return f
	}
	m := &message{checker: c, env: env}
	if env == nil {
		m.env = new(smtp.Envelope)
	}
	if err := m.env.Check(); err != nil {
		m.refuse(BadEnvelope, "envelope", err.Error(), "correct it: no host can be sent it", "RFC 5321 §4.1.2")
	}
	facts, ok := m.scan(content)
	if !ok || !m.read(content) {
		return m.findings
	}
	m.checkSize(content)
	m.checkFields()
	m.checkIdentity()
	m.checkEncodedWords()
	m.checkMIME(facts, content)
	m.checkEightBit(content)
	m.checkUnsubscribe()
	return m.findings
}

// message is one message that is looked at.
type message struct {
	checker  *Checker
	env      *smtp.Envelope
	header   int // the octets before the empty line
	fields   []field
	findings Findings
}

// field is a field of the header.
type field struct {
	name  string // as it is written
	key   string // in lower case
	value string // unfolded, without white space around it
}

// add adds a finding.
func (m *message) add(f Finding) {
	n := 0
	for i := range m.findings {
		if m.findings[i].Kind == f.Kind {
			n++
		}
	}
	if n < maxEachKind {
		f.Problem = oneLine(f.Problem)
		m.findings = append(m.findings, f)
	}
}

// oneLine returns a text, which may have an error with parts of a stranger's record, in one line of at most maxProblem
// octets.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ReplaceAll(s, "\n", "; "))
	if len(s) > maxProblem {
		s = strings.ToValidUTF8(s[:maxProblem], "") + "…"
	}
	return s
}

func (m *message) refuse(k Kind, where, problem, remedy, reference string) {
	m.add(Finding{k, Refusal, where, problem, remedy, reference})
}

func (m *message) warn(k Kind, where, problem, remedy, reference string) {
	m.add(Finding{k, Warning, where, problem, remedy, reference})
}

// scan looks at the octets of the message. ok is false if they can't be looked at any further.
func (m *message) scan(content smtp.Content) (facts smtp.Facts, ok bool) {
	facts, err := smtp.Scan(content)
	if err != nil {
		if reply, ok := errors.AsType[*smtp.Reply](err); ok {
			m.refuse(BareLineEnd, "body", reply.Text, "end lines in CRLF, as smtp.Text does", "RFC 5321 §2.3.8")
		} else {
			m.refuse(Unreadable, "content", err.Error(), "pass a Content that can be read to its end", "")
		}
		return facts, false
	}
	if facts.LongLine {
		m.refuse(LongLine, "message", "a line has over 998 octets",
			"fold the header, and encode the body in quoted-printable or base64", "RFC 5321 §4.5.3.1.6")
	}
	return facts, true
}

// read reads the header.
func (m *message) read(content smtp.Content) bool {
	b, dropped, err := header.Read(smtp.NewReader(content))
	if err != nil {
		m.refuse(LargeHeader, "header", err.Error(), "shorten it to 500 KB", gmailHeaders)
		return false
	}
	if dropped > 0 {
		m.refuse(BadHeader, "header", "a byte order mark or a line that begins with \"From \" stands before it",
			"remove it", "RFC 5322 §2.2")
	}
	rest := b
	for len(rest) > 0 && !bytes.HasPrefix(rest, []byte("\r\n")) {
		if !header.BeginsField(rest) {
			line, _, _ := bytes.Cut(rest[:min(len(rest), 100)], []byte("\r\n"))
			m.refuse(BadHeader, "header", clip(string(line))+" is no field: it, and what follows, is shown as the text",
				"put an empty line before the text, and a blank before the second line of a folded field",
				"RFC 5322 §2.2")
			break
		}
		raw := rest[:header.FieldEnd(rest)]
		rest = rest[len(raw):]
		name, value, _ := strings.Cut(string(raw), ":")
		name = strings.TrimRight(name, " \t")
		value = strings.Trim(strings.ReplaceAll(value, "\r\n", ""), " \t")
		m.fields = append(m.fields, field{name, strings.ToLower(name), value})
	}
	m.header = dropped + len(b) - len(rest)
	return true
}

// all returns the fields with a name in lower case.
func (m *message) all(key string) (fields []field) {
	for _, f := range m.fields {
		if f.key == key {
			fields = append(fields, f)
		}
	}
	return fields
}

// value returns the value of the first field with a name in lower case.
func (m *message) value(key string) (value string, ok bool) {
	for _, f := range m.fields {
		if f.key == key {
			return f.value, true
		}
	}
	return "", false
}

// checkSize compares the message with the bounds of receivers.
func (m *message) checkSize(content smtp.Content) {
	most := m.checker.MaxSize
	if most == 0 {
		most = 25 * mb
		if slices.ContainsFunc(m.env.Recipients, atApple) {
			most = appleSize
		}
	}
	if size := content.Size(); size > most {
		m.refuse(LargeMessage, "message", fmt.Sprintf("it has %d octets, and large receivers take %d", size, most),
			"send a link in place of the attachment, which grows by a third in base64", "")
	}
	if m.header > gmailHeader {
		m.refuse(LargeHeader, "header", fmt.Sprintf("it has %d octets, and Gmail takes 500 KB", m.header),
			"shorten it", gmailHeaders)
	}
	if len(m.fields) > gmailFields {
		m.refuse(LargeHeader, "header", fmt.Sprintf("it has %d fields, and Gmail takes 5,000", len(m.fields)),
			"shorten it", gmailHeaders)
	}
	for _, f := range m.fields {
		most := gmailField
		switch f.key {
		case "to", "cc", "references":
			most = gmailHeader
		case "subject":
			most = maxLine
		case "message-id":
			most = gmailID
		}
		if len(f.value) > most || len(f.name) > gmailName {
			m.refuse(LargeField, clipName(f.name), fmt.Sprintf("its value has %d octets, and Gmail takes %d",
				len(f.value), most), "shorten it; the name may have 1 KB", gmailHeaders)
		}
	}
}

// atApple reports whether a recipient is at iCloud Mail.
func atApple(r smtp.Recipient) bool {
	_, domain := smtp.SplitAddress(r.Address)
	switch strings.ToLower(domain) {
	case "icloud.com", "me.com", "mac.com":
		return true
	}
	return false
}

// once are the fields that a header has once at most: RFC 5322 §3.6, RFC 2045 §3, RFC 2369 §2, RFC 2919 §3, RFC
// 8058 §3.1. From has a Kind of its own.
var once = []string{
	"date", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references", "subject",
	"mime-version", "content-type", "content-transfer-encoding", "content-disposition", "content-id",
	"content-description", "list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post", "list-subscribe",
	"list-post", "list-owner", "list-archive",
}

// checkFields looks for fields that appear twice, for Bcc and for control characters.
func (m *message) checkFields() {
	count := make(map[string]int)
	for _, f := range m.fields {
		if count[f.key]++; count[f.key] == 2 && slices.Contains(once, f.key) {
			m.refuse(DuplicateField, f.name, "it appears twice, the second time as "+clip(f.value),
				"remove one of them", "RFC 5322 §3.6")
		}
		if (f.key == "bcc" || f.key == "resent-bcc") && f.value != "" {
			m.refuse(VisibleBcc, f.name, clip(f.value)+" is shown to all recipients",
				"remove the field: the envelope has the recipients", "RFC 5322 §3.6.3, §3.6.6")
		}
		text, err := unicodeWords.DecodeHeader(f.value)
		if err != nil {
			text = f.value
		}
		if strings.ContainsFunc(text, isControl) {
			m.refuse(ControlCharacter, clipName(f.name), clip(text)+" has a control character", "remove it",
				"RFC 5322 §2.2; RFC 2047 §5")
		}
	}
}

// unicodeWords decodes the encoded-words whose charset the mime package knows, and drops all others: in those, a
// control character may be a part of another one, as in ISO-2022-JP.
var unicodeWords = mime.WordDecoder{
	CharsetReader: func(string, io.Reader) (io.Reader, error) { return strings.NewReader(""), nil },
}

// isControl reports whether r is a control character that no field may have. A tab may fold a field.
func isControl(r rune) bool { return unicode.IsControl(r) && r != '\t' }

// clipName returns the name of a field for a Where.
func clipName(name string) string { return strings.Trim(clip(name), `"`) }
