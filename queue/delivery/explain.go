package delivery

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// Status is what a Runner does at the moment.
type Status struct {
	Running     bool
	Down        int // sites that are left alone, as they answered nobody
	InFlight    int // tasks that are being sent or settled
	Concurrency int // how many there may be by now
	Targets     int // destinations that it knows of

	// Sites are those with mail that may be sent or is being sent, and those that there is something to remember of, by
	// their names.
	Sites []SiteStatus

	// Suspended are the destinations and sites that Suspend was called for, with the ends.
	Suspended map[string]time.Time
}

// SiteStatus is how a site is doing.
type SiteStatus struct {
	Name     string
	InFlight int // tasks
	Window   int // tasks that may be in flight, as was learned
	Ready    int // destinations that may have something due

	// Down is when a site that answered nobody, and is left alone, is probed next, and Result why; the zero time: it isn't.
	Down   time.Time
	Result smtp.Result
}

// Status says what the Runner does. Without a Run it has only what is suspended.
func (r *Runner) Status() Status {
	var s Status
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withMachine(func(m *machine) {
		m.at(now)
		s.Running, s.Concurrency = true, r.loop.places
		s.Targets = len(m.targets)
		for _, site := range m.sites {
			s.InFlight += int(site.inFlight)
			if site.until > m.mono {
				s.Down++
			}
			s.Sites = append(s.Sites, m.status(site, now))
		}
	})
	slices.SortFunc(s.Sites, func(a, b SiteStatus) int { return cmp.Compare(a.Name, b.Name) })
	s.Suspended = maps.Clone(r.suspended)
	maps.DeleteFunc(s.Suspended, func(_ string, until time.Time) bool { return !until.After(now) })
	return s
}

func (m *machine) status(s *site, now time.Time) SiteStatus {
	st := SiteStatus{Name: s.name, InFlight: int(s.inFlight), Window: int(s.window), Ready: s.ring.len()}
	if s.down {
		st.Window = 1
	}
	if s.until > m.mono {
		st.Result = s.result
		st.Down = now.Add(time.Duration(s.until - m.mono))
	}
	return st
}

// Explanation says what a task waits for.
type Explanation struct {
	Task queue.Task

	// Site is that of its destination; the zero SiteStatus if the Runner has nothing to do with it now.
	Site SiteStatus

	// Limits are those of that site, and Source is what the task goes out from; "" if Runner.SourceOf is nil.
	Limits SiteLimits
	Source string

	// Why is a sentence, and Until when that ends, if it is known.
	Why   string
	Until time.Time
}

// Explain says what each task of a message waits for. ErrNotFound: there is no such message.
func (r *Runner) Explain(ctx context.Context, id queue.ID) ([]Explanation, error) {
	tasks, err := r.tasks(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	if len(tasks) == 0 {
		return nil, queue.ErrNotFound
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
				e.Site, e.Limits = m.status(t.site, now), t.site.limits
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
