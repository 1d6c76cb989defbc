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

// ErrUnwanted says that no report may be sent: the message came with the null reverse-path, or its
// sender wants none about these recipients.
var ErrUnwanted = errors.New("bounce: no report is wanted")

// Report says what became of one message.
type Report struct {
	// ReportingMTA is our own host name, or an address literal. There must be a postmaster at it.
	ReportingMTA string

	// Envelope is that of the message. The report goes to its From; EnvID, Ret and UTF8 are
	// honoured, and its Recipients not looked at.
	Envelope *smtp.Envelope

	// Arrival is when the message came. If zero, the report doesn't say.
	Arrival time.Time

	// Date is that of the report. If zero, now. Reports that are the same in this and in all else
	// compose to the same mail, Message-ID included.
	Date time.Time

	// Recipients are those that there is something to tell of. Compose leaves out whom the sender,
	// by their Notify, doesn't want to hear of.
	Recipients []Recipient

	// Original is the message.
	Original smtp.Content

	// MaxReturn is the size in octets up to which a message is returned whole, where its sender asked
	// for that with RET=FULL; of a longer one the header is. If zero, 64 KiB. If negative,
	// no message is returned whole.
	MaxReturn int64
}

// Recipient is one recipient and what became of it.
type Recipient struct {
	smtp.Recipient

	Action Action

	// Result is that of the last attempt. Its Outcome tells what was refused (Rejected) from what
	// was tried in vain. Its Reply may be nil: there was no attempt. If Action is Expanded, Result is
	// not used.
	Result smtp.Result

	// LastAttempt is when that attempt was. If zero, the report doesn't say.
	LastAttempt time.Time

	// WillRetryUntil is when a delayed message will be given up. If zero, the report doesn't say.
	WillRetryUntil time.Time
}

const defaultMaxReturn = 64 << 10

// Compose gives the report as a mail: an envelope from the null reverse-path to the sender, and a
// content, which is in memory and needs Original no longer. The error is [ErrUnwanted] if no report
// may be sent; others tell of a Report that is wrong (a host name or a reverse-path that is none), or
// are those of reading Original, wrapped.
func (r *Report) Compose() (*smtp.Envelope, smtp.Content, error) {
	c, err := r.check()
	if err != nil {
		return nil, nil, err
	}
	original, err := c.original()
	if err != nil {
		return nil, nil, fmt.Errorf("bounce: read the original: %w", err)
	}
	content, eightBit := c.assemble(c.text(original), c.status(), original)

	// RFC 3461 §6.1: the null reverse-path, no RET, and no NOTIFY but NEVER.
	env := &smtp.Envelope{
		Recipients: []smtp.Recipient{{Address: c.to, Notify: smtp.NotifyNever}},
		UTF8:       smtp.NeedsUTF8(c.to),
	}
	if eightBit {
		env.Body = smtp.Body8BitMIME
	}
	return env, bytes.NewReader(content), nil
}

// composition is a Report on its way to become a mail.
type composition struct {
	*Report
	host       string      // ReportingMTA in ASCII
	to         string      // whom the report goes to
	utf8       bool        // the forms of RFC 6533 may be used
	recipients []Recipient // those that are wanted
	date       time.Time
}

