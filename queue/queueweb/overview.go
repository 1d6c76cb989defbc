package queueweb

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
)

// status is what the Queue and the Runner know without a walk through the queue.
type status struct {
	stats     *queue.Stats // nil: the Queue isn't a queue.Stater
	activity  delivery.Activity
	suspended map[string]time.Time
	missed    uint64
}

func (h *Handler) makeStatus(ctx context.Context) (*status, error) {
	s := &status{activity: h.Runner.Activity(), suspended: h.Runner.Suspended(), missed: h.Runner.Missed()}
	if q, ok := h.queue().(queue.Stater); ok {
		stats, err := q.Stats(ctx)
		if err != nil {
			return nil, err
		}
		s.stats = &stats
	}
	return s, nil
}

// current returns a status that is about a second old, or older if it takes long to make.
func (h *Handler) current(ctx context.Context) (*status, error) {
	s, err := h.status.get(ctx, &h.background, time.Second, h.makeStatus)
	if s == nil && err == nil {
		err = web.Fail(http.StatusServiceUnavailable, "The numbers are being read. Try again in a moment.")
	}
	return s, err
}

// overviewView is the first page.
type overviewView struct {
	Queue  *statsView `json:"queue,omitempty"`
	Runner runnerView `json:"runner"`
	Census *census    `json:"count,omitempty"` // nil: the first count isn't complete yet
	Failed string     `json:"count_error,omitempty"`
	Hour   *hourView  `json:"last_hour,omitempty"` // nil: the events aren't wired
}

type statsView struct {
	Messages     int       `json:"messages"`
	Tasks        int       `json:"tasks"`
	Destinations int       `json:"destinations"`
	Waiting      int       `json:"waiting"`
	Leased       int       `json:"leased"`
	Held         int       `json:"held"`
	Octets       int64     `json:"octets"`
	Oldest       time.Time `json:"oldest,omitzero"`
}

type runnerView struct {
	Running     bool   `json:"running"`
	InFlight    int    `json:"in_flight"`
	Concurrency int    `json:"concurrency"`
	Sites       int    `json:"sites"`
	Down        int    `json:"down"`
	Suspended   int    `json:"suspended"`
	Missed      uint64 `json:"missed_events"`
}

func (h *Handler) overview(r *request) (any, error) {
	s, err := h.current(r.Context())
	if err != nil {
		return nil, err
	}
	a := &s.activity
	v := &overviewView{Runner: runnerView{
		Running: a.Running, InFlight: a.InFlight, Concurrency: a.Concurrency, Sites: len(a.Sites), Down: a.Down,
		Suspended: len(s.suspended), Missed: s.missed,
	}}
	if s.stats != nil {
		v.Queue = new(statsView(*s.stats))
	}
	v.Census, err = h.census.get(r.Context(), &h.background, countAgain, h.count)
	if err != nil {
		v.Failed = web.Cut(err.Error(), web.MaxLong)
	}
	v.Hour = h.record.lastHour(r.now)
	return v, nil
}

// siteView is a site in the table of sites and on the page of a message.
type siteView struct {
	Name         string    `json:"name"`
	State        string    `json:"state"` // "down", "suspended", "full", "sending" or "idle"
	Until        time.Time `json:"until,omitzero"`
	InFlight     int       `json:"in_flight"`
	Window       int       `json:"window"`
	Ceiling      int       `json:"ceiling"`        // of the window
	Rate         string    `json:"rate,omitempty"` // the limit of it
	Destinations int       `json:"destinations"`   // with due mail
	Last         string    `json:"last,omitempty"` // the failure of a site that is down
}

// newSite is the one place that knows what is shown of a site.
func newSite(s *delivery.SiteActivity, suspended map[string]time.Time) siteView {
	v := siteView{
		Name: web.Cut(s.Name, web.MaxKept), State: "idle", InFlight: s.InFlight, Window: s.Window,
		Ceiling: s.Limits.Concurrency, Destinations: s.Destinations,
	}
	if rate := s.Limits.Rate; rate.Messages > 0 && rate.Per > 0 {
		v.Rate = rateText(rate)
	}
	until, isSuspended := suspended[s.Name]
	switch {
	case isSuspended:
		v.State, v.Until = "suspended", until
	case !s.DownUntil.IsZero():
		v.State, v.Until = "down", s.DownUntil
		if s.Result.Reply != nil {
			v.Last = web.Cut(s.Result.Reply.Error(), web.MaxKept)
		}
	case s.InFlight >= s.Window && s.InFlight > 0:
		v.State = "full"
	case s.InFlight > 0:
		v.State = "sending"
	}
	return v
}

// rateText writes a Rate as "60 per minute".
func rateText(r delivery.Rate) string {
	units := map[time.Duration]string{
		time.Second: "second", time.Minute: "minute", time.Hour: "hour", 24 * time.Hour: "day",
	}
	return web.Number(r.Messages) + " per " + cmp.Or(units[r.Per], web.Span(r.Per))
}

// sitesView is the page of sites.
type sitesView struct {
	Find      string       `json:"find,omitempty"`
	Sites     []siteView   `json:"sites"` // those that need a look first
	LeftOut   int          `json:"left_out"`
	Suspended []suspension `json:"suspended"`
	More      int          `json:"suspended_left_out"`
}

type suspension struct {
	Name  string    `json:"name"`
	Until time.Time `json:"until"`
}

const shownSites = 200

func (h *Handler) sites(r *request) (any, error) {
	s, err := h.current(r.Context())
	if err != nil {
		return nil, err
	}
	v := &sitesView{Find: r.get("find"), Sites: []siteView{}, Suspended: []suspension{}}
	suspended := h.Runner.Suspended() // as it is now: a suspension that was just made is there
	var found []*delivery.SiteActivity
	for i := range s.activity.Sites {
		if site := &s.activity.Sites[i]; strings.Contains(site.Name, v.Find) {
			found = append(found, site)
		}
	}
	slices.SortStableFunc(found, func(a, b *delivery.SiteActivity) int { // those of a Runner are sorted by name
		return cmp.Or(b.DownUntil.Compare(a.DownUntil), cmp.Compare(b.InFlight, a.InFlight),
			cmp.Compare(b.Destinations, a.Destinations))
	})
	for _, site := range found[:min(len(found), shownSites)] {
		v.Sites = append(v.Sites, newSite(site, suspended))
	}
	v.LeftOut = len(found) - len(v.Sites)
	for name, until := range suspended {
		v.Suspended = append(v.Suspended, suspension{name, until})
	}
	slices.SortFunc(v.Suspended, func(a, b suspension) int { return cmp.Compare(a.Name, b.Name) })
	v.More = max(len(v.Suspended)-shownSites, 0)
	v.Suspended = v.Suspended[:len(v.Suspended)-v.More]
	return v, nil
}
