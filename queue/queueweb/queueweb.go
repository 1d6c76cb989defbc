package queueweb

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/web"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
)

// Handler is the page. Its fields must not change after the first request. It answers requests concurrently.
type Handler struct {
	// Runner delivers the mail of the queue. A Relay fills in the Runner's fields at its own first call, so call Check
	// of the Relay before the first request.
	Runner *delivery.Runner

	// Queue is the Runner's, or one on the same store. If nil, the Queue of Runner. Pages need a [queue.Lister] and a
	// [queue.Stater]; without them they show less. Actions need what the methods of Runner need.
	Queue queue.Queue

	// Authorize returns the name of the user who sent a request, for the log and the page. An error refuses the
	// request. A user who may only look is refused each request whose method is POST. It is called concurrently, once
	// for each request, and also for the style sheet. If nil, all requests are refused.
	//
	// A page at a loopback address needs it, too. Other users of the machine reach that address. So does any web site
	// that gives a name in its own DNS the address 127.0.0.1: compare the Host of the request with the names of the
	// page.
	Authorize func(r *http.Request) (user string, err error)

	// Challenge is sent as WWW-Authenticate with a refusal, whose status is then 401: `Basic realm="queue"` makes a
	// browser ask for a password. If empty, the status is 403.
	Challenge string

	// ShowSource lets users read the source of messages: the header, and the first 64 KiB of all. If false, nothing of
	// a message is shown except its envelope.
	ShowSource bool

	// MaxMessages returns how many messages a connection to the hosts of a site carries at most, for the page of sites:
	// the MaxMessages of the client.Transport, for a Relay. It is called concurrently. If nil, that isn't shown.
	MaxMessages func(site string) int

	// Count is how many tasks are counted for the tables of destinations and reasons, the oldest first. If zero,
	// 1,000,000. A count takes some microseconds of one CPU for each task.
	Count int

	// History is how many events are remembered: see Events. Each takes some hundred octets, and 8 KiB at most. If
	// zero, 10,000.
	History int

	// Logger gets a line for each action, with the user, and for each refused request. If nil, nothing is logged.
	Logger *slog.Logger

	protection http.CrossOriginProtection
	status     kept[*status]
	census     kept[*census]
	record     record
	background background
}

// Check returns an error for the first field that is wrong.
func (h *Handler) Check() error {
	switch {
	case h.Runner == nil:
		return errors.New("queueweb: Runner is nil: set it to the Runner of the Relay")
	case h.Authorize == nil:
		return errors.New("queueweb: Authorize is nil, so every request is refused: " +
			"set it to a func that knows the users")
	case h.queue() == nil:
		return errors.New("queueweb: Queue is nil, and so is that of Runner: " +
			"set one, or call Check of the Relay before")
	}
	return nil
}

// Close ends the count that goes on in the background, and waits for it. Pages are answered without new counts after
// that.
func (h *Handler) Close() error {
	h.background.close()
	return nil
}

func (h *Handler) queue() queue.Queue {
	if h.Queue == nil && h.Runner != nil {
		return h.Runner.Queue
	}
	return h.Queue
}

func (h *Handler) logger() *slog.Logger {
	return cmp.Or(h.Logger, slog.New(slog.DiscardHandler))
}

//go:embed html
var files embed.FS

// view makes the content of a page.
type view struct {
	make   func(h *Handler, r *request) (any, error)
	page   string // the template
	title  string
	method string // beside GET and HEAD
}

var views = map[string]view{
	"":         {make: (*Handler).overview, page: "overview", title: "Queue"},
	"messages": {make: (*Handler).messages, page: "messages", title: "Messages"},
	"message":  {make: (*Handler).message, page: "message", title: "Message"},
	"sites":    {make: (*Handler).sites, page: "sites", title: "Sites"},
	"source":   {make: (*Handler).source, page: "source", title: "Source"},
	"act":      {make: (*Handler).act, page: "act", title: "Confirm", method: http.MethodPost},
}

// ServeHTTP implements [http.Handler].
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	web.SetHeader(w.Header(), "")
	name := web.Page(r)
	req := &request{web.Request{Request: r}, time.Now()}
	if err := h.admit(req); err != nil {
		h.logger().LogAttrs(r.Context(), slog.LevelWarn, "queueweb: refused", slog.String("remote", r.RemoteAddr),
			slog.String("method", r.Method), slog.String("page", web.Cut(name, web.MaxText)), slog.Any("err", err))
		answerError(w, req, web.Refusal(w, h.Challenge, err))
		return
	}
	if name == "style.css" && web.IsRead(r) {
		web.ServeStyle(w, r)
		return
	}
	v, ok := views[name]
	if !ok {
		answerError(w, req, web.Fail(http.StatusNotFound, "There is no such page."))
		return
	}
	if !web.IsRead(r) && (v.method == "" || v.method != r.Method) {
		w.Header().Set("Allow", cmp.Or(v.method, "GET, HEAD"))
		answerError(w, req, web.Fail(http.StatusMethodNotAllowed, "This page can't be changed that way."))
		return
	}
	if err := req.parse(w); err != nil {
		answerError(w, req, err)
		return
	}
	data, err := v.make(h, req)
	if err != nil {
		answerError(w, req, err)
		return
	}
	answer(w, req, http.StatusOK, v.page, v.title, data)
}

// admit reports who sent a request, or why it is refused.
func (h *Handler) admit(r *request) error {
	if h.Runner == nil || h.queue() == nil || h.Authorize == nil {
		return h.Check()
	}
	return r.Admit(h.Authorize, &h.protection)
}

// background are the goroutines that count while no request waits for them. After close, none begins.
type background struct {
	mu     sync.Mutex
	wg     sync.WaitGroup
	ctx    context.Context // of all of them; nil before the first
	cancel context.CancelFunc
	closed bool
}

// begin runs f unless b is closed.
func (b *background) begin(f func(ctx context.Context)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	if b.ctx == nil {
		b.ctx, b.cancel = context.WithCancel(context.Background())
	}
	ctx := b.ctx
	b.wg.Go(func() { f(ctx) })
	return true
}

func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	if b.cancel != nil {
		b.cancel()
	}
	b.mu.Unlock()
	b.wg.Wait()
}
