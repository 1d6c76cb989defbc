package bounce

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/smtp"
)

// ErrUnwanted is the error of [Report.Compose] if no report may be sent: the message came from the null reverse-path,
// or there is no recipient on whom its sender asked for a report.
var ErrUnwanted = errors.New("bounce: no report is wanted")

// Report describes a message and its outcome for some or all of its recipients.
type Report struct {
	// ReportingMTA is this host's name in the DNS, or an address literal. The report comes from the postmaster of this
	// host, who must exist: answers go there.
	ReportingMTA string

	// Envelope is the envelope of the message. The report goes to its From. EnvID, Ret and UTF8 are honoured;
	// Recipients is not used.
	Envelope *smtp.Envelope

	// Arrival is the time at which this host accepted the message. If zero, the report omits it.
	Arrival time.Time

	// Date is the time of the report. If zero, the current time. Two Reports with equal fields, Date included, compose
	// to the same mail, Message-ID included.
	Date time.Time

	// Stranger marks a message whose sender is unknown and may be forged ([smtp.Origin.IsStranger]): the owner of the
	// address gets little that isn't theirs. The report then has no successes, at most 50 recipients (the text has the
	// number of the others), at most 8 KiB of the header, no body, and neither names nor words of the hosts behind this
	// one.
	Stranger bool

	// RequireTLS marks a message that was sent with REQUIRETLS (RFC 8689). Of such a message, the header is returned at
	// most. RFC 8689 §5: the report must go out with REQUIRETLS, too, which the caller has to see to.
	RequireTLS bool

	// Recipients are the recipients to report on, with any Actions. Compose leaves out each one whose Notify doesn't
	// ask for a report on its Action.
	Recipients []Recipient

	// Original is the message. It must be set; smtp.Text("") stands for one that is lost. It is not used after Compose.
	Original smtp.Content

	// MaxReturn is the size in octets up to which a message is returned whole, if it failed for a recipient and its
	// sender asked for that with RET=FULL. Otherwise its header is returned. If zero, 64 KiB. If negative, no message
	// is returned whole.
	MaxReturn int64

	// Texts are the sentences for a person. If nil, those of English.
	Texts *Texts
}

// Recipient is one recipient and its outcome.
type Recipient struct {
	smtp.Recipient

	// Action is the outcome. It must be set.
	Action Action

	// Result is the result of the last attempt. Its Recipient is not used. For a Failed recipient, the Outcome Rejected
	// means a permanent refusal; any other means that time ran out. If Reply is nil, there was no attempt. If Action is
	// Expanded, Result is not used.
	Result smtp.Result

	// LastAttempt is the time of the last attempt. If zero, the report omits it.
	LastAttempt time.Time

	// WillRetryUntil is the time at which attempts end. It is used if Action is Delayed. If zero, the report omits it.
	WillRetryUntil time.Time
}

const defaultMaxReturn = 64 << 10

// Compose returns the report as a mail: an envelope from the null reverse-path to the sender, and a content in memory.
// It returns [ErrUnwanted] if no report may be sent. Any other error names the field of the Report that is wrong. An
// error of Original is wrapped: a second call with smtp.Text("") as Original reports without it.
func (r *Report) Compose() (*smtp.Envelope, smtp.Content, error) {
	c, err := r.check()
	if err != nil {
		return nil, nil, err
	}
	content, eightBit, err := c.mail(c.returnsWhole())
	if err == nil && eightBit && !has7BitForm(content) {
		content, eightBit, err = c.mail(false)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("bounce: read Report.Original: %w: set it to smtp.Text(\"\") to do without", err)
	}

	// RFC 3461 §6.1: the null reverse-path, no RET, and NOTIFY=NEVER.
	env := &smtp.Envelope{
		Recipients: []smtp.Recipient{{Address: c.to, Notify: smtp.NotifyNever}},
		UTF8:       smtp.NeedsUTF8(c.to),
	}
	if eightBit {
		env.Body = smtp.Body8BitMIME
	}
	return env, bytes.NewReader(content), nil
}

// mail returns the report as a mail, and whether it needs 8BITMIME. whole is as in [composition.original].
func (c *composition) mail(whole bool) (content []byte, eightBit bool, err error) {
	original, err := c.original(whole)
	if err != nil {
		return nil, false, err
	}
	content, eightBit = c.assemble(c.text(original), c.status(), original)
	return content, eightBit, nil
}

// has7BitForm reports whether a report can be converted for a host without 8BITMIME. No report is sent about a report
// that a host refuses, so its sender would hear nothing.
func has7BitForm(content []byte) bool {
	converted, _, err := smtp.SevenBit(bytes.NewReader(content))
	if err != nil {
		return false
	}
	eightBit, err := smtp.HasEightBitPartHeader(converted)
	return err == nil && !eightBit
}

// composition is a checked Report and the values derived from it.
type composition struct {
	*Report
	host       string      // ReportingMTA in ASCII
	to         string      // the recipient of the report
	utf8       bool        // whether the forms of RFC 6533 may be used
	recipients []Recipient // the recipients whose report the sender asked for
	others     int         // the number of those that are left out
	date       time.Time
	texts      *Texts
}

