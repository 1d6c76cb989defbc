package smtp

// Result is what became of one recipient in one attempt.
type Result struct {
	// Recipient is the address that this is about, as it stands in the envelope.
	Recipient string

	Outcome Outcome

	// Stage is where the outcome was decided.
	Stage Stage

	// Reply is what decided it, never nil. Where no host spoke (a connection refused, a name
	// that doesn't resolve), it is our own description and Local is true.
	Reply *Reply
	Local bool

	// Reason is the cause of an Outcome other than Delivered. The maker of the Result sets it, which is package client
	// for most. If zero, [Complete] sets it by [ReasonOf].
	Reason Reason

	// Host is the name of the host that was asked last, and Addr its address with port; both are
	// empty where none was.
	Host, Addr string

	// TLS names the protocol version of the session, "TLS 1.3" say. If empty, it was in the clear.
	TLS string

	// Relayed says that the host took the message to pass it on; false on a Delivered result means
	// that the mailbox has it (LMTP).
	Relayed bool

	// DSN says that the host took the DSN parameters, and with them the duty to report success
	// and what comes after (RFC 3461 §5.2.2).
	DSN bool
}

// Outcome is how an attempt ended for one recipient.
type Outcome uint8

const (
	// Deferred: not now; it may be tried again.
	Deferred Outcome = iota

	// Delivered: the host answered 2xx for this recipient and is responsible from here on.
	Delivered

	// Rejected: for good.
	Rejected

	// Unknown: the message went out whole, and the connection ended before the reply to it. It is
	// tried again, and is one of the two windows in which a duplicate can arise (RFC 5321 §4.1.1.4).
	Unknown
)

// Final reports whether there is nothing left to try.
func (o Outcome) Final() bool { return o == Delivered || o == Rejected }

// String gives "deferred", "delivered", "rejected" or "unknown".
func (o Outcome) String() string {
	switch o {
	case Deferred:
		return "deferred"
	case Delivered:
		return "delivered"
	case Rejected:
		return "rejected"
	}
	return "unknown"
}

// Stage is a step of a delivery.
type Stage uint8

const (
	StageRoute    Stage = iota // finding the hosts: DNS, routes
	StageConnect               // dialling
	StageGreeting              // the 220
	StageHello                 // EHLO, HELO, LHLO
	StageTLS                   // STARTTLS and the handshake
	StageAuth                  // AUTH
	StageMail                  // MAIL
	StageRcpt                  // RCPT
	StageData                  // DATA, up to its 354
	StageBody                  // while the body goes out
	StageFinal                 // the reply to the final dot
)

// String gives the stage in lower case, "rcpt" say.
func (s Stage) String() string {
	names := [...]string{"route", "connect", "greeting", "hello", "tls", "auth", "mail", "rcpt", "data", "body", "final"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}
