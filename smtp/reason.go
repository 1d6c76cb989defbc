package smtp

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Reason is the cause of a [Result] that isn't Delivered, as far as a program can act on it. The Outcome decides
// whether to try again. The Reason decides when, from which address, and whether to suppress the recipient.
//
// The numbers are stored in spools. They never change, and a number is never used again. Their order has no meaning.
type Reason uint8

const (
	// NoReason is the zero value: the recipient is Delivered, or the Reason wasn't determined.
	NoReason Reason = 0

	// Other is every cause that has no Reason of its own. It is about the message, its sender or its recipient; the
	// host works. Try again if the Outcome is Deferred.
	Other Reason = 1

	// Network is about the path or the host: there was no session. Causes are the DNS, a refused connection, a failed
	// TLS handshake, a failed login. Wait before another message is tried at this host.
	Network Reason = 2

	// RateLimited is about the host: it wants fewer sessions or messages from us. Slow down at this host.
	RateLimited Reason = 3

	// Greylisted is about the sender: the host doesn't know this pair of sender and recipient yet, and takes the
	// message after some minutes. Try again from the same address.
	Greylisted Reason = 4

	// Blocklisted is about our address: the host refuses it because of a blocklist or its reputation. Send from another
	// address, and have this one delisted.
	Blocklisted Reason = 5

	// UserUnknown is about the recipient's address: its host has no such mailbox, its domain has a null MX (RFC 7505),
	// or the address isn't valid. If the Outcome is Rejected, don't write to the address again. No other Reason is
	// cause to suppress an address. A domain that doesn't exist has the Reason Other.
	UserUnknown Reason = 6
)

var reasonNames = [...]string{
	NoReason:    "none",
	Other:       "other",
	Network:     "network",
	RateLimited: "rate-limited",
	Greylisted:  "greylisted",
	Blocklisted: "blocklisted",
	UserUnknown: "user-unknown",
}

// String returns the name in lower case: "none", "user-unknown", "reason-200" for a number without a name.
func (r Reason) String() string { return nameOf(reasonNames[:], uint8(r), "reason") }

// MarshalText returns the same as String.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a name as String returns it. A name that isn't known is an error.
func (r *Reason) UnmarshalText(text []byte) error {
	n, err := numberOf(reasonNames[:], text, "reason")
	*r = Reason(n)
	return err
}

// nameOf returns the name with number n, or one made of kind and n.
func nameOf(names []string, n uint8, kind string) string {
	if int(n) < len(names) {
		return names[n]
	}
	return kind + "-" + strconv.Itoa(int(n))
}

// numberOf is the reverse of nameOf.
func numberOf(names []string, text []byte, kind string) (uint8, error) {
	if i := slices.Index(names, string(text)); i >= 0 {
		return uint8(i), nil
	}
	return 0, fmt.Errorf("smtp: %s %.64q: no such name; there are %s", kind, text, strings.Join(names, ", "))
}

// ReasonOf returns the Reason of a Result by its Outcome, Stage and Reply. The Reason that r has already is ignored.
// There are no codes for greylisting and for blocklists, so those two go by words in the text of the Reply.
func ReasonOf(r *Result) Reason {
	switch {
	case r == nil, r.Outcome == Delivered:
		return NoReason
	case r.isGreylisted():
		return Greylisted
	case r.isBlocklisted():
		return Blocklisted
	case r.isUserUnknown():
		return UserUnknown
	case r.Outcome == Rejected:
		return Other // a permanent refusal by policy has nothing to do with rates
	case r.Stage == StageAuth && r.refused() && r.Reply.Permanent():
		return Network // RFC 4954 §6: 535 5.7.8 and its like are about the login
	case r.refused() && (r.Reply.Enhanced[1] == 7 || r.Reply.Code == 421):
		return RateLimited // RFC 3463 §3.8: X.7.x, security or policy
	case r.Stage < StageMail:
		return Network
	}
	return Other
}

// refused reports whether a host has refused something.
func (r *Result) refused() bool {
	return !r.Local && r.Reply != nil && r.Reply.Code >= 400 && r.Reply.Code < 600
}

func (r *Result) isGreylisted() bool {
	// Many hosts answer 4.2.0, so the enhanced code doesn't count.
	return r.refused() && r.Reply.Temporary() && r.says(greylistWords)
}

func (r *Result) isBlocklisted() bool {
	// RFC 3463 §3.8: X.7.x, security or policy. A session is often refused with a bare 554.
	return r.refused() && (r.Reply.Enhanced[1] == 7 || r.Stage < StageMail) && r.says(blocklistWords)
}

// isUserUnknown goes by local replies, too: a func that takes the mail of a domain knows who exists there.
func (r *Result) isUserUnknown() bool {
	if r.Reply == nil || r.Reply.Code < 400 || r.Reply.Code >= 600 {
		return false
	}
	switch r.Reply.Enhanced {
	case EnhancedCode{5, 1, 3}: // RFC 3463 §3.2: bad destination mailbox address syntax, by our own check
		return r.Local
	case EnhancedCode{4, 1, 1}, EnhancedCode{5, 1, 1}: // RFC 3463 §3.2: bad destination mailbox address
		return r.Stage >= StageRcpt
	case EnhancedCode{4, 1, 10}, EnhancedCode{5, 1, 10}: // RFC 7505 §4.2: recipient address has null MX
		return r.Stage >= StageRcpt || r.Local // our own look at the MX records
	}
	return false
}

var (
	greylistWords  = []string{"greylist", "graylist", "grey list", "gray list", "grey-list", "gray-list"}
	blocklistWords = []string{
		"blocklist", "blacklist", "block list", "black list", " listed", "delist", "reputation", "dnsbl", "spamhaus",
	}
)

func (r *Result) says(words []string) bool {
	text := " " + strings.ToLower(r.Reply.Text) // a word with a space in front also matches at the start
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}
