package delivery

import (
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// cause is why a task waits: see Explanation.
type cause struct {
	why, advice  string
	since, until time.Time
}

// isPutOff reports whether a task that was never attempted isn't due any more. A rate may be the cause.
func isPutOff(t *queue.Task, now time.Time) bool {
	return t.State == queue.Waiting && t.Due.After(now) && !t.NotBefore.After(now) && !attempted(t)
}

// explainTask returns the cause why a task isn't due. It is the zero cause if the task is due. mine is true if this
// Runner is sending the task.
func explainTask(task *queue.Task, mine bool, now time.Time) cause {
	reports := queue.OnlyReports(task.Destination)
	switch {
	case task.State == queue.Held && task.Deaths >= maxDeaths:
		return cause{
			why: fmt.Sprintf("It is quarantined: the process has ended %d times while it had the task.",
				task.Deaths),
			advice: "Look in the log for what ended the process. Release it for another attempt, or remove it.",
		}
	case task.State == queue.Held && reports && task.Attempts >= maxReports:
		return cause{
			why: fmt.Sprintf("It is quarantined: its report couldn't be composed or stored in %d tries.",
				task.Attempts),
			advice: "Look in the log for the errors of these tries. Release it for another try, or purge it.",
		}
	case task.State == queue.Held && task.HeldFor != "":
		return cause{
			why:    "It is held until it is released. " + sentence("The reason: "+task.HeldFor),
			advice: "Release it to have it sent, or remove it. If the reason says otherwise, do as it says.",
		}
	case task.State == queue.Held:
		return cause{
			why: "It is held until it is released.",
			advice: "A person or the program holds it; a hold on this page is in the log, with the user. Release " +
				"it to have it sent, or remove it.",
		}
	case reports && task.State == queue.Leased:
		return leasedCause("reported", mine)
	case task.Destination == queue.ReportDestination && task.Due.After(now) && task.Attempts > 0,
		task.Destination == queue.ExpandedDestination && task.Due.After(later(task.NotBefore, now)):
		return cause{
			why:    "Its report couldn't be composed or stored, and is tried again.",
			advice: "Look in the log for the error.", until: task.Due,
		}
	case task.Destination == queue.ReportDestination && task.Due.After(now):
		return cause{why: "Its report waits for the other destinations of the message.", until: task.Due}
	case task.State == queue.Leased:
		return leasedCause("sent", mine)
	case task.NotBefore.After(now) && !attempted(task):
		return cause{
			why:    "It is scheduled for later.",
			advice: "Its sender or the program has asked for that time. A flush doesn't change it.",
			since:  task.Arrival, until: task.Due,
		}
	case task.Due.After(now) && !attempted(task):
		return cause{
			why: "It was put off before its first attempt.",
			advice: "The line \"handed back\" in the log says why. If Runners share the queue, it may be in the log " +
				"of another one.",
			until: task.Due,
		}
	case task.Due.After(now):
		c := lastResult(task)
		c.until = task.Due
		return c
	}
	return cause{}
}

// leasedCause is for a task that is leased. A Queue doesn't say who has the lease: a Runner knows only its own.
func leasedCause(is string, mine bool) cause {
	if mine {
		return cause{why: "It is being " + is + "."}
	}
	return cause{why: "It is leased, and isn't being " + is + " by this Runner: another Runner has it, or the lease " +
		"of an attempt that has ended isn't over."}
}

// sentence returns s with a full stop, unless it ends in a mark of its own.
func sentence(s string) string {
	s = strings.TrimRight(s, " ")
	if strings.HasSuffix(s, "…") || strings.ContainsRune(".!?", rune(s[len(s)-1])) {
		return s
	}
	return s + "."
}

// lastResult describes the first result that left a recipient open.
func lastResult(t *queue.Task) cause {
	for i := range t.Last {
		switch res := &t.Last[i]; {
		case res.Reply == nil || !isOpen(*res):
		case res.Outcome == smtp.Unknown:
			return cause{
				why:    "It may have been delivered: " + res.Reply.Error(),
				advice: "The answer of the host was lost. It is sent again, and may arrive twice.",
			}
		default:
			return cause{why: "It was deferred: " + res.Reply.Error(), advice: Advice(res)}
		}
	}
	return cause{why: "It was deferred: no reply is known."}
}

// haltedCause is for a task that could be sent if outcomes could be recorded.
func haltedCause(err error) cause {
	return cause{
		why: "Nothing is sent, because the queue can't record what becomes of messages: " + err.Error(),
		advice: "Repair the store of the queue. Its disk may be full or its database down. " +
			"Mail is sent again within a minute after that.",
	}
}

// explainBlock returns the block of a task's destination, its site, or its owner there. Of several blocks, it returns
// the one that ends last. It is the zero cause if there is none.
func (m *machine) explainBlock(task *queue.Task, site string, now time.Time) (c cause) {
	const probed = "When that time is over, one message is tried, and the others follow if the site takes it. " +
		"A flush tries one now."
	var end int64
	standing := func(why string, st *standing) {
		last := st.result
		last.Outcome = smtp.Deferred // what waits is tried later
		c = cause{why: why + st.result.Reply.Error(), advice: strings.TrimSpace(Advice(&last) + " " + probed)}
		if end = st.until - m.mono; st.down {
			c.since = now.Add(time.Duration(st.since - m.mono))
		}
	}
	if s := m.sites[site]; s != nil {
		if st := &s.standing; st.until > m.mono {
			standing("Its site "+site+" is down: ", st)
		}
		if p := m.parties[partyKey{s, task.Owner}]; p != nil && p.own != nil && p.own.until > m.mono+end {
			standing("Its site "+site+" refuses mail of this sender for now: ", p.own)
		}
	}
	for _, name := range []string{site, task.Destination} {
		if left := m.suspendedFor(name); left > 0 && left >= end {
			end = left
			c = cause{
				why:    "Delivery to " + name + " is suspended.",
				advice: "A person or the program has suspended it. Resume it to have mail sent there before that time.",
			}
			if m.shared != nil {
				c.advice += " Other Runners on the queue have suspensions of their own, and may send this message."
			}
		}
	}
	if end > 0 {
		c.until = now.Add(time.Duration(end))
	}
	return c
}

// anyDown reports whether a site is down, or refuses an owner for now.
func (m *machine) anyDown() bool {
	for _, s := range m.sites {
		if s.standing.until > m.mono {
			return true
		}
	}
	for _, p := range m.parties {
		if p.own != nil && p.own.until > m.mono {
			return true
		}
	}
	return false
}

// rateCause returns what a task waits for at a rate that was learned of its site. It is the zero cause if there is
// nothing.
func (m *machine) rateCause(task *queue.Task, s *site, now time.Time) (c cause) {
	if c.why, c.until = m.explainRate(task, s, now); c.why != "" {
		c.advice = "The Runner has learned this from refusals, and sends more when the host takes more. " +
			"A flush doesn't change it."
	}
	return c
}

// ownRateCause returns the Rate of a task's tenant or source that has put it off, or the zero cause.
func (m *machine) ownRateCause(task *queue.Task) cause {
	for _, key := range m.rateKeys(task) {
		b, limit := m.rates[key], m.rate(key)
		if key.name == "" || b == nil || limit.every() == 0 || max(b.tat, b.last) <= m.mono {
			continue
		}
		what := key.kind()
		return cause{
			why: fmt.Sprintf("The %s %s has reached its rate: %v.", what, key.name, limit),
			advice: "The program sets this rate. With a higher one, or less mail of the " + what +
				", it is sent sooner.",
		}
	}
	return cause{}
}

// explain returns the cause why a task waits that is due and isn't blocked.
func (m *machine) explain(task *queue.Task, now time.Time) cause {
	const freed = "It is sent when one of them has ended."
	t := m.targets[laneOf(task)]
	switch {
	case t != nil && t.queued&isSought != 0:
		return cause{why: "Its site is being looked up."}
	case t == nil || t.party == nil:
		return cause{why: "It is due."}
	}
	p, s := t.party, t.party.site
	if c := m.rateCause(task, s, now); c.why != "" {
		return c
	}
	if at := m.siteRateAt(s); at > m.mono && int(s.held) < m.permitted(s) {
		c := cause{
			why:    fmt.Sprintf("Its site %s has reached its rate: %v.", s.name, s.limits.Rate),
			advice: "The program sets this rate. With a higher one, it is sent sooner.",
		}
		if at == never {
			c.why += " Other Runners share it."
		} else {
			c.until = now.Add(time.Duration(at - m.mono))
		}
		return c
	}
	class := queue.Fresh
	if attempted(task) {
		class = queue.Retried
	}
	l := t.level(class)
	k := p.kind(l)
	if c := m.permitCause(s); c.why != "" {
		return c
	}
	switch room, _ := m.room(s, k); {
	case room <= 0:
		return cause{
			why: fmt.Sprintf("Its site %s gets no more messages at a time than %d now.",
				s.name, s.held),
			advice: freed + " The Runner has learned this number, and the program sets the largest one.",
		}
	case p.waits&(1<<l) != 0 && m.ownerRoom(p.owner, k) <= 0:
		return cause{
			why: fmt.Sprintf("As many messages of its tenant or sender are being sent as its share is: %d.",
				p.owner.slots.used),
			advice: freed,
		}
	case p.aside:
		return cause{
			why:    "The address of its host gets as many messages at a time as it may, for other sites too.",
			advice: freed,
		}
	}
	if task.Deaths > 0 {
		return cause{why: "It waits for its turn, apart from other tasks that the process has ended with."}
	}
	return cause{why: "It waits for its turn."}
}

// permitCause returns why nothing more is sent to s, as far as that is shared with other Runners. It is the zero cause
// if it isn't that.
func (m *machine) permitCause(s *site) cause {
	switch {
	case s.lot == nil || int(s.held) < m.permitted(s) || int(s.held) >= int(s.standing.window):
		return cause{}
	case m.shared.failed != nil:
		return cause{
			why:    "Its site has limits that Runners share, and the queue can't be asked: " + m.shared.failed.Error(),
			advice: "Look at the store of the queue.",
		}
	case s.lot.others == 0:
		return cause{why: "It waits for the queue: Runners share the limit of tasks in flight at its site."}
	}
	const why = "Other Runners have %d of the %d tasks that may be in flight at its site. This one has %d."
	return cause{why: fmt.Sprintf(why, s.lot.others, s.limits.Concurrency, min(s.lot.permits, int(s.held)))}
}
