package suppress

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/postrider/postrider/smtp"
)

// List stores suppressed addresses, and counts failures of others. [Memory] and [File] are Lists.
//
// Methods are called concurrently, with Keys of [KeyOf]. What Add and Remove change is durable when they return nil.
// After an error, it is not known whether the change was made; the call can be repeated. Add and Strike of Memory and
// File return an error for a Key that KeyOf doesn't return, and for a Source or a Reason without a name, and change
// nothing.
type List interface {
	// Add stores an entry, in place of an older one with the same Key.
	Add(ctx context.Context, e Entry) error

	// Has returns the entry with this Key. ok is false if there is none. An entry after its Until may be returned.
	Has(ctx context.Context, k Key) (e Entry, ok bool, err error)

	// Remove removes the entry with this Key and forgets its strikes. If there is none, it returns nil.
	Remove(ctx context.Context, k Key) error

	// Strike counts a message that failed. There is a tally for each Key, Reason and Source. It begins anew if the last
	// strike is older than s.Within. A strike with the ID of one of the last 8, if it isn't empty, isn't counted again.
	// A crash may lose the strikes of the last seconds.
	Strike(ctx context.Context, k Key, s Strike) (Tally, error)

	// Forgive forgets the strikes of FromResult, because a message was delivered. It is called for each delivered
	// recipient, and most of these have no strikes.
	Forgive(ctx context.Context, k Key) error
}

// ErrFull is the error of Add if there is no room. No entry was forgotten.
var ErrFull = errors.New("suppress: the list is full")

// Key names an entry. Make it by [KeyOf].
type Key struct {
	// Tenant is the customer of the application for whom the address is suppressed. If empty, it is for all.
	Tenant string `json:"tenant,omitempty"`

	// Address has its domain as A-labels. Its local part is as it was written.
	Address string `json:"address"`
}

// maxTenant bounds a tenant in octets.
const maxTenant = 255

// KeyOf returns the Key of an address. An address that isn't valid is an error, and so is a tenant that isn't UTF-8 or
// has over 255 octets.
func KeyOf(tenant, address string) (Key, error) {
	if err := smtp.CheckAddress(address); err != nil {
		return Key{}, fmt.Errorf("suppress: %w", err)
	}
	if !utf8.ValidString(tenant) || len(tenant) > maxTenant {
		return Key{}, fmt.Errorf("suppress: tenant %.64q: want UTF-8 of at most %d octets", tenant, maxTenant)
	}
	local, domain := smtp.SplitAddress(address)
	if domain == "" { // "postmaster" alone
		return Key{tenant, address}, nil
	}
	ascii, err := smtp.ASCIIDomain(domain)
	if err != nil {
		return Key{}, fmt.Errorf("suppress: %w", err)
	}
	return Key{tenant, local + "@" + ascii}, nil
}

// checkChange returns an error for a change that can't be stored: a file wouldn't be read again with it.
func checkChange(k Key, s Source, r smtp.Reason) error {
	own, err := KeyOf(k.Tenant, k.Address)
	switch {
	case err != nil:
		return err
	case own != k:
		return fmt.Errorf("suppress: address %q: the Key must have %q: make it by KeyOf", k.Address, own.Address)
	case int(s) >= len(sourceNames):
		return fmt.Errorf("suppress: address %q: there is no Source %d", k.Address, s)
	case !r.Known():
		return fmt.Errorf("suppress: address %q: there is no Reason %d", k.Address, r)
	}
	return nil
}

// Entry is a suppressed address:
//
//	key, err := suppress.KeyOf("", "ann@example.net")
//	…
//	err = list.Add(ctx, suppress.Entry{Key: key, Time: time.Now(), Text: "asked by phone"}) // Source Manual
type Entry struct {
	Key

	// Source is where the entry is from, and Reason the cause of the failure. Reason is smtp.NoReason for a complaint.
	Source Source      `json:"source"`
	Reason smtp.Reason `json:"reason,omitempty"`

	// Time is when the entry was added. If zero, it isn't known.
	Time time.Time `json:"time"`

	// Until is when the entry ends. If zero, it lasts until it is removed.
	Until time.Time `json:"until,omitzero"`

	// ID is the ID in the queue of the message that decided. It may be empty.
	ID string `json:"id,omitempty"`

	// Text is what the host said, or a note. It is cut at 500 octets.
	Text string `json:"text,omitempty"`
}

// Over reports whether the entry has ended.
func (e *Entry) Over(now time.Time) bool { return !e.Until.IsZero() && !now.Before(e.Until) }

// why returns the cause in a few words.
func (e *Entry) why() string {
	if e.Reason != smtp.NoReason {
		return e.Source.String() + ", " + e.Reason.String()
	}
	return e.Source.String()
}

// Result returns the Result of a recipient that isn't written to because of the entry. It is Rejected and Local. Its
// Reason is that of the entry, or smtp.Other.
func (e *Entry) Result(recipient string) smtp.Result {
	r := smtp.Result{
		Recipient: recipient, Outcome: smtp.Rejected, Stage: smtp.StageRoute, Reply: e.Reply(), Local: true,
		Reason: e.Reason,
	}
	if r.Reason == smtp.NoReason {
		r.Reason = smtp.Other
	}
	return r
}

// Reply returns "550 5.7.1" with the cause and, if it is known, the day, for a client at RCPT.
func (e *Entry) Reply() *smtp.Reply {
	since := ""
	if !e.Time.IsZero() {
		since = " since " + e.Time.UTC().Format(time.DateOnly)
	}
	return smtp.NewReply(550, "5.7.1", "the address is suppressed"+since+" ("+e.why()+")")
}

// Source is where an [Entry] is from. The numbers have no meaning; files have the names.
type Source uint8

const (
	// Manual: an operator or the application. The Policy never replaces such an entry.
	Manual Source = iota

	// FromResult: a host refused the recipient, or our own look at the DNS did.
	FromResult

	// FromBounce: a bounce came to a signed address.
	FromBounce

	// FromComplaint: a complaint came to a signed address, or had one in it.
	FromComplaint
)

var sourceNames = [...]string{"manual", "result", "bounce", "complaint"}

// String returns the name in lower case: "manual", "result", "bounce" or "complaint".
func (s Source) String() string {
	if int(s) < len(sourceNames) {
		return sourceNames[s]
	}
	return "source-" + strconv.Itoa(int(s))
}

// MarshalText returns the same as String.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a name as String returns it. A name that isn't known is an error.
func (s *Source) UnmarshalText(text []byte) error {
	for i, name := range sourceNames {
		if name == string(text) {
			*s = Source(i)
			return nil
		}
	}
	return fmt.Errorf("suppress: source %.64q: no such name; there are %q", text, sourceNames)
}

// Strike is a message that failed for an address.
type Strike struct {
	Source Source
	Reason smtp.Reason
	ID     string // of the message; "" if it isn't known
	Time   time.Time

	// Within is the longest time between two strikes of one tally.
	Within time.Duration
}

// Tally is the strikes of an address for one Reason and Source.
type Tally struct {
	Count int       // messages
	First time.Time // the time of the first one
}
