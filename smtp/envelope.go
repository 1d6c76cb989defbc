package smtp

import "time"

// Envelope is the content of MAIL and RCPT: the reverse-path, the recipients, and their parameters. Addresses have no
// angle brackets. The zero value has the null reverse-path and no recipients.
type Envelope struct {
	// From is the reverse-path. If empty, it is the null reverse-path: nobody gets a report (RFC 5321 §4.5.5).
	From string

	// Recipients are in the order of their RCPT. Results have the same order.
	Recipients []Recipient

	// Body is the type of the content that the sender declared (RFC 6152, RFC 3030). If zero, it declared none, which
	// means 7-bit text. A client scans the content and declares the true type. It refuses binary content unless Body is
	// BodyBinaryMIME, and converts 8-bit content for a host without 8BITMIME.
	Body BodyType

	// UTF8 reports whether the sender declared SMTPUTF8 (RFC 6531 §3.4). A program sets it if it writes header fields
	// in UTF-8: a message with these is then sent to hosts with SMTPUTF8 only. Otherwise, octets above 127 in a header
	// go to every host, undeclared. An address that needs SMTPUTF8 has it without UTF8.
	UTF8 bool

	// Size is the size that the sender declared with SIZE, in octets (RFC 1870). If zero, it declared none. A client
	// ignores Size and declares the true size of the content.
	Size int64

	// Ret is the part of the message that a failure report returns (RFC 3461 §4.3). If zero, the reporting host
	// chooses.
	Ret Ret

	// EnvID is the sender's own name for this message, decoded from xtext. Reports repeat it (RFC 3461 §4.4). If
	// empty, the sender declared none.
	EnvID string

	// Auth is the identity that first submitted the message, decoded from the AUTH parameter of MAIL (RFC 4954 §5).
	// "<>" means that it is not known. If empty, the sender declared none. Package client doesn't send it.
	Auth string

	// By is the time by which the sender wants the message delivered (RFC 2852). A client passes it on to hosts with
	// DELIVERBY. With By.Return, it sends the message to no host without that, except over LMTP, and not after the
	// time.
	By DeliverBy

	// Priority is the priority by MT-PRIORITY, -9 to 9; higher is sooner (RFC 6710). If zero, the usual one. A client
	// passes it on to hosts with MT-PRIORITY.
	Priority int8

	// HoldUntil is the time until which a submission server is to hold the message (RFC 4865). If zero or in the past,
	// it isn't held. postrider.Relay holds it in its queue. A client sends such a message only to a host with
	// FUTURERELEASE.
	HoldUntil time.Time

	// RequireTLS is REQUIRETLS (RFC 8689). Each host on the way receives the message over TLS with a verified
	// certificate, and offers REQUIRETLS, by which it promises the same for the hosts after it. A message that can't go
	// so is Rejected with 5.7.30 or 5.7.10, and a report on it has no content. Package client has the rules.
	RequireTLS bool

	// TLSOptional is the header field "TLS-Required: No" of a message (RFC 8689 §3): it goes on even if the host
	// doesn't have the TLS that DANE or MTA-STS demand for its domain, or no TLS. RequireTLS overrides it. It isn't on
	// the wire: postrider.Relay reads it from the header, and adds the field for mail from code. A client goes by
	// TLSOptional alone, and doesn't look into the header.
	TLSOptional bool
}

// NewEnvelope returns an envelope with a reverse-path and recipients, all without angle brackets. It checks nothing:
// [Envelope.Check] does. client.Transport, client.Submission and postrider.Relay call Check first.
func NewEnvelope(from string, to ...string) *Envelope {
	env := &Envelope{From: from, Recipients: make([]Recipient, len(to))}
	for i, address := range to {
		env.Recipients[i].Address = address
	}
	return env
}

// BodyType is the BODY parameter of MAIL.
type BodyType uint8

const (
	BodyUnknown    BodyType = iota // no BODY parameter
	Body7Bit                       // BODY=7BIT
	Body8BitMIME                   // BODY=8BITMIME (RFC 6152)
	BodyBinaryMIME                 // BODY=BINARYMIME (RFC 3030)
)

// Ret is the RET parameter of MAIL (RFC 3461 §4.3).
type Ret uint8

const (
	RetUnknown Ret = iota // no RET parameter
	RetHeaders            // RET=HDRS
	RetFull               // RET=FULL
)

// String returns the value in its wire form, "8BITMIME" for example. It returns "" for BodyUnknown.
func (b BodyType) String() string {
	switch b {
	case Body7Bit:
		return "7BIT"
	case Body8BitMIME:
		return "8BITMIME"
	case BodyBinaryMIME:
		return "BINARYMIME"
	}
	return ""
}

// String returns the value in its wire form, "HDRS" or "FULL". It returns "" for RetUnknown.
func (r Ret) String() string {
	switch r {
	case RetHeaders:
		return "HDRS"
	case RetFull:
		return "FULL"
	}
	return ""
}
