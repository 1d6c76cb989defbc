package replies

import (
	"cmp"

	"github.com/postrider/postrider/smtp"
)

// ReasonOf returns the Reason of a Result by the default rules: see [Classifier.ReasonOf].
func ReasonOf(r *smtp.Result) smtp.Reason { return (*Classifier)(nil).ReasonOf(r) }

// ReasonOf returns the Reason of a Result by its Outcome, Stage, Reply and Host. The Reason that r has already is
// ignored. A reply that is Local goes by its enhanced code alone: its text is our own, and may quote anything.
func (c *Classifier) ReasonOf(r *smtp.Result) smtp.Reason {
	switch {
	case r == nil, r.Outcome == smtp.Delivered:
		return smtp.NoReason
	case r.Reply == nil:
		return byStage(r.Stage)
	case r.Local:
		return localReason(r)
	}
	return cmp.Or(c.Classify(r.Reply, r.Stage, r.Host).Reason, byStage(r.Stage))
}

// Complete sets the Reason of each Result that isn't Delivered and has none. It changes a copy, and returns results
// itself if there is nothing to set.
func (c *Classifier) Complete(results []smtp.Result) []smtp.Result {
	copied := false
	for i := range results {
		if results[i].Reason != smtp.NoReason || results[i].Outcome == smtp.Delivered {
			continue
		}
		if !copied {
			results, copied = append([]smtp.Result(nil), results...), true
		}
		results[i].Reason = c.ReasonOf(&results[i])
	}
	return results
}

// byStage returns the Reason of what has no reply of its own.
func byStage(stage smtp.Stage) smtp.Reason {
	if stage < smtp.StageMail {
		return smtp.Network // there was no session
	}
	return smtp.Other
}

// localReason returns the Reason of a reply of our own. A func that takes the mail of a domain has such replies, too:
// it knows who exists there.
func localReason(r *smtp.Result) smtp.Reason {
	permanent := r.Reply.Permanent()
	switch subject, detail := r.Reply.Enhanced[1], r.Reply.Enhanced[2]; {
	case subject == 1 && (detail == 1 || detail == 3 || detail == 10): // RFC 3463 §3.2, RFC 7505 §4.2
		return smtp.UserUnknown
	case subject == 1 && detail == 2, subject == 4 && detail == 4 && permanent: // RFC 3463 §3.2, §3.5
		return smtp.HostUnknown
	case subject == 2 && detail == 1: // RFC 3463 §3.3
		return smtp.MailboxDisabled
	case subject == 2 && detail == 2:
		return smtp.MailboxFull
	case subject == 2 && detail == 3, subject == 3 && detail == 4: // RFC 3463 §3.3, §3.4
		return smtp.TooBig
	case subject == 4 && detail == 7: // RFC 3463 §3.5
		return smtp.Expired
	case subject == 3: // RFC 3463 §3.4: the mail system, which is this program
		return smtp.Other
	case subject == 7 && r.Stage == smtp.StageTLS,
		subject == 7 && (detail == 4 || detail == 5 || detail == 10 || detail == 11), // RFC 5248
		subject == 7 && detail == 30: // RFC 8689 §7
		return smtp.TLS
	case permanent && (subject == 5 || subject == 6): // RFC 3463 §3.6, §3.7
		return smtp.Syntax
	case subject == 4 && detail != 6: // RFC 3463 §3.5
		return smtp.Network
	}
	return byStage(r.Stage)
}
