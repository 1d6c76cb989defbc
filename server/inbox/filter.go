package inbox

import (
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// Filter selects messages. A message matches if it matches each field that isn't empty. Upper and lower case are the
// same. The zero Filter selects all.
type Filter struct {
	From    string // the reverse-path, or its domain; "<>" is the null one
	To      string // one of the recipients, or its domain
	Subject string // is in the Subject, decoded
	Text    string // is in the Subject, an address, or the first 256 KiB of the text or the HTML
	After   string // the ID of a message that came before; in a request it is since, not after
}

// matcher returns a func that reports whether a message matches.
func (f *Filter) matcher() func(*Message) bool {
	from, to, subject, text := fold(f.From), fold(f.To), fold(f.Subject), fold(f.Text)
	after, err := strconv.Atoi(f.After)
	return func(m *Message) bool {
		switch {
		case f.After != "" && (err != nil || m.number <= after),
			from != "" && !isAt(from, m.Envelope.From),
			to != "" && !slices.ContainsFunc(m.Envelope.Recipients, func(r smtp.Recipient) bool {
				return isAt(to, r.Address)
			}),
			subject != "" && !strings.Contains(fold(m.summary.subject), subject):
			return false
		}
		return text == "" || m.contains(text)
	}
}

func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// isAt reports whether an address is who: an address, a domain, or "<>" for the null reverse-path.
func isAt(who, address string) bool {
	address = strings.ToLower(address)
	if address == "" {
		return who == "<>"
	}
	_, domain := smtp.SplitAddress(address)
	return who == address || strings.TrimPrefix(who, "@") == domain
}

// contains reports whether a text in lower case is in what a reader sees.
func (m *Message) contains(text string) bool {
	seen := fold(m.summary.subject + "\n" + m.summary.from + "\n" + m.Envelope.From)
	if strings.Contains(seen, text) {
		return true
	}
	for i := range m.Envelope.Recipients {
		if strings.Contains(fold(m.Envelope.Recipients[i].Address), text) {
			return true
		}
	}
	mail := m.Read()
	for _, s := range []string{mail.Text, mail.HTML} {
		if strings.Contains(strings.ToLower(s[:min(len(s), maxSearched)]), text) {
			return true
		}
	}
	return false
}
