package delivery

import (
	"cmp"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// What the simulator asks of each decision of the Runner.

const (
	// simPatience is how late a task may be tried without cause.
	simPatience = time.Hour

	// simProbe is how long a site is left alone at most after something that went wrong with it.
	simProbe = defaultMaxProbeWait + defaultMaxProbeWait/10
)

// checkAttempt is asked when a send begins.
func (l *simLife) checkAttempt(send *simSend) {
	t, now, wall := send.task, time.Now(), l.clock.Now()
	site := send.d.flight.t.party.site.name
	early := t.due.Sub(wall)
	switch explained := passed(t.deadline, wall) || l.doubts() && passed(t.noticeAt, wall); {
	case t.once || early <= 0 || explained && !l.doubts():
	case !explained, early > skew: // in doubt, neither brings a task forward but by what clocks may differ
		l.problem("%v is tried %v before its time", t, early)
	}
	if wall.Before(t.notBefore) {
		l.problem("%v is tried %v before it was to go out", t, t.notBefore.Sub(wall))
	}
	for _, name := range []string{t.dest, site} {
		if l.suspended[name].After(now) {
			l.problem("%v is tried, and %s is suspended", t, name)
		}
	}
	inFlight := 0
	for _, other := range l.sends {
		if other.d.plan.step == stepAttempt && other.d.flight.t.party.site.name == site {
			inFlight++
		}
	}
	if most := l.ledger.most; inFlight >= most {
		l.problem("%v is tried beside %d others at %s, which takes %d", t, inFlight, site, most)
	}
	l.checkRate(t, now)
	l.checkLearned(t, site, now)
	l.checkLate(t, site, now)
}

// checkRate sees to it that the mail of a tenant is spread.
func (l *simLife) checkRate(t *simTask, now time.Time) {
	if l.overRate(t, now) {
		l.problem("%v is tried %v after the last of its tenant", t, now.Sub(l.tenants[t.tenant]))
	}
	l.tenants[t.tenant] = now
}

// overRate reports whether the tenant of a task had one tried so lately that it may have none tried now.
func (l *simLife) overRate(t *simTask, now time.Time) bool {
	last, ok := l.tenants[t.tenant]
	return t.tenant != "" && ok && now.Sub(last) < time.Duration(l.ledger.rate.every()-slack)
}

// simPair is a sender or tenant at a site.
type simPair struct{ site, owner string }

func simPairOf(site string, t *simTask) simPair { return simPair{site, cmp.Or(t.tenant, t.from)} }

// checkLearned sees to it that nothing of a sender goes to a site in the pause after a refusal for its rate.
func (l *simLife) checkLearned(t *simTask, site string, now time.Time) {
	if last, ok := l.throttled[simPairOf(site, t)]; ok && now.Sub(last) < defaultPause {
		l.problem("%v is tried %v after %s refused its sender's mail for the rate", t, now.Sub(last), site)
	}
}

// isLearned reports whether a rate may keep a task from being tried: the site refused mail of its sender for that, or
// mail of several others.
func (l *simLife) isLearned(site string, t *simTask) bool {
	own, others := simPairOf(site, t), 0
	for p := range l.throttled {
		if p == own {
			return true
		}
		if p.site == own.site {
			others++
		}
	}
	return others >= enoughTold
}

// checkLate sees to it that nothing waits for longer than it has cause to.
func (l *simLife) checkLate(t *simTask, site string, now time.Time) {
	patience := simPatience
	if l.isLearned(site, t) { // a pause, and then one message at a time
		patience += 2 * mostPause
	}
	late := l.clock.Now().Round(0).Sub(t.due.Round(0))
	for _, cause := range []time.Time{l.born, t.freeSince, l.world.of(t.dest).better, l.troubled, l.stepped} {
		late = min(late, now.Sub(cause))
	}
	if t.tenant == "" && !l.world.of(t.dest).better.IsZero() && late > patience {
		l.problem("%v is tried %v after its time", t, late)
	}
}

// checkSettlement is asked before a settlement.
func (l *simLife) checkSettlement(send *simSend, c *simChange, set *queue.Settlement) {
	t, now := send.task, l.clock.Now()
	told := told(send)
	for _, e := range c.ends {
		switch {
		case e.end == simDelivered && e.taken == 0:
			l.problem("%v is settled as delivered, and no host has it", e.simRecipient)
		case e.end == simRejected && told[e.simRecipient] != smtp.Rejected:
			l.problem("%v is settled as rejected, and no host has said so", e.simRecipient)
		case e.end == simExpired && !passed(t.deadline, now):
			l.problem("%v expires %v before its deadline", e.simRecipient, t.deadline.Sub(now))
		case e.end == simExpired && l.doubts():
			l.problem("%v expires right after a step of the clock", e.simRecipient)
		case e.end == simExpired && t.begun == 0 && !send.blocked && !l.overRate(t, send.begun) && !l.isLearned(send.d.flight.t.party.site.name, t):
			l.problem("%v expires, and was never tried", e.simRecipient)
		}
		reported := slices.ContainsFunc(c.reports, func(m *simMessage) bool { return slices.Contains(m.about, e.simRecipient) }) ||
			slices.Contains(c.owed, e.simRecipient)
		switch owed := e.end != simDelivered && t.from != ""; {
		case reported && t.from == "":
			l.problem("%v is %s, with a report on a report, or on other mail without a sender", e.simRecipient, e.end)
		case reported != owed:
			l.problem("%v is %s, and reported: %v", e.simRecipient, e.end, reported)
		}
	}
	for _, r := range c.owed {
		if !c.has(r) || slices.ContainsFunc(c.reports, func(m *simMessage) bool { return slices.Contains(m.about, r) }) {
			l.problem("%v is to be reported, and hasn't ended, or is reported already", r)
		}
	}
	if slices.ContainsFunc(set.Owed, func(o queue.Owed) bool { return o.Delayed }) && (!passed(t.noticeAt, now) || t.noticed) {
		l.problem("%v is to be reported as delayed, before its time or once more", t)
	}
	for _, m := range c.reports {
		if len(m.delayed) > 0 && (!passed(t.noticeAt, now) || t.noticed) {
			l.problem("%v is reported as delayed, before its time or once more", t)
		}
		if len(m.delayed) > 0 && l.doubts() {
			l.problem("%v is reported as delayed right after a step of the clock", t)
		}
	}
	if len(c.ends) < len(t.open()) && len(send.answers) > 0 {
		l.checkNext(send, set)
	}
}

// doubts reports whether the clock of this process was set within an hour.
func (l *simLife) doubts() bool { return !l.stepped.IsZero() && time.Since(l.stepped) < doubtTime }

// told is what the hosts have said of the recipients of an attempt.
func told(send *simSend) map[*simRecipient]smtp.Outcome {
	told := map[*simRecipient]smtp.Outcome{}
	for i, r := range send.task.open() {
		if i < len(send.answers) {
			told[r] = send.answers[i].Outcome
		}
	}
	return told
}

// blocked reports whether there may be cause to leave the site of a task alone.
func (l *simLife) blocked(send *simSend, now time.Time) bool {
	site := send.d.flight.t.party.site.name
	return l.suspended[site].After(now) || l.suspended[send.task.dest].After(now) || now.Sub(l.failed[site]) <= simProbe
}

// simHeavier is the one of two reasons that the schedule goes by.
func simHeavier(a, b smtp.Reason) smtp.Reason {
	for _, r := range []smtp.Reason{smtp.Blocklisted, smtp.Greylisted, smtp.RateLimited, smtp.Network} {
		if a == r || b == r {
			return r
		}
	}
	return smtp.Other
}

// checkNext holds the time of the next attempt against the schedule.
func (l *simLife) checkNext(send *simSend, set *queue.Settlement) {
	t, now := send.task, l.clock.Now()
	var why smtp.Reason
	for _, a := range send.answers {
		if !a.Outcome.Final() {
			why = simHeavier(why, a.why)
		}
	}
	wait := l.ledger.schedule.wait(t.simMessage, why, t.attempts, now)
	from, to := now.Add(wait-wait/10), now.Add(wait+wait/10)
	switch {
	case send.cutOff:
		from, to = now, now
	case !t.deadline.IsZero() && to.After(t.deadline) && l.runner.doubt(now).IsZero():
		to = t.deadline
		if from.After(to) {
			from = to
		}
	}
	if t.notBefore.After(from) && !send.cutOff { // the clock was set back during the attempt
		from, to = t.notBefore, later(to, t.notBefore)
	}
	if set.Next.Before(from) || set.Next.After(to) {
		l.problem("%v is to be tried after %v, want from %v to %v", t, set.Next.Sub(now), from.Sub(now), to.Sub(now))
	}
}
