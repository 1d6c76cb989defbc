package bounce

import "github.com/postrider/postrider/smtp"

// Action is the outcome that a report states for one recipient (RFC 3464 §2.3.3). The zero Action states none:
// [Report.Compose] returns an error for it.
type Action uint8

const (
	// Failed means that the message was not delivered and that attempts have ended.
	Failed Action = iota + 1

	// Delayed means that the message is not delivered yet and that attempts continue.
	Delayed

	// Delivered means that the message is in the mailbox, or was accepted by a mailing list.
	Delivered

	// Relayed means that the message was accepted by a host that doesn't report successes.
	Relayed

	// Expanded means that the recipient is an alias for several addresses, and that this host sent the message on to
	// all of them under the sender's own reverse-path. This host reports no later success, only a delay or a failure:
	// the Notify of each member is that of the recipient without SUCCESS, or NEVER if nothing is left (RFC 3461
	// §5.2.7.3). An alias for one address isn't reported: the message goes on with the Notify of the recipient
	// (RFC 3461 §5.2.7.2). A mailing list, which has a reverse-path of its own, is Delivered (RFC 3464 §2.3.3).
	Expanded
)

// String returns the value of the Action field in lower case, such as "failed"; "unknown" for an invalid Action.
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

// notify returns the NOTIFY flag that asks for a report on a, 0 for an invalid Action.
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
