package pgqueue

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"
)

// Options are the settings of a Queue. The zero Options are the defaults, which [Open] uses.
type Options struct {
	// Schema is the name of the schema that [Migrate] has made. If empty, [DefaultSchema].
	Schema string

	// Logger gets messages that can't be read, at level Error. At level Warn it gets the loss of the connection or of
	// the lease, that the Queue has messages although nobody delivers from it, and that somebody wants to deliver from
	// one with NoDelivery. If nil, nothing is logged: so give one.
	Logger *slog.Logger

	// NoDelivery is for a program that stores mail, or lists it, and doesn't deliver it: the other Queues of the schema
	// have all messages. A Relay, a Runner or a drain from it finds nothing: Lanes and Claim return none, Watch
	// announces nothing, and Refresh does nothing. A Relay that doesn't run can Prepare mail for it. All other methods
	// are as those of any Queue. There is no poll, and obsolete rows are left to the others.
	NoDelivery bool

	// Poll is the time between two looks for what others have committed: applications, and the other Queues. After 100
	// looks that found nothing, it is three times that, and after 1,000 six times, until one finds something. It is at
	// least 1 ms. If zero, 50 ms.
	Poll time.Duration

	// NodeLease is how long the Queue keeps its messages without a word to the server. After that, the other Queues
	// take them, and its leases end. A Runner that is cut off from the server ends its attempts within 20 seconds: with
	// less than 24 here, others may begin theirs before, and a message may arrive twice. It is at least 300 ms. If
	// zero, 24 seconds.
	NodeLease time.Duration

	// Timeout bounds a statement, a call with a Key except for the time that its Body takes, and the wait for the
	// result of a commit whose connection was lost. If zero, 30 seconds.
	Timeout time.Duration

	// KeyTime is how long the Key of a message is remembered: see [queue.Keyer]. If zero, 24 hours. All Queues of a
	// schema should have the same.
	KeyTime time.Duration

	// MaxKeys is the largest number of Keys that are remembered. A Queue counts them once a minute, so there may be
	// more for that time. If zero, 1,000,000.
	MaxKeys int
}

// Open opens a Queue with the default [Options], from which the program must deliver: if it doesn't, see
// Options.NoDelivery. The schema must have been made by [Migrate]. All of Options.Open applies.
func Open(ctx context.Context, db *sql.DB) (*Queue, error) { return new(Options).Open(ctx, db) }

// Open opens a Queue with these options. Unless NoDelivery is set, it takes some of the messages over from other
// Queues, and reads them. The error wraps a *[VersionError] if the schema is older or newer than [Version], or wasn't
// made by [Migrate]. There is an error, too, if the server can't be reached, is older than PostgreSQL 13, or hasn't the
// encoding UTF8, or if the *sql.DB allows only one connection. A privilege that the role lacks is an error of Open, or
// of the first call that needs it.
func (o *Options) Open(ctx context.Context, db *sql.DB) (*Queue, error) {
	q, err := o.open(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("pgqueue: open: %w", err)
	}
	return q, nil
}

// withDefaults returns the options with the defaults in place of zeros.
func (o *Options) withDefaults() (Options, error) {
	c := *o
	c.Poll = cmp.Or(o.Poll, 50*time.Millisecond)
	c.NodeLease = cmp.Or(o.NodeLease, 24*time.Second)
	c.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	c.KeyTime = cmp.Or(o.KeyTime, 24*time.Hour)
	c.MaxKeys = cmp.Or(o.MaxKeys, 1_000_000)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.Poll < time.Millisecond:
		return c, fmt.Errorf("Options.Poll is %v: it must be at least 1 ms", o.Poll)
	case c.NodeLease < 300*time.Millisecond:
		return c, fmt.Errorf("Options.NodeLease is %v: it must be at least 300 ms", o.NodeLease)
	case c.Timeout < 0:
		return c, fmt.Errorf("Options.Timeout is %v: it must not be negative", o.Timeout)
	case c.KeyTime < 0:
		return c, fmt.Errorf("Options.KeyTime is %v: it must not be negative", o.KeyTime)
	case c.MaxKeys < 0:
		return c, fmt.Errorf("Options.MaxKeys is %d: it must not be negative", o.MaxKeys)
	}
	return c, nil
}
