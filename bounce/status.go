package bounce

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/postrider/postrider/smtp"
)

// status returns the part for a program, message/delivery-status (RFC 3464 §2.1).
func (c *composition) status() part {
	var b bytes.Buffer
	// RFC 3461 §4.4: printable ASCII, at most 100 octets in xtext, and decoded no longer than that.
	if id := clip(clean(c.Envelope.EnvID, false), 100); id != "" {
		writeField(&b, "Original-Envelope-Id", id)
	}
	writeField(&b, "Reporting-MTA", "dns; "+c.host)
	writeDate(&b, "Arrival-Date", c.Arrival)
	writeDate(&b, "Deliver-By-Date", c.Envelope.By.Time) // RFC 2852 §5
	for _, rcpt := range c.recipients {
		b.WriteString("\r\n")
		c.writeRecipient(&b, rcpt)
	}
	// RFC 6533 §4.4: fields in ASCII have the type that every program knows.
	if p := b.Bytes(); isASCII(p) {
		return part{contentType: "message/delivery-status", encoding: encoding7Bit, body: p}
	}
	return part{contentType: "message/global-delivery-status", encoding: encoding8Bit, body: b.Bytes()}
}

// writeRecipient writes the fields of one recipient, in the order of RFC 3464 §2.3.
func (c *composition) writeRecipient(b *bytes.Buffer, rcpt Recipient) {
	if rcpt.ORCPT != "" {
		addrType, address := splitORCPT(rcpt.ORCPT)
		writeField(b, "Original-Recipient", typedAddress(addrType, address, c.utf8))
	}
	writeField(b, "Final-Recipient", typedAddress("rfc822", rcpt.Address, c.utf8))
	writeField(b, "Action", rcpt.Action.String())
	writeField(b, "Status", rcpt.status().String())

	res := rcpt.Result
	if rcpt.Action == Expanded {
		res = smtp.Result{} // no other host took part
	}
	if host := hostName(res); host != "" && !res.Local && res.Reply != nil {
		writeField(b, "Remote-MTA", "dns; "+host)
	}
	if res.Reply != nil {
		diagnosticType := "smtp"
		if res.Local {
			diagnosticType = "x-postrider"
		}
		// RFC 3461 §9.2: each further line of the reply begins a line of the field.
		writeField(b, "Diagnostic-Code", diagnosticType+"; "+strings.Join(replyLines(res.Reply, c.utf8), "\n"))
	}
	writeDate(b, "Last-Attempt-Date", rcpt.LastAttempt)
	if rcpt.Action == Delayed { // RFC 3464 §2.3.9: with no other action
		writeDate(b, "Will-Retry-Until", rcpt.WillRetryUntil)
	}
}

// status returns the code of the Status field: subject and detail of the reply, in the class of the action.
func (r *Recipient) status() smtp.EnhancedCode {
	if r.Action == Expanded {
		return smtp.EnhancedCode{2, 1, 5} // RFC 3463 §3.2: the address is valid
	}
	class := 2
	switch {
	case r.Action == Failed && r.Result.Outcome == smtp.Rejected:
		class = 5
	case r.Action == Failed, r.Action == Delayed:
		// RFC 3464 §2.3.3, RFC 3463 §2: a failure of class 4 means that attempts ended and that the message may be
		// accepted if it is sent again.
		class = 4
	}
	if r.Result.Reply != nil {
		code := r.Result.Reply.Enhanced
		known := code[0] == class || class != 2 && (code[0] == 4 || code[0] == 5)
		if known && inRange(code[1]) && inRange(code[2]) {
			// RFC 3463 §3.5: the code of the cause is preferred to x.4.7.
			return smtp.EnhancedCode{class, code[1], code[2]}
		}
	}
	if r.Action == Failed && class == 4 {
		return smtp.EnhancedCode{4, 4, 7} // RFC 3463 §3.5: delivery time expired
	}
	return smtp.EnhancedCode{class, 0, 0} // RFC 3461 §6.3 (g)
}

// inRange reports whether n is valid as the subject or detail of a code (RFC 3463 §2).
func inRange(n int) bool { return n >= 0 && n <= 999 }

// splitORCPT splits "type;address". RFC 3464 §2.3.1: without a valid type, the type is "unknown" and the address all
// of orcpt.
func splitORCPT(orcpt string) (addrType, address string) {
	addrType, address, ok := strings.Cut(orcpt, ";")
	if !ok || addrType == "" || len(addrType) > 64 || strings.ContainsFunc(addrType, notAtom) {
		return "unknown", orcpt
	}
	return addrType, address
}

// notAtom reports whether r is not allowed in an atom (RFC 5322 §3.2.3).
func notAtom(r rune) bool {
	const others = "!#$%&'*+-/=?^_`{|}~"
	return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(others, r)
}

// typedAddress returns "type; address". An address in UTF-8 has the type "utf-8": unchanged if allowUTF8 is set,
// otherwise as utf-8-addr-xtext (RFC 6533 §3).
func typedAddress(addrType, address string, allowUTF8 bool) string {
	isUTF8 := strings.EqualFold(addrType, "utf-8")
	switch {
	case isASCII(address) && (allowUTF8 || !isUTF8):
		// Unchanged.
	case allowUTF8 && clean(address, true) == address:
		addrType = "utf-8"
	default:
		// Control characters and invalid UTF-8 have no form in utf-8-addr-xtext.
		address = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) || r == unicode.ReplacementChar {
				return '?'
			}
			return r
		}, address)
		addrType, address, _ = strings.Cut(smtp.EncodeORCPT("utf-8;"+address, false), ";")
	}
	return addrType + "; " + clip(clean(address, allowUTF8), maxToken)
}

// hostName returns the name of the host of the last attempt, or "" if it isn't a domain. The path of a local socket is
// not disclosed.
func hostName(res smtp.Result) string {
	host, err := smtp.ASCIIDomain(res.Host)
	if err != nil || strings.HasPrefix(res.Addr, "/") {
		return ""
	}
	return host
}

const (
	maxReplyLines = 16
	maxReplyLine  = 512 // RFC 5321 §4.5.3.1.5
)

// replyLines returns the lines of a reply with their codes, as on the wire (RFC 3461 §9.2).
func replyLines(reply *smtp.Reply, allowUTF8 bool) []string {
	lines := textLines(reply, allowUTF8)
	for i, line := range lines {
		var b strings.Builder
		b.WriteString(strconv.Itoa(reply.Code))
		if i < len(lines)-1 {
			b.WriteByte('-')
		} else {
			b.WriteByte(' ')
		}
		if code := reply.Enhanced.String(); code != "" {
			b.WriteString(code + " ")
		}
		b.WriteString(line)
		lines[i] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

// textLines returns the lines of a reply's text without codes: from 1 to maxReplyLines, each of at most maxReplyLine
// octets.
func textLines(reply *smtp.Reply, allowUTF8 bool) []string {
	lines := strings.SplitN(strings.TrimRight(reply.Text, "\r\n"), "\n", maxReplyLines+1)
	if len(lines) > maxReplyLines {
		lines[maxReplyLines-1] = "..."
		lines = lines[:maxReplyLines]
	}
	for i, line := range lines {
		lines[i] = strings.TrimSpace(clip(clean(strings.TrimSuffix(line, "\r"), allowUTF8), maxReplyLine))
	}
	return lines
}

// writeDate writes a field with a date, or nothing if t is zero.
func writeDate(b *bytes.Buffer, name string, t time.Time) {
	if !t.IsZero() {
		writeField(b, name, t.Format(time.RFC1123Z)) // RFC 3464 §2.2.5: a numeric zone
	}
}
