package queueweb

import (
	"cmp"
	"context"
	"html/template"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue"
)

// census is what a walk through the queue has counted.
type census struct {
	At      time.Time `json:"at"`      // when it ended
	Seconds float64   `json:"seconds"` // that it took

	Tasks     int  `json:"tasks"`
	Truncated bool `json:"truncated"` // there were more: the newest aren't counted

	Destinations []destination `json:"destinations"` // with the most tasks
	Others       *destination  `json:"others,omitempty"`
	Total        destination   `json:"total"`
	Reasons      []reason      `json:"reasons"`

	// Rows are the table of destinations. They are the same on each page until the next count, and making them takes
	// longer than all else of a page.
	Rows template.HTML `json:"-"`
}

// destination has a number of tasks, and their numbers by the age of their messages: see ages.
type destination struct {
	Name  string  `json:"name,omitempty"`
	Tasks int     `json:"tasks"`
	Held  int     `json:"held"`
	Ages  columns `json:"ages"`
}

func (d *destination) add(t *queue.Task, now time.Time) {
	d.Tasks++
	d.Ages[ageColumn(now.Sub(t.Arrival))]++
	if t.State == queue.Held {
		d.Held++
	}
}

func (d *destination) join(other *destination) {
	d.Tasks += other.Tasks
	d.Held += other.Held
	for i, n := range other.Ages {
		d.Ages[i] += n
	}
}

// reason is how many recipients wait for a cause, with an example.
type reason struct {
	Reason     string   `json:"reason"`
	Recipients int      `json:"recipients"`
	Example    queue.ID `json:"example"` // a message
	Reply      string   `json:"reply,omitempty"`
}

const (
	countAgain      = 30 * time.Second
	defaultCount    = 1_000_000
	maxDestinations = 20_000 // that are counted by name
	shownRows       = 100
	countStep       = 500 // tasks between two pauses
	countPause      = 4   // a pause is this many times as long as the step before it took
)

// count walks through the queue, with pauses, so that it takes a part of one CPU.
func (h *Handler) count(ctx context.Context) (*census, error) {
	c := &census{Destinations: []destination{}, Reasons: []reason{}}
	q, ok := h.queue().(queue.Lister)
	if !ok {
		return c, nil
	}
	most := cmp.Or(max(h.Count, 0), defaultCount)
	begun := time.Now()
	named, others := make(map[string]*destination), new(destination)
	reasons := make(map[string]*reason)
	step := begun
	for t, err := range q.List(ctx, queue.Filter{}) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil && t.ID == "" {
			return nil, err
		}
		if c.Tasks == most {
			c.Truncated = true
			break
		}
		c.Tasks++
		d := named[t.Destination]
		switch {
		case d != nil:
		case len(named) < maxDestinations:
			d = &destination{Name: t.Destination}
			named[t.Destination] = d
		default:
			d = others
		}
		d.add(&t, begun)
		countReasons(reasons, &t)
		if c.Tasks%countStep == 0 {
			if !pause(ctx, countPause*time.Since(step)) {
				return nil, ctx.Err()
			}
			step = time.Now()
		}
	}
	c.sum(named, others)
	for _, r := range reasons {
		c.Reasons = append(c.Reasons, *r)
	}
	slices.SortFunc(c.Reasons, func(a, b reason) int {
		return cmp.Or(cmp.Compare(b.Recipients, a.Recipients), cmp.Compare(a.Reason, b.Reason))
	})
	var rows strings.Builder
	if err := templates.ExecuteTemplate(&rows, "shape", c); err != nil {
		return nil, err
	}
	c.Rows = template.HTML(rows.String()) // made by html/template
	c.At, c.Seconds = time.Now(), time.Since(begun).Seconds()
	return c, nil
}

// sum sorts the destinations by their tasks, and joins those that have no row, and all.
func (c *census) sum(named map[string]*destination, others *destination) {
	for _, d := range named {
		c.Destinations = append(c.Destinations, *d)
	}
	slices.SortFunc(c.Destinations, func(a, b destination) int {
		return cmp.Or(cmp.Compare(b.Tasks, a.Tasks), cmp.Compare(a.Name, b.Name))
	})
	for i := shownRows; i < len(c.Destinations); i++ {
		others.join(&c.Destinations[i])
	}
	c.Destinations = slices.Clip(c.Destinations[:min(len(c.Destinations), shownRows)])
	for i := range c.Destinations {
		c.Total.join(&c.Destinations[i])
	}
	c.Total.join(others)
	if others.Tasks > 0 {
		c.Others = others
	}
}

// countReasons adds the recipients of a task by the Reason of their last result.
func countReasons(reasons map[string]*reason, t *queue.Task) {
	for i := range t.Envelope.Recipients {
		name, reply := "not attempted", ""
		if i < len(t.Last) && t.Last[i].Reply != nil {
			name, reply = t.Last[i].Reason.String(), t.Last[i].Reply.Error()
		}
		r := reasons[name]
		if r == nil {
			r = &reason{Reason: name, Example: t.ID, Reply: web.Cut(reply, web.MaxKept)}
			reasons[name] = r
		}
		r.Recipients++
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
