package bounce

import (
	"iter"
	"strconv"
	"strings"

	"github.com/postrider/postrider/internal/mimetext"
	"github.com/postrider/postrider/smtp"
)

// Bounds of what is returned.
const (
	maxRecipients = 1000
	maxWords      = 4 << 10 // octets of the text about one recipient
)

// notification returns what the mail says.
func (d *document) notification() *Notification {
	n := d.decide()
	if n.Kind == NotABounce {
		return &Notification{Format: n.Format}
	}
	if n.OriginalHeader == nil && len(d.original) > 0 {
		n.OriginalHeader = crlf(d.original)
	}
	if n.OriginalID == "" {
		n.OriginalID = readID(mimetext.ReadFields(d.original))
	}
	date := mimetext.ReadDate(d.header.Get("Date"))
	for i := range n.Recipients {
		if r := &n.Recipients[i]; r.Time.IsZero() {
			r.Time = date
		}
	}
	return n
}

// readStatus reads the groups of fields of a delivery-status part (RFC 3464 §2).
func (d *document) readStatus() *Notification {
	n := &Notification{Kind: Bounce, Format: "rfc3464"}
	text := string(d.status)
	if !strings.Contains(text, "ecipient") && d.inText() {
		text = string(d.text)
	}
	for group := range groups(text) {
		d.work += len(group)
		f := mimetext.ReadFields([]byte(group))
		if f.Has("Reporting-MTA") || f.Has("Original-Envelope-Id") || f.Has("Arrival-Date") {
			n.EnvelopeID = f.Get("Original-Envelope-Id")
			_, n.ReportingMTA = typed(f.Get("Reporting-MTA"))
			n.Arrival = mimetext.ReadDate(f.Get("Arrival-Date"))
		}
		if r, ok := readGroup(f); ok {
			n.add(r)
		}
		if len(n.Recipients) == maxRecipients {
			break
		}
	}
	return n
}

// inText reports whether the text has the fields of a report, as in a mail that lost its structure. A text that quotes
// them is no report.
func (d *document) inText() bool {
	text := lowerASCII(clip(string(d.text), maxOriginal))
	if !strings.Contains(text, "\nfinal-recipient:") && !strings.Contains(text, "\noriginal-recipient:") {
		return false
	}
	o := d.origin()
	return (o.mailer || o.report) && !o.answer && !o.person
}

// groups returns the groups of fields in text, separated by lines that are empty or no field. Fields of one recipient
// that an empty line separates are one group.
func groups(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		start, end := 0, 0 // the group
		action, final := false, false
		for end <= len(text) {
			line, _, more := strings.Cut(text[end:], "\n")
			isAction, isFinal := hasPrefixFold(line, "Action:"), hasPrefixFold(line, "Final-Recipient:")
			empty := strings.TrimSpace(line) == ""
			if empty && action == final || isAction && action || isFinal && final {
				if !yield(text[start:end]) {
					return
				}
				start, action, final = end, false, false
			}
			action, final = action || isAction, final || isFinal
			end += len(line) + 1
			if !more {
				break
			}
		}
		yield(text[min(start, len(text)):])
	}
}

// readGroup reads the fields of one recipient (RFC 3464 §2.3). ok is false if it names none.
func readGroup(f mimetext.Fields) (r RecipientStatus, ok bool) {
	r.Address = readAddress(f.Get("Final-Recipient"))
	r.OriginalAddress = readAddress(f.Get("Original-Recipient"))
	if r.Address == "" {
		r.Address = r.OriginalAddress
	}
	if r.Address == "" {
		return r, false
	}
	r.Action = readAction(f.Get("Action"))
	r.Status = readCode(f.Get("Status"))
	_, r.RemoteMTA = typed(f.Get("Remote-MTA"))
	r.Time = mimetext.ReadDate(f.Get("Last-Attempt-Date"))
	r.WillRetryUntil = mimetext.ReadDate(f.Get("Will-Retry-Until"))
	kind, words := typed(f.Lines("Diagnostic-Code"))
	r.Local = !strings.EqualFold(kind, "smtp") && words != ""
	if words == "" {
		// Some hosts state the cause in a comment: "Status: 4.0.0 (host name lookup failure)".
		if _, comment, ok := strings.Cut(f.Get("Status"), "("); ok {
			words = strings.TrimSuffix(comment, ")")
		}
	}
	r.setWords(words)
	return r, true
}

// setWords sets Reply and Text from the value of a Diagnostic-Code, with its folds. RFC 3461 §9.2: a line of the reply
// begins a line of the field, with its code. Any other line continues the one before it.
func (r *RecipientStatus) setWords(value string) {
	var b strings.Builder
	first := -1
	for line := range strings.SplitSeq(clip(value, 4*maxWords), "\n") {
		line = strings.TrimSpace(line)
		code, _, _ := cutReplyCode(line)
		switch {
		case first < 0:
			first = code
		case code == first && code != 0:
			b.WriteByte('\n')
		default:
			b.WriteByte(' ')
		}
		b.WriteString(line)
	}
	r.Reply, r.Text = readReply(b.String())
	if r.Reply != nil {
		return
	}
	if at := findReply(r.Text); at >= 0 { // the mail system's words, and the reply of the host in them
		r.Reply, _ = readReply(r.Text[at:])
	}
}

