package queueweb

import (
	"context"
	"net/http"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
)

// status is what the Queue and the Runner know without a walk through the queue.
type status struct {
	at        time.Time
	stats     *queue.Stats // nil: the Queue isn't a queue.Stater
	activity  delivery.Activity
	suspended map[string]time.Time
	missed    uint64
	rates     []rateView // that were learned, of all sites
}

func (h *Handler) makeStatus(ctx context.Context) (*status, error) {
	s := &status{at: time.Now(), suspended: h.Runner.Suspended(), missed: h.Runner.Missed()}
	s.activity = h.Runner.Activity()
	s.rates = newRates(h.Runner.LearnedRates())
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
	var s *status
	var err error
	for begun := time.Now(); time.Since(begun) < time.Second; { // the first one may take longer than patience
		s, err = h.status.get(ctx, &h.background, time.Second, patience, h.makeStatus)
		if s != nil || err != nil || ctx.Err() != nil {
			break
		}
	}
	if s == nil && err == nil {
		err = web.Fail(http.StatusServiceUnavailable, "The numbers are being read. Try again in a moment.")
	}
	return s, err
}

// overviewView is the first page.
type overviewView struct {
	At     time.Time  `json:"at"` // when queue and runner were read, for all requests
	Old    bool       `json:"-"`  // that is longer ago than a reader may think
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
	Halted      string `json:"halted,omitempty"` // why nothing is sent: outcomes can't be recorded
	Unrecorded  int    `json:"unrecorded"`       // tasks that were processed and can't be settled so far
	Stuck       int    `json:"stuck"`            // tasks that are in flight for over an hour
}

func (h *Handler) overview(r *request) (any, error) {
	s, err := h.current(r.Context())
	if err != nil {
		return nil, err
	}
	a := &s.activity
	v := &overviewView{At: s.at, Old: r.now.Sub(s.at) > 5*time.Second, Runner: runnerView{
		Running: a.Running, InFlight: a.InFlight, Concurrency: a.Concurrency, Sites: len(a.Sites), Down: a.Down,
		Suspended: len(s.suspended), Missed: s.missed, Unrecorded: a.Unrecorded, Stuck: a.Stuck,
	}}
	if a.Halted != nil {
		v.Runner.Halted = web.Cut(a.Halted.Error(), web.MaxLong)
	}
	if s.stats != nil {
		v.Queue = new(statsView(*s.stats))
	}
	v.Census, err = h.census.get(r.Context(), &h.background, countAgain, max(patience-time.Since(r.now), 0), h.count)
	if err != nil {
		v.Failed = web.Cut(err.Error(), web.MaxLong)
	}
	v.Hour = h.record.lastHour(r.now)
	return v, nil
}
