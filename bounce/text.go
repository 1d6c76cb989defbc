package bounce

import (
	"bytes"
	"fmt"
	"mime"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/replies"
)

// bySeverity are the Actions in the order in which the text has them. The first one in a report gives its Subject.
var bySeverity = [...]Action{Failed, Delayed, Relayed, Expanded, Delivered}

// subject returns the Subject, which states the most severe outcome in the report.
func (c *composition) subject() string {
	for _, action := range bySeverity {
		if c.has(action) {
			return c.texts.Subject[action]
		}
	}
	return ""
}

// phrase returns a text of the user for a header field: in one line, encoded if that is needed (RFC 2047).
func phrase(text string) string {
	return mime.QEncoding.Encode("utf-8", clip(oneLine(text), maxPhrase))
}

// sender returns the value of the From field.
func (c *composition) sender() string {
	name, address := phrase(c.texts.From), "postmaster@"+c.host
	if strings.ContainsFunc(name, func(r rune) bool { return r != ' ' && notAtom(r) }) || !isASCII(c.texts.From) {
		a := mail.Address{Name: clip(oneLine(c.texts.From), maxPhrase), Address: address}
		return a.String() // quoted, or in the narrow form of RFC 2047 §5 (3)
	}
	return name + " <" + address + ">"
}

// maxPhrase bounds a text in a header field, maxSubject the Subject of the original in the text, in octets.
const (
	maxPhrase  = 400
	maxSubject = 200
)

// text returns the part for a person: the outcome for each recipient, its cause, what the sender can do, and the words
// of the other host.
func (c *composition) text(original part) part {
	var p prose
	t := c.texts
	p.paragraph(0, fill(t.Intro, "host", c.host))
	if about := c.about(original.subject); len(about) > 0 {
		for _, line := range about {
			p.wrap(2, line)
		}
		p.line(0, "")
	}
	for _, action := range bySeverity {
		c.section(&p, action)
	}
	if c.others > 0 {
		p.paragraph(0, fill(t.Others, "n", strconv.Itoa(c.others)))
	}
	attached := t.HeaderAttached
	if original.whole {
		attached = t.MessageAttached
	}
	p.paragraph(0, attached, fill(t.Help, "host", c.host))

	body := []byte(strings.TrimSuffix(p.String(), "\r\n")) // without the last empty line
	language := clip(strings.TrimSpace(clean(t.Language, false)), 100)
	if facts, err := smtp.Scan(bytes.NewReader(body)); err == nil && !facts.EightBit && !facts.LongLine {
		return part{
			contentType: "text/plain; charset=us-ascii", language: language, encoding: encoding7Bit, body: body,
		}
	}
	return part{
		contentType: "text/plain; charset=utf-8", language: language,
		encoding: encodingQuotedPrintable, body: quotedPrintable(body),
	}
}

// about returns the lines about the message. Its Subject isn't repeated to a stranger, who may have written it for a
// third party to read, nor if the message was to be seen by nobody on its way.
func (c *composition) about(subject string) (lines []string) {
	if subject = decoded(subject); subject != "" && c.texts.About != "" && !c.Stranger && !c.RequireTLS {
		lines = append(lines, fill(c.texts.About, "subject", subject))
	}
	if !c.Arrival.IsZero() && c.texts.Accepted != "" {
		lines = append(lines, fill(c.texts.Accepted, "date", c.texts.date(c.Arrival)))
	}
	return lines
}

// decoded returns a Subject as a person reads it.
func decoded(subject string) string {
	if s, err := new(mime.WordDecoder).DecodeHeader(subject); err == nil {
		subject = s
	}
	return clip(oneLine(subject), maxSubject)
}

// section writes about the recipients with one action. Those of whom the same is to be said are together.
func (c *composition) section(p *prose, action Action) {
	if !c.has(action) {
		return
	}
	p.paragraph(0, c.texts.List[action])
	var said []string
	whom := make(map[string][]Recipient)
	for _, rcpt := range c.recipients {
		if rcpt.Action == action {
			what := c.explain(&rcpt)
			if whom[what] == nil {
				said = append(said, what)
			}
			whom[what] = append(whom[what], rcpt)
		}
	}
	for _, what := range said {
		for _, rcpt := range whom[what] {
			c.recipient(p, &rcpt)
		}
		p.line(0, "")
		p.WriteString(what)
	}
}

// recipient writes the address of a recipient, and the sender's form of it (ORCPT) if that differs.
func (c *composition) recipient(p *prose, rcpt *Recipient) {
	address := clip(clean(rcpt.Address, true), maxToken)
	p.line(2, address)
	if rcpt.ORCPT == "" || c.texts.SentTo == "" {
		return
	}
	_, known := splitORCPT(rcpt.ORCPT)
	if known = clip(clean(known, true), maxToken); !strings.EqualFold(known, address) {
		p.line(2, fill(oneLine(c.texts.SentTo), "address", known))
	}
}

