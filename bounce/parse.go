package bounce

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Kind is the kind of a mail that [Parse] has read.
type Kind uint8

const (
	// NotABounce is any other mail: of a person, a newsletter, a mailing list, or a mail that quotes or forwards a
	// bounce.
	NotABounce Kind = iota

	// Bounce reports the outcome of a message for some of its recipients. The outcome may be a failure, a delay or a
	// success: see the Action of each recipient.
	Bounce

	// Complaint is a feedback report (RFC 5965): a recipient has marked the message as spam or wants no more mail.
	Complaint

	// AutoReply is an automatic answer of a recipient (RFC 3834): a vacation, an absence, an acknowledgement, or a
	// notification that a message was read (RFC 8098). The message has arrived.
	AutoReply

	// Challenge is an automatic answer that asks the sender to prove that he is a person. The message waits until he
	// does.
	Challenge
)

var kindNames = [...]string{"not-a-bounce", "bounce", "complaint", "auto-reply", "challenge"}

// String returns the name in lower case, such as "auto-reply".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// Notification is what a mail says about a message that was sent. All of it was written by other hosts and may be
// forged: a program that acts on it checks first that the mail came to an address that it gave to this recipient alone.
type Notification struct {
	// Kind is the kind of the mail. If it is NotABounce, all other fields are zero, except Format.
	Kind Kind

	// Format is the name of the format that the recipients were read from: "rfc3464", "rfc5965", "qmail", "exim". It is
	// for logs.
	Format string

	// Recipients are the recipients that the mail is about, in its order: at most 1,000. A Bounce has at least one. For
	// a Complaint they are the recipients who complained, if the mail names them. For an AutoReply and a Challenge
	// there is at most one, the author of the answer.
	Recipients []RecipientStatus

	// ReportingMTA is the name of the host that made the report. If empty, the mail doesn't state it.
	ReportingMTA string

	// EnvelopeID is the ENVID that the sender gave (RFC 3461 §4.4). If empty, the mail doesn't state it.
	EnvelopeID string

	// Arrival is the time at which the reporting host accepted the message. If zero, the mail doesn't state it.
	Arrival time.Time

	// Feedback is set if Kind is Complaint.
	Feedback *Feedback

	// OriginalID is the Message-ID of the message that was sent, in "<>". If empty, the mail doesn't have it.
	OriginalID string

	// OriginalHeader is the header of the message that was sent, with CRLF line ends and without the empty line at its
	// end: at most 64 KiB. If nil, the mail doesn't have it. Characters outside ASCII are as they came.
	OriginalHeader []byte
}

// RecipientStatus is what a [Notification] says about one recipient.
type RecipientStatus struct {
	// Address is the address of the recipient at the host that made the report. It isn't checked by CheckAddress, and
	// has neither spaces nor control characters.
	Address string

	// OriginalAddress is the address to which the message was sent, if the mail states it (RFC 3464 §2.3.1). It may
	// differ from Address if an alias was expanded.
	OriginalAddress string

	// Action is the outcome. It is 0 unless Kind is Bounce.
	Action Action

	// Status is the status code (RFC 3463). If the mail has none, or one that states only a class (5.0.0), it is that
	// of the Reply. If there is none at all, it is zero.
	Status smtp.EnhancedCode

	// Reply is the reply of the host that refused the message. If nil, the mail has no reply code.
	Reply *smtp.Reply

	// Text is the words about this recipient: lines separated by "\n", at most 4 KiB, in the language of the host that
	// wrote them. Of a report it is the Diagnostic-Code, without the codes of the Reply. Of prose it is all lines about
	// the recipient; the Reply is a part of it.
	Text string

	// Local means that Reply and Text are the words of the reporting host, not of RemoteMTA.
	Local bool

	// RemoteMTA is the host that was tried. If empty, the mail doesn't state it.
	RemoteMTA string

	// Time is the time of the last attempt. If the mail doesn't state it, it is the mail's own Date. If it has none,
	// it is zero.
	Time time.Time

	// WillRetryUntil is the time at which attempts end, if Action is Delayed. If zero, the mail doesn't state it.
	WillRetryUntil time.Time

	// Reason is the cause by Status, Reply and Text. It is NoReason unless Action is Failed or Delayed.
	Reason smtp.Reason

	// Hard reports whether the address is dead: Action is Failed, the failure isn't transient, and Reason.Hard.
	Hard bool
}

// Feedback is the fields of a feedback report (RFC 5965 §3). A field that the mail doesn't have is zero.
type Feedback struct {
	// Type is the Feedback-Type in lower case: "abuse", "fraud", "virus", "other", "not-spam", "auth-failure"
	// (RFC 6591), "opt-out". If the mail doesn't state it, it is "abuse".
	Type string

	UserAgent      string    // the program that made the report
	SourceIP       string    // the address that the message came from
	ReportedDomain string    // the domain that the report is about
	MailFrom       string    // the reverse-path of the message
	EnvelopeID     string    // the ENVID of the message
	Arrival        time.Time // the time at which the message arrived
}

// Parse reads a mail that came to the reverse-path of a message. It returns what the mail says about that message, with
// the Kind NotABounce for a mail that says nothing about one. Any octets are accepted, with CRLF, LF or CR as line end.
//
// It reads at most 64 MiB and holds at most 4 MiB: the rest isn't looked at. The only error is that of r, or that r is
// nil.
func Parse(r io.Reader) (*Notification, error) {
	if r == nil {
		return nil, errors.New("bounce: read: the Reader is nil")
	}
	d, err := readDocument(r)
	if err != nil {
		return nil, fmt.Errorf("bounce: read: %w", err)
	}
	return d.notification(), nil
}
