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

	// Destinations is how many destinations have mail, as far as the Runner knows.
	Destinations int

	// Down is how many of Sites are down.
	Down int

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

	// DownUntil is when a site that is down is probed next. If zero, the site isn't down.
	DownUntil time.Time

	// Result is the last failure of a site that is down.
	Result smtp.Result
}

// Activity returns what the Runner does now. It is the zero Activity if Run isn't running. It takes some microseconds
// for each site.
func (r *Runner) Activity() Activity {
	var a Activity
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withMachine(func(m *machine) {
		m.at(now)
		a.Running, a.Concurrency, a.Destinations = true, r.loop.places, len(m.targets)
		for _, s := range m.sites {
			a.InFlight += int(s.inFlight)
			if s.until > m.mono {
				a.Down++
			}
			a.Sites = append(a.Sites, m.activity(s, now))
		}
	})
	slices.SortFunc(a.Sites, func(a, b SiteActivity) int { return cmp.Compare(a.Name, b.Name) })
	return a
}

func (m *machine) activity(s *site, now time.Time) SiteActivity {
	a := SiteActivity{Name: s.name, InFlight: int(s.inFlight), Window: int(s.window), Destinations: s.ring.len()}
	if s.down {
		a.Window = 1
	}
	if s.until > m.mono {
		a.Result = s.result
		a.DownUntil = now.Add(time.Duration(s.until - m.mono))
	}
	return a
}

// Explanation is why a task waits.
type Explanation struct {
	Task queue.Task

	// Site is the site of the task's destination. It is zero if the destination has no mail that is due or being sent.
	Site SiteActivity

	// Limits are those of that site.
	Limits SiteLimits

	// Source is the name of the source that the task goes out from: see Runner.SourceOf.
	Source string

	// Why is a sentence. Until is when the cause ends. If zero, that isn't known.
	Why   string
	Until time.Time
}

// Explain returns why each task of a message waits. If there is no such message, the error wraps queue.ErrNotFound. The
// Queue must be a [queue.Lister].
func (r *Runner) Explain(ctx context.Context, id queue.ID) ([]Explanation, error) {
	tasks, err := r.tasks(ctx, "explain", id)
	if err != nil {
		return nil, err
	}
	if len(tasks) == 0 {
		return nil, fmt.Errorf("explain: %w", queue.ErrNotFound)
	}
	all := make([]Explanation, len(tasks))
	now := time.Now()
	for i, t := range tasks {
		all[i].Task = t
		all[i].Why, all[i].Until = explainTask(&t, now)
		if r.SourceOf != nil {
			all[i].Source = r.SourceOf(&t)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withMachine(func(m *machine) {
		m.at(now)
		for i := range all {
			e := &all[i]
			if e.Why == "" {
				e.Why, e.Until = m.explain(&e.Task, now)
			}
			if t := m.targets[e.Task.Destination]; t != nil && t.site != nil {
				e.Site, e.Limits = m.activity(t.site, now), t.site.limits
			}
		}
	})
	for i := range all {
		all[i].Why = cmp.Or(all[i].Why, "No Runner is running.")
	}
	return all, nil
}

// explainTask says what a task waits for that isn't due, and until when; "": it is due.
func explainTask(task *queue.Task, now time.Time) (why string, until time.Time) {
	switch {
	case task.State == queue.Held:
		return "It is held until it is released.", time.Time{}
	case task.State == queue.Leased:
		return "It is being sent.", time.Time{}
	case task.Due.After(now) && !attempted(task):
		return "It is scheduled for later.", task.Due
	case task.Due.After(now):
		return "It was deferred: " + lastReply(task), task.Due
	}
	return "", time.Time{}
}

// explain says what a task waits for that is due, and until when.
func (m *machine) explain(task *queue.Task, now time.Time) (why string, until time.Time) {
	t := m.targets[task.Destination]
	if t == nil || t.site == nil {
		name := task.Destination
		if left := m.suspendedFor(name); left > 0 {
			return whySuspended(name), now.Add(time.Duration(left))
		}
		return "It is due.", time.Time{}
	}
	s := t.site
	if end := m.blocked(t); end > 0 {
		why := whySuspended(t.name)
		if s.until > m.mono {
			why = "Its site is down: " + s.result.Reply.Error()
		}
		return why, now.Add(time.Duration(end - m.mono))
	}
	if at := s.bucket.at(s.limits.Rate); at > m.mono {
		why := fmt.Sprintf("Its site has reached its rate: %d per %v.", s.limits.Rate.Messages, s.limits.Rate.Per)
		return why, now.Add(time.Duration(at - m.mono))
	}
	if room, _ := m.room(s); room <= 0 {
		return fmt.Sprintf("Its site has reached its limit of tasks in flight: %d.", s.inFlight), time.Time{}
	}
	return "It waits for its turn.", time.Time{}
}

func whySuspended(name string) string { return "Delivery to " + name + " is suspended." }

// lastReply gives the first reply that left a recipient open.
func lastReply(t *queue.Task) string {
	for _, res := range t.Last {
		if res.Reply != nil && isOpen(res) {
			return res.Reply.Error()
		}
	}
	return "no reply is known."
}
