package bounce

import (
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/smtp"
)

// subject returns the Subject, which states the most severe outcome in the report.
func (c *composition) subject() string {
	switch {
	case c.has(Failed):
		return "Your message could not be delivered"
	case c.has(Delayed):
		return "Your message is delayed"
	case c.has(Relayed):
		return "Your message was passed on"
	case c.has(Expanded):
		return "Your message was sent on to a group of addresses"
	}
	return "Your message was delivered"
}

// text returns the part for a person: the outcome for each recipient, the words of the other host, and advice.
func (c *composition) text(original part) part {
	var p prose
	when := ""
	if !c.Arrival.IsZero() {
		when = ", accepted on " + c.Arrival.Format(time.RFC1123Z)
	}
	p.paragraph(0, "This is a report from the mail system at "+c.host+" about your message"+when+".")
	for _, action := range []Action{Failed, Delayed, Relayed, Expanded, Delivered} {
		c.section(&p, action)
	}
	if c.others > 0 {
		p.paragraph(0, fmt.Sprintf("%d more recipients are not listed.", c.others))
	}
	attached := "The header of your message is attached."
	if original.whole {
		attached = "Your message is attached."
	}
	p.paragraph(0, attached+" If you need help, reply to this mail: the postmaster of "+c.host+" will read it.")

	body := []byte(strings.TrimSuffix(p.String(), "\r\n")) // without the last empty line
	if isASCII(body) {
		return part{contentType: "text/plain; charset=us-ascii", encoding: encoding7Bit, body: body}
	}
	body = quotedPrintable(body)
	return part{contentType: "text/plain; charset=utf-8", encoding: encodingQuotedPrintable, body: body}
}

// section writes about the recipients with one action.
func (c *composition) section(p *prose, action Action) {
	if !c.has(action) {
		return
	}
	switch action {
	case Failed:
		p.paragraph(0, "The message could not be delivered to:")
	case Delayed:
		p.paragraph(0, "The message is delayed. It has not been delivered yet to:")
	case Relayed:
		p.paragraph(0, "The message was passed on to a mail system that does not report deliveries. "+
			"It is on its way to:")
	case Expanded: // RFC 3461 §5.2.7.4: the members may be confidential and are not named
		p.paragraph(0, "The message arrived, and is being sent on to all members of:")
	case Delivered:
		p.paragraph(0, "The message was delivered to:")
	}
	for _, rcpt := range c.recipients {
		if rcpt.Action != action {
			continue
		}
		p.recipient(&rcpt)
		switch action {
		case Failed:
			p.failure(&rcpt)
		case Delayed:
			p.delay(&rcpt)
		case Relayed:
			if rcpt.Result.Host != "" {
				p.paragraph(4, host(rcpt.Result)+" accepted it.")
			}
		case Expanded:
			p.expansion(&rcpt)
		}
	}
}

// prose is text in lines that end with CRLF.
type prose struct{ strings.Builder }

const textWidth = 72

// recipient writes the address of a recipient, and the sender's form of it (ORCPT) if that differs.
func (p *prose) recipient(rcpt *Recipient) {
	address := clip(clean(rcpt.Address, true), maxToken)
	p.line(2, address)
	if rcpt.ORCPT != "" {
		_, known := splitORCPT(rcpt.ORCPT)
		known = clip(clean(known, true), maxToken)
		if !strings.EqualFold(known, address) {
			p.line(2, "(you sent it to "+known+")")
		}
	}
	p.line(0, "")
}

// failure writes the reason of a failure and advice.
func (p *prose) failure(rcpt *Recipient) {
	res := rcpt.Result
	switch {
	case res.Outcome == smtp.Rejected && res.Local:
		p.said(res, "The reason is:")
	case res.Outcome == smtp.Rejected:
		p.said(res, host(res)+" refused it:")
	default:
		tried := "All attempts to deliver it failed"
		if res.Reply == nil {
			tried = "It could not be sent in time"
		} else if !rcpt.LastAttempt.IsZero() {
			tried += ", the last one on " + rcpt.LastAttempt.Format(time.RFC1123Z)
		}
		p.paragraph(4, tried+". There will be no more attempts.")
		p.said(res, trouble(res))
	}
	if res.Outcome == smtp.Unknown {
		p.paragraph(4, "It may have arrived nevertheless. Ask the recipient before you send it again.")
		return
	}
	p.paragraph(4, advice(rcpt.status()))
}

