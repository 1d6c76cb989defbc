// Package web has the parts that the module's web pages share: texts from outside made visible, parameters of
// requests, answers as HTML or JSON, and the headers that keep a page from being framed, cached or mixed with anything
// from elsewhere.
package web

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// Failure is an error that the user is told.
type Failure struct {
	Status int
	Text   string
}

func (f *Failure) Error() string { return f.Text }

// Fail returns a Failure.
func Fail(status int, text string) error { return &Failure{status, text} }

// Bad returns a Failure with 400.
func Bad(format string, args ...any) error {
	return Fail(http.StatusBadRequest, fmt.Sprintf(format, args...))
}

// Bounds of what comes from outside.
const (
	MaxForm  = 64 << 10 // octets of a body
	MaxValue = 1900     // octets of a parameter
	MaxText  = 120      // runes of an address or a name in a table
	MaxLong  = 1000     // runes of a reply
	MaxKept  = 2000     // octets of a text in JSON and in a history
)

// Page is the last element of a request's path.
func Page(r *http.Request) string {
	_, name := path.Split(r.URL.Path)
	return name
}

// IsRead reports whether a request changes nothing.
func IsRead(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// wantsJSON reports whether the answer is JSON, that to a request with errors, too.
func wantsJSON(r *http.Request) bool { return r.URL.Query().Get("format") == "json" }

// Request is a request that was admitted, and its parameters.
type Request struct {
	*http.Request
	User   string
	Values url.Values // of the query, or of the body of a POST
}

// Get returns a parameter without white space around it, as people paste it.
func (r *Request) Get(name string) string { return strings.TrimSpace(r.Values.Get(name)) }

// Admit finds out the user who sent a request, by authorize, or returns why it is refused. A form of another site is a
// Failure.
func (r *Request) Admit(authorize func(*http.Request) (string, error), p *http.CrossOriginProtection) error {
	user, err := authorize(r.Request)
	if err != nil {
		return err
	}
	if err := p.Check(r.Request); err != nil {
		return &Failure{http.StatusForbidden,
			"This form was sent by another site. Open the page here, and send it again."}
	}
	r.User = user
	return nil
}

// Parse reads the parameters of a request: those of the query, or of a form those of the body, with format from the
// query. A name that isn't in names is an error, and so is one that is given twice, or has more than most octets.
func (r *Request) Parse(w http.ResponseWriter, names []string, most int) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Bad("The query can't be read: %v", err)
	}
	if !IsRead(r.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, MaxForm)
		if err := r.ParseForm(); err != nil {
			return Bad("The form can't be read: %v", err)
		}
		values = r.PostForm
		if format := r.URL.Query().Get("format"); format != "" {
			values.Set("format", format)
		}
	}
	for name, v := range values {
		if !slices.Contains(names, name) {
			// A misspelt filter would select more than was meant.
			return Bad("%s: there is no such parameter.", Cut(name, MaxText))
		}
		if len(v) > 1 {
			return Bad("%s is given twice.", Cut(name, MaxText))
		}
		if len(v[0]) > most {
			return Bad("%s is longer than %d octets.", Cut(name, MaxText), most)
		}
	}
	r.Values = values
	return nil
}

// View is what each template gets.
type View struct {
	Title   string
	User    string
	Name    string // of the page, for the menu
	Refresh string // seconds; empty: it isn't loaded again
	Data    any
}

// Answer writes a page, or its data as JSON. Data may have its own title. refresh are the seconds after which the page
// can be loaded again.
func Answer(w http.ResponseWriter, r *Request, status int, t *template.Template, v View, refresh ...string) {
	if wantsJSON(r.Request) || r.Values.Get("format") == "json" {
		answerJSON(w, status, v.Data)
		return
	}
	v.User = r.User
	if seconds := r.Get("refresh"); slices.Contains(refresh, seconds) {
		v.Refresh = seconds
	}
	if t, ok := v.Data.(interface{ PageTitle() string }); ok {
		v.Title = t.PageTitle()
	}
	answerHTML(w, status, t, v.Name, v)
}

// answerJSON writes data as JSON.
func answerJSON(w http.ResponseWriter, status int, data any) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	if err := e.Encode(data); err != nil {
		http.Error(w, "The answer can't be made.", http.StatusInternalServerError)
		return
	}
	write(w, status, "application/json", b.Bytes())
}

// answerHTML writes a page.
func answerHTML(w http.ResponseWriter, status int, t *template.Template, name string, data any) {
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		http.Error(w, "The page can't be made.", http.StatusInternalServerError)
		return
	}
	write(w, status, "text/html; charset=utf-8", b.Bytes())
}

func write(w http.ResponseWriter, status int, contentType string, b []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	w.Write(b) // after an error of the connection there is nobody to tell
}

// Refusal returns what the user is told of a request that Admit refused: nothing of the cause unless it is ours. With a
// challenge, a browser asks for a password.
func Refusal(w http.ResponseWriter, challenge string, err error) error {
	if ours, ok := errors.AsType[*Failure](err); ok {
		return ours
	}
	status := http.StatusForbidden
	if challenge != "" {
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", challenge)
	}
	return &Failure{status, "You may not see this page, or may only look at it."}
}

// SetHeader keeps a page from being framed, cached, or mixed with anything from elsewhere. more are further directives
// of the Content-Security-Policy.
func SetHeader(h http.Header, more string) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "+
		"frame-ancestors 'none'"+more)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	// IDs and addresses are in our URLs. "no-referrer" would make browsers send "Origin: null" with our own forms.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

//go:embed style.css layout.html
var files embed.FS

// ServeStyle serves the style sheet of all pages.
func ServeStyle(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "style.css") }

// NewTemplates returns what all pages share: "head", "foot" and "time", and the funcs of all templates. What comes from
// a mail or a host goes through "text" or "long" before it is in a page. "head" has the templates "site", a name, and
// "menu" of whose pages they are.
func NewTemplates() *template.Template {
	return template.Must(template.New("").Funcs(template.FuncMap{
		"text":    func(s any) string { return Visible(fmt.Sprint(s), MaxText) },
		"long":    func(s string) string { return Visible(s, MaxLong) },
		"n":       Number,
		"plural":  Plural,
		"octets":  Octets,
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"clock":   func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"rel":     func(t time.Time) string { return Relative(t, time.Now()) },
		"left":    func(t time.Time) string { return Span(time.Until(t)) },
		"isPast":  func(t time.Time) bool { return !t.After(time.Now()) },
		"link":    Link,
		"linkAll": func(page string, values url.Values, more ...string) string { return LinkWith(page, values, more) },
	}).ParseFS(files, "layout.html"))
}
