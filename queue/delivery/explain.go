package delivery

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Activity is what a Runner does now. The contents of the Queue are in queue.Stats.
type Activity struct {
	Running     bool
	InFlight    int // tasks that are being sent or settled
	Concurrency int // tasks that may be in flight by now: see Runner.Initial

	// Halted is why nothing is sent: outcomes can't be recorded, and all that is sent might be sent again. It is the
	// error of the last three calls of Settle in a row. One task a minute is claimed and handed back to find out when
	// the Queue works again. If nil, mail is sent.
	Halted error

	// Unrecorded is how many tasks were processed and can't be settled so far. Stuck is how many tasks are in flight
	// for over an hour. Both are among InFlight.
	Unrecorded, Stuck int

	// Destinations is how many destinations have mail, as far as the Runner knows.
	Destinations int

	// Down is how many of Sites are down.
	Down int

	// NotShared is why the limits of sites, tenants and sources can't be shared with other Runners now: the error of
	// the queue.Sharer. After 20 seconds of it nothing is sent to sites. If nil, they are shared, or the Queue is no
	// queue.Sharer.
	NotShared error

	// Sites are the sites with mail that is due or being sent, and those of which the Runner remembers something. They
	// are sorted by name.
	Sites []SiteActivity
}

// SiteActivity is what a Runner does at a site, and what it has learned about the site.
type SiteActivity struct {
	Name         string
	InFlight     int // tasks that are being sent or settled
	Window       int // tasks that may be in flight: see SiteLimits
	Destinations int // destinations with mail that is due

	// If the Runners on the Queue share limits, Permits is how many tasks this Runner may have in flight, and Elsewhere
	// how many all others may. Both are of the last look at the Queue, some seconds ago. Otherwise both are 0.
	Permits, Elsewhere int

	// Limits are those that the site has now.
	Limits SiteLimits

	// DownUntil is when a site that is down is probed next, or now if a probe is due or under way. If zero, the site
	// isn't down.
	DownUntil time.Time

	// Result is the last failure of a site that is down.
	Result smtp.Result

	// Rates are the rates that were learned of the site, sorted by Of, Name and Owner.
	Rates []LearnedRate
}

// Activity returns what the Runner does now. It is the zero Activity if Run isn't running. It takes some microseconds
// for each site.
func (r *Runner) Activity() Activity {
	var a Activity
	now := r.time()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withMachine(func(m *machine) {
		m.at(now)
		a.Running, a.Concurrency, a.Stuck = true, r.loop.places, m.stuck()
		a.Unrecorded, a.Halted = r.watchdog.state()
		destinations := make(map[string]bool, len(m.targets))
		waiting := make(map[*site]int)
		for l, t := range m.targets {
			destinations[l.Destination] = true
			if t.ready && t.party != nil {
				waiting[t.party.site]++
			}
		}
		a.Destinations = len(destinations)
		if m.shared != nil {
			a.NotShared = m.shared.failed
		}
		for _, s := range m.sites {
			a.InFlight += int(s.held)
			if s.standing.down {
				a.Down++
			}
			sa := m.activity(s, now)
			sa.Destinations = waiting[s]
			a.Sites = append(a.Sites, sa)
		}
	})
	slices.SortFunc(a.Sites, func(a, b SiteActivity) int { return cmp.Compare(a.Name, b.Name) })
	return a
}

func (m *machine) activity(s *site, now time.Time) SiteActivity {
	st := &s.standing
	a := SiteActivity{Name: s.name, InFlight: int(s.held), Window: int(st.window)}
	a.Rates = m.ratesOf(s.name, s.learnt, now)
	if st.down {
		a.Window = 1
		a.Result = st.result
		a.DownUntil = now.Add(time.Duration(max(st.until-m.mono, 0)))
	}
	if s.lot != nil {
		a.Permits, a.Elsewhere = m.permitted(s), s.lot.others
	}
	a.Limits = s.limits
	return a
}

// Explanation is why a task waits.
type Explanation struct {
	Task queue.Task

	// Site is the site of the task's destination. It is zero if the destination has no mail that is due or being sent.
	Site SiteActivity

	// Limits are those of that site.
	Limits SiteLimits

	// Rates are the learned rates that count the task. The one with the smallest PerHour binds, unless Limits or the
	// Rates of its source or tenant are smaller.
	Rates []LearnedRate

	// Source is the name of the source that the task goes out from: see Runner.SourceOf.
	Source string

	// Why is a sentence. Until is when the cause ends. If zero, that isn't known. A suspension, a site that is down,
	// or a learned rate is the cause if it ends after the time of the next attempt.
	Why   string
	Until time.Time
}

