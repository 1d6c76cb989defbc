package queuetest_test

import (
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

func (j *job) isReport() bool { return j.Destination == queue.ReportDestination }

// lacks reports whether the task doesn't have the recipient.
func (j *job) lacks(o queue.Owed) bool { return o.Recipient < 0 || o.Recipient >= len(j.Last) }

// alone reports whether the message has no other task. q.mu is held.
func (q *shared) alone(j *job) bool { return len(q.of(j.letter)) == 1 }

// hurry makes a report task due.
func (j *job) hurry(now time.Time) {
	if j.Due.After(now) {
		j.Due = now
	}
}

// owe adds what a settlement owes to the report task of the message. q.mu is held.
func (q *shared) owe(j *job, s queue.Settlement) {
	if len(s.Owed) == 0 {
		return
	}
	at := q.round(s.ReportAt)
	if at.IsZero() || q.has("ignores ReportAt") {
		at = q.now()
	}
	name := jobName{j.serial, queue.ReportDestination}
	r := q.jobs[name]
	if r == nil {
		r = &job{letter: j.letter, Task: j.Task, added: at}
		r.Destination, r.Due, r.NoticeAt, r.Attempts, r.Lease = queue.ReportDestination, at, time.Time{}, 0, 0
		r.Envelope, r.Last, r.Delayed = cloneEnvelope(j.Envelope), nil, nil
		r.Envelope.Recipients = nil
		q.jobs[name] = r
	}
	for _, o := range s.Owed {
		r.Envelope.Recipients = append(r.Envelope.Recipients, j.Envelope.Recipients[o.Recipient])
		r.Last = append(r.Last, cloneResults([]smtp.Result{o.Result})[0])
		r.Delayed = append(r.Delayed, o.Delayed && !q.has("loses Delayed"))
	}
	if r.added.IsZero() || at.Before(r.added) {
		r.added = at
	}
	if at.Before(r.Due) != q.has("reports at the latest ReportAt") {
		r.Due = at
	}
	q.tellJob(r, "doesn't announce what is owed")
}

// reported applies a Settlement to a report task. Recipients that were added since the Claim come first from then on.
// q.mu is held.
func (q *shared) reported(j *job, s queue.Settlement) {
	if s.Uncounted {
		j.Attempts--
	}
	recipients, last, delayed, n := j.Envelope.Recipients, j.Last, j.Delayed, j.claimed
	if q.has("loses what is owed while it reports") {
		recipients, last, delayed, j.added = recipients[:n], last[:n], delayed[:n], time.Time{}
	}
	added := len(last) > n
	j.Envelope.Recipients = slices.Clone(recipients[n:])
	j.Last, j.Delayed, j.Due = slices.Clone(last[n:]), slices.Clone(delayed[n:]), j.added
	j.once = false
	if !s.Next.IsZero() || q.has("keeps what was reported") || added && q.has("reports again beside what is added") {
		stays := false
		for i, r := range recipients[:n] {
			result := last[i]
			if len(s.Results) > 0 {
				result = cloneResults(s.Results[i : i+1])[0]
			}
			if len(s.Results) > 0 && result.Outcome.Final() {
				continue
			}
			stays = true
			j.Envelope.Recipients, j.Last = append(j.Envelope.Recipients, r), append(j.Last, result)
			j.Delayed = append(j.Delayed, delayed[i])
		}
		if next := q.round(s.Next); stays && (!added || next.Before(j.Due)) {
			j.Due = next
		}
		if !stays {
			j.Attempts = 0
		}
	} else if !q.has("counts the attempts of what was reported") {
		j.Attempts = 0
	}
	if len(j.Last) == 0 {
		q.drop(j)
		return
	}
	if added && q.alone(j) {
		j.hurry(q.now())
	}
	q.tellJob(j, "doesn't announce what was added")
}
