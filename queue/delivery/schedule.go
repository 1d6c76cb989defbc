package delivery

import (
	"cmp"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// The default waits.
var (
	// RFC 5321 §4.5.4.1: at least 30 minutes apart. The first two are shorter than this SHOULD
	// because greylisting is common: such a host takes the message after a few minutes, and
	// its sender needn't wait longer.
	defaultRetry = []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}

	// A host that says it greylists takes the message soon: after 5, 10, 15 or 30 minutes, mostly.
	greylistedRetry = []time.Duration{
		3 * time.Minute, 4 * time.Minute, 5 * time.Minute, 8 * time.Minute, 15 * time.Minute, 30 * time.Minute,
		time.Hour,
	}

	// A host that has enough of us for now was asked for less from then on.
	rateLimitedRetry = []time.Duration{
		time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
	}

	// A mailbox isn't emptied within minutes.
	mailboxFullRetry = []time.Duration{time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour}

	// No host was asked, so none is knocked at too often. A proxy is back within minutes, mostly.
	noSourceRetry = []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute}

	// Who is on a blocklist doesn't get off it by knocking.
	blocklistedRetry = []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour}
)

// wait returns the time from now to the next attempt of a task that was deferred for that reason. A clock that was
// wrong may have made the arrival later than now.
func (r *Runner) wait(t *queue.Task, why smtp.Reason, now time.Time) time.Duration {
	wait := nth(r.schedule(cmp.Or(why, smtp.Other)), t.Attempts)
	// A message that has little time is tried some times in it.
	if life := t.Deadline.Sub(earliest(later(t.Arrival, t.NotBefore), now)); !t.Deadline.IsZero() && life > 0 {
		wait = min(wait, max(life/8, time.Minute))
	}
	return wait
}

// longestWait returns the longest time for which an attempt puts a task off.
func (r *Runner) longestWait() time.Duration {
	longest := reportPause << reportDoubles
	for why := smtp.Other; why.Known(); why++ {
		longest = max(longest, slices.Max(r.schedule(why)))
	}
	longest = min(longest, ever)
	return longest + longest/10 + skew
}

// schedule has the waits for a reason.
func (r *Runner) schedule(why smtp.Reason) []time.Duration {
	if own := r.RetryAfter[why]; len(own) > 0 {
		return own
	}
	switch why {
	case smtp.RateLimited:
		return rateLimitedRetry
	case smtp.Greylisted:
		return greylistedRetry
	case smtp.Blocklisted:
		return blocklistedRetry
	case smtp.MailboxFull:
		return mailboxFullRetry
	case smtp.NoSource:
		return noSourceRetry
	}
	if len(r.Retry) > 0 {
		return r.Retry
	}
	return defaultRetry
}

// nth returns the wait after n attempts.
func nth(waits []time.Duration, n int) time.Duration {
	return min(waits[min(max(n, 1), len(waits))-1], ever)
}

// nextTry returns the time of the next attempt of a task whose attempt ended now. jitter, from -1 to 1, changes the
// wait by up to a tenth, so that tasks that failed together aren't retried together. A time after the deadline becomes
// the deadline, at which the task expires.
func nextTry(wait time.Duration, now, deadline time.Time, jitter float64) time.Time {
	next := now.Add(wait + time.Duration(jitter*float64(wait)/10))
	if !deadline.IsZero() && next.After(deadline) {
		return deadline
	}
	return next
}

// plan is what is to be done with a claimed task.
type plan struct {
	step   step
	next   time.Time    // of stepPostpone
	why    string       // why it isn't sent, as a word of the log: see whyBack
	reason *smtp.Result // why its site is blocked; nil: it isn't
}

type step uint8

const (
	stepAttempt    step = iota // send it
	stepNotice                 // only its delay notice has come, or nothing can be sent for now
	stepExpire                 // its deadline has come
	stepPostpone               // it is to come back at a time
	stepQuarantine             // it is to be held, as the process may end each time
	stepReport                 // it is only reported
)

// nextStep chooses the step. What neither the deadline nor the delay notice explains is tried, unless its site is
// blocked: the queue has the last word on what is due, and its clock may be another machine's. But nothing is done
// before NotBefore, by more than those clocks may differ.
func nextStep(t *queue.Task, now time.Time, blocked bool) step {
	switch {
	case t.Deaths >= maxDeaths:
		return stepQuarantine
	case t.Destination == queue.ReportDestination:
		return stepReport
	case early(t, now):
		return stepPostpone
	case t.Destination == queue.ExpandedDestination:
		return stepReport
	case passed(t.Deadline, now) &&
		(attempted(t) || blocked && now.Sub(t.Deadline) < overslept) &&
		(blocked || now.Sub(t.Due) < overslept):
		return stepExpire
	case passed(t.NoticeAt, now) && (blocked || t.Due.After(now)):
		return stepNotice
	case blocked:
		return stepPostpone
	}
	return stepAttempt
}

// early reports whether the queue has returned a task before its NotBefore: its clock is ahead, or it breaks the rule.
func early(t *queue.Task, now time.Time) bool { return t.NotBefore.Sub(now) > skew }

// overslept is how late a try can be. One that is later was missed, as the machine was off or its clock jumped, and is
// made up for before the task expires.
const overslept = time.Hour

// maxDeaths is how often in a row the process may end while it has a task. The Queue claims tasks with Deaths apart
// from each other, so that the last deaths are most likely this task's doing.
const maxDeaths = 3

// attempted reports whether the task was tried before this claim. Nothing expires untried, however long the machine was
// off and wherever its clock jumped. A claim without a result is no attempt: the process may not have come to send.
func attempted(t *queue.Task) bool {
	for i := range t.Last {
		if t.Last[i].Reply != nil {
			return true
		}
	}
	return false
}

// passed reports whether t, unless zero, has come.
func passed(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// nextDue returns when a task is due next that is handed back as it was.
func nextDue(t *queue.Task) time.Time { return later(t.Due, t.NotBefore) }

// earliest returns the earlier of two times. A zero time doesn't count.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