// Explain returns why each task of a message waits. It may ask SiteOf. If there is no such message, the error wraps
// queue.ErrNotFound. The Queue must be a [queue.Lister].
func (r *Runner) Explain(ctx context.Context, id queue.ID) ([]Explanation, error) {
	tasks, err := r.tasks(ctx, "explain", id)
	if err != nil {
		return nil, err
	}
	if len(tasks) == 0 {
		return nil, fmt.Errorf("explain: %w", queue.ErrNotFound)
	}
	all := make([]Explanation, len(tasks))
	now := r.time()
	for i, t := range tasks {
		all[i].Task = t
		if !queue.OnlyReports(t.Destination) {
			all[i].Source = r.sourceOf(&t)
		}
		all[i].Why, all[i].Until = explainTask(&t, now)
	}
	sites := r.sitesOf(ctx, tasks, now)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withMachine(func(m *machine) {
		m.at(now)
		for i := range all {
			e := &all[i]
			// The next try doesn't come before the end of a block.
			why, until := m.explainBlock(&e.Task, sites[e.Task.Destination], now)
			blocked := e.Task.State == queue.Waiting && until.After(e.Until)
			if blocked {
				e.Why, e.Until = why, until
			}
			if e.Why == "" {
				e.Why, e.Until = m.explain(&e.Task, now)
			} else if s := m.siteNamed(sites[e.Task.Destination]); e.Task.State == queue.Waiting {
				e.Rates = m.ratesFor(&e.Task, s, now)
				why, until := m.explainRate(&e.Task, s, now)
				switch {
				case until.After(e.Until):
					e.Why, e.Until = why, until
				case why != "" && !blocked && isPutOff(&e.Task, now):
					e.Why = why
				}
			}
			if t := m.targets[laneOf(&e.Task)]; t != nil && t.party != nil {
				e.Rates = m.ratesFor(&e.Task, t.party.site, now)
				e.Site, e.Limits = m.activity(t.party.site, now), t.party.site.limits
			}
		}
	})
	for i := range all {
		all[i].Why = cmp.Or(all[i].Why, "No Runner is running.")
	}
	return all, nil
}

// siteNamed returns the site of that name. If it isn't known now, it is one that has only its learned rates.
func (m *machine) siteNamed(name string) *site {
	if s := m.sites[name]; s != nil {
		return s
	}
	return &site{name: name, learnt: m.learnt[name]}
}

// sitesOf returns the sites of the tasks' destinations, if any site may be blocked or has a learned rate. It asks
// SiteOf about a destination that has no site now.
func (r *Runner) sitesOf(ctx context.Context, tasks []queue.Task, now time.Time) map[string]string {
	sites := make(map[string]string)
	blocked := false
	r.mu.Lock()
	r.withMachine(func(m *machine) {
		m.at(now)
		blocked = len(m.suspended) > 0 || m.anyDown() || m.meters > 0
		for _, task := range tasks {
			if t := m.targets[laneOf(&task)]; t != nil && t.party != nil {
				sites[t.Destination] = t.party.site.name
			}
		}
	})
	r.mu.Unlock()
	for _, t := range tasks {
		if sites[t.Destination] == "" && blocked {
			sites[t.Destination] = r.siteOf(ctx, t.Destination).Name
		}
	}
	return sites
}

// isPutOff reports whether a task that was never attempted isn't due any more. A rate may be the cause.
func isPutOff(t *queue.Task, now time.Time) bool {
	return t.State == queue.Waiting && t.Due.After(now) && !t.NotBefore.After(now) && !attempted(t)
}

// explainTask returns the reason why a task isn't due, and its end. The reason is "" if the task is due.
func explainTask(task *queue.Task, now time.Time) (why string, until time.Time) {
	switch {
	case task.State == queue.Held && task.Deaths >= maxDeaths:
		return fmt.Sprintf("It is quarantined: the process has ended %d times while it had the task. "+
			"Release it for another attempt, or remove it.", task.Deaths), time.Time{}
	case task.State == queue.Held && queue.OnlyReports(task.Destination) && task.Attempts >= maxReports:
		return fmt.Sprintf("It is quarantined: its report couldn't be composed or stored in %d tries. "+
			"Release it for another try, or purge it.", task.Attempts), time.Time{}
	case task.State == queue.Held:
		return "It is held until it is released.", time.Time{}
	case queue.OnlyReports(task.Destination) && task.State == queue.Leased:
		return "It is being reported.", time.Time{}
	case task.Destination == queue.ReportDestination && task.Due.After(now) && task.Attempts > 0,
		task.Destination == queue.ExpandedDestination && task.Due.After(later(task.NotBefore, now)):
		return "Its report couldn't be composed or stored, and is tried again.", task.Due
	case task.Destination == queue.ReportDestination && task.Due.After(now):
		return "Its report waits for the other destinations of the message.", task.Due
	case task.State == queue.Leased:
		return "It is being sent.", time.Time{}
	case task.Due.After(now) && !attempted(task):
		return "It is scheduled for later.", task.Due
	case task.Due.After(now):
		return lastResult(task), task.Due
	}
	return "", time.Time{}
}