// delay writes the reason of a delay and the time until which attempts continue.
func (p *prose) delay(rcpt *Recipient) {
	p.said(rcpt.Result, trouble(rcpt.Result))
	text := "You do not need to do anything. The message will be tried again"
	if !rcpt.WillRetryUntil.IsZero() {
		text += " until " + rcpt.WillRetryUntil.Format(time.RFC1123Z)
	}
	text += "."
	if rcpt.Notify.Wants(smtp.NotifyFailure) {
		text += " If it cannot be delivered in the end, you will be told."
	}
	p.paragraph(4, text)
}

// expansion writes about the reports that may follow for the members of an alias. RFC 3461 §5.2.7.3: they keep the
// NOTIFY of the recipient except SUCCESS.
func (p *prose) expansion(rcpt *Recipient) {
	text := "There will be no report on deliveries to the members."
	if rcpt.Notify.Wants(smtp.NotifyFailure) {
		text += " If it cannot be delivered to one of them, you will be told."
	}
	p.paragraph(4, text)
}

// said writes an introduction and the lines of the reply below it, or nothing if there is no reply. The codes of a
// local reply are omitted.
func (p *prose) said(res smtp.Result, introduction string) {
	if res.Reply == nil {
		return
	}
	lines := textLines(res.Reply, true)
	if !res.Local {
		lines = replyLines(res.Reply, true)
	} else if lines[0] == "" {
		return
	}
	p.paragraph(4, introduction)
	for _, line := range lines {
		p.wrap(6, line)
	}
	p.line(0, "")
}

// paragraph writes text and an empty line.
func (p *prose) paragraph(indent int, text string) {
	p.wrap(indent, text)
	p.line(0, "")
}

// wrap writes text in lines of at most textWidth columns. A longer word has a line of its own.
func (p *prose) wrap(indent int, text string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && indent+len(line)+1+len(word) > textWidth {
			p.line(indent, line)
			line = ""
		}
		line = strings.TrimLeft(line+" "+word, " ")
	}
	if line != "" {
		p.line(indent, line)
	}
}

// line writes one line.
func (p *prose) line(indent int, text string) {
	fmt.Fprintf(p, "%*s%s\r\n", indent, "", text)
}

// host returns the host of the last attempt as the subject of a sentence.
func host(res smtp.Result) string {
	if name := hostAndAddr(res); name != "" {
		return "The host " + name
	}
	return "The next mail system"
}

// hostAndAddr returns the host of the last attempt and its address, such as "mx.example.net (192.0.2.25:25)", or "" if
// its name isn't a domain.
func hostAndAddr(res smtp.Result) string {
	name := hostName(res)
	if name == "" || res.Addr == "" {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, clip(clean(res.Addr, false), 100))
}

// trouble returns the introduction to the reply of an attempt that was not a permanent refusal.
func trouble(res smtp.Result) string {
	if !res.Local {
		return host(res) + " said:"
	}
	if name := hostAndAddr(res); name != "" {
		return "The last attempt failed at " + name + ":"
	}
	return "The reason is:"
}

// advice returns advice to the sender about a failure with this code (RFC 3463 §3).
func advice(code smtp.EnhancedCode) string {
	switch subject, detail := code[1], code[2]; {
	case subject == 1 && (detail <= 3 || detail == 6 || detail == 10): // the address is wrong or has moved
		return "Check the address for a mistake, and send the message again to the right one."
	case subject == 2 && detail == 2: // the mailbox is full
		return "The mailbox is full. Tell the recipient in another way, and send the message again when there is room."
	case subject == 2 && detail == 3, subject == 3 && detail == 4: // too big
		return "The message is too big: send a smaller one."
	case subject == 7: // policy, security
		return "A rule or a security check stopped the message. " +
			"The recipient, or the administrator of either mail system, can tell you more."
	}
	if code[0] == 4 {
		return "The problem may be over by now: you can send the message again."
	}
	return "Try to reach the recipient in another way, or show this report to your administrator."
}
