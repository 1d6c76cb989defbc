package bounce

import (
	"strings"
	"unicode"

	"github.com/postrider/postrider/internal/mimetext"
)

// decide chooses the kind of the mail, and reads it by the format of that kind.
func (d *document) decide() *Notification {
	if len(d.feedback) > 0 {
		return d.readFeedback()
	}
	if d.mayReport() {
		if n := d.readStatus(); len(n.Recipients) > 0 {
			d.explain(n)
			return n
		}
	}
	if n := d.readNotice(); n != nil {
		return n
	}
	if n := d.readLetterBounce(); n != nil {
		return n
	}
	if n := d.readAuto(); n != nil {
		return n
	}
	return &Notification{}
}

// mayReport reports whether a delivery-status part can be about a message of whom the mail came to. In a mail that is
// no report itself, such a part may be the attachment of a person who forwards one.
func (d *document) mayReport() bool {
	o := d.origin()
	if o.report || o.mailer && !o.person {
		return true
	}
	return !o.answer && !o.list && (o.null || o.robot || !d.header.Has("Return-Path"))
}

// prose returns the text for a person: the plain text, or that of the HTML if there is none.
func (d *document) prose() string {
	if len(strings.TrimSpace(string(d.text))) > 0 {
		return string(d.text)
	}
	return string(d.html)
}

// maxBeginning is the size in octets of the beginning of a letter that says that it is a bounce.
const maxBeginning = 3 << 10

// maxExplained bounds the recipients of a report whose words are looked for in its text.
const maxExplained = 100

// origin is how a mail came to be, by its header.
type origin struct {
	mailer  bool // from a mail system: MAILER-DAEMON, a postmaster and the like
	person  bool // from a postmaster, who may be a person: the mail came from a reverse-path that isn't null
	robot   bool // from an address that takes no answers
	null    bool // from the null reverse-path
	report  bool // a multipart/report
	answer  bool // a Subject that begins with "Re:" or "Fwd:"
	list    bool // through a mailing list or of a newsletter
	subject string
}

func (d *document) origin() origin {
	subject := mimetext.DecodeWords(clip(d.header.Get("Subject"), maxLetterLine))
	o := origin{subject: strings.ToLower(mimetext.Unfold(subject))}
	from := strings.ToLower(mimetext.DecodeWords(clip(d.header.Get("From"), maxLetterLine)))
	o.mailer = d.fromAny(from, mailerNames)
	o.robot = containsAny(from, robotNames)
	if d.header.Has("Return-Path") {
		path := strings.ToLower(strings.Trim(d.header.Get("Return-Path"), "<> "))
		o.null = path == "" || path == "mailer-daemon" || strings.HasPrefix(path, "mailer-daemon@")
	}
	o.person = o.mailer && !o.null && d.header.Has("Return-Path") && !d.fromAny(from, daemonNames)
	o.report = d.typ.Name == "multipart/report" && (d.typ.Report == "" || d.typ.Report == "delivery-status")
	o.answer = hasAnyPrefix(o.subject, answerPrefixes)
	o.list = d.header.Has("List-Id") || d.header.Has("List-Post") || d.header.Has("List-Unsubscribe") ||
		strings.EqualFold(d.header.Get("Precedence"), "list")
	return o
}

// fromAny reports whether the local part or the display name in a From field is one of names.
func (d *document) fromAny(from string, names []string) bool {
	for _, name := range names {
		i := strings.Index(from, name)
		if i >= 0 && (i == 0 || !isWordByte(from[i-1])) {
			return true
		}
	}
	return false
}