// typed splits "type; value" (RFC 3464 §2.1.2). Without a type, the value is all of it.
func typed(s string) (typ, value string) {
	typ, value, ok := strings.Cut(s, ";")
	if typ = strings.TrimSpace(typ); !ok || strings.ContainsFunc(typ, notAtom) {
		return "", strings.TrimSpace(s)
	}
	return typ, strings.TrimSpace(value)
}

// readAction reads an Action field. A comment after the word is skipped.
func readAction(s string) Action {
	word := strings.ToLower(strings.TrimSpace(s))
	if i := strings.IndexFunc(word, notAtom); i >= 0 {
		word = word[:i]
	}
	for a := Failed; a <= Expanded; a++ {
		if a.String() == word {
			return a
		}
	}
	switch word {
	case "failure", "fail", "undeliverable":
		return Failed
	case "delay", "deferred":
		return Delayed
	}
	return 0
}

// readCode reads the status code that s begins with (RFC 3463 §2), or the zero code.
func readCode(s string) smtp.EnhancedCode {
	code, _ := cutCode(s)
	return code
}

// cutCode returns the status code that s begins with, and what follows it.
func cutCode(s string) (code smtp.EnhancedCode, rest string) {
	rest = s
	for i := range code {
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		if digits == 0 || digits > 3 {
			return smtp.EnhancedCode{}, s
		}
		code[i], _ = strconv.Atoi(rest[:digits])
		rest = rest[digits:]
		if i < 2 {
			if rest == "" || rest[0] != '.' {
				return smtp.EnhancedCode{}, s
			}
			rest = rest[1:]
		}
	}
	if code[0] != 2 && code[0] != 4 && code[0] != 5 || goesOn(rest) {
		return smtp.EnhancedCode{}, s
	}
	return code, rest
}

// goesOn reports whether rest continues a number, an address for example.
func goesOn(rest string) bool {
	return rest != "" && (isWordByte(rest[0]) || rest[0] == '.' && len(rest) > 1 && isWordByte(rest[1]))
}

func isWordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

// readReply reads the lines of a reply with their codes. reply is nil if there is no code. text is the text without the
// codes.
func readReply(words string) (reply *smtp.Reply, text string) {
	code, enhanced := 0, smtp.EnhancedCode{}
	var lines []string
	for line := range strings.SplitSeq(clip(words, maxWords), "\n") {
		line = strings.TrimSpace(line)
		c, rest, ok := cutReplyCode(line)
		if code != 0 && (line == "" || isDialogue(line) || isRule(line) || ok && c != code) {
			break
		}
		if ok && (code == 0 && len(lines) == 0 || c == code) {
			code, line = c, rest
			if e, rest := cutCode(line); e[0] == c/100 {
				if enhanced[0] == 0 {
					enhanced = e
				}
				if e == enhanced {
					line = strings.TrimLeft(rest, " ")
				}
			}
		}
		lines = append(lines, line)
	}
	text = strings.TrimSpace(strings.Join(lines, "\n"))
	if code != 0 && strings.HasSuffix(text, ")") && strings.Count(text, "(") < strings.Count(text, ")") {
		text = text[:len(text)-1] // "(reason: 550 no such user)"
	}
	if code != 0 {
		reply = &smtp.Reply{Code: code, Enhanced: enhanced, Text: text}
	}
	return reply, text
}

// isDialogue reports whether a line is one of a transcript that follows a reply.
func isDialogue(line string) bool {
	return strings.HasPrefix(line, ">>>") || strings.HasPrefix(line, "<<<") || strings.HasPrefix(line, "In:") ||
		strings.HasPrefix(line, "Out:") || strings.HasPrefix(line, "... while")
}

// cutReplyCode returns the reply code that a line begins with, and what follows it.
func cutReplyCode(line string) (code int, rest string, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, line, false
	}
	if len(line) > 3 && line[3] != ' ' && line[3] != '-' {
		return 0, line, false
	}
	code, _ = strconv.Atoi(line[:3])
	return code, strings.TrimLeft(line[3:], " -"), true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// crlf returns lines with CRLF line ends.
func crlf(b []byte) []byte {
	return []byte(strings.ReplaceAll(string(b), "\n", "\r\n"))
}

// readID returns the Message-ID of a header, or "".
func readID(f mimetext.Fields) string {
	id := f.Get("Message-ID")
	i := strings.IndexByte(id, '<')
	j := strings.LastIndexByte(id, '>')
	if i < 0 || j < i || j-i > 998 {
		return ""
	}
	return id[i : j+1]
}