// check returns an error for a wrong or missing field, and ErrUnwanted if no report may be sent.
func (r *Report) check() (*composition, error) {
	if r == nil || r.Envelope == nil {
		return nil, errors.New("bounce: Report.Envelope is nil: set it to the envelope of the message")
	}
	c := &composition{Report: r, to: r.Envelope.From, date: r.Date, texts: r.Texts.orEnglish()}
	if c.to == "" { // RFC 3461 §5.2: no report on a message with the null reverse-path.
		return nil, ErrUnwanted
	}
	for i, rcpt := range r.Recipients {
		kind := rcpt.Action.notify()
		if kind == 0 {
			return nil, fmt.Errorf("bounce: Report.Recipients[%d] %q: Action is %d: "+
				"set it to Failed, Delayed, Delivered, Relayed or Expanded", i, rcpt.Address, rcpt.Action)
		}
		switch {
		case !rcpt.Notify.Wants(kind), r.Stranger && kind == smtp.NotifySuccess:
		case r.Stranger && len(c.recipients) == maxForStranger:
			c.others++
		case r.Stranger:
			c.recipients = append(c.recipients, rcpt.withoutHost())
		default:
			c.recipients = append(c.recipients, rcpt)
		}
	}
	if len(c.recipients) == 0 {
		return nil, ErrUnwanted
	}
	if r.Original == nil {
		return nil, errors.New("bounce: Report.Original is nil: set it to the message, or to smtp.Text(\"\")")
	}
	var err error
	if c.host, err = smtp.ASCIIDomain(r.ReportingMTA); err != nil {
		return nil, fmt.Errorf("bounce: Report.ReportingMTA %q: %w: set it to this host's name in the DNS",
			r.ReportingMTA, err)
	}
	if err := smtp.CheckAddress(c.to); err != nil {
		return nil, fmt.Errorf("bounce: Report.Envelope.From: %w: set it to the address of the sender", err)
	}
	if ascii, ok := smtp.ASCIIAddress(c.to); ok {
		c.to = ascii
	}
	c.utf8 = r.Envelope.UTF8 || smtp.NeedsUTF8(c.to)
	if c.date.IsZero() {
		c.date = time.Now()
	}
	return c, nil
}

// maxForStranger bounds the recipients of a report to a stranger.
const maxForStranger = 50

// withoutHost returns the recipient without the name and the words of the host. The codes stay.
func (r Recipient) withoutHost() Recipient {
	r.Result.Host, r.Result.Addr = "", ""
	if r.Result.Reply != nil {
		r.Result.Reply = &smtp.Reply{Code: r.Result.Reply.Code, Enhanced: r.Result.Reply.Enhanced}
	}
	return r
}

// has reports whether a wanted recipient has the action.
func (c *composition) has(a Action) bool {
	return slices.ContainsFunc(c.recipients, func(r Recipient) bool { return r.Action == a })
}

// part is a body part of the report. Its body is encoded.
type part struct {
	contentType string
	language    string // "" if it has none
	encoding    string
	body        []byte

	// The part with the original also has these.
	whole     bool   // whether it is the whole message
	messageID string // its Message-ID; "" if it has none that is valid
	subject   string // its Subject as it stands there
}

const (
	encoding7Bit            = "7bit"
	encoding8Bit            = "8bit"
	encodingQuotedPrintable = "quoted-printable"
)

// assemble returns the report as a mail, and whether it needs 8BITMIME.
func (c *composition) assemble(text, status, original part) (content []byte, eightBit bool) {
	parts := []part{text, status, original}
	digest := c.digest(parts)
	boundary := boundary(digest, parts)
	encoding := encoding7Bit
	if slices.ContainsFunc(parts, func(p part) bool { return p.encoding == encoding8Bit }) {
		encoding = encoding8Bit
	}

	var b bytes.Buffer
	// RFC 3464 §2: an answer must reach a person. From is the postmaster, not MAILER-DAEMON.
	writeField(&b, "From", c.sender())
	b.WriteString("To: <" + c.to + ">\r\n")
	writeField(&b, "Subject", phrase(c.subject()))
	writeField(&b, "Date", c.date.Format(time.RFC1123Z))
	writeField(&b, "Message-ID", "<"+hex.EncodeToString(digest[:16])+"@"+c.host+">")
	if original.messageID != "" { // RFC 3834 §3.1.5, §3.1.6
		writeField(&b, "In-Reply-To", original.messageID)
		writeField(&b, "References", original.messageID)
	}
	writeField(&b, "Auto-Submitted", "auto-replied") // RFC 3834 §3.1.7
	writeField(&b, "MIME-Version", "1.0")
	// RFC 6533 §4.4: report-type is the same for all types of the parts.
	writeField(&b, "Content-Type", `multipart/report; report-type=delivery-status; boundary="`+boundary+`"`)
	writeField(&b, "Content-Transfer-Encoding", encoding)
	for _, p := range parts {
		b.WriteString("\r\n--" + boundary + "\r\n")
		writeField(&b, "Content-Type", p.contentType)
		if p.language != "" {
			writeField(&b, "Content-Language", p.language)
		}
		writeField(&b, "Content-Transfer-Encoding", p.encoding)
		b.WriteString("\r\n")
		b.Write(p.body)
	}
	b.WriteString("\r\n--" + boundary + "--\r\n")
	return b.Bytes(), encoding == encoding8Bit
}

// digest returns a hash of all that distinguishes this report from another.
func (c *composition) digest(parts []part) [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %d\n", c.host, c.to, c.Envelope.EnvID, c.date.UnixNano())
	for _, p := range parts {
		fmt.Fprintf(h, "%q %d\n", p.contentType, len(p.body))
		h.Write(p.body)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// boundary derives from the digest a boundary that stands in none of the parts. The authors of the parts can't predict
// it, since the digest covers their text.
func boundary(digest [sha256.Size]byte, parts []part) string {
	for {
		b := hex.EncodeToString(digest[16:])
		if !slices.ContainsFunc(parts, func(p part) bool { return bytes.Contains(p.body, []byte(b)) }) {
			return b
		}
		digest = sha256.Sum256(digest[:])
	}
}
