package smtp

import (
	"math/bits"
	"strings"
)

// Recipient is one forward-path with its parameters of RCPT.
type Recipient struct {
	// Address is the forward-path without angle brackets and source route.
	Address string

	// Notify are the reports that the sender wants (RFC 3461 §4.1). If zero, the reporting host's default: failure and
	// delay.
	Notify Notify

	// ORCPT is the original recipient, "type;address". The address is decoded from xtext or utf-8-addr-xtext
	// (RFC 3461 §4.2, RFC 6533 §3). [ParseRcpt] gives an address in UTF-8 of the type "rfc822", which Postfix sends,
	// the type "utf-8". If empty, the sender declared none.
	ORCPT string
}

// Notify is the NOTIFY parameter of RCPT, a set of flags (RFC 3461 §4.1).
type Notify uint8

const (
	NotifyNever   Notify = 1 << iota // NOTIFY=NEVER, alone
	NotifySuccess                    // SUCCESS
	NotifyFailure                    // FAILURE
	NotifyDelay                      // DELAY
)

// Wants reports whether the sender wants a report of this kind. If n is zero, the kinds are failure and delay
// (RFC 3461 §4.1).
func (n Notify) Wants(kind Notify) bool {
	if n == 0 {
		return kind&(NotifyFailure|NotifyDelay) != 0
	}
	return n&kind != 0
}

// String returns the value in its wire form, "SUCCESS,DELAY" for example. It returns "" for zero.
func (n Notify) String() string {
	names := [...]string{"NEVER", "SUCCESS", "FAILURE", "DELAY"}
	if n > 0 && n&(n-1) == 0 && n <= NotifyDelay {
		return names[bits.TrailingZeros8(uint8(n))]
	}
	var set []string
	for i, name := range names {
		if n&(1<<i) != 0 {
			set = append(set, name)
		}
	}
	return strings.Join(set, ",")
}
