package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// failed is the body of every answer but 200.
type failed struct {
	Error    string `json:"error"`
	Messages int    `json:"messages,omitempty"`
}

func answer(w http.ResponseWriter, r *http.Request, f func(*http.Request, *query) (any, error)) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		write(w, http.StatusBadRequest, failed{Error: err.Error()})
		return
	}
	result, err := f(r, &query{values: values, now: time.Now()})
	if err == nil {
		write(w, http.StatusOK, result)
		return
	}
	n, _ := result.(done) // how many messages before it failed
	write(w, statusOf(err), failed{err.Error(), n.Messages})
}

func statusOf(err error) int {
	if _, ok := errors.AsType[*badRequest](err); ok {
		return http.StatusBadRequest
	}
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, errors.ErrUnsupported):
		return http.StatusNotImplemented
	case errors.Is(err, queue.ErrClosed), errors.Is(err, queue.ErrBroken), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // "<>" is a sender
	e.SetIndent("", "  ")
	e.Encode(body) // after an error of the connection there is nobody to tell
}

// The answers have types of their own, so that the JSON stays the same when the library's types grow.

type taskView struct {
	ID          queue.ID        `json:"id"`
	Destination string          `json:"destination"`
	State       string          `json:"state"`
	Sender      string          `json:"sender"`
	Recipients  []recipientView `json:"recipients"`
	Size        int64           `json:"size"`
	Attempts    int             `json:"attempts"`
	Arrival     time.Time       `json:"arrival"`
	Due         time.Time       `json:"due"`
	Deadline    time.Time       `json:"deadline,omitzero"`
	Ref         string          `json:"ref,omitempty"`
	Tenant      string          `json:"tenant,omitempty"`
}

type recipientView struct {
	Address string `json:"address"`
	Last    string `json:"last,omitempty"` // the last reply
	Host    string `json:"host,omitempty"` // the host that sent it
}

func viewTask(t *queue.Task) taskView {
	v := taskView{
		ID: t.ID, Destination: t.Destination, State: t.State.String(), Size: t.Size, Attempts: t.Attempts,
		Arrival: t.Arrival, Due: t.Due, Deadline: t.Deadline, Ref: t.Ref, Tenant: t.Tenant,
	}
	v.Sender = t.Envelope.From
	if v.Sender == "" {
		v.Sender = "<>" // as in a filter
	}
	for i, rcpt := range t.Envelope.Recipients {
		last, host := reply(t.Last[i])
		v.Recipients = append(v.Recipients, recipientView{rcpt.Address, last, host})
	}
	return v
}

func reply(res smtp.Result) (text, host string) {
	if res.Reply == nil {
		return "", ""
	}
	return res.Reply.Error(), res.Host
}

type explanationView struct {
	taskView
	Why     string    `json:"why"`
	Until   time.Time `json:"until,omitzero"`
	Hosts   []string  `json:"hosts,omitempty"` // of the route that it has now
	NoRoute string    `json:"no_route,omitempty"`
	Site    *siteView `json:"site,omitempty"`
}

type siteView struct {
	Name         string    `json:"name"`
	InFlight     int       `json:"in_flight"`
	Window       int       `json:"window"`
	Destinations int       `json:"destinations"`  // with due mail
	Down         time.Time `json:"down,omitzero"` // until then
	Last         string    `json:"last,omitempty"`
}

func viewSite(s delivery.SiteActivity) siteView {
	v := siteView{Name: s.Name, InFlight: s.InFlight, Window: s.Window, Destinations: s.Destinations, Down: s.DownUntil}
	v.Last, _ = reply(s.Result)
	return v
}

const maxSites = 1000

func viewStatus(stats queue.Stats, runner *delivery.Runner) any {
	a := runner.Activity()
	sites := []siteView{}
	for _, site := range a.Sites[:min(len(a.Sites), maxSites)] {
		sites = append(sites, viewSite(site))
	}
	return map[string]any{
		"queue": map[string]any{
			"messages": stats.Messages, "octets": stats.Octets, "oldest": stats.Oldest,
			"destinations": stats.Destinations,
			"tasks":        stats.Tasks, "waiting": stats.Waiting, "leased": stats.Leased, "held": stats.Held,
		},
		"in_flight": a.InFlight, "concurrency": a.Concurrency, "suspended": runner.Suspended(),
		"missed_events": runner.Missed(), "sites": sites, "sites_left_out": len(a.Sites) - len(sites),
	}
}
