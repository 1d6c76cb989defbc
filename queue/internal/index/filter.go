package index

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Filter is a queue.Filter that has been parsed.
type Filter struct {
	queue.Filter
	id, after uint64 // 0 if it isn't set
	nothing   bool   // nothing matches
	sender    *address
	recipient *address
	domain    *address
}

// NewFilter parses f. The error is that of an ID in f.After that no Queue returns.
func NewFilter(f queue.Filter) (*Filter, error) {
	parsed := &Filter{Filter: f}
	var ok bool
	if f.After != "" {
		if parsed.after, ok = ParseID(f.After); !ok {
			return nil, fmt.Errorf("after %q: %w", f.After, queue.ErrNotFound)
		}
	}
	if f.ID != "" {
		parsed.id, ok = ParseID(f.ID)
		parsed.nothing = !ok
	}
	if f.Sender != "" {
		parsed.sender = parseAddress(strings.TrimSuffix(strings.TrimPrefix(f.Sender, "<"), ">"))
	}
	if f.Recipient != "" {
		parsed.recipient = parseAddress(f.Recipient)
	}
	if f.Domain != "" {
		parsed.domain = &address{domain: asciiDomain(f.Domain)}
	}
	return parsed, nil
}

// address is an address of a Filter.
type address struct{ local, domain string }

func parseAddress(s string) *address {
	local, domain := smtp.SplitAddress(s)
	return &address{local, asciiDomain(domain)}
}

// asciiDomain returns the domain as an A-label, or unchanged if it has none.
func asciiDomain(domain string) string {
	if ascii, err := smtp.ASCIIDomain(domain); err == nil {
		return ascii
	}
	return domain
}

// is reports whether s, an address of an envelope, is a.
func (a *address) is(s string) bool {
	// RFC 5321 §2.4: only its own host interprets a local part. Domains are compared without case.
	local, domain := smtp.SplitAddress(s)
	return local == a.local && a.at(domain)
}

// at reports whether domain, of an address of an envelope, is the domain of a.
func (a *address) at(domain string) bool {
	return strings.EqualFold(domain, a.domain) || asciiDomain(domain) == a.domain
}

// message reports whether f may select tasks of the message with this ID.
func (f *Filter) message(id uint64) bool {
	return !f.nothing && (f.ID == "" || id == f.id) && id > f.after
}

// state reports whether f may select tasks in this State.
func (f *Filter) state(s queue.State) bool { return f.State == 0 || f.State == s }

// MatchesMessage reports whether f may select tasks of s. It compares the fields of f that are about the message.
func (f *Filter) MatchesMessage(s *Message) bool {
	arrival := FromNano(s.Arrival)
	return (f.sender == nil || f.sender.is(s.Envelope.From)) &&
		(f.Ref == "" || f.Ref == s.Ref) && (f.Tenant == "" || f.Tenant == s.Tenant) &&
		(f.ArrivedAfter.IsZero() || arrival.After(f.ArrivedAfter)) &&
		(f.ArrivedBefore.IsZero() || arrival.Before(f.ArrivedBefore))
}

// MatchesTask reports whether f selects t. It compares the fields of f that are about the recipients of t; call
// MatchesMessage for the others.
func (f *Filter) MatchesTask(t *queue.Task) bool {
	if f.recipient == nil && f.domain == nil {
		return true
	}
	for _, r := range t.Envelope.Recipients {
		_, domain := smtp.SplitAddress(r.Address)
		if (f.recipient == nil || f.recipient.is(r.Address)) && (f.domain == nil || f.domain.at(domain)) {
			return true
		}
	}
	return false
}
