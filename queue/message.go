package queue

import (
	"io"
	"time"

	"github.com/postrider/postrider/smtp"
)

// Message is a message to be stored. postrider.Relay.Prepare makes one. A Queue doesn't check addresses, Body and
// Priority.
type Message struct {
	// Envelope must have a recipient.
	Envelope *smtp.Envelope

	// Destinations[i] is the destination of Envelope.Recipients[i]: the name of an explicit route, a domain as an
	// A-label, or ExpandedDestination. It must not be empty, and not ReportDestination. Recipients with the same
	// destination share a task.
	Destinations []string

	// Body is read once, to its end. It is the content as it is sent, with CRLF at the end of each line.
	Body io.Reader

	// NotBefore is the time before which nothing happens to the message: no attempt, no notice and no expiry. It may be
	// in the past. It must be before the Deadline: otherwise Enqueue returns an error. If zero, the message is due at
	// once, even if the clock is set back. Postpone sets it.
	NotBefore time.Time

	// NoticeAt is the time at which a delay notice is due. If zero, or not after NotBefore, there is no notice.
	NoticeAt time.Time

	// Deadline is the time at which the recipients that are still open fail. If zero, there is no deadline.
	Deadline time.Time

	// Priority is the priority by MT-PRIORITY, -9 to 9; higher is sooner (RFC 6710). A Lane distinguishes three groups:
	// above zero, zero, and below.
	Priority int8

	// Ref is the application's own reference, and Tenant the name of the customer that the message belongs to. The
	// Queue stores both. It uses them in a Filter, and the Tenant for the Owner. Mail that a Relay gets by SMTP has
	// those that its TenantOf returns. Without a Tenant, the Owner is that of the reverse-path.
	Ref, Tenant string

	// Key is the application's name for the message, by which it is stored once, however often it is sent: see [Keyer].
	// It has at most MaxKey octets, any. If empty, each Enqueue stores a message. A report must have none. A Queue that
	// is no Keyer returns an error.
	Key string

	// Origin is the source of the message. A message without one is treated like a stranger's. FromDomain is the domain
	// of its From header field as an A-label. It is empty unless there is exactly one. The Queue stores both.
	Origin     smtp.Origin
	FromDomain string

	// About is the ID of the message that this one reports on. If empty, it is no report. The Queue stores it.
	About ID

	// Held stores the message held, as by [Holder].Hold: no task of it is claimed before a Release. A Queue that is no
	// Holder returns an error. HeldFor is the reason, for people. A HeldFor without Held is an error. The Queue stores
	// at most MaxHeldFor octets of the reason; a longer one ends in "…". A [ReasonHolder] forgets the reason at a
	// Release. In another Queue, it stays after a Release and after a later Hold.
	Held    bool
	HeldFor string
}

// MaxKey is the largest length of the Key of a Message, in octets.
const MaxKey = 255

// MaxHeldFor is the largest length of the HeldFor of a stored Message or Task, in octets.
const MaxHeldFor = 500

// Postpone sets NotBefore to t, and moves NoticeAt and Deadline along, so that they keep their distance: a message with
// a Deadline in 5 days that is postponed by 30 days may be retried until day 35. The distance is measured from the old
// NotBefore, or from now if that is zero or in the past. A t in the past counts as now.
func (m *Message) Postpone(t time.Time) {
	now := time.Now()
	by := later(t, now).Sub(later(m.NotBefore, now))
	m.NotBefore = t
	for _, at := range []*time.Time{&m.NoticeAt, &m.Deadline} {
		if !at.IsZero() {
			*at = at.Add(by)
		}
	}
}

// MakeTransactional prepares a message that is useless after a while, for example a login code. It sets the Deadline to
// that time from now, or from NotBefore if that is later. It raises Priority to at least 1, and removes the delay
// notice. The default schedule retries such a message sooner.
func (m *Message) MakeTransactional(within time.Duration) {
	m.Deadline, m.NoticeAt = later(time.Now(), m.NotBefore).Add(within), time.Time{}
	m.Priority = max(m.Priority, 1)
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
