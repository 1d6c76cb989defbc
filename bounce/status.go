package bounce

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/postrider/postrider/smtp"
)

// status is the part for programs, message/delivery-status (RFC 3464 §2.1).
func (c *composition) status() part {
	var b bytes.Buffer
	// RFC 3461 §4.4: printable ASCII, at most 100 octets encoded, and so no longer decoded.
	if id := clip(clean(c.Envelope.EnvID, false), 100); id != "" {
		writeField(&b, "Original-Envelope-Id", id)
	}
	writeField(&b, "Reporting-MTA", "dns; "+c.host)
	writeDate(&b, "Arrival-Date", c.Arrival)
	for _, rcpt := range c.recipients {
		b.WriteString("\r\n")
		c.writeRecipient(&b, rcpt)
	}
	// RFC 6533 §4.4: what fits into ASCII goes as the type that all know.
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
	if rcpt.Action == Delayed { // RFC 3464 §2.3.9: in no other
		writeDate(b, "Will-Retry-Until", rcpt.WillRetryUntil)
	}
}

// status gives the code of the Status field: that of the reply, its class made to agree with the
// action.
func (r *Recipient) status() smtp.EnhancedCode {
	if r.Action == Expanded {
		return smtp.EnhancedCode{2, 1, 5} // RFC 3463 §3.2: the address is valid
	}
	class := 2
	switch {
	case r.Action == Failed && r.Result.Outcome == smtp.Rejected:
		class = 5
	case r.Action == Failed, r.Action == Delayed:
		// RFC 3464 §2.3.3, RFC 3463 §2: 4 in a failure says that attempts were given up, and that
		// the message may yet go through if it is sent again.
		class = 4
	}
	if r.Result.Reply != nil {
		code := r.Result.Reply.Enhanced
		known := code[0] == class || class != 2 && (code[0] == 4 || code[0] == 5)
		if known && inRange(code[1]) && inRange(code[2]) {
			// RFC 3463 §3.5: the code of what went wrong is worth more than x.4.7.
			return smtp.EnhancedCode{class, code[1], code[2]}
		}
	}
	if r.Action == Failed && class == 4 {
		return smtp.EnhancedCode{4, 4, 7} // RFC 3463 §3.5: delivery time expired
	}
	return smtp.EnhancedCode{class, 0, 0} // RFC 3461 §6.3 (g)
}

// inRange reports whether n can be a subject or a detail (RFC 3463 §2).
func inRange(n int) bool { return n >= 0 && n <= 999 }

// splitORCPT parts "type;address". RFC 3464 §2.3.1: a type that can't be told is "unknown".
func splitORCPT(orcpt string) (addrType, address string) {
	addrType, address, ok := strings.Cut(orcpt, ";")
	if !ok || addrType == "" || len(addrType) > 64 || strings.ContainsFunc(addrType, notAtom) {
		return "unknown", orcpt
	}
	return addrType, address
}

// notAtom reports whether r can't stand in an atom (RFC 5322 §3.2.3).
func notAtom(r rune) bool {
	const others = "!#$%&'*+-/=?^_`{|}~"
	return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(others, r)
}

// typedAddress writes an address with its type. One that needs UTF-8 is of the type "utf-8": as it
// is where that is allowed, else as utf-8-addr-xtext (RFC 6533 §3).
func typedAddress(addrType, address string, allowUTF8 bool) string {
	isUTF8 := strings.EqualFold(addrType, "utf-8")
	switch {
	case isASCII(address) && (allowUTF8 || !isUTF8):
		// As it is.
	case allowUTF8 && clean(address, true) == address:
		addrType = "utf-8"
	default:
		// Control characters, and what is no character, have no form there.
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

// hostName gives the name of the host that was asked, "" if that is no domain: the path of a socket
// is none of the sender's business.
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

// replyLines gives a reply line by line, with its codes, as it came (RFC 3461 §9.2).
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

// textLines gives the lines of a reply's text, bounded, at least one.
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

func writeDate(b *bytes.Buffer, name string, t time.Time) {
	if !t.IsZero() {
		writeField(b, name, t.Format(time.RFC1123Z)) // RFC 3464 §2.2.5: a numeric zone
	}
}
