package mtasts

import (
	"context"
	"time"
)

// Store keeps policies over restarts. Without one, the first mail to a domain after a restart trusts the DNS and the
// network again: an attacker who blocks the TXT record then gets mail in cleartext. A [Dir] is a Store.
//
// The domain is an A-label in lower case. Methods are called concurrently, but a Client makes one call at a time for
// each domain. They return soon after ctx has ended. An error is logged, and the Client goes on without the Store.
type Store interface {
	// Load returns the Entry that Save has kept last for the domain, or the zero Entry if there is none. Expired
	// entries may be missing.
	Load(ctx context.Context, domain string) (Entry, error)

	// Save keeps the Entry of a domain in place of the one before.
	Save(ctx context.Context, domain string, e Entry) error
}

// Entry is the policy of a domain in a [Store].
type Entry struct {
	ID      string    // of the TXT record
	Fetched time.Time // when it was fetched
	Expires time.Time // a Store may forget the entry from then on
	Body    string    // the policy as it was fetched, at most 64 KiB
}
