package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/smtp"
)

// operator is an http.Handler that operates a relay:
//
//	GET    /queue                     tasks in pages: limit= tasks, after= the "after" of the previous page
//	GET    /queue/{id}                why each task of a message still waits
//	GET    /status                    the queue's numbers, and the relay's activity
//	POST   /hold, /release, /purge    messages
//	POST   /cancel                    messages, with a report to the sender: reason= is its text
//	POST   /flush/{destination}       try its mail now, or all mail without a destination: "flushed" tasks,
//	                                  "probed" sites that were down
//	POST   /suspend/{name}            stop the delivery to a destination or a site: until= a time (RFC 3339) or a
//	                                  duration ("2h"). "known" is false if it has no mail, or is misspelt
//	DELETE /suspend/{name}            end the suspension
//	POST   /redirect/{domain}         deliver its mail elsewhere: to= a route, as in a flag
//	DELETE /redirect/{domain}         end the redirection
//
// Filters select tasks and messages: id=, destination=, domain= or recipient= of a recipient, sender= ("<>" is the null
// one), ref=, tenant=, state= (waiting, leased or held), older= and newer= (a duration such as "36h", or a time). An
// operation on messages needs a filter or all=true. It applies to a whole message if one of its tasks is selected.
// Destinations and sites have the names that /queue and /status return: a smarthost is one destination for all domains.
//
// Answers are JSON. An answer other than 200 has an "error", and "messages" if the operation failed after some of them.
type operator struct {
	relay  *postrider.Relay
	runner *delivery.Runner
	queue  interface { // abilities of spool.Spool and mem.Mem that Runner has no method for
		queue.Lister
		queue.Stater
	}

	// authorise is called for each request first; an error refuses the request. If nil, all are refused.
	authorise func(*http.Request) error

	once sync.Once
	mux  http.ServeMux
}

const (
	defaultLimit, maxLimit = 100, 1000 // tasks in a page; a page isn't split within a message, and may have more
	maxReason              = 200       // octets
)

func (o *operator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.once.Do(o.routes)
	err := errors.New("no request is accepted: authorise is nil")
	if o.authorise != nil {
		err = o.authorise(r)
	}
	if err != nil {
		w.Header().Set("WWW-Authenticate", "Bearer")
		write(w, http.StatusUnauthorized, failed{Error: err.Error()})
		return
	}
	o.mux.ServeHTTP(w, r)
}

func (o *operator) routes() {
	methods := make(map[string][]string) // by path
	for pattern, f := range map[string]func(*http.Request, *query) (any, error){
		"GET /queue":                   o.list,
		"GET /queue/{id}":              o.explain,
		"GET /status":                  o.status,
		"POST /hold":                   o.messages((*delivery.Runner).Hold),
		"POST /release":                o.messages((*delivery.Runner).Release),
		"POST /purge":                  o.messages((*delivery.Runner).Purge),
		"POST /cancel":                 o.cancel,
		"POST /flush/{destination...}": o.flush, // a destination may have slashes: lmtp:/run/lmtp
		"POST /suspend/{name...}":      o.suspend,
		"DELETE /suspend/{name...}":    o.suspend,
		"POST /redirect/{domain}":      o.redirect,
		"DELETE /redirect/{domain}":    o.redirect,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		methods[path] = append(methods[path], method)
		o.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { answer(w, r, f) })
	}
	for path, allowed := range methods { // ServeMux answers the same, but not in JSON
		o.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			write(w, http.StatusMethodNotAllowed, failed{Error: "use " + strings.Join(allowed, " or ")})
		})
	}
	o.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		write(w, http.StatusNotFound, failed{Error: "there is nothing at " + r.URL.Path})
	})
}

