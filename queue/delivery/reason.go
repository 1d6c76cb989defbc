package delivery

import "github.com/postrider/postrider/smtp"

// Reason is why a recipient was deferred, as far as it matters to when it is tried again and to how the site is used
// meanwhile.
type Reason uint8

const (
	// OtherReason has to do with the message or its recipient. The site does its work.
	OtherReason Reason = iota

	// Unreachable: no session came about. It counts against the site.
	Unreachable

	// Throttled: the host wants fewer sessions or messages of us. It counts against the site.
	Throttled

	// Greylisted: the host takes it when it comes again. The site does its work.
	Greylisted

	// Blocked: a blocklist or our reputation. It counts against the site.
	Blocked

	reasons
)

// String gives "greylisted", say.
func (r Reason) String() string {
	return [...]string{"other", "unreachable", "throttled", "greylisted", "blocked", "unknown"}[min(r, reasons)]
}

// ReasonOf says why a Result is Deferred. It is what a [Runner] goes by whose Reason is nil.
func ReasonOf(res smtp.Result) Reason {
	switch {
	case smtp.ReasonOf(&res) == smtp.Greylisted:
		return Greylisted
	case smtp.ReasonOf(&res) == smtp.Blocklisted:
		return Blocked
	case res.Local && res.Stage == smtp.StageConnect && res.Reply != nil && res.Reply.Enhanced[1] == 7:
		return Blocked // client.Transport: all addresses of ours are
	case !res.Local && res.Reply != nil && (res.Reply.Enhanced[1] == 7 || res.Reply.Code == 421):
		return Throttled // RFC 3463 §3.8: X.7.x, security or policy
	case res.Stage < smtp.StageMail:
		return Unreachable
	}
	return OtherReason
}

// judge says what results teach about a site, and why they are deferred: of several reasons, the last of those above.
func judge(results []smtp.Result, reasonOf func(smtp.Result) Reason) (v verdict, why Reason) {
	for _, res := range results {
		reason := OtherReason
		if isOpen(res) {
			reason = reasonOf(res)
			why = max(why, reason)
		}
		switch {
		case reason == Unreachable || reason == Throttled || reason == Blocked:
			if v.sign == 0 {
				v.sign, v.result = -1, res
			}
		case !res.Local: // a host has spoken
			v.sign = 1
		}
	}
	return v, why
}
