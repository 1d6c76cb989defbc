package inbox

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/postrider/postrider/internal/guard"
	"github.com/postrider/postrider/internal/web"
)

//go:embed html
var files embed.FS

// templates escape everything for HTML. What comes from a mail goes through "text", "long" or "source" before.
var templates = template.Must(web.NewTemplates().Funcs(template.FuncMap{
	"source": func(s string) string { return web.Source(s, maxLine) },
}).ParseFS(files, "html/*.html"))

const maxLine = 10_000 // runes of a line of text and source

// request is a request that was admitted, and its parameters.
type request struct{ web.Request }

// view makes the content of a page.
type view struct {
	make   func(in *Inbox, r *request) (any, error)
	page   string // the template
	title  string
	method string // beside GET and HEAD
}

var views = map[string]view{
	"":         {make: (*Inbox).list, page: "list", title: "Inbox"},
	"message":  {make: (*Inbox).message, page: "message", title: "Message"},
	"switches": {make: (*Inbox).switchesPage, page: "switches", title: "Switches"},
	"act":      {make: (*Inbox).act, page: "act", title: "Confirm", method: http.MethodPost},
}

// downloads are answered with something else than a page.
var downloads = map[string]func(in *Inbox, w http.ResponseWriter, r *request) error{
	"html": (*Inbox).document, "part": (*Inbox).part, "raw": (*Inbox).raw,
}

// parameters are all that any page has.
var parameters = []string{
	"after", "do", "find", "format", "from", "greylist", "id", "part", "quotas", "refresh", "refuse", "seven_bit",
	"since", "stalls", "subject", "to", "view", "wait",
}

// maxValue bounds a parameter in octets: the rules are many lines.
const maxValue = 32 << 10

// ServeHTTP implements [http.Handler]. It reads the last element of the path, so an Inbox can be mounted below any path
// that ends in "/".
func (in *Inbox) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	web.SetHeader(w.Header(), "; frame-src 'self'")
	name := web.Page(r)
	req := &request{web.Request{Request: r}}
	if err := req.Admit(in.authorize, &in.protection); err != nil {
		guard.Logger(in.Logger).LogAttrs(r.Context(), slog.LevelWarn, "inbox: refused",
			slog.String("remote", r.RemoteAddr), slog.String("method", r.Method),
			slog.String("page", web.Cut(name, web.MaxText)), slog.Any("err", err))
		answerError(w, req, web.Refusal(w, in.Challenge, err))
		return
	}
	if name == "style.css" && web.IsRead(r) {
		web.ServeStyle(w, r)
		return
	}
	v, isPage := views[name]
	download := downloads[name]
	switch {
	case !isPage && download == nil:
		answerError(w, req, web.Fail(http.StatusNotFound, "There is no such page."))
		return
	case !web.IsRead(r) && (v.method == "" || v.method != r.Method):
		w.Header().Set("Allow", cmp.Or(v.method, "GET, HEAD"))
		answerError(w, req, web.Fail(http.StatusMethodNotAllowed, "This page can't be changed that way."))
		return
	}
	if err := req.Parse(w, parameters, maxValue); err != nil {
		answerError(w, req, err)
		return
	}
	if !isPage {
		if err := download(in, w, req); err != nil {
			answerError(w, req, err)
		}
		return
	}
	data, err := v.make(in, req)
	if err != nil {
		answerError(w, req, err)
		return
	}
	answer(w, req, http.StatusOK, v.page, v.title, data)
}

func (in *Inbox) authorize(r *http.Request) (user string, err error) {
	if in.Authorize != nil {
		return in.Authorize(r)
	}
	return "", checkLoopback(r)
}

// checkLoopback returns an error for a request that may not come from a user of this machine. A web site can have a
// name in its DNS that has a loopback address: only the Host of the request shows that. A proxy on this machine passes
// on the requests of others: most proxies add a header field.
func checkLoopback(r *http.Request) error {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !isLoopback(remote.Addr()) {
		return fmt.Errorf("the client is %s: set Authorize for clients other than this machine", r.RemoteAddr)
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); host != "localhost" && (err != nil || !isLoopback(ip)) {
		return fmt.Errorf("the host is %q: open the page by its address, or set Authorize", r.Host)
	}
	for _, name := range []string{"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip"} {
		if r.Header.Get(name) != "" {
			return fmt.Errorf("the request comes by a proxy, with %s: set Authorize", name)
		}
	}
	return nil
}

func isLoopback(ip netip.Addr) bool { return ip.Unmap().IsLoopback() }

// answer writes a page, or its data as JSON.
func answer(w http.ResponseWriter, r *request, status int, name, title string, data any) {
	var refresh []string
	if name == "list" {
		refresh = []string{"5", "60"}
	}
	web.Answer(w, &r.Request, status, templates, web.View{Title: title, Name: name, Data: data}, refresh...)
}

// errorView is the answer to a request that failed.
type errorView struct {
	Error  string `json:"error"`
	Status int    `json:"status"`
}

func answerError(w http.ResponseWriter, r *request, err error) {
	v := errorView{Error: web.Cut(err.Error(), web.MaxLong), Status: http.StatusInternalServerError}
	if f, ok := errors.AsType[*web.Failure](err); ok {
		v.Status = f.Status
	} else if errors.Is(err, ErrNotFound) {
		v.Status = http.StatusNotFound
		v.Error = "There is no such message: it was deleted, it made room for others, or it never was there."
	}
	answer(w, r, v.Status, "error", http.StatusText(v.Status), v)
}
