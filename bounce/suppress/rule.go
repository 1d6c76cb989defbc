package suppress

import (
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Rule decides when an address is suppressed, for one smtp.Reason. The zero Rule never does that.
type Rule struct {
	// Count is how many messages must have failed. If zero, the Reason never suppresses.
	Count int

	// Over is the least time from the first of them to the last. It must be 0 if Count is 1.
	Over time.Duration

	// Within is the longest time from one of them to the next. After it, the count begins anew. If zero, 90 days.
	Within time.Duration

	// Deferred counts a message that is deferred, too, once, until one is delivered. If false, only a failure for good
	// counts. It must be false if Count is 1.
	Deferred bool

	// For is how long the address is suppressed. If zero, until it is removed.
	For time.Duration
}

const (
	aDay          = 24 * time.Hour
	defaultWithin = 90 * aDay
)

// DefaultRule returns the Rule for a Reason that Policy.Rules doesn't have:
//
//	smtp.UserUnknown, smtp.HostUnknown
//		The first message. The address doesn't exist, and hosts take mail to such addresses for spam.
//	smtp.MailboxDisabled
//		2 messages, the second at least 3 days later. An account may be suspended until a bill is paid.
//	smtp.MailboxFull
//		4 messages over 28 days, deferred or failed, and none delivered. The owner may be away for weeks.
//	all others
//		Never. They are about the message, the sender, the path or the host.
func DefaultRule(r smtp.Reason) Rule {
	switch r {
	case smtp.UserUnknown, smtp.HostUnknown:
		return Rule{Count: 1}
	case smtp.MailboxDisabled:
		return Rule{Count: 2, Over: 3 * aDay}
	case smtp.MailboxFull:
		return Rule{Count: 4, Over: 28 * aDay, Deferred: true}
	}
	return Rule{}
}

func (r Rule) check() error {
	switch {
	case r.Count < 0 || r.Over < 0 || r.Within < 0 || r.For < 0:
		return fmt.Errorf("a field of %+v is negative: set it to 0 or more", r)
	case r.Count == 1 && (r.Over > 0 || r.Deferred):
		return errors.New("Count is 1, with Over or Deferred: clear them, or set Count to 2 or more")
	}
	return nil
}