// explain returns the paragraphs about a recipient.
func (c *composition) explain(rcpt *Recipient) string {
	var p prose
	switch rcpt.Action {
	case Failed:
		c.failure(&p, rcpt)
	case Delayed:
		c.delay(&p, rcpt)
	case Relayed:
		if host := hostAndAddr(rcpt.Result); host != "" {
			p.paragraph(4, fill(c.texts.TakenBy, "host", host))
		}
	case Expanded:
		// RFC 3461 §5.2.7.3: the members keep the NOTIFY of the recipient except SUCCESS. RFC 3461 §5.2.7.4: they may
		// be confidential and are not named.
		told := ""
		if rcpt.Notify.Wants(smtp.NotifyFailure) {
			told = c.texts.MembersTold
		}
		p.paragraph(4, c.texts.Members, told)
	}
	return p.String()
}

// failure writes the cause of a failure, advice, and what was said.
func (c *composition) failure(p *prose, rcpt *Recipient) {
	t, res := c.texts, rcpt.Result
	why := t.whyOf(rcpt, c.RequireTLS)
	switch {
	case res.Outcome == smtp.Rejected:
	case res.Reply == nil:
		p.paragraph(4, t.Untried)
		why.What = ""
	case rcpt.LastAttempt.IsZero():
		p.paragraph(4, t.Tried)
	default:
		p.paragraph(4, fill(t.TriedUntil, "date", t.date(rcpt.LastAttempt)))
	}
	if res.Outcome == smtp.Unknown {
		why.Advice = t.Unknown
	}
	p.paragraph(4, why.What, why.Advice)
	c.said(p, res)
}

// delay writes the cause of a delay, the time until which attempts continue, and what was said.
func (c *composition) delay(p *prose, rcpt *Recipient) {
	t := c.texts
	retry, told := t.Retry, ""
	if !rcpt.WillRetryUntil.IsZero() {
		retry = fill(t.RetryUntil, "date", t.date(rcpt.WillRetryUntil))
	}
	if rcpt.Notify.Wants(smtp.NotifyFailure) {
		told = t.Told
	}
	if reason := rcpt.reason(); reason != smtp.Expired {
		p.paragraph(4, t.why(reason).What)
	}
	p.paragraph(4, retry, told)
	c.said(p, rcpt.Result)
}

// reason returns the cause of a failure or delay. An open recipient about whom only this host has said something, of
// which no Reason is known, is Expired.
func (r *Recipient) reason() smtp.Reason {
	res := r.Result
	if res.Reason == smtp.NoReason && res.Reply != nil {
		res.Reason = replies.ReasonOf(&res)
	}
	if unclear := res.Reason == smtp.NoReason || res.Reason == smtp.Other; unclear && res.Outcome != smtp.Rejected &&
		(res.Local || res.Reply == nil) {
		return smtp.Expired
	}
	return res.Reason
}

// said writes an introduction and the lines of the reply below it, or nothing if there is no reply. The codes of a
// local reply are omitted.
func (c *composition) said(p *prose, res smtp.Result) {
	if res.Reply == nil {
		return
	}
	t, host := c.texts, hostAndAddr(res)
	lines, introduction := replyLines(res.Reply, true), t.AnsweredHere
	switch {
	case !res.Local && host != "":
		introduction = t.Answered
	case res.Local && host != "" && res.Addr != "":
		lines, introduction = textLines(res.Reply, true), t.FailedAt
	case res.Local:
		lines, introduction = textLines(res.Reply, true), t.Details
		if host != "" && lines[0] != "" {
			lines[0] = host + ": " + lines[0] // it was never connected to
		}
	}
	if lines[0] == "" {
		return
	}
	p.paragraph(4, fill(introduction, "host", host))
	for _, line := range lines {
		p.wrap(6, line)
	}
	p.line(0, "")
}

// prose is text in lines that end with CRLF.
type prose struct{ strings.Builder }

const textWidth = 72

// paragraph writes sentences and an empty line, or nothing if all of them are empty.
func (p *prose) paragraph(indent int, sentences ...string) {
	sentences = slices.DeleteFunc(sentences, func(s string) bool { return strings.TrimSpace(s) == "" })
	if len(sentences) > 0 {
		p.wrap(indent, strings.Join(sentences, " "))
		p.line(0, "")
	}
}

// wrap writes text in lines of at most textWidth characters. A longer word has a line of its own.
func (p *prose) wrap(indent int, text string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if word = clean(word, true); line == "" {
			line = word
			continue
		}
		if indent+utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > textWidth {
			p.line(indent, line)
			line = word
			continue
		}
		line += " " + word
	}
	if line != "" {
		p.line(indent, line)
	}
}

// line writes one line.
func (p *prose) line(indent int, text string) {
	fmt.Fprintf(p, "%*s%s\r\n", indent, "", text)
}

// oneLine returns a text in one line, with single spaces.
func oneLine(text string) string { return clean(strings.Join(strings.Fields(text), " "), true) }

// hostAndAddr returns the host of the last attempt and its address, such as "mx.example.net (192.0.2.25)", or "" if its
// name isn't a domain. The port is omitted if it is that of SMTP.
func hostAndAddr(res smtp.Result) string {
	name, addr := hostName(res), strings.TrimSuffix(res.Addr, ":25")
	if name == "" || addr == "" {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, clip(clean(addr, false), 100))
}