// explainBlock returns the block of a task's destination, its site, or its owner there, and its end. Of several blocks,
// it returns the one that ends last. It returns "" if there is none.
func (m *machine) explainBlock(task *queue.Task, site string, now time.Time) (why string, until time.Time) {
	var end int64
	if s := m.sites[site]; s != nil {
		if st := &s.standing; st.until > m.mono {
			why, end = "Its site is down: "+st.result.Reply.Error(), st.until-m.mono
		}
		if p := m.parties[partyKey{s, task.Owner}]; p != nil && p.own != nil && p.own.until > m.mono+end {
			why, end = "Its site refuses mail of this sender for now: "+p.own.result.Reply.Error(), p.own.until-m.mono
		}
	}
	for _, name := range []string{site, task.Destination} {
		if left := m.suspendedFor(name); left > 0 && left >= end {
			why, end = "Delivery to "+name+" is suspended.", left
		}
	}
	if end == 0 {
		return "", time.Time{}
	}
	return why, now.Add(time.Duration(end))
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

// explain returns the reason why a task waits that is due and isn't blocked, and its end.
func (m *machine) explain(task *queue.Task, now time.Time) (why string, until time.Time) {
	t := m.targets[laneOf(task)]
	switch {
	case t != nil && t.queued&isSought != 0:
		return "Its site is being looked up.", time.Time{}
	case t == nil || t.party == nil:
		return "It is due.", time.Time{}
	}
	p, s := t.party, t.party.site
	if why, until := m.explainRate(task, s, now); why != "" {
		return why, until
	}
	if at := m.siteRateAt(s); at > m.mono && int(s.held) < m.permitted(s) {
		why := fmt.Sprintf("Its site has reached its rate: %d per %v.", s.limits.Rate.Messages, s.limits.Rate.Per)
		if at == never {
			return why + " Other Runners share it.", time.Time{}
		}
		return why, now.Add(time.Duration(at - m.mono))
	}
	class := queue.Fresh
	if attempted(task) {
		class = queue.Retried
	}
	l := t.level(class)
	k := p.kind(l)
	if why := m.explainPermit(s); why != "" {
		return why, time.Time{}
	}
	switch room, _ := m.room(s, k); {
	case room <= 0:
		return fmt.Sprintf("Its site has reached its limit of tasks in flight: %d.", s.held), time.Time{}
	case p.waits&(1<<l) != 0 && m.ownerRoom(p.owner, k) <= 0:
		why := "Its tenant or sender has its share of the tasks in flight: %d."
		return fmt.Sprintf(why, p.owner.slots.used), time.Time{}
	case p.aside:
		return "The address of its host has reached its limit of tasks in flight.", time.Time{}
	}
	if task.Deaths > 0 {
		return "It waits for its turn, apart from other tasks that the process has ended with.", time.Time{}
	}
	return "It waits for its turn.", time.Time{}
}

// explainPermit returns why nothing more is sent to s, as far as that is shared with other Runners; "" if it isn't
// that.
func (m *machine) explainPermit(s *site) string {
	if s.lot == nil || int(s.held) < m.permitted(s) || int(s.held) >= int(s.standing.window) {
		return ""
	}
	if m.shared.failed != nil {
		return "Its site has limits that Runners share, and the queue can't be asked: " + m.shared.failed.Error()
	}
	if s.lot.others == 0 {
		return "It waits for the queue: Runners share the limit of tasks in flight at its site."
	}
	const why = "Other Runners have %d of the %d tasks that may be in flight at its site. This one has %d."
	return fmt.Sprintf(why, s.lot.others, s.limits.Concurrency, min(s.lot.permits, int(s.held)))
}

// lastResult describes the first result that left a recipient open.
func lastResult(t *queue.Task) string {
	for _, res := range t.Last {
		switch {
		case res.Reply == nil || !isOpen(res):
		case res.Outcome == smtp.Unknown:
			return "It may have been delivered: " + res.Reply.Error()
		default:
			return "It was deferred: " + res.Reply.Error()
		}
	}
	return "It was deferred: no reply is known."
}
