package queueweb

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue"
)

// request is a request that was admitted, and its parameters.
type request struct {
	web.Request
	now time.Time
}

// parameters are those that select no messages.
var parameters = []string{"after", "all", "do", "find", "format", "name", "refresh", "text", "until"}

// parse reads the parameters. Each is given once at most.
func (r *request) parse(w http.ResponseWriter) error {
	return r.Parse(w, slices.Concat(parameters, filterFields), web.MaxValue)
}

// answer writes a page, or its data as JSON.
func answer(w http.ResponseWriter, r *request, status int, name, title string, data any) {
	var refresh []string
	if name == "overview" || name == "sites" {
		refresh = []string{"10", "60"}
	}
	web.Answer(w, &r.Request, status, templates, web.View{Title: title, Name: name, Data: data}, refresh...)
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
