package client

import (
	"slices"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// worn returns those of t's recipients, and of the others in rcpts, who were refused in a way that may be about the
// session: the host may take the message in another one. Hosts that bound the messages of a session say so at MAIL,
// RCPT or DATA, with many codes. offered is true if recipients of t were refused at RCPT in the session before.
func (t *transaction) worn(rcpts []int, offered bool) []int {
	early, allRcpts := false, !offered
	for _, i := range t.rcpts {
		r := &t.m.results[i]
		early = early || refusedEarly(r)
		allRcpts = allRcpts && refusedAtRcpt(r)
	}
	switch {
	case early:
		other := func(i int) bool { return !refusedEarly(&t.m.results[i]) }
		return slices.DeleteFunc(slices.Clone(rcpts), other)
	case allRcpts:
		return slices.Clone(t.rcpts)
	}
	return nil
}

// refusedEarly reports whether r is a refusal of the message, before its end, that may be about the session.
func refusedEarly(r *smtp.Result) bool {
	switch r.Stage {
	case smtp.StageMail, smtp.StageData, smtp.StageBody: // the final reply is about the message
		if r.Stage == smtp.StageMail && isAstray(r) {
			return true
		}
		return mayBeSession(r)
	}
	return false
}

// refusedAtRcpt reports whether r is a refusal of a recipient that may be about the session, if all others are refused
// too.
func refusedAtRcpt(r *smtp.Result) bool {
	if r.Stage != smtp.StageRcpt || !mayBeSession(r) {
		return false
	}
	if strings.Contains(strings.ToLower(r.Reply.Text), strings.ToLower(r.Recipient)) {
		return false // most hosts name the recipient that a refusal is about
	}
	switch r.Reply.Code {
	case 421, 450, 451, 452, 550, 552, 554:
	default:
		return false // about the address, or a parameter
	}
	switch e := r.Reply.Enhanced; {
	case e[1] == 5 && e[2] == 3: // RFC 3463 §3.6: X.5.3, too many recipients
		return true
	case e[1] == 3, e[1] == 5: // §3.4, §3.6: the mail system, and the protocol; Outlook has 5.5.0 for unknown users
		return !saysAny(r.Reply, rcptWords) || saysAny(r.Reply, sessionWords)
	case e[1] == 0: // a plain 550 is about the recipient, unless it says otherwise
		return r.Reply.Temporary() && !saysAny(r.Reply, rcptWords) || saysAny(r.Reply, sessionWords)
	}
	return false
}

// mayBeSession reports whether a result is a refusal that may be about the session. Policy and rates aren't: some hosts
// punish a second try.
func mayBeSession(r *smtp.Result) bool {
	if r.Reply == nil || r.Local || r.Reply.Code < 400 || r.Reply.Code >= 600 {
		return false
	}
	switch r.Reason {
	case smtp.Greylisted, smtp.Blocklisted, smtp.PolicyAuth, smtp.SpamContent, smtp.Virus, smtp.TooBig:
		return false
	}
	if r.Reason.About() == smtp.AboutAddress {
		return false
	}
	if saysAny(r.Reply, rateWords) {
		return false
	}
	switch e := r.Reply.Enhanced; {
	case e[1] == 7 && saysAny(r.Reply, []string{"too many errors"}): // Postfix, of those in the session
		return true
	case e[1] == 7: // RFC 3463 §3.8: X.7.x, security or policy
		return false
	case e[1] == 3 && e[2] == 4, e[1] == 0 && r.Reply.Code == 552: // §3.4: X.3.4, the message is too big
		return false
	case e[1] == 0:
		return !saysAny(r.Reply, policyWords)
	}
	return true
}

// isAstray reports whether a refusal of MAIL is about a recipient, which MAIL doesn't have: it was no reply to MAIL.
func isAstray(r *smtp.Result) bool {
	return !r.Local && r.Reply.Enhanced == smtp.EnhancedCode{5, 1, 1} // RFC 3463 §3.2: bad destination mailbox address
}

// saysBound reports whether a refusal says that the session had too many messages.
func saysBound(r *smtp.Result) bool {
	// RFC 3463 §3.6: X.5.3, too many recipients, which MAIL can't be about.
	return r.Stage == smtp.StageMail && r.Reply.Enhanced[1] == 5 && r.Reply.Enhanced[2] == 3 ||
		saysAny(r.Reply, []string{"too many m", "too many transactions", "per session", "per connection"})
}

// The words of replies whose enhanced code doesn't say what they are about.
var (
	policyWords = []string{
		"policy", "spam", "block", "blacklist", "reputation", "denied", "spf", "dkim", "dmarc", "authenticat",
		" 4.7.", " 5.7.", "#4.7.", "#5.7.", // an enhanced code that isn't at the beginning
	}
	rateWords = []string{
		" rate", "throttl", " hour", "per minute", "per day", "for the day", "concurrent", "too fast", "too quickly",
		"slow down",
	}
	rcptWords = []string{
		"recipient", "user", "mailbox", "address", "account", "unknown", "exist", "relay", "domain", "quota", "full",
	}
	sessionWords = []string{"session", "connection", "transaction", "message", "mails", "limit"}
)

func saysAny(r *smtp.Reply, words []string) bool {
	text := " " + strings.ToLower(r.Text)
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(text, w) })
}