// readLetterBounce reads a bounce that is prose. It returns nil for any other mail.
//
// Such a mail has two signs: who sent it, and what it says. Each can be forged or quoted; a mail of a person who quotes
// a bounce has only the second.
func (d *document) readLetterBounce() *Notification {
	o := d.origin()
	failed := d.failedRecipients()
	sent := o.mailer || o.report || len(failed) > 0 || o.null
	attached := len(d.original) > 0
	if !sent && !(o.robot && attached) || o.answer && !o.mailer || o.list && !o.mailer {
		return nil
	}
	if !o.mailer && !o.report && len(failed) == 0 && d.isAuto(o) {
		return nil // an answer of a person's program, from the null reverse-path
	}
	text := d.prose()
	l := d.readLetter(text)
	format := l.format(o.subject)
	if o.person {
		bare := !attached && l.original == "" && (&letter{}).format(o.subject) == ""
		if bare || o.answer || containsAny(strings.Join(l.lower, "\n"), forwardMarks) {
			return nil
		}
	}
	if format == "" && o.mailer && !o.person && l.hasReply(attached || l.original != "") {
		format = "reply"
	}
	if format == "" && len(failed) == 0 {
		return nil
	}
	n := &Notification{Kind: Bounce, Format: format, Recipients: l.recipients(failed)}
	header := d.original
	if len(header) == 0 {
		header = []byte(l.original)
		if len(header) > 0 {
			n.OriginalHeader = crlf(header)
		}
	}
	f := mimetext.ReadFields(header)
	if len(n.Recipients) == 0 {
		if to := onlyRecipient(f); to != "" {
			n.Recipients = []RecipientStatus{{Address: to, Local: true}}
		}
	}
	if len(n.Recipients) == 0 {
		return nil
	}
	n.OriginalID = readID(f)
	whole := strings.TrimSpace(strings.Join(l.lines, "\n"))
	lower := strings.ToLower(whole)
	delayed := containsAny(lower, delayWords) ||
		containsAny(o.subject, delayWords) && !statesPermanent(lower)
	for i := range n.Recipients {
		r := &n.Recipients[i]
		if r.Text == "" {
			r.setProse(whole)
		}
		if delayed || format == "reply" && r.Reply != nil && r.Reply.Temporary() {
			r.Action = Delayed
		}
		context := ""
		if len(n.Recipients) == 1 {
			context = whole + "\n" + o.subject
		}
		r.conclude(context)
	}
	return n
}

// statesPermanent reports whether a text in lower case has one of permanentWords as a fact: not "this is not a
// permanent error", nor "until it has permanently failed".
func statesPermanent(lower string) bool {
	for _, w := range permanentWords {
		for rest := lower; ; {
			before, after, ok := strings.Cut(rest, w)
			if !ok {
				break
			}
			if i := strings.LastIndexAny(before, ".;!\n"); i >= 0 {
				before = before[i+1:]
			}
			if !containsAny(" "+before, openWords) {
				return true
			}
			rest = after
		}
	}
	return false
}

// format returns the name of the format whose words the letter or the Subject has, "transcript" if it has the refusal
// of a recipient in a session, or "".
func (l *letter) format(subject string) string {
	text := strings.ToLower(strings.Join(strings.Fields(clip(strings.Join(l.lines, " "), maxBeginning)), " "))
	for i := range formats {
		if containsAny(text, formats[i].says) || containsAny(subject, formats[i].says) {
			return formats[i].name
		}
	}
	if either := subject + "\n" + text; containsAny(either, undelivered) && containsAny(either, messageWords) {
		return "languages"
	}
	for _, c := range l.all {
		if c.way == inTranscript && findReply(l.allWords(c.address)) >= 0 {
			return "transcript"
		}
	}
	return ""
}

// hasReply reports whether a recipient that the letter names has the refusal of a host beside it: the letter of a mail
// system in a language that formats doesn't have. A summary of logs, a digest, and a note of a delay or a delivery have
// replies, too. So the letter either returns the message, or has "<address>:" and a reply that is permanent.
func (l *letter) hasReply(returned bool) bool {
	for i, c := range l.all {
		if i >= maxExplained {
			break
		}
		if c.way != atStart || l.isOwn(c.address) {
			continue
		}
		words := strings.Join(l.words(i), "\n")
		at := findReply(words)
		if first, _ := readReply(words); at < 0 || isCounted(words) || first != nil && first.Code < 400 {
			continue
		}
		reply, _ := readReply(words[at:])
		named := strings.HasPrefix(strings.TrimLeft(l.lines[c.line], " \t"), "<"+c.address+">:")
		if reply != nil && (named && reply.Permanent() || returned && (reply.Permanent() || reply.Temporary())) {
			return true
		}
	}
	return false
}

