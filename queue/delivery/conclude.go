package delivery

import (
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// conclude says what follows from an attempt that ended now. next is when to try again.
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

// delays reports whether a delay notice is due. There is none for what was to go out later from the start.
func delays(t *queue.Task, now time.Time) bool {
	return passed(t.NoticeAt, now) && t.NoticeAt.After(t.NotBefore)
}

// handBack says what follows from an attempt that was cut off. If no recipient was come to, it doesn't count;
// otherwise what was settled by then is. The others are as due as they were.
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

// isCutOff reports whether res is what a Send that was cut off has for a recipient that it didn't come to.
func isCutOff(res smtp.Result) bool { return res.Outcome == smtp.Deferred && res.Local }

func anyCutOff(results []smtp.Result) bool { return slices.ContainsFunc(results, isCutOff) }

// lastResults gives the last Result of each recipient and, where there was none, why its site is blocked or else our
// own.
func lastResults(t *queue.Task, blocked *smtp.Result) []smtp.Result {
	if blocked == nil {
		// RFC 3463 §3.5: X.4.7, delivery time expired.
		reply := smtp.NewReply(451, "4.4.7", "no attempt was completed")
		blocked = &smtp.Result{Reply: reply, Local: true, Reason: smtp.Other}
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

// overdueOf gives when the task's next notice or deadline comes; 0: none does.
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
