package compose

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"net/mail"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Compose makes the mail: an envelope and a content for client.Submission.Send, or, by smtp.NewReader, for
// postrider.Relay.Send. The envelope is the caller's: its From may be changed to where bounces go. The mail is in 7-bit
// ASCII, unless an address in its header needs SMTPUTF8; then UTF8 of the envelope is true. Random parts are drawn
// once, here: the mail is the same each time it is read.
//
// An error names the field that is wrong, or the file that can't be opened. Several goroutines may call Compose, unless
// a File has a Reader that isn't a smtp.Content.
func (m *Message) Compose() (*smtp.Envelope, *Content, error) {
	env, c, err := m.compose()
	if err != nil {
		return nil, nil, fmt.Errorf("compose: Message.%w", err)
	}
	return env, c, nil
}

func (m *Message) compose() (*smtp.Envelope, *Content, error) {
	if err := m.check(); err != nil {
		return nil, nil, err
	}
	env := m.envelope()
	b := &builder{content: new(Content), random: rand.Text()}
	b.max = min(cmp.Or(m.MaxSize, defaultMax), mostMax)
	_, domain := smtp.SplitAddress(m.From.Address)
	b.domain, _ = smtp.ASCIIDomain(domain) // was checked
	root, err := m.root(b)
	if err == nil {
		utf8, headerErr := m.header(b)
		env.UTF8, err = utf8, headerErr
	}
	if err == nil {
		b.part(root)
		b.flush()
		if b.content.size > b.max {
			err = fmt.Errorf("MaxSize is %d octets, and the mail has %d", b.max, b.content.size)
		}
	}
	if err != nil {
		b.content.Close()
		return nil, nil, err
	}
	return env, b.content, nil
}

// envelope returns the envelope, with each recipient once.
func (m *Message) envelope() *smtp.Envelope {
	from, _ := smtp.ASCIIAddress(cmp.Or(m.Sender.Address, m.From.Address))
	env := smtp.NewEnvelope(from)
	env.Recipients = make([]smtp.Recipient, 0, len(m.To)+len(m.Cc)+len(m.Bcc))
	seen := make(map[string]bool, cap(env.Recipients))
	for _, list := range [][]mail.Address{m.To, m.Cc, m.Bcc} {
		for _, a := range list {
			address, _ := smtp.ASCIIAddress(a.Address)
			if !seen[address] {
				env.Recipients = append(env.Recipients, smtp.Recipient{Address: address})
				seen[address] = true
			}
		}
	}
	return env
}

// builder makes a Content.
type builder struct {
	header   // the text since the last file
	content  *Content
	random   string // in IDs and boundaries
	domain   string
	max      int64
	boundary int // the number of boundaries so far
}

// flush makes a segment of the text so far.
func (b *builder) flush() {
	b.content.append(segment{text: b.b, size: int64(len(b.b))})
	b.b = nil
}

// header writes all fields but those of the MIME parts.
func (m *Message) header(b *builder) (utf8 bool, err error) {
	b.field("Date", strings.Fields(cmp.Or(m.Date, time.Now()).Format("Mon, 2 Jan 2006 15:04:05 -0700"))...)
	for _, l := range m.lists() {
		switch {
		case l.name == "Bcc": // never in the header
		case len(l.addresses) > 0:
			list, needs := ascii(l.addresses)
			b.addresses(l.name, list)
			utf8 = utf8 || needs
		case l.name == "To" && len(m.Cc) == 0:
			b.field("To", "undisclosed-recipients:;") // RFC 5322 §3.4: a group without members
		}
	}
	if m.Subject != "" {
		b.text("Subject", m.Subject)
	}
	b.field("Message-ID", "<"+cmp.Or(bare(m.MessageID), b.random+"@"+b.domain)+">")
	if m.InReplyTo != "" {
		b.field("In-Reply-To", "<"+bare(m.InReplyTo)+">")
	}
	references := m.References
	if len(references) == 0 && m.InReplyTo != "" {
		references = []string{m.InReplyTo} // RFC 5322 §3.6.4
	}
	if len(references) > 0 {
		b.begin("References")
		for _, id := range references {
			b.word("<" + bare(id) + ">")
		}
		b.end()
	}
	if m.ListID != "" {
		b.field("List-Id", "<"+m.ListID+">")
	}
	if m.Unsubscribe != nil {
		if err := m.unsubscribe(b); err != nil {
			return false, err
		}
	}
	if m.FeedbackID != "" {
		b.field("Feedback-ID", m.FeedbackID)
	}
	for _, f := range m.Header {
		b.text(f.Name, f.Value)
	}
	b.field("MIME-Version", "1.0")
	return utf8, nil
}
