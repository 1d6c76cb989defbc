package queueweb

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue/delivery"
)

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

	// PerConnection is how many messages a connection carries at most. If zero, that isn't bound or not known.
	PerConnection int `json:"messages_per_connection,omitempty"`

	// Rates were learned of the site. Binds is which bound keeps more from being sent: "window", "ceiling", "rate" or
	// "learned rate". If empty, none does, or the site is down or suspended.
	Rates []rateView `json:"rates,omitempty"`
	Binds string     `json:"binds,omitempty"`
}

// rateView is a rate that was learned of a site.
type rateView struct {
	Site    string    `json:"site"`
	Of      string    `json:"of"` // what the site counts: see delivery.LearnedRate
	Name    string    `json:"name,omitempty"`
	PerHour float64   `json:"per_hour"`
	AtOnce  int       `json:"at_once,omitempty"`
	OfOwner bool      `json:"of_owner,omitempty"` // it is about the mail of one tenant or sender
	Until   time.Time `json:"until,omitzero"`     // nothing is sent before
	Text    string    `json:"text"`               // the same in words
}

func newRates(learned []delivery.LearnedRate) (rates []rateView) {
	for _, r := range learned {
		rates = append(rates, rateView{
			Site: web.Cut(r.Site, web.MaxKept), Of: r.Of, Name: web.Cut(r.Name, web.MaxKept), PerHour: r.PerHour,
			AtOnce: r.AtOnce, OfOwner: r.Owner != 0, Until: r.Until, Text: web.Cut(r.String(), web.MaxKept),
		})
	}
	return rates
}

// newSite is the one place that knows what is shown of a site.
func newSite(s *delivery.SiteActivity, suspended map[string]time.Time) siteView {
	v := siteView{
		Name: web.Cut(s.Name, web.MaxKept), State: "idle", InFlight: s.InFlight, Window: s.Window,
		Ceiling: s.Limits.Concurrency, Destinations: s.Destinations,
	}
	if perHour(s.Limits.Rate) > 0 {
		v.Rate = s.Limits.Rate.String()
	}
	v.Rates = newRates(s.Rates)
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
	if v.State != "suspended" && v.State != "down" {
		v.Binds = binds(s, v.State == "full")
	}
	return v
}

// binds returns the bound that keeps more from being sent to a site. Without mail that is due, a rate keeps nothing.
func binds(s *delivery.SiteActivity, full bool) string {
	least, which := perHour(s.Limits.Rate), ""
	if least > 0 {
		which = "rate"
	}
	for _, r := range s.Rates {
		if least == 0 || r.PerHour < least || !r.Until.IsZero() {
			least, which = r.PerHour, "learned rate"
		}
	}
	switch {
	case full && s.Window < s.Limits.Concurrency:
		return "window"
	case full:
		return "ceiling"
	case s.Destinations > 0:
		return which
	}
	return ""
}

// perHour returns 0 for a Rate that is no limit.
func perHour(r delivery.Rate) float64 {
	if r.Messages <= 0 || r.Per <= 0 {
		return 0
	}
	return float64(r.Messages) / r.Per.Hours()
}

// sitesView is the page of sites.
type sitesView struct {
	Find      string       `json:"find,omitempty"`
	Sites     []siteView   `json:"sites"` // those that need a look first
	LeftOut   int          `json:"left_out"`
	Suspended []suspension `json:"suspended"`
	More      int          `json:"suspended_left_out"`

	// Rates are those that were learned, also of sites without mail that is due.
	Rates        []rateView `json:"rates"`
	RatesLeftOut int        `json:"rates_left_out"`
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
	v := &sitesView{Find: r.Get("find"), Sites: []siteView{}, Suspended: []suspension{}, Rates: []rateView{}}
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
		view := newSite(site, suspended)
		if h.MaxMessages != nil {
			view.PerConnection = max(h.MaxMessages(site.Name), 0)
		}
		v.Sites = append(v.Sites, view)
	}
	v.LeftOut = len(found) - len(v.Sites)
	for _, rate := range s.rates {
		switch {
		case !strings.Contains(rate.Site, v.Find):
		case len(v.Rates) == shownSites:
			v.RatesLeftOut++
		default:
			v.Rates = append(v.Rates, rate)
		}
	}
	for name, until := range suspended {
		v.Suspended = append(v.Suspended, suspension{name, until})
	}
	slices.SortFunc(v.Suspended, func(a, b suspension) int { return cmp.Compare(a.Name, b.Name) })
	v.More = max(len(v.Suspended)-shownSites, 0)
	v.Suspended = v.Suspended[:len(v.Suspended)-v.More]
	return v, nil
}
