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

// Activity is what a Runner does at the moment. queue.Stats is what the Queue holds.
type Activity struct {
	Running     bool
	InFlight    int // tasks that are being sent or settled
	Concurrency int // tasks that may be in flight by now: see Runner.Concurrency

	// Destinations is how many destinations with mail it knows.
	Destinations int

	// Down is how many sites are down: see SiteActivity.
	Down int

	// Sites are the sites whose mail is due or is being sent, and those of which something is remembered, by name.
	Sites []SiteActivity
}

// SiteActivity is what a Runner does at a site, and what it has learned of it.
type SiteActivity struct {
	Name         string
	InFlight     int // tasks that are being sent or settled
	Window       int // tasks that may be in flight, as learned: see SiteLimits
	Destinations int // destinations whose mail is due

	// Down is when a site that is down is probed next. If zero, it isn't down. Result is its last failure.
	Down   time.Time
	Result smtp.Result
}

// Activity returns what the Runner does now: the zero Activity if Run isn't running. It costs time for each site.
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
		a.Down = now.Add(time.Duration(s.until - m.mono))
	}
	return a
}

// Explanation says what a task waits for.
type Explanation struct {
	Task queue.Task

	// Site is that of its destination; the zero SiteActivity if the Runner has nothing to do with it now.
	Site SiteActivity

	// Limits are those of that site, and Source is what the task goes out from; "" if Runner.SourceOf is nil.
	Limits SiteLimits
	Source string

	// Why is a sentence, and Until when that ends, if it is known.
	Why   string
	Until time.Time
}

// Explain says what each task of a message waits for. ErrNotFound: there is no such message.
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
		return "It is to be sent later.", task.Due
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
			return leftAlone + suspendedReply(name).Error(), now.Add(time.Duration(left))
		}
		return "It is due.", time.Time{}
	}
	s := t.site
	if end := m.blocked(t); end > 0 {
		reason := m.reason(t)
		return leftAlone + reason.Reply.Error(), now.Add(time.Duration(end - m.mono))
	}
	if at := s.bucket.at(s.limits.Rate); at > m.mono {
		return fmt.Sprintf("Its site gets %d messages in %v.", s.limits.Rate.Messages, s.limits.Rate.Per), now.Add(time.Duration(at - m.mono))
	}
	if room, _ := m.room(s); room <= 0 {
		return fmt.Sprintf("Its site has %d tasks in flight, and may have no more.", s.inFlight), time.Time{}
	}
	return "It waits for its turn.", time.Time{}
}

const leftAlone = "Its site is left alone: "

// lastReply gives the first reply that left a recipient open.
func lastReply(t *queue.Task) string {
	for _, res := range t.Last {
		if res.Reply != nil && isOpen(res) {
			return res.Reply.Error()
		}
	}
	return "no reply is known."
}
