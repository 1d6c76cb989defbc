package bounce

import "github.com/postrider/postrider/smtp"

// Action is the outcome that a report states for one recipient (RFC 3464 §2.3.3). The zero Action states none:
// [Report.Compose] returns an error for it.
type Action uint8

const (
	// Failed: it was given up.
	Failed Action = iota + 1

	// Delayed: not delivered yet, and still being tried.
	Delayed

	// Delivered: the mailbox has it.
	Delivered

	// Relayed: passed on to a host that doesn't report successes.
	Relayed

	// Expanded means that the recipient is an alias for several addresses, and that this host sent the message on to
	// all of them under the sender's own reverse-path. This host reports no later success, only a delay or a failure:
	// the members' Notify is that of the recipient less SUCCESS, or NEVER if nothing is left (RFC 3461 §5.2.7.3). A
	// mailing list, which has a reverse-path of its own, is Delivered (RFC 3464 §2.3.3).
	Expanded
)

// String gives the value of the Action field, "failed" say.
func (a Action) String() string {
	switch a {
	case Failed:
		return "failed"
	case Delayed:
		return "delayed"
	case Delivered:
		return "delivered"
	case Relayed:
		return "relayed"
	case Expanded:
		return "expanded"
	}
	return "unknown"
}

// notify gives the flag of NOTIFY that asks for such a report. An unknown action has none: no one
// asks for it.
func (a Action) notify() smtp.Notify {
	switch a {
	case Failed:
		return smtp.NotifyFailure
	case Delayed:
		return smtp.NotifyDelay
	case Delivered, Relayed, Expanded: // RFC 3461 §5.2.2 (b), §5.2.7.3: SUCCESS asks for each of them
		return smtp.NotifySuccess
	}
	return 0
}
