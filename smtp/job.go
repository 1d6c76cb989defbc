package smtp

import "context"

// Origin is the source of a message. A program that signs mail or returns reports decides by it whether to trust the
// sender.
//
// The numbers are stored in spools. They never change, and a number is never used again. Their order has no meaning.
type Origin uint8

const (
	// OriginUnknown is the zero value. Messages have it that were stored by a version without origins. It is
	// treated like OriginStranger.
	OriginUnknown Origin = 0

	// OriginStranger: a client that has neither authenticated nor is allowed to relay. Its addresses may be forged.
	OriginStranger Origin = 1

	// OriginAllowed: a client that may relay without authentication, because of its network for example.
	OriginAllowed Origin = 2

	// OriginAuthenticated: a client that has authenticated.
	OriginAuthenticated Origin = 3

	// OriginCode: the program itself, through Relay.Send. Reports are among these.
	OriginCode Origin = 4
)

var originNames = [...]string{
	OriginUnknown:       "unknown",
	OriginStranger:      "stranger",
	OriginAllowed:       "allowed",
	OriginAuthenticated: "authenticated",
	OriginCode:          "code",
}

// String returns the name in lower case: "stranger", "origin-200" for a number without a name.
func (o Origin) String() string { return nameOf(originNames[:], uint8(o), "origin") }

// IsStranger reports whether the addresses of the message may be forged: after OriginStranger, OriginUnknown, and a
// number without a name.
func (o Origin) IsStranger() bool {
	return o != OriginAllowed && o != OriginAuthenticated && o != OriginCode
}

// MarshalText returns the same as String.
func (o Origin) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads a name as String returns it. A name that isn't known is an error.
func (o *Origin) UnmarshalText(text []byte) error {
	n, err := numberOf(originNames[:], text, "origin")
	*o = Origin(n)
	return err
}

// Job is the queued message that a [Sender] is called for.
type Job struct {
	// ID is the message's ID in the queue. It isn't the Message-ID field.
	ID string

	// Ref is the application's own reference, and Tenant the name of the application's customer that the message
	// belongs to. Both are empty unless the application has set them.
	Ref, Tenant string

	Origin Origin

	// From is the reverse-path of the message in the queue. A Sender around another one may have put another in its
	// place, such as that of bounce.VERP.
	From string

	// FromDomain is the domain of the From header field as an A-label. If empty, there is no From, there are several,
	// or its addresses have several domains.
	FromDomain string

	// Attempt is the number of this attempt at these recipients, 1 for the first.
	Attempt int
}

type jobKey struct{}

// WithJob returns a context for a call of a [Sender] on behalf of j.
func WithJob(ctx context.Context, j Job) context.Context { return context.WithValue(ctx, jobKey{}, j) }

// JobOf returns the Job that [WithJob] put into ctx. ok is false if there is none, for example because the program
// calls a [Sender] without a queue.
func JobOf(ctx context.Context) (j Job, ok bool) {
	j, ok = ctx.Value(jobKey{}).(Job)
	return j, ok
}
