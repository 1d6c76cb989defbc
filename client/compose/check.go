package compose

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/mail"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/postrider/postrider/smtp"
)

// Bounds of values, in octets.
const (
	maxText       = 16 << 10
	maxFieldName  = 70
	maxName       = 255 // of a file
	maxID         = 900 // of a Message-ID, a list, a feedback ID, a media type
	defaultMax    = 100 << 20
	mostMax       = 1 << 40 // of MaxSize: the sums of sizes can't overflow
	maxFeedbackID = 4       // parts
)

// Check returns an error for the first field that is wrong. The error names it. Compose calls Check; it opens no file.
func (m *Message) Check() error {
	if err := m.check(); err != nil {
		return fmt.Errorf("compose: Message.%w", err)
	}
	return nil
}

func (m *Message) check() error {
	if m.From.Address == "" {
		return errors.New("From is empty: set its Address to that of the author")
	}
	if err := m.checkAddresses(); err != nil {
		return err
	}
	if err := checkText("Subject", m.Subject); err != nil {
		return err
	}
	if year := m.Date.Year(); !m.Date.IsZero() && (year < 1900 || year > 9999) { // RFC 5322 §3.3
		return fmt.Errorf("Date has the year %d: want 1900 to 9999", year)
	}
	if m.ListID != "" && (!isID(m.ListID) || !strings.Contains(m.ListID, ".") || strings.Contains(m.ListID, "@")) {
		return fmt.Errorf("ListID %.100q: want a name in ASCII such as weekly.news.example (RFC 2919)", m.ListID)
	}
	if m.FeedbackID != "" && (!isToken(m.FeedbackID) || strings.Count(m.FeedbackID, ":") >= maxFeedbackID) {
		return fmt.Errorf("FeedbackID %.100q: want up to %d names in ASCII, without spaces, with colons between them",
			m.FeedbackID, maxFeedbackID)
	}
	if m.MaxSize < 0 {
		return fmt.Errorf("MaxSize is %d: set it to at least 1, or to 0 for 100 MiB", m.MaxSize)
	}
	if err := m.checkIDs(); err != nil {
		return err
	}
	if err := m.checkBodies(); err != nil {
		return err
	}
	for i, f := range m.Header {
		if err := m.checkField(f); err != nil {
			return fmt.Errorf("Header[%d].%w", i, err)
		}
	}
	return m.checkUnsubscribe()
}

func (m *Message) checkAddresses() error {
	lists := m.lists()
	if len(m.To)+len(m.Cc)+len(m.Bcc) == 0 {
		return errors.New("To, Cc and Bcc are empty: set one of them to the recipients")
	}
	for _, l := range lists {
		for i, a := range l.addresses {
			field := l.field
			if l.many {
				field = fmt.Sprintf("%s[%d]", field, i)
			}
			if err := checkText(field+".Name", a.Name); err != nil {
				return err
			}
			if !strings.Contains(a.Address, "@") { // "postmaster" is one only in an envelope
				return fmt.Errorf(`%s.Address %.100q: it has no "@"`, field, a.Address)
			}
			if err := smtp.CheckAddress(a.Address); err != nil {
				return fmt.Errorf("%s.Address: %w", field, err)
			}
		}
	}
	return nil
}

// list is a field of addresses.
type list struct {
	field, name string // of Message, and of the header
	addresses   []mail.Address
	many        bool
}

func (m *Message) lists() []list {
	lists := []list{{"From", "From", []mail.Address{m.From}, false}}
	if m.Sender != (mail.Address{}) {
		lists = append(lists, list{"Sender", "Sender", []mail.Address{m.Sender}, false})
	}
	return append(lists, list{"ReplyTo", "Reply-To", m.ReplyTo, true}, list{"To", "To", m.To, true},
		list{"Cc", "Cc", m.Cc, true}, list{"Bcc", "Bcc", m.Bcc, true})
}

