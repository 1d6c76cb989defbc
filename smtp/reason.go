package smtp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Reason is the cause of a [Result] that isn't Delivered, as far as a program can act on it. The Outcome decides
// whether to try again. The Reason decides when, from which address, and whether to suppress the recipient.
//
// [Reason.About] returns the subject, [Reason.Hard] whether the address is dead. The comment of each constant states
// the action for a program.
//
// The set is closed: a cause without a Reason of its own is Other. Numbers and names are stable: spools have the
// numbers, and logs, JSON and lists of suppressed addresses have the names, such as "user-unknown". They never change,
// and neither is used again for another cause. A later version may add a Reason, so treat one that a program doesn't
// know as Other. The order of the numbers has no meaning.
type Reason uint8

// The reasons. Each comment has what the Reason is about, and what to do.

const (
	// NoReason is the zero value: the recipient is Delivered, or the Reason wasn't determined.
	NoReason Reason = 0

	// Other is every cause that has no Reason of its own, such as a local policy, a recipient who blocks this sender,
	// or a mail loop. Try again if the Outcome is Deferred.
	Other Reason = 1

	// Network is about the path: there was no session. Causes are the DNS, a refused connection, a failed login, a
	// connection that broke. A refused password is Network at StageAuth; if there is no AUTH that we can use, that is
	// RelayDenied at StageAuth. Wait before another message is tried at this host.
	Network Reason = 2

	// RateLimited is about the sender: the host wants fewer sessions, messages or recipients. Slow down at this host.
	RateLimited Reason = 3

	// Greylisted is about the sender: the host doesn't know this pair of sender and recipient yet, and takes the
	// message after some minutes. Try again from the same address.
	Greylisted Reason = 4

	// Blocklisted is about the sender: the host refuses our address or domain because of a blocklist or its reputation.
	// Send from another address, and have this one delisted.
	Blocklisted Reason = 5

	// UserUnknown is about the recipient's address: its host has no such mailbox, its domain has a null MX (RFC 7505),
	// or the address isn't valid. If the Outcome is Rejected, don't write to the address again.
	UserUnknown Reason = 6

	// MailboxFull is about the recipient's address: the mailbox exists and has no room. Try again later; suppress the
	// address only if this goes on for weeks.
	MailboxFull Reason = 7

	// MailboxDisabled is about the recipient's address: the mailbox exists and takes no mail, because it is inactive,
	// suspended or closed. If the Outcome is Rejected more than once, don't write to the address again.
	MailboxDisabled Reason = 8

	// HostUnknown is about the recipient's address: its domain doesn't exist, or no host takes mail for it. If the
	// Outcome is Rejected, don't write to the address again.
	HostUnknown Reason = 9

	// SpamContent is about the message: the host takes it for spam, or doesn't want what it contains. Change the
	// content; the same message will be refused again.
	SpamContent Reason = 10

	// PolicyAuth is about the sender: SPF, DKIM, DMARC or reverse DNS failed, or the sender's domain doesn't exist.
	// Mend the DNS or the signature before more is sent.
	PolicyAuth Reason = 11

	// TooBig is about the message: it is larger than the host or the mailbox takes. Send a smaller one.
	TooBig Reason = 12

	// TLS is about the path: TLS is required and missing, or its handshake or a certificate failed. Look at the TLS
	// settings of both sides.
	TLS Reason = 13

	// Virus is about the message: it holds malware, or an attachment of a kind that the host doesn't take. Don't send
	// it again.
	Virus Reason = 14

	// RelayDenied is about the path: the host doesn't take mail for this domain from us, or not without a login, or it
	// offers no AUTH that we can use. Look at the route, the MX records or the login.
	RelayDenied Reason = 15

	// Syntax is about the message: a command, an address of the sender, or the header isn't in the form that the host
	// wants. The program that made the message has a fault.
	Syntax Reason = 16

	// Expired is about the path: the time for attempts ended before the message was delivered, and no attempt has a
	// Reason that is better known.
	Expired Reason = 17

	// Temporary is about the host: it has a fault of its own, such as a full disk or a database that doesn't answer.
	// Try again later.
	Temporary Reason = 18

	// NoSource is about the sender: no source address can be used, because it isn't on the machine, its proxy failed,
	// or its warm-up has sent the messages of the day. No host was asked. Mend the machine or the proxy, or wait for
	// the next day, and try again.
	NoSource Reason = 19
)

