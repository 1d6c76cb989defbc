package smtp

import (
	"math/bits"
	"strings"
)

// Recipient is one forward-path and what the sender wants to hear of it.
type Recipient struct {
	// Address is the forward-path without angle brackets and source route.
	Address string

	// Notify says what the sender wants a report of (RFC 3461 §4.1). If zero, the default of the
	// reporting host: failure, and delay.
	Notify Notify

	// ORCPT is the original recipient, "type;address" with the address decoded from xtext or
	// utf-8-addr-xtext (RFC 3461 §4.2, RFC 6533 §3). If empty, none was given.
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

// Wants reports whether the sender wants a report of this kind, by the defaults of RFC 3461 §4.1
// (failure and delay) where it said nothing.
func (n Notify) Wants(kind Notify) bool {
	if n == 0 {
		return kind&(NotifyFailure|NotifyDelay) != 0
	}
	return n&kind != 0
}

// String gives the value as the wire has it, "SUCCESS,DELAY" say, and "" for none.
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
