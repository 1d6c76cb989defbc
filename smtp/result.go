package smtp

import (
	"strings"
	"time"
)

// Result is the result of one attempt for one recipient.
//
//	switch {
//	case r.Outcome == smtp.Delivered: // the host is responsible from here on
//	case r.Outcome == smtp.Rejected && r.Reason.Hard(): // the address is dead: don't write to r.Recipient again
//	case r.Outcome == smtp.Rejected: // report it; the address may be good
//	default: // try again later
//	}
type Result struct {
	// Recipient is the address, as it stands in the envelope.
	Recipient string

	Outcome Outcome

	// Stage is the step of the delivery that decided the Outcome. If zero on a Result that has no Reason and isn't
	// Local, [Complete] sets StageFinal.
	Stage Stage

	// Reply decided the Outcome. It is never nil in a complete Result. If no host answered (a refused connection, a
	// name that doesn't resolve), it is our own description and Local is true.
	Reply *Reply
	Local bool

	// Reason is the cause of an Outcome other than Delivered. The maker of the Result sets it, which is package client
	// for most. If zero, the caller of the Sender sets it by package replies.
	Reason Reason

	// Host is the name of the last host that was asked, and Addr its address with port. If empty, no host was asked.
	Host, Addr string

	// Source names the client.Source that the host was asked from, by the first of its Addrs. A Source may have an
	// address of IPv4 and one of IPv6: then the session may have come from the other one. If empty, the Sender has no
	// Sources and the system chose the address, or no host was asked.
	Source string

	// TLS is the protocol version of the session, "TLS 1.3" for example. If empty, the session had no TLS.
	TLS string

	// Policy is the name of what demanded more of the session than Route.TLS does: the Name of an mx.Requirement. If
	// empty, no policy demanded anything.
	Policy string

	// Security is how the session was secured. Results share it, so it must not be changed. It is nil if there was no
	// session, or if the Sender doesn't state it. A Queue need not store it.
	Security *Security

	// NotBefore is set on a Deferred result whose message was held back by the Sender: it is the earliest time at which
	// the Sender may send it. No host was asked, so a Runner of package queue/delivery waits until then and doesn't
	// count the attempt; it waits a second at least, and until the message's Deadline at most. If zero, or if
	// the time has come when Send returns, the next attempt follows the schedule. A Queue need not store it.
	NotBefore time.Time

	// Relayed reports whether the host accepted the message to pass it on. If false on a Delivered result, the message
	// is in the mailbox (LMTP).
	Relayed bool

	// DSN reports whether the host accepted the DSN parameters. It then reports success and later failures itself
	// (RFC 3461 §5.2.2).
	DSN bool

	// DeliverBy reports whether the host accepted BY. It then does at that time what the sender asked for (RFC 2852
	// §4.1.4).
	DeliverBy bool
}

// String returns the result on one line, for logs. Source, TLS, Policy, Security, NotBefore, Relayed, DSN and DeliverBy
// aren't in it:
//
//	bob@example.net rejected (user-unknown): mx.example.net: rcpt: 550 5.1.1 no such user
//
// A Result without an attempt, all of whose fields but Recipient are zero, is "bob@example.net not tried".
func (r Result) String() string {
	if r == (Result{Recipient: r.Recipient}) {
		return strings.TrimSpace(r.Recipient + " not tried")
	}
	s := r.Recipient + " " + r.Outcome.String()
	if r.Reason != NoReason {
		s += " (" + r.Reason.String() + ")"
	}
	if r.Host != "" {
		s += ": " + r.Host
	}
	return s + ": " + r.Stage.String() + ": " + r.Reply.Error()
}

// Security is how the session of a [Result] was secured, for logs and events.
type Security struct {
	// Wanted is the level that was demanded, and Reached the level that the session had: "nothing"; "encrypted" by a
	// certificate that wasn't verified; or "verified".
	Wanted, Reached string

	// CipherSuite and KeyExchange are those of TLS: "TLS_AES_128_GCM_SHA256", "X25519MLKEM768". If empty, the session
	// had no TLS.
	CipherSuite, KeyExchange string

	// PostQuantum reports whether the key exchange withstands quantum computers.
	PostQuantum bool

	// VerifiedBy is by what the certificate was verified: "PKIX", "MTA-STS", or a TLSA record. If empty, the
	// certificate wasn't verified.
	VerifiedBy string
}

// Outcome is the end of an attempt for one recipient. The numbers are stored in spools and never change.
type Outcome uint8

const (
	// Deferred: not delivered now. It may be tried again.
	Deferred Outcome = iota

	// Delivered: the host answered 2xx for this recipient and is responsible from here on.
	Delivered

	// Rejected: refused permanently. It isn't tried again.
	Rejected

	// Unknown: the whole message was sent, and the connection ended before the reply to it; or a Sender panicked, which
	// may have sent it. It is tried again, which may deliver a duplicate (RFC 5321 §4.1.1.4).
	Unknown
)

// Final reports whether no further attempt follows: the outcome is Delivered or Rejected.
func (o Outcome) Final() bool { return o == Delivered || o == Rejected }

// String returns "deferred", "delivered", "rejected" or "unknown".
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

// Stage is a step of a delivery. The numbers are in the order of the steps. They are stored in spools and never change.
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
	StageBody                  // the body, up to the final dot
	StageFinal                 // the reply to the final dot
)

// String returns the stage in lower case, "rcpt" for example.
func (s Stage) String() string {
	names := [...]string{
		"route", "connect", "greeting", "hello", "tls", "auth", "mail", "rcpt", "data", "body", "final",
	}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}
