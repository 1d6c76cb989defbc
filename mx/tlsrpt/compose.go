package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/mx/internal/txtrecord"
	"github.com/postrider/postrider/smtp"
)

// Media types (RFC 8460 §6.4, §6.5).
const (
	typeJSON = "application/tlsrpt+json"
	typeGzip = "application/tlsrpt+gzip"
)

// SignedHeaders returns the names of the fields of a mail with a report that are to be signed by DKIM, beside those
// that are signed in all mail (RFC 8460 §5.3).
func SignedHeaders() []string {
	return []string{"TLS-Report-Domain", "TLS-Report-Submitter", "TLS-Required"}
}

// Message is a [Report], ready to be sent.
type Message struct {
	// From is the address in the From field. Its domain is the submitter. It needs a DKIM signature (RFC 8460 §3).
	From string

	// Domain is the domain that the report is about, as an A-label.
	Domain string

	Report *Report
}

// submitter returns the domain that reports.
func (m *Message) submitter() string {
	_, domain := smtp.SplitAddress(m.From)
	if ascii, err := smtp.ASCIIDomain(domain); err == nil {
		return ascii
	}
	return domain
}

// Gzip returns the report in JSON, compressed.
func (m *Message) Gzip() ([]byte, error) {
	text, err := json.Marshal(m.Report)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err = w.Write(text); err == nil {
		err = w.Close()
	}
	return b.Bytes(), err
}

// Filename returns the name of the compressed file (RFC 8460 §5.1), "" without a Report.
func (m *Message) Filename() string {
	if m.Report == nil {
		return ""
	}
	return fmt.Sprintf("%s!%s!%d!%d!%s.json.gz", m.submitter(), m.Domain, m.Report.Begin.Unix(), m.Report.End.Unix(),
		m.unique())
}

// unique returns letters and digits that are the same for the same ID.
func (m *Message) unique() string {
	sum := sha256.Sum256([]byte(m.Report.ID))
	return hex.EncodeToString(sum[:8])
}

// notInField reports whether a character can't be in a domain or an ID in the header.
func notInField(r rune) bool { return txtrecord.IsNotVisible(r) || r == '<' || r == '>' || r == '"' }

// Compose returns the mail with the report (RFC 8460 §5.3), and its envelope. Report.ID becomes the Message-ID as well,
// so it has the form of one: two parts with "@" between them (RFC 5322 §3.6.4). By TLS-Required: No, the mail asks to
// be delivered whatever TLS the host has (RFC 8689 §5). Nobody is to be told if it can't be delivered.
func (m *Message) Compose(date time.Time, to ...string) (*smtp.Envelope, smtp.Content, error) {
	if m.Report == nil || strings.ContainsFunc(m.Domain+m.Report.ID, notInField) || m.Domain == "" || m.From == "" {
		return nil, nil, errors.New("tlsrpt: a Message needs From, Domain, and a Report with an ID, in visible ASCII")
	}
	attachment, err := m.Gzip()
	if err != nil {
		return nil, nil, err
	}
	env := smtp.NewEnvelope(m.From, to...)
	env.TLSOptional = true // a client doesn't read the header
	for i := range env.Recipients {
		env.Recipients[i].Notify = smtp.NotifyNever
	}
	if err := env.Check(); err != nil {
		return nil, nil, err
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r\n", args...) }
	boundary := "report-" + m.unique()
	line("From: <%s>", m.From)
	line("To: <%s>", strings.Join(to, ">,\r\n\t<"))
	line("Date: %s", date.UTC().Format(time.RFC1123Z))
	line("Message-ID: <%s>", m.Report.ID)
	line("Subject: Report Domain: %s\r\n\tSubmitter: %s\r\n\tReport-ID: <%s>", m.Domain, m.submitter(), m.Report.ID)
	line("TLS-Report-Domain: %s", m.Domain)
	line("TLS-Report-Submitter: %s", m.submitter())
	line("TLS-Required: No")
	line("Auto-Submitted: auto-generated")
	line("MIME-Version: 1.0")
	line("Content-Type: multipart/report; report-type=\"tlsrpt\";\r\n\tboundary=\"%s\"", boundary)
	line("\r\n--%s", boundary)
	line("Content-Type: text/plain; charset=us-ascii\r\n")
	line("This is an aggregate TLS report from %s", m.submitter())
	line("about the mail for %s", m.Domain)
	line("from %s to %s UTC.", m.Report.Begin.UTC().Format(time.DateTime), m.Report.End.UTC().Format(time.DateTime))
	line("--%s", boundary)
	line("Content-Type: %s", typeGzip)
	line("Content-Transfer-Encoding: base64")
	line("Content-Disposition: attachment;\r\n\tfilename=\"%s\"\r\n", m.Filename())
	text := base64.StdEncoding.EncodeToString(attachment)
	for len(text) > 76 {
		line("%s", text[:76])
		text = text[76:]
	}
	line("%s", text)
	line("--%s--", boundary)
	return env, smtp.Text(b.String()), nil
}