var reasonNames = [...]string{
	NoReason:        "none",
	Other:           "other",
	Network:         "network",
	RateLimited:     "rate-limited",
	Greylisted:      "greylisted",
	Blocklisted:     "blocklisted",
	UserUnknown:     "user-unknown",
	MailboxFull:     "mailbox-full",
	MailboxDisabled: "mailbox-disabled",
	HostUnknown:     "host-unknown",
	SpamContent:     "spam-content",
	PolicyAuth:      "policy-auth",
	TooBig:          "too-big",
	TLS:             "tls",
	Virus:           "virus",
	RelayDenied:     "relay-denied",
	Syntax:          "syntax",
	Expired:         "expired",
	Temporary:       "temporary",
	NoSource:        "no-source",
}

// About is the subject of a [Reason]: what has to change before mail gets through.
type About uint8

// The subjects of Reasons.
const (
	NotKnown     About = iota // NoReason, Other, and a number without a name
	AboutAddress              // the recipient's address or mailbox
	AboutMessage              // this message: its content, size or form
	AboutSender               // our address, domain or account, or how much it sends
	AboutPath                 // the way to the host: DNS, connection, TLS, route, login
	AboutHost                 // the host itself
)

var abouts = [...]About{
	RateLimited: AboutSender, Greylisted: AboutSender, Blocklisted: AboutSender, PolicyAuth: AboutSender,
	NoSource:    AboutSender,
	UserUnknown: AboutAddress, MailboxFull: AboutAddress, MailboxDisabled: AboutAddress, HostUnknown: AboutAddress,
	SpamContent: AboutMessage, TooBig: AboutMessage, Virus: AboutMessage, Syntax: AboutMessage,
	Network: AboutPath, TLS: AboutPath, RelayDenied: AboutPath, Expired: AboutPath,
	Temporary: AboutHost,
}

var aboutNames = [...]string{"not-known", "address", "message", "sender", "path", "host"}

// String returns the name in lower case: "not-known", "address", "message", "sender", "path" or "host".
func (a About) String() string { return nameOf(aboutNames[:], uint8(a), "about") }

// About returns what the Reason is about: AboutAddress for UserUnknown, AboutSender for RateLimited, for example.
func (r Reason) About() About {
	if int(r) < len(abouts) {
		return abouts[r]
	}
	return NotKnown
}

// Hard reports whether the address of a recipient that was Rejected with this Reason is dead. It is true for
// UserUnknown and HostUnknown. After any other Reason, an address isn't suppressed at once. Hard doesn't know the
// Outcome: a Deferred recipient with the Reason HostUnknown may be reached later.
func (r Reason) Hard() bool { return r == UserUnknown || r == HostUnknown }

// String returns the name in lower case: "none", "user-unknown", "reason-200" for a number without a name. A name never
// changes.
func (r Reason) String() string { return nameOf(reasonNames[:], uint8(r), "reason") }

// Known reports whether this version has a name for the Reason. NoReason is known.
func (r Reason) Known() bool { return int(r) < len(reasonNames) }

// MarshalText returns the same as String.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a name as String returns it. A name that isn't known is an error.
func (r *Reason) UnmarshalText(text []byte) error {
	n, err := numberOf(reasonNames[:], text, "reason")
	*r = Reason(n)
	return err
}

// nameOf returns the name with number n, or one made of kind and n.
func nameOf(names []string, n uint8, kind string) string {
	if int(n) < len(names) {
		return names[n]
	}
	return kind + "-" + strconv.Itoa(int(n))
}

// numberOf is the reverse of nameOf.
func numberOf(names []string, text []byte, kind string) (uint8, error) {
	if i := slices.Index(names, string(text)); i >= 0 {
		return uint8(i), nil
	}
	return 0, fmt.Errorf("smtp: %s %.64q: no such name; there are %s", kind, text, strings.Join(names, ", "))
}