func (m *Message) checkIDs() error {
	ids := []struct{ field, id string }{{"MessageID", m.MessageID}, {"InReplyTo", m.InReplyTo}}
	for i, id := range m.References {
		if id == "" {
			return fmt.Errorf("References[%d] is empty", i)
		}
		ids = append(ids, struct{ field, id string }{fmt.Sprintf("References[%d]", i), id})
	}
	for i, t := range ids {
		left, right, ok := strings.Cut(bare(t.id), "@")
		ok = ok && isID(left) && isID(strings.Trim(right, "[]"))
		if i > 0 { // IDs of other programs may break the grammar
			ok = isToken(bare(t.id)) && !strings.ContainsAny(bare(t.id), "<>")
		}
		if t.id != "" && !ok {
			return fmt.Errorf("%s %.100q: want an ID in ASCII such as 17@example.com (RFC 5322 section 3.6.4)",
				t.field, t.id)
		}
	}
	return nil
}

// bare returns an ID without its angle brackets.
func bare(id string) string {
	if strings.HasPrefix(id, "<") && strings.HasSuffix(id, ">") {
		return id[1 : len(id)-1]
	}
	return id
}

// isID reports whether s is a dot-atom (RFC 5322 §3.2.3), in which dots and colons may stand anywhere.
func isID(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~.:", c) < 0 {
			return false
		}
	}
	return s != "" && len(s) <= maxID
}

// isToken reports whether s is ASCII without white space, and nothing that readers decode.
func isToken(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != "" && len(s) <= maxID && !looksEncoded(s)
}

func (m *Message) checkBodies() error {
	for _, t := range []struct{ field, text string }{{"Text", m.Text}, {"HTML", m.HTML}} {
		if !utf8.ValidString(t.text) {
			return fmt.Errorf("%s isn't UTF-8", t.field)
		}
	}
	if c := m.Calendar; c != nil {
		if err := c.check(); err != nil {
			return fmt.Errorf("Calendar.%w", err)
		}
	}
	if len(m.Inline) > 0 && m.HTML == "" {
		return errors.New("Inline has files that nothing shows: set HTML, or put them into Attachments")
	}
	ids := make(map[string]bool)
	for i := range m.Inline {
		f := &m.Inline[i]
		if err := f.check(); err != nil {
			return fmt.Errorf("Inline[%d].%w", i, err)
		}
		id := f.id()
		if id == "" || strings.Trim(id, idLetters) != "" || strings.Count(id, "@") > 1 || len(id) > maxName {
			return fmt.Errorf("Inline[%d].ContentID %.100q: set it to letters, digits and \"._+-@\", at most %d",
				i, id, maxName)
		}
		if ids[id] {
			return fmt.Errorf("Inline[%d].ContentID %q: another file has it, too", i, id)
		}
		ids[id] = true
	}
	for i := range m.Attachments {
		f := &m.Attachments[i]
		if err := f.check(); err != nil {
			return fmt.Errorf("Attachments[%d].%w", i, err)
		}
		if f.ContentID != "" {
			return fmt.Errorf("Attachments[%d].ContentID is set: put a file that HTML shows into Inline", i)
		}
	}
	return nil
}

