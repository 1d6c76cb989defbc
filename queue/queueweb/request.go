package queueweb

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue"
)

// request is a request that was admitted, and its parameters.
type request struct {
	*http.Request
	user   string
	now    time.Time
	values url.Values // of the query, or of the body of a POST
}

// parameters are those that select no messages.
var parameters = []string{"after", "all", "do", "find", "format", "name", "refresh", "text", "until"}

// parse reads the parameters. Each is given once at most.
func (r *request) parse(w http.ResponseWriter) (err error) {
	r.values, err = web.Values(w, r.Request, slices.Concat(parameters, filterFields), web.MaxValue)
	return err
}

// get returns a parameter without white space around it, as people paste it.
func (r *request) get(name string) string { return strings.TrimSpace(r.values.Get(name)) }

// page is what each template gets.
type page struct {
	Title   string
	User    string
	Name    string // of the page, for the menu
	Refresh string // seconds; empty: it isn't loaded again
	Data    any
}

// answer writes a page, or its data as JSON.
func answer(w http.ResponseWriter, r *request, status int, name, title string, data any) {
	if web.WantsJSON(r.Request) || r.values.Get("format") == "json" {
		web.AnswerJSON(w, status, data)
		return
	}
	p := page{Title: title, User: r.user, Name: name, Data: data}
	if name == "overview" || name == "sites" {
		if p.Refresh = r.get("refresh"); p.Refresh != "10" && p.Refresh != "60" {
			p.Refresh = ""
		}
	}
	if t, ok := data.(interface{ pageTitle() string }); ok {
		p.Title = t.pageTitle()
	}
	web.AnswerHTML(w, status, templates, name, p)
}

// errorView is the answer to a request that failed.
type errorView struct {
	Error    string `json:"error"`
	Status   int    `json:"status"`
	Messages int    `json:"messages,omitempty"` // that an action changed before it failed
}

func answerError(w http.ResponseWriter, r *request, err error) {
	v := errorView{Error: web.Cut(err.Error(), web.MaxLong), Status: http.StatusInternalServerError}
	if p, ok := errors.AsType[*partly](err); ok {
		v.Messages = p.messages
	}
	f, ok := errors.AsType[*web.Failure](err)
	switch {
	case ok:
		v.Status = f.Status
	case errors.Is(err, queue.ErrNotFound):
		v.Status = http.StatusNotFound
	case errors.Is(err, errors.ErrUnsupported):
		v.Status = http.StatusNotImplemented
	case errors.Is(err, context.DeadlineExceeded):
		v.Error = "The search took too long. Ask for less, for example for one destination. (" + v.Error + ")"
		v.Status = http.StatusServiceUnavailable
	case errors.Is(err, queue.ErrClosed), errors.Is(err, queue.ErrBroken), errors.Is(err, context.Canceled):
		v.Status = http.StatusServiceUnavailable
	}
	answer(w, r, v.Status, "error", http.StatusText(v.Status), v)
}
