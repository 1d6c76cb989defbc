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

	// Sites are the sites with mail that is due or being sent, those with learned rates, and those of which the Runner
	// remembers something else: that they are down, for example. They are sorted by name.
	Sites []SiteActivity
}

// SiteActivity is what a Runner does at a site, and what it has learned about the site.
type SiteActivity struct {
	Name         string
	InFlight     int // tasks that are being sent or settled
	Window       int // tasks that may be in flight: see SiteLimits
	Destinations int // destinations with mail that is due; one counts once for each owner

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
		for name := range m.learnt.sites {
			if m.sites[name] == nil && m.hasRates(name) {
				a.Sites = append(a.Sites, m.activity(m.newSite(name), now))
			}
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

	// Rates are the learned rates that count the task. The one whose Until is latest binds, or else the one with the
	// smallest PerHour, unless Limits or the Rates of its source or tenant are smaller.
	Rates []LearnedRate

	// Source is the name of the source that the task goes out from: see Runner.SourceOf.
	Source string

	// Why is a sentence about the cause. Advice has sentences about what a person can do. If empty, there is nothing to
	// do except wait. Both are in English, may have names and replies of hosts, and may change.
	//
	// Since is when the cause began, and Until is when it ends. If zero, that isn't known. A suspension, a site that is
	// down, or a learned rate is the cause if it ends after the time of the next attempt.
	Why, Advice  string
	Since, Until time.Time
}

// because sets the cause.
func (e *Explanation) because(c cause) {
	e.Why, e.Advice, e.Since, e.Until = c.why, c.advice, c.since, c.until
}

// Explain returns why each task of a message waits. It may ask SiteOf. If there is no such message, the error wraps
// queue.ErrNotFound. The Queue must be a [queue.Lister].
func (r *Runner) Explain(ctx context.Context, id queue.ID) ([]Explanation, error) {
	mine := make(map[string]bool) // what this Runner was sending before the list is leased there, too
	r.inFlight(id, mine)
	tasks, err := r.tasks(ctx, "explain", id)
	if err != nil {
		return nil, err
	}
	r.inFlight(id, mine)
	if len(tasks) == 0 {
		return nil, fmt.Errorf("explain: %w", queue.ErrNotFound)
	}
	all := make([]Explanation, len(tasks))
	now := r.time()
	for i, t := range tasks {
		all[i].Task = t
		t.HeldFor = queue.HeldFor(r.Queue, &t)
		if !queue.OnlyReports(t.Destination) {
			all[i].Source = r.sourceOf(&t)
		}
		all[i].because(explainTask(&t, mine[t.Destination], now))
	}
	sites := r.sitesOf(ctx, tasks, now)
	_, halted := r.watchdog.state()
	running := false
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withMachine(func(m *machine) {
		m.at(now)
		running = true
		for i := range all {
			m.explainFurther(&all[i], sites[all[i].Task.Destination], halted, now)
		}
	})
	for i := range all {
		if !running && all[i].Why == "" {
			all[i].because(cause{
				why: "No Runner is running, so nothing is sent.", advice: "Start the program that sends the mail.",
			})
		}
	}
	return all, nil
}

// inFlight adds the destinations to which this Runner is sending a message.
func (r *Runner) inFlight(id queue.ID, to map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withMachine(func(m *machine) { m.flying(id, to) })
}

// explainFurther replaces the cause that the task shows by one that only the machine knows, if there is one.
func (m *machine) explainFurther(e *Explanation, site string, halted error, now time.Time) {
	task := &e.Task
	s := m.siteNamed(site)
	if t := m.targets[laneOf(task)]; t != nil && t.party != nil {
		s = t.party.site
		e.Site, e.Limits = m.activity(s, now), s.limits
	}
	if e.Site.Name != "" || task.State == queue.Waiting {
		e.Rates = m.ratesFor(task, s, now)
	}
	switch {
	case task.State == queue.Held:
		return
	case halted != nil && (task.State == queue.Leased || e.Why == ""):
		e.because(haltedCause(halted))
		return
	case task.State == queue.Leased:
		return
	}
	// The next try doesn't come before the end of a block.
	c := m.explainBlock(task, site, now)
	blocked := c.until.After(e.Until)
	if blocked {
		e.because(c)
	}
	if e.Why == "" {
		e.because(m.explain(task, now))
		return
	}
	rate := m.rateCause(task, s, now)
	switch {
	case rate.until.After(e.Until):
		e.because(rate)
	case blocked || !isPutOff(task, now):
	case rate.why != "":
		rate.until = e.Until
		e.because(rate)
	default:
		if rate = m.ownRateCause(task); rate.why != "" {
			rate.until = e.Until
			e.because(rate)
		}
	}
}

// siteNamed returns the site of that name. If it isn't known now, it is one that has only its learned rates.
func (m *machine) siteNamed(name string) *site {
	if s := m.sites[name]; s != nil {
		return s
	}
	return &site{name: name, learnt: m.learnt.sites[name]}
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
