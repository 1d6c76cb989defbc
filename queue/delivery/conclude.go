package delivery

import (
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// conclude returns the settlement of an attempt that ended now, and the occasion for its reports. next is the time of
// the next attempt.
func conclude(t queue.Task, results []smtp.Result, now, next time.Time) (queue.Settlement, Occasion) {
	s := queue.Settlement{Results: results}
	o := Occasion{Task: t, Results: results}
	switch {
	case !slices.ContainsFunc(results, isOpen):
	case passed(t.Deadline, now):
		o.Expired = true
	default:
		s.Next, o.Next = next, next
		o.Delayed = delays(&t, now)
		s.Noticed = passed(t.NoticeAt, now)
	}
	return s, o
}

// delays reports whether a delay notice is due. There is none for a message that was scheduled past its notice.
func delays(t *queue.Task, now time.Time) bool {
	return passed(t.NoticeAt, now) && t.NoticeAt.After(t.NotBefore)
}

// handBack returns the settlement of an attempt that was cut off, and the occasion for its reports. If no recipient has
// a result, the attempt doesn't count; otherwise the results are stored. The other recipients are due at once.
func handBack(t queue.Task, results []smtp.Result, now time.Time) (queue.Settlement, Occasion) {
	if !slices.ContainsFunc(results, func(res smtp.Result) bool { return !isCutOff(res) }) {
		return queue.Settlement{Uncounted: true, Next: now}, Occasion{Task: t, Next: now}
	}
	results = slices.Clone(results)
	for i, res := range results {
		if isCutOff(res) && i < len(t.Last) && t.Last[i].Reply != nil {
			results[i] = t.Last[i] // what a host said is worth more than that it wasn't asked
		}
	}
	return queue.Settlement{Results: results, Next: now}, Occasion{Task: t, Results: results, Next: now}
}

func isOpen(res smtp.Result) bool { return !res.Outcome.Final() }

// isCutOff reports whether res is the result of a recipient that a Send didn't reach before it was cut off.
func isCutOff(res smtp.Result) bool { return res.Outcome == smtp.Deferred && res.Local }

func anyCutOff(results []smtp.Result) bool { return slices.ContainsFunc(results, isCutOff) }

// heldBack returns the earliest time at which the Sender may send to the open recipients, if it has held back all of
// them, else the zero Time. all is true if there are no other recipients: nothing was attempted.
func heldBack(results []smtp.Result) (until time.Time, all bool) {
	all = len(results) > 0
	for _, res := range results {
		switch {
		case !isOpen(res):
			all = false
		case !isCutOff(res) || res.NotBefore.IsZero():
			return time.Time{}, false
		default:
			until = earliest(until, res.NotBefore)
		}
	}
	return until, all
}

// lastResults returns the last Result of each recipient. A recipient without one has the block of its site as its
// Result or, without a block, one of ours.
func lastResults(t *queue.Task, blocked *smtp.Result) []smtp.Result {
	if blocked == nil {
		// RFC 3463 §3.5: X.4.7, delivery time expired.
		reply := smtp.NewReply(451, "4.4.7", "no attempt was completed")
		blocked = &smtp.Result{Reply: reply, Local: true, Reason: smtp.Expired}
	}
	results := slices.Clone(t.Last)
	for i, rcpt := range t.Envelope.Recipients {
		if i == len(results) {
			results = append(results, smtp.Result{})
		}
		if results[i].Reply == nil {
			results[i] = *blocked
			results[i].Recipient, results[i].Outcome = rcpt.Address, smtp.Deferred
		}
	}
	return results
}

// overdueOf returns the time of the task's next notice or deadline, 0 if it has none.
func overdueOf(t *queue.Task, noticed bool) int64 {
	next := t.Deadline
	if !noticed {
		next = earliest(t.NoticeAt, t.Deadline)
	}
	if next.IsZero() {
		return 0
	}
	return next.UnixNano()
}
