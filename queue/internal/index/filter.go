package index

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// filter is a Filter with its ids read.
type filter struct {
	queue.Filter
	id, after uint64
	nothing   bool // gets through
}

func NewFilter(f queue.Filter) (*filter, error) {
	parsed := &filter{Filter: f}
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
	return parsed, nil
}

// message reports whether f may let tasks of this message through.
func (f *filter) message(id uint64) bool {
	return !f.nothing && (f.ID == "" || id == f.id) && (f.After == "" || id > f.after)
}

// state reports whether f may let tasks in this state through.
func (f *filter) state(s queue.State) bool { return f.State == 0 || f.State == s }

// Stored reports whether f lets this message through: what message can't see.
func (f *filter) Stored(s *Stored) bool {
	arrival := FromNano(s.Arrival)
	return (f.Sender == "" || sameSender(s.Envelope.From, f.Sender)) &&
		(f.ArrivedAfter.IsZero() || arrival.After(f.ArrivedAfter)) &&
		(f.ArrivedBefore.IsZero() || arrival.Before(f.ArrivedBefore))
}

// sameSender compares a reverse-path with what a Filter has.
func sameSender(from, want string) bool {
	if want == "<>" {
		return from == ""
	}
	// RFC 5321 §2.4: the local part is for its own host to interpret; domains know no case.
	local, domain := smtp.SplitAddress(from)
	wantLocal, wantDomain := smtp.SplitAddress(want)
	return local == wantLocal && strings.EqualFold(domain, wantDomain)
}