func (o *operator) list(r *http.Request, q *query) (any, error) {
	f := q.filter()
	f.After = queue.ID(q.get("after"))
	limit, err := strconv.Atoi(cmp.Or(q.get("limit"), strconv.Itoa(defaultLimit)))
	if err != nil || limit < 1 || limit > maxLimit {
		return nil, bad("limit: want 1 to %d", maxLimit)
	}
	if err := q.end(); err != nil {
		return nil, err
	}
	page := struct {
		Tasks []taskView `json:"tasks"`
		After queue.ID   `json:"after,omitempty"` // the last message, if there may be more
	}{Tasks: []taskView{}}
	for t, err := range o.queue.List(r.Context(), f) {
		if err != nil {
			return nil, err
		}
		// The next page can begin only between two messages.
		if n := len(page.Tasks); n >= limit && page.Tasks[n-1].ID != t.ID {
			page.After = page.Tasks[n-1].ID
			break
		}
		page.Tasks = append(page.Tasks, viewTask(&t))
	}
	return page, nil
}

func (o *operator) explain(r *http.Request, q *query) (any, error) {
	if err := q.end(); err != nil {
		return nil, err
	}
	all, err := o.relay.Explain(r.Context(), queue.ID(r.PathValue("id")))
	if err != nil {
		return nil, err
	}
	views := make([]explanationView, len(all))
	for i, e := range all {
		views[i] = explanationView{taskView: viewTask(&e.Task), Why: e.Why, Until: e.Until}
		for _, host := range e.Route.Hosts {
			views[i].Hosts = append(views[i].Hosts, host.String())
		}
		if e.RouteErr != nil {
			views[i].NoRoute = e.RouteErr.Error()
		}
		if e.Site.Name != "" {
			views[i].Site = new(viewSite(e.Site))
		}
	}
	return map[string]any{"tasks": views}, nil
}

func (o *operator) status(r *http.Request, q *query) (any, error) {
	if err := q.end(); err != nil {
		return nil, err
	}
	stats, err := o.queue.Stats(r.Context())
	if err != nil {
		return nil, err
	}
	return viewStatus(stats, o.runner), nil
}

// done is the answer to an operation on messages.
type done struct {
	Messages int `json:"messages"`
}

func (o *operator) messages(
	do func(*delivery.Runner, context.Context, queue.Filter) (int, error),
) func(*http.Request, *query) (any, error) {
	return func(r *http.Request, q *query) (any, error) {
		f, err := q.choice()
		if err != nil {
			return nil, err
		}
		n, err := do(o.runner, r.Context(), f)
		return done{n}, err
	}
}

func (o *operator) cancel(r *http.Request, q *query) (any, error) {
	reason := cmp.Or(q.get("reason"), "cancelled by the operator")
	f, err := q.choice()
	if err != nil {
		return nil, err
	}
	if len(reason) > maxReason {
		return nil, bad("reason has %d octets: want at most %d", len(reason), maxReason)
	}
	n, err := o.runner.Cancel(r.Context(), f, reason)
	return done{n}, err
}

func (o *operator) flush(r *http.Request, q *query) (any, error) {
	if err := q.end(); err != nil {
		return nil, err
	}
	tasks, sites, err := o.runner.Flush(r.Context(), r.PathValue("destination"))
	return map[string]any{"flushed": tasks, "probed": sites}, err
}

func (o *operator) suspend(r *http.Request, q *query) (any, error) {
	name, until := r.PathValue("name"), time.Time{} // ends the suspension
	if name == "" {
		return nil, bad("the name is empty: want /suspend/ and a destination or a site")
	}
	if r.Method == http.MethodPost {
		until = q.time("until", +1)
		if q.err == nil && !until.After(q.now) {
			return nil, bad("until: want a time in the future, or a positive duration")
		}
	}
	if err := q.end(); err != nil {
		return nil, err
	}
	known := o.runner.Suspend(until, name)
	return map[string]any{"suspended": o.runner.Suspended(), "known": known > 0}, nil
}

func (o *operator) redirect(r *http.Request, q *query) (any, error) {
	var route *mx.Route // nil ends the redirection
	to := q.get("to")
	if r.Method == http.MethodPost {
		parsed, err := mx.ParseRoute(to)
		if err != nil {
			return nil, bad("to: %v", err)
		}
		route = &parsed
	}
	if err := q.end(); err != nil {
		return nil, err
	}
	err := o.relay.Redirect(r.Context(), r.PathValue("domain"), route)
	if reply, ok := errors.AsType[*smtp.Reply](err); ok { // the domain is invalid
		return nil, bad("domain: %v", reply)
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"domain": r.PathValue("domain"), "to": to}, nil
}
