package smtp

import (
	"math"
	"strconv"
	"time"
)

// Offer is the set of extensions that MAIL and RCPT use for a message. The host must have them.
type Offer struct {
	Size int64    // octets of the content for SIZE (RFC 1870); if negative, SIZE isn't sent
	Body BodyType // the value of BODY (RFC 6152, RFC 3030); if zero, BODY isn't sent
	UTF8 bool     // SMTPUTF8 (RFC 6531); if false, domains are sent as A-labels
	DSN  bool     // RET, ENVID, NOTIFY and ORCPT, as far as they are set (RFC 3461)

	By       bool // BY, if By is set, with the time that is left now (RFC 2852)
	Priority bool // MT-PRIORITY, if it isn't 0 (RFC 6710)
	Hold     bool // HOLDFOR, if HoldUntil is in the future (RFC 4865)

	RequireTLS bool // REQUIRETLS, if RequireTLS is set (RFC 8689)
}

// AppendMail appends the command MAIL with its CRLF. The envelope must have passed [Envelope.Check].
func (e *Envelope) AppendMail(b []byte, o Offer) []byte {
	b = o.appendAddress(append(b, "MAIL FROM:<"...), e.From)
	b = append(b, '>')
	if o.Size >= 0 {
		b = strconv.AppendInt(append(b, " SIZE="...), o.Size, 10)
	}
	if body := o.Body.String(); body != "" {
		b = append(append(b, " BODY="...), body...)
	}
	if o.UTF8 {
		b = append(b, " SMTPUTF8"...)
	}
	if ret := e.Ret.String(); o.DSN && ret != "" {
		b = append(append(b, " RET="...), ret...)
	}
	if o.DSN && e.EnvID != "" {
		b = append(append(b, " ENVID="...), EncodeXtext(e.EnvID)...)
	}
	if o.By && !e.By.Time.IsZero() {
		b = e.By.append(b, time.Now())
	}
	if o.Priority && e.Priority != 0 {
		b = strconv.AppendInt(append(b, " MT-PRIORITY="...), int64(e.Priority), 10)
	}
	if o.Hold && !e.HoldUntil.IsZero() {
		if left := math.Ceil(time.Until(e.HoldUntil).Seconds()); left > 0 {
			b = strconv.AppendInt(append(b, " HOLDFOR="...), int64(min(left, maxHold)), 10)
		}
	}
	if o.RequireTLS && e.RequireTLS {
		b = append(b, " REQUIRETLS"...)
	}
	return append(b, "\r\n"...)
}

// AppendRcpt appends the command RCPT with its CRLF. The recipient's envelope must have passed [Envelope.Check].
func (r *Recipient) AppendRcpt(b []byte, o Offer) []byte {
	b = o.appendAddress(append(b, "RCPT TO:<"...), r.Address)
	b = append(b, '>')
	if o.DSN && r.Notify != 0 {
		b = append(append(b, " NOTIFY="...), r.Notify.String()...)
	}
	if o.DSN && r.ORCPT != "" {
		// RFC 3461 §4.2: at most 500 octets. Without SMTPUTF8, a value that has been accepted in UTF-8 may be longer.
		if value := EncodeORCPT(r.ORCPT, o.UTF8); len(value) <= maxORCPT {
			b = append(append(b, " ORCPT="...), value...)
		}
	}
	return append(b, "\r\n"...)
}

func (o Offer) appendAddress(b []byte, address string) []byte {
	// RFC 6531 §3.3: with SMTPUTF8 a domain has U-labels. Characters that only map to one, U+3002 for a dot for
	// example, aren't allowed. Without SMTPUTF8 the caller has made sure that the local part is ASCII.
	if _, domain := SplitAddress(address); !o.UTF8 || !hasULabels(domain) {
		address, _ = ASCIIAddress(address)
	}
	return append(b, address...)
}
