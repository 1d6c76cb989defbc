package preflight

import (
	"fmt"
	"io"
	"mime"
	"net/mail"
	"regexp"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// addressParser takes display names in any charset.
var addressParser = mail.AddressParser{WordDecoder: &anyCharset}

// anyCharset decodes the bytes of an encoded-word, whatever its charset is.
var anyCharset = mime.WordDecoder{
	CharsetReader: func(_ string, input io.Reader) (io.Reader, error) { return input, nil },
}

// checkIdentity looks at From and the other addresses, Message-ID and Date.
func (m *message) checkIdentity() {
	m.checkFrom()
	for _, f := range m.fields {
		switch f.key {
		case "to", "cc", "bcc", "reply-to", "sender":
			// RFC 5322 §3.6.3: only Bcc may be empty.
			if f.key == "bcc" && f.value == "" {
				continue
			}
			if _, err := addresses(f.value); err != nil {
				m.refuse(BadAddress, f.name, fmt.Sprintf("%s: %s", clip(f.value), err),
					"write addresses as Ann <ann@example.com>, with commas between, and odd names in quotes",
					"RFC 5322 §3.4")
			}
		}
	}
	m.checkMessageID()
	m.checkDate()
}

func (m *message) checkFrom() {
	fields := m.all("from")
	switch {
	case len(fields) == 0:
		m.refuse(NoFrom, "From", "there is none", "add one with one address", "RFC 5322 §3.6.2")
		return
	case len(fields) > 1:
		m.refuse(SeveralFrom, "From", fmt.Sprintf("there are %d fields, the second one %s", len(fields),
			clip(fields[1].value)), "remove all except one", "RFC 5322 §3.6; "+gmailPage)
	}
	list, err := addresses(fields[0].value)
	switch {
	case err != nil:
		m.refuse(BadFrom, "From", fmt.Sprintf("%s: %s", clip(fields[0].value), err),
			"write it as Ann <ann@example.com>, with odd names in quotes", "RFC 5322 §3.4")
	case len(list) == 0:
		m.refuse(BadFrom, "From", clip(fields[0].value)+" has no address", "write it as Ann <ann@example.com>",
			"RFC 5322 §3.6.2")
	case len(list) > 1:
		m.refuse(SeveralFrom, "From", fmt.Sprintf("it has %d addresses, the second one %s", len(list),
			clip(list[1].Address)), "keep one, and put the others into Reply-To", gmailPage)
	}
}

// emptyWord is an encoded-word without text. RFC 2047 §2 has none, but Mailchimp writes them in place of an unknown
// name, and receivers take them.
var emptyWord = regexp.MustCompile(`=\?[^?\s]+\?[BbQq]\?\?=`)

// addresses parses a list of addresses. Groups without members are no error.
func addresses(value string) ([]*mail.Address, error) {
	list, err := addressParser.ParseList(emptyWord.ReplaceAllLiteralString(value, `""`))
	if err != nil {
		if text, ok := strings.CutSuffix(strings.TrimRight(value, " \t"), ";"); ok {
			if name, members, ok := strings.Cut(text, ":"); ok && name != "" && strings.TrimSpace(members) == "" {
				return nil, nil // RFC 5322 §3.4: "undisclosed-recipients:;"
			}
		}
		return nil, err
	}
	for _, a := range list {
		if err := smtp.CheckAddress(a.Address); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// fromDomain returns the domain of the only address in From, and "" if there is no such address.
func (m *message) fromDomain() string {
	fields := m.all("from")
	if len(fields) != 1 {
		return ""
	}
	list, err := addresses(fields[0].value)
	if err != nil || len(list) != 1 {
		return ""
	}
	_, domain := smtp.SplitAddress(list[0].Address)
	ascii, err := smtp.ASCIIDomain(domain)
	if err != nil || strings.HasPrefix(ascii, "[") {
		return ""
	}
	return ascii
}

func (m *message) checkMessageID() {
	value, ok := m.value("message-id")
	if !ok {
		m.refuse(NoMessageID, "Message-ID", "there is none", "add one, unique for each mail, with a domain of yours",
			"RFC 5322 §3.6.4; "+gmailPage)
		return
	}
	if !isMessageID(value) {
		m.refuse(BadMessageID, "Message-ID", clip(value)+" isn't <left@right>",
			"write it as <unique@example.com>, in ASCII without blanks", "RFC 5322 §3.6.4")
	}
}

// isMessageID reports whether s is a msg-id without comments (RFC 5322 §3.6.4). The obsolete forms of §4.5.4 aren't.
func isMessageID(s string) bool {
	s, begins := strings.CutPrefix(s, "<")
	s, ends := strings.CutSuffix(s, ">")
	left, right, ok := strings.Cut(s, "@")
	if literal, ok := strings.CutPrefix(right, "["); ok {
		literal, ok := strings.CutSuffix(literal, "]")
		return begins && ends && ok && isDotAtom(left) && !strings.ContainsAny(literal, "[]\\<> \t")
	}
	return begins && ends && ok && isDotAtom(left) && isDotAtom(right)
}

// isDotAtom reports whether s is a dot-atom-text (RFC 5322 §3.2.3), in UTF-8 by RFC 6532 §3.2.
func isDotAtom(s string) bool {
	return s != "" && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".") && !strings.Contains(s, "..") &&
		!strings.ContainsFunc(s, func(r rune) bool {
			return r <= ' ' || r == 0x7f || strings.ContainsRune(`()<>[]:;@\,"`, r)
		})
}

func (m *message) checkDate() {
	value, ok := m.value("date")
	if !ok {
		m.refuse(NoDate, "Date", "there is none", "add the current time", "RFC 5322 §3.6.1")
		return
	}
	date, err := mail.ParseDate(value)
	now := time.Now()
	switch {
	case err != nil:
		m.refuse(BadDate, "Date", clip(value)+" is no date", `write it as time.RFC1123Z does: "`+
			now.Format(time.RFC1123Z)+`"`, "RFC 5322 §3.3")
	case date.After(now.Add(mostAhead)):
		m.refuse(DateRange, "Date", clip(value)+" is more than a day in the future",
			"set it to the current time, and the clock of this machine", "RFC 5322 §3.6.1")
	case date.Before(now.Add(-mostAge)):
		m.refuse(DateRange, "Date", clip(value)+" is more than 7 days in the past",
			"set it when the mail is sent, not when its template is written", "RFC 5322 §3.6.1")
	}
}
