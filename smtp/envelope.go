package smtp

// Envelope is what MAIL and RCPT carry: the reverse-path, the recipients, and how the sender wants
// the message handled. Addresses stand without angle brackets. The zero value has the null
// reverse-path and no recipients.
type Envelope struct {
	// From is the reverse-path, "" the null one (RFC 5321 §4.5.5): no report goes there.
	From string

	// Recipients in the order they were given. Results stand in the same order.
	Recipients []Recipient

	// Body says what the content holds (RFC 6152, RFC 3030). If zero, seven-bit text is
	// understood; what the content really holds is found out before it is sent.
	Body BodyType

	// UTF8 says that an address or a header field needs SMTPUTF8 (RFC 6531 §3.4).
	UTF8 bool

	// Size is what the sender declared with SIZE, in octets (RFC 1870). If zero, it declared
	// nothing. A client declares the true size of the content whatever stands here.
	Size int64

	// Ret says how much of the message a failure report returns (RFC 3461 §4.3). If zero, the
	// reporting host chooses.
	Ret Ret

	// EnvID is the sender's own name for this message, which reports repeat (RFC 3461 §4.4), decoded
	// from xtext. If empty, none.
	EnvID string

	// Auth is the identity that first submitted the message, decoded from the AUTH parameter of
	// MAIL (RFC 4954 §5). If empty, none was given. "<>" says that it is not known.
	Auth string
}

// NewEnvelope makes an envelope from a reverse-path and its recipients, written without angle
// brackets. Addresses are checked by [Envelope.Check], which everything that sends mail calls first.
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

// String gives the value as the wire has it, "8BITMIME" say, and "" for none.
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

// String gives the value as the wire has it, "HDRS" or "FULL", and "" for none.
func (r Ret) String() string {
	switch r {
	case RetHeaders:
		return "HDRS"
	case RetFull:
		return "FULL"
	}
	return ""
}