// isCounted reports whether words end as a line of statistics does: "User unknown: 3", or "user unknown (5 times)".
func isCounted(words string) bool {
	words, _, _ = strings.Cut(words, "\n")
	words = strings.TrimRight(words, " \t)")
	words = strings.TrimRightFunc(words, unicode.IsLetter)
	rest := strings.TrimRight(words, " \t")
	digits := strings.TrimRight(rest, "0123456789")
	before := strings.TrimRight(digits, " \t")
	return digits != rest && (strings.HasSuffix(before, ":") || strings.HasSuffix(before, "("))
}

// failedRecipients returns the addresses of X-Failed-Recipients, which Exim and Gmail write.
func (d *document) failedRecipients() []string {
	var failed []string
	for _, f := range d.header {
		if f.Name == "x-failed-recipients" {
			eachAddress(f.Value, func(_, _ int, address string) bool {
				failed = append(failed, address)
				return len(failed) < maxRecipients
			})
		}
	}
	return failed
}

// onlyRecipient returns the address in To, if there is only one and no Cc, or the one that the trace fields name.
func onlyRecipient(f mimetext.Fields) string {
	var all []string
	for _, name := range []string{"X-Original-To", "To", "Cc"} {
		eachAddress(clip(f.Get(name), maxLetterLine), func(_, _ int, address string) bool {
			all = append(all, address)
			return len(all) < 3
		})
		if len(all) > 0 && name == "X-Original-To" {
			break
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return tracedRecipient(f)
}

// tracedRecipient returns the address in the clause "for" of the oldest Received field that has one (RFC 5321 §4.4): a
// host writes it if the message had one recipient.
func tracedRecipient(f mimetext.Fields) (traced string) {
	for _, field := range f {
		if field.Name != "received" {
			continue
		}
		value := mimetext.Unfold(clip(field.Value, maxLetterLine))
		if _, after, ok := strings.Cut(lowerASCII(value), " for "); ok {
			after = value[len(value)-len(after):]
			if n := addressLen(strings.TrimLeft(after, "<")); n > 0 {
				traced = strings.TrimLeft(after, "<")[:n]
			}
		}
	}
	return traced
}

// explain concludes for the recipients of a report, with the words of its text as context. They replace a
// Diagnostic-Code that is missing.
func (d *document) explain(n *Notification) {
	l := d.readLetter(d.prose())
	if len(d.original) == 0 && l.original != "" {
		n.OriginalHeader, n.OriginalID = crlf([]byte(l.original)), readID(mimetext.ReadFields([]byte(l.original)))
	}
	for i := range n.Recipients {
		r := &n.Recipients[i]
		if i >= maxExplained {
			r.conclude("")
			continue
		}
		if !strings.Contains(r.Address, "@") { // a file or a program
			if failed := d.failedRecipients(); strings.Contains(r.OriginalAddress, "@") {
				r.Address = r.OriginalAddress
			} else if len(failed) == 1 && len(n.Recipients) == 1 {
				r.Address = failed[0]
			}
		}
		words := l.allWords(r.Address)
		if words == "" && r.OriginalAddress != "" {
			words = l.allWords(r.OriginalAddress)
		}
		context := words
		if len(n.Recipients) == 1 {
			context = strings.Join(l.lines, "\n")
		}
		if words == "" && r.Status[1] == 0 && r.Status[2] == 0 {
			words = context
		}
		if r.Text == "" && r.Reply == nil && (r.Action == Failed || r.Action == Delayed || r.Action == 0) {
			status, host := r.Status, r.RemoteMTA
			r.setProse(words)
			if status[0] != 0 {
				r.Status = status
			}
			if host != "" {
				r.RemoteMTA = host
			}
		}
		r.conclude(context)
	}
}
