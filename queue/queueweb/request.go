package queueweb

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/queue"
)

// request is a request that was admitted, and its parameters.
type request struct {
	*http.Request
	user   string
	now    time.Time
	values url.Values // of the query, or of the body of a POST
}

// failure is an error that the user is told.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return f.text }

func bad(format string, args ...any) error {
	return &failure{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

const (
	maxForm  = 64 << 10 // octets of a body
	maxValue = 1900     // octets of a parameter
)

// parameters are those that select no messages.
var parameters = []string{"after", "all", "do", "find", "format", "name", "refresh", "text", "until"}

// parse reads the parameters. Each is given once at most.
func (r *request) parse(w http.ResponseWriter) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return bad("The query can't be read: %v", err)
	}
	if !isRead(r.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			return bad("The form can't be read: %v", err)
		}
		values = r.PostForm
		if format := r.URL.Query().Get("format"); format != "" {
			values.Set("format", format)
		}
	}
	for name, v := range values {
		if !slices.Contains(parameters, name) && !slices.Contains(filterFields, name) {
			// A misspelt filter would select more mail than was meant.
			return bad("%s: there is no such parameter.", cut(name, maxText))
		}
		if len(v) > 1 {
			return bad("%s is given twice.", cut(name, maxText))
		}
		if len(v[0]) > maxValue {
			return bad("%s is longer than %d octets.", cut(name, maxText), maxValue)
		}
	}
	r.values = values
	return nil
}

// get returns a parameter without white space around it, as people paste it.
func (r *request) get(name string) string { return strings.TrimSpace(r.values.Get(name)) }

// wantsJSON is true before parse, too: errors of it are JSON as well.
func (r *request) wantsJSON() bool {
	return r.URL.Query().Get("format") == "json" || r.values.Get("format") == "json"
}

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
	var b bytes.Buffer
	if r.wantsJSON() {
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		if err := e.Encode(data); err != nil {
			http.Error(w, "The answer can't be made.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
	} else {
		p := page{Title: title, User: r.user, Name: name, Data: data}
		if name == "overview" || name == "sites" {
			if p.Refresh = r.get("refresh"); p.Refresh != "10" && p.Refresh != "60" {
				p.Refresh = ""
			}
		}
		if t, ok := data.(interface{ pageTitle() string }); ok {
			p.Title = t.pageTitle()
		}
		if err := templates.ExecuteTemplate(&b, name, p); err != nil {
			http.Error(w, "The page can't be made.", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
	}
	w.WriteHeader(status)
	w.Write(b.Bytes()) // after an error of the connection there is nobody to tell
}

// errorView is the answer to a request that failed.
type errorView struct {
	Error    string `json:"error"`
	Status   int    `json:"status"`
	Messages int    `json:"messages,omitempty"` // that an action changed before it failed
}

func answerError(w http.ResponseWriter, r *request, err error) {
	v := errorView{Error: cut(err.Error(), maxLong), Status: http.StatusInternalServerError}
	if p, ok := errors.AsType[*partly](err); ok {
		v.Messages = p.messages
	}
	f, ok := errors.AsType[*failure](err)
	switch {
	case ok:
		v.Status = f.status
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
