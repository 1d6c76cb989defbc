package smtp

import (
	"slices"
	"strings"
)

// Greylisting and blocklists have no codes of their own, so it takes the words of a reply to tell them.
var (
	greylistWords  = []string{"greylist", "graylist", "grey list", "gray list", "grey-list", "gray-list"}
	blocklistWords = []string{"blocklist", "blacklist", "block list", "black list", " listed", "delist", "reputation", "dnsbl", "spamhaus"}
)

// Greylisted reports whether the host seems to want the message again, from the same address, after some minutes.
func (r *Result) Greylisted() bool {
	// Many say so with 4.2.0, so that the enhanced code doesn't count.
	return r.refused() && r.Reply.Temporary() && r.says(greylistWords)
}

// Blocklisted reports whether the host seems to refuse the address that the session came from, for a blocklist or
// its reputation.
func (r *Result) Blocklisted() bool {
	if !r.refused() || r.Greylisted() {
		return false
	}
	// RFC 3463 §3.8: X.7.x, security or policy. A session is often refused with a bare 554.
	return (r.Reply.Enhanced[1] == 7 || r.Stage < StageMail) && r.says(blocklistWords)
}

// refused reports whether a host has refused something.
func (r *Result) refused() bool {
	return !r.Local && r.Reply != nil && r.Reply.Code >= 400 && r.Reply.Code < 600
}

func (r *Result) says(words []string) bool {
	text := " " + strings.ToLower(r.Reply.Text) // for words with a space in front, which aren't to be found in others
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}
