package queue

import "time"

// nextTry says when a task is tried again after so many attempts, the last of them ended now.
// jitter, from -1 to 1, moves it by up to a tenth of the wait, so that what failed together doesn't
// come back together. A time after the deadline becomes the deadline, at which the task expires.
func nextTry(retry []time.Duration, attempts int, now, deadline time.Time, jitter float64) time.Time {
	if len(retry) == 0 {
		// RFC 5321 §4.5.4.1: at least 30 minutes apart. The first two are shorter than this SHOULD
		// because greylisting is common: such a host takes the message after a few minutes, and
		// its sender needn't wait longer.
		retry = []time.Duration{5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}
	}
	wait := retry[min(max(attempts, 1), len(retry))-1]
	next := now.Add(wait + time.Duration(jitter*float64(wait)/10))
	if !deadline.IsZero() && next.After(deadline) {
		return deadline
	}
	return next
}

// step is what is to be done with a claimed task.
type step uint8

const (
	stepAttempt step = iota // send it
	stepNotice              // only its delay notice has come
	stepExpire              // its deadline has come
)

// nextStep chooses the step. What neither the deadline nor the delay notice explains is tried: the queue
// has the last word on what is due, and its clock may be another machine's.
func nextStep(t *Task, now time.Time) step {
	switch {
	case passed(t.Deadline, now) && attempted(t) && now.Sub(t.Due) < overslept:
		return stepExpire
	case passed(t.NoticeAt, now) && t.Due.After(now):
		return stepNotice
	}
	return stepAttempt
}

// overslept is how late a try can be. One that is later was missed, as the machine was off or its clock jumped, and is
// made up for before the task expires.
const overslept = time.Hour

// lostAttempts is how many claims without a recorded outcome count as an attempt. One is none, as a process
// that ended may not have come to send. But a message that ends the process each time must expire too.
const lostAttempts = 3

// attempted reports whether the task was tried before this claim. Nothing expires untried, however long
// the machine was off and wherever its clock jumped.
func attempted(t *Task) bool {
	for i := range t.Last {
		if t.Last[i].Reply != nil {
			return true
		}
	}
	return t.Attempts > lostAttempts
}

// passed reports whether t, unless zero, has come.
func passed(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// earliest gives the earlier of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