func (f *File) check() error {
	name := f.name()
	switch {
	case f.FS == nil && f.Reader == nil:
		return errors.New("FS and Reader are nil: set one of them")
	case f.FS != nil && f.Reader != nil:
		return errors.New("FS and Reader are set: set one of them")
	case f.FS == nil && f.Path != "":
		return fmt.Errorf("Path is %.100q, and FS is nil: set FS, os.DirFS for example", f.Path)
	case f.FS != nil && !fs.ValidPath(f.Path):
		return fmt.Errorf("Path %.100q: want one within FS, without \"/\" at its ends, \".\" and \"..\"", f.Path)
	case name == "":
		return errors.New("Name is empty: set it to what the recipient sees")
	case strings.ContainsAny(name, `/\`) || name == "." || name == "..":
		return fmt.Errorf("Name %.100q is a path: set it to the name alone", name)
	case len(name) > maxName:
		return fmt.Errorf("Name %.100q has %d octets: at most %d", name, len(name), maxName)
	}
	if err := checkText("Name", name); err != nil {
		return err
	}
	if f.ContentType == "" {
		return nil
	}
	if err := checkText("ContentType", f.ContentType); err != nil {
		return err
	}
	kind, _, err := mime.ParseMediaType(f.ContentType)
	canonical := f.contentType()
	switch {
	case err != nil:
		return fmt.Errorf("ContentType %.100q: %w", f.ContentType, err)
	case !strings.Contains(kind, "/"), canonical == "", len(canonical) > maxID, looksEncoded(canonical):
		return fmt.Errorf("ContentType %.100q: want a type such as image/png", f.ContentType)
	case isComposite(kind):
		return fmt.Errorf("ContentType %.100q can't be in base64: send it as application/octet-stream", f.ContentType)
	}
	return nil
}

func (f *File) name() string {
	if f.Name == "" && f.Path != "" {
		return path.Base(f.Path)
	}
	return f.Name
}

func (f *File) id() string { return cmp.Or(f.ContentID, f.name()) }

// isComposite reports whether parts of a type may not be in base64 (RFC 2045 §6.4).
func isComposite(kind string) bool {
	return strings.HasPrefix(kind, "multipart/") || strings.HasPrefix(kind, "message/")
}

// contentType returns the media type in its canonical form, without a name. It is empty if it has none.
func (f *File) contentType() string {
	kind, params, err := mime.ParseMediaType(cmp.Or(f.ContentType, mime.TypeByExtension(path.Ext(f.name()))))
	if err != nil || f.ContentType == "" && isComposite(kind) {
		return "application/octet-stream"
	}
	delete(params, "name")
	return mime.FormatMediaType(kind, params)
}

// own are the fields that Compose writes, and those of hosts on the way.
const own = " date from sender reply-to to cc bcc subject message-id in-reply-to references list-id feedback-id " +
	"mime-version return-path received dkim-signature resent-bcc "

func (m *Message) checkField(f Field) error {
	name := strings.ToLower(f.Name)
	for i := range len(f.Name) {
		if c := f.Name[i]; c <= ' ' || c > '~' || c == ':' { // RFC 5322 §2.2
			return fmt.Errorf("Name %.100q: want ASCII without spaces and colons", f.Name)
		}
	}
	switch {
	case f.Name == "" || len(f.Name) > maxFieldName:
		return fmt.Errorf("Name %.100q has %d octets: want 1 to %d", f.Name, len(f.Name), maxFieldName)
	case strings.Contains(own, " "+name+" "), strings.HasPrefix(name, "content-"),
		m.Unsubscribe != nil && strings.HasPrefix(name, "list-unsubscribe"):
		return fmt.Errorf("Name %q: Message has a field for it, or it isn't the author's", f.Name)
	case f.Value == "":
		return fmt.Errorf("Value is empty (%s): leave the field out", f.Name)
	case isASCII(f.Value) && hasLongWord(f.Value):
		return fmt.Errorf("Value (%s) has a word of over %d octets, which can't be folded", f.Name, maxToken)
	}
	return checkText("Value ("+f.Name+")", f.Value)
}

// checkText returns an error for text that a field can't have.
func checkText(field, s string) error {
	if len(s) > maxText {
		return fmt.Errorf("%s has %d octets: at most %d", field, len(s), maxText)
	}
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s %.100q isn't UTF-8", field, s)
	}
	for i, c := range s {
		// Python's reader takes U+2028 and U+2029 for the ends of lines.
		if unicode.IsControl(c) || c == '\u2028' || c == '\u2029' {
			return fmt.Errorf("%s %.100q has the control character %U at octet %d: take it out", field, s, c, i)
		}
	}
	return nil
}
