package delivery

import (
	"cmp"
	"slices"
	"time"

	"github.com/postrider/postrider/smtp"
)

// reasons are in the order of their weight: of several in one task, the last of these chooses the schedule. A Reason
// that isn't here has the weight of smtp.Other.
//
// What is about one recipient is light, so that the others don't wait for it; what is about us is heavy.
var reasons = [...]smtp.Reason{
	smtp.UserUnknown, smtp.HostUnknown, smtp.MailboxDisabled, smtp.MailboxFull,
	smtp.TooBig, smtp.Syntax, smtp.Virus, smtp.SpamContent, smtp.Expired,
	smtp.Other, smtp.Temporary, smtp.RelayDenied, smtp.PolicyAuth, smtp.TLS, smtp.Network,
	smtp.NoSource, smtp.RateLimited, smtp.Greylisted, smtp.Blocklisted,
}

func weight(r smtp.Reason) int {
	if i := slices.Index(reasons[:], r); i >= 0 {
		return i
	}
	return weight(smtp.Other)
}

// verdict is what the end of a task shows about its site, and about its owner there.
type verdict struct {
	sign    int8         // for the site: 1 for one that does its work, -1 for one that doesn't, 0 for neither
	policy  policy       // what was said to the owner
	taken   bool         // a recipient was delivered to
	final   bool         // a recipient was delivered to or rejected
	result  smtp.Result  // why sign is -1, or what the policy is
	refusal *rateRefusal // nil: it wasn't for a rate
	overdue int64        // when the task's next notice or deadline comes; 0: none, or the task is gone
}

// withoutRate removes from v what a meter has learned: that isn't about the site, or about the owner there. A site that
// is down and refuses a message for its rate is back.
func (v *verdict) withoutRate(down bool) {
	if v.result.Reason != smtp.RateLimited {
		return
	}
	if v.policy = noPolicy; v.sign < 0 {
		v.sign = 0
	}
	if down && v.result.Stage >= smtp.StageMail {
		v.sign = 1
	}
}

// policy is a refusal for now that is about who sends, or to whom, as far as one of them can tell.
type policy uint8

const (
	noPolicy policy = iota
	recipientPolicy
	senderPolicy
)

// judge returns the verdict on the site, and why the results are open: the last of their reasons in the order of
// Runner.RetryAfter, smtp.NoReason if there is none. took is the duration of the attempt. A stranger's domain may name
// anyone's hosts as its own, so results about the message, its sender or a recipient don't count against the site.
func judge(results []smtp.Result, took time.Duration) (v verdict, why smtp.Reason) {
	spoken := false
	for _, res := range results {
		if isOpen(res) {
			reason := cmp.Or(res.Reason, smtp.Other)
			if why == smtp.NoReason || weight(reason) > weight(why) {
				why = reason
			}
		}
		v.final = v.final || res.Outcome.Final()
		policy := policyOf(&res, took)
		spoken = spoken || policy == recipientPolicy // MAIL was taken
		switch {
		case res.Outcome == smtp.Delivered:
			v.taken = true
		case isAboutSite(&res):
			if v.sign == 0 {
				v.sign, v.result = -1, res
			}
		case policy > v.policy:
			v.policy = policy
			if v.sign == 0 {
				v.result = res
			}
		case !res.Local && policy == noPolicy:
			spoken = true
		}
	}
	switch {
	case v.taken:
		v.sign, v.policy = 1, noPolicy
	case v.sign < 0:
		v.policy = noPolicy
	case spoken:
		v.sign = 1
	}
	return v, why
}

// isAboutSite reports whether a result shows that the site doesn't work, or wants less: a failure before MAIL, or a 421
// that isn't about the message (RFC 5321 §4.2.2: the service is not available). Our own faults don't count (RFC 3463
// §3.4: X.3.x).
func isAboutSite(res *smtp.Result) bool {
	switch {
	case !isOpen(*res), res.Local && res.Reply.Enhanced[1] == 3:
		return false
	case res.Stage < smtp.StageMail:
		switch res.Reason {
		case smtp.Network, smtp.TLS, smtp.RateLimited, smtp.Blocklisted, smtp.RelayDenied:
			return true
		}
		return !res.Local
	}
	return !res.Local && res.Reply.Code == 421 && !isAboutMail(res.Reply.Enhanced)
}

// isAboutMail reports whether a code is about an address, a mailbox, a content or a policy (RFC 3463 §3.2, 3.3, 3.7,
// 3.8). X.7.0 may be about anything.
func isAboutMail(code smtp.EnhancedCode) bool {
	switch code[1] {
	case 1, 2, 6:
		return true
	case 7:
		return code[2] != 0
	}
	return false
}

// policyOf returns whether a host, from MAIL on, has refused mail of this sender or recipient by a policy. A time-out
// counts as that, as the content may be the cause.
func policyOf(res *smtp.Result, took time.Duration) policy {
	enhanced := res.Reply.Enhanced
	switch {
	case !isOpen(*res), res.Stage < smtp.StageMail:
		return noPolicy
	case res.Local: // RFC 3463 §3.5: X.4.1 and X.4.2, no answer and a bad connection
		if took > tooLong && enhanced[1] == 4 && (enhanced[2] == 1 || enhanced[2] == 2) {
			return senderPolicy
		}
		return noPolicy
	case !isPolicy(res):
		return noPolicy
	case res.Stage == smtp.StageRcpt:
		return recipientPolicy
	}
	return senderPolicy
}

// isPolicy reports whether a host refuses the sender: in words that say so, or by a code about a policy (RFC 3463 §3.8:
// X.7.x) with words that say nothing else. Greylisting is no such refusal.
func isPolicy(res *smtp.Result) bool {
	switch res.Reason {
	case smtp.RateLimited, smtp.Blocklisted:
		return true
	case smtp.Greylisted:
		return false
	}
	return res.Reason.About() != smtp.AboutAddress && res.Reply.Enhanced[1] == 7
}