func (r *Report) check() (*composition, error) {
	if r.Envelope == nil {
		return nil, errors.New("bounce: no envelope")
	}
	c := &composition{Report: r, to: r.Envelope.From, date: r.Date}
	if c.to == "" { // RFC 3461 §5.2: no report on a message with the null reverse-path.
		return nil, ErrUnwanted
	}
	for i, rcpt := range r.Recipients {
		kind := rcpt.Action.notify()
		if kind == 0 {
			return nil, fmt.Errorf("bounce: Report.Recipients[%d] %q: Action is %d: "+
				"set it to Failed, Delayed, Delivered, Relayed or Expanded", i, rcpt.Address, rcpt.Action)
		}
		if rcpt.Notify.Wants(kind) {
			c.recipients = append(c.recipients, rcpt)
		}
	}
	if len(c.recipients) == 0 {
		return nil, ErrUnwanted
	}
	if r.Original == nil {
		return nil, errors.New("bounce: no original")
	}
	var err error
	if c.host, err = smtp.ASCIIDomain(r.ReportingMTA); err != nil {
		return nil, fmt.Errorf("bounce: reporting host: %w", err)
	}
	if err := smtp.CheckAddress(c.to); err != nil {
		return nil, fmt.Errorf("bounce: reverse-path: %w", err)
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

func (c *composition) has(a Action) bool {
	return slices.ContainsFunc(c.recipients, func(r Recipient) bool { return r.Action == a })
}

// part is a body part, its body encoded already.
type part struct {
	contentType string
	encoding    string
	body        []byte

	// Of the part with the original only: whether it is whole, and its Message-ID if that is sane.
	whole     bool
	messageID string
}

const (
	encoding7Bit            = "7bit"
	encoding8Bit            = "8bit"
	encodingQuotedPrintable = "quoted-printable"
)

// assemble puts the parts together, and says whether the whole needs 8BITMIME.
func (c *composition) assemble(text, status, original part) (content []byte, eightBit bool) {
	parts := []part{text, status, original}
	digest := c.digest(parts)
	boundary := boundary(digest, parts)
	encoding := encoding7Bit
	if slices.ContainsFunc(parts, func(p part) bool { return p.encoding == encoding8Bit }) {
		encoding = encoding8Bit
	}

	var b bytes.Buffer
	// RFC 3464 §2: a reply must reach a person, and so From isn't MAILER-DAEMON.
	writeField(&b, "From", "Mail Delivery System <postmaster@"+c.host+">")
	b.WriteString("To: <" + c.to + ">\r\n")
	writeField(&b, "Subject", c.subject())
	writeField(&b, "Date", c.date.Format(time.RFC1123Z))
	writeField(&b, "Message-ID", "<"+hex.EncodeToString(digest[:16])+"@"+c.host+">")
	if original.messageID != "" { // RFC 3834 §3.1.5, §3.1.6
		writeField(&b, "In-Reply-To", original.messageID)
		writeField(&b, "References", original.messageID)
	}
	writeField(&b, "Auto-Submitted", "auto-replied") // RFC 3834 §3.1.7
	writeField(&b, "MIME-Version", "1.0")
	// RFC 6533 §4.4: report-type is the same whichever types the parts have.
	writeField(&b, "Content-Type", `multipart/report; report-type=delivery-status; boundary="`+boundary+`"`)
	writeField(&b, "Content-Transfer-Encoding", encoding)
	for _, p := range parts {
		b.WriteString("\r\n--" + boundary + "\r\n")
		writeField(&b, "Content-Type", p.contentType)
		writeField(&b, "Content-Transfer-Encoding", p.encoding)
		b.WriteString("\r\n")
		b.Write(p.body)
	}
	b.WriteString("\r\n--" + boundary + "--\r\n")
	return b.Bytes(), encoding == encoding8Bit
}

// digest names the report by what it says.
func (c *composition) digest(parts []part) [sha256.Size]byte {
	h := sha256.New()
	fmt.Fprintf(h, "%q %q %q %d\n", c.host, c.to, c.Envelope.EnvID, c.date.UnixNano())
	for _, p := range parts {
		fmt.Fprintf(h, "%q %d\n", p.contentType, len(p.body))
		h.Write(p.body)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// boundary makes one of the digest that stands in none of the parts. Nobody who wrote what is in them
// can have known it.
func boundary(digest [sha256.Size]byte, parts []part) string {
	for {
		b := hex.EncodeToString(digest[16:])
		if !slices.ContainsFunc(parts, func(p part) bool { return bytes.Contains(p.body, []byte(b)) }) {
			return b
		}
		digest = sha256.Sum256(digest[:])
	}
}
