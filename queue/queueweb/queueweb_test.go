package queueweb

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
)

// counting is a queue that counts what is listed, and can fail.
type counting struct {
	*mem.Queue
	listed atomic.Int64
}

func (q *counting) List(ctx context.Context, f queue.Filter) iter.Seq2[queue.Task, error] {
	return func(yield func(queue.Task, error) bool) {
		for t, err := range q.Queue.List(ctx, f) {
			if q.listed.Add(1); !yield(t, err) {
				return
			}
		}
	}
}

// newHandler returns a Handler that lets everybody in, and its queue.
func newHandler(t testing.TB) (*Handler, *counting) {
	t.Helper()
	q := &counting{Queue: mem.New()}
	runner := &delivery.Runner{Queue: q, Sender: smtp.SenderFunc(
		func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) {
			return nil, errors.New("no way")
		},
	)}
	h := &Handler{Runner: runner, Authorize: func(*http.Request) (string, error) { return "ann", nil }}
	runner.Events = h.Events()
	t.Cleanup(func() { h.Close() })
	return h, q
}

func enqueue(t testing.TB, q queue.Queue, m queue.Message) queue.ID {
	t.Helper()
	if m.Body == nil {
		m.Body = strings.NewReader("Subject: hello\r\n\r\nbody\r\n")
	}
	for range m.Envelope.Recipients[len(m.Destinations):] {
		m.Destinations = append(m.Destinations, "example.net")
	}
	id, err := q.Enqueue(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// settle claims the tasks of a destination, and defers them with a result each.
func settle(t testing.TB, q queue.Queue, destination string, res smtp.Result, next time.Time) (settled []queue.Task) {
	t.Helper()
	for lane, err := range q.Lanes(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if lane.Destination != destination {
			continue
		}
		tasks, err := q.Claim(t.Context(), []queue.Want{{Lane: lane.Lane, Max: 1000}}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			var results []smtp.Result
			for _, rcpt := range task.Envelope.Recipients {
				r := res
				r.Recipient = rcpt.Address
				results = append(results, r)
			}
			if err := q.Settle(t.Context(), task.Lease, queue.Settlement{Results: results, Next: next}); err != nil {
				t.Fatal(err)
			}
			task.Last = results
			settled = append(settled, task)
		}
	}
	return settled
}

// get asks for a page below /queue/.
func get(h http.Handler, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/queue/"+target, nil))
	return w
}

// post sends a form, as a browser does from our own page.
func post(h http.Handler, target string, form url.Values) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "http://relay.test/queue/"+target, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "http://relay.test")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// read asks for a page as JSON.
func read(t testing.TB, h http.Handler, target string, into any) {
	t.Helper()
	w := get(h, target)
	if w.Code != 200 {
		t.Fatalf("%s: got %d %s", target, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatalf("%s: %v in %s", target, err, w.Body)
	}
}

// counted waits until the queue was counted.
func counted(t testing.TB, h *Handler) *census {
	t.Helper()
	for range 1000 {
		var v overviewView
		if read(t, h, "?format=json", &v); v.Census != nil { // a request waits a while for it
			return v.Census
		}
	}
	t.Fatal("the queue isn't counted")
	return nil
}

func TestCheck(t *testing.T) {
	some := func(*http.Request) (string, error) { return "", nil }
	for _, tt := range []struct {
		name string
		h    *Handler
		want string
	}{
		{"good", &Handler{Runner: &delivery.Runner{Queue: mem.New()}, Authorize: some}, ""},
		{"own queue", &Handler{Runner: &delivery.Runner{}, Queue: mem.New(), Authorize: some}, ""},
		{"zero", new(Handler), "Runner is nil"},
		{"nobody", &Handler{Runner: &delivery.Runner{Queue: mem.New()}}, "Authorize is nil"},
		{"no queue", &Handler{Runner: &delivery.Runner{}, Authorize: some}, "Queue is nil"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.h.Check()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			want := 200
			if tt.want != "" {
				want = 403
			}
			if w := get(tt.h, "messages"); w.Code != want {
				t.Errorf("got status %d, want %d", w.Code, want)
			}
			tt.h.Close()
		})
	}
}

// TestRefused: nobody sees or changes anything without authorisation, whatever the page and the method.
func TestRefused(t *testing.T) {
	for _, challenge := range []string{"", `Basic realm="queue"`} {
		h, q := newHandler(t)
		id := enqueue(t, q, queue.Message{Envelope: smtp.NewEnvelope("ann@example.com", "bob@example.net")})
		h.ShowSource, h.Challenge = true, challenge
		h.Authorize = func(*http.Request) (string, error) { return "ann", errors.New("secret cause") }
		want := map[string]int{"": 403}[challenge]
		if want == 0 {
			want = 401
		}
		for name := range views {
			for _, w := range []*httptest.ResponseRecorder{
				get(h, name+"?id="+string(id)), get(h, name+"?format=json&id="+string(id)),
				post(h, name, url.Values{"do": {"purge"}, "all": {"true"}}),
			} {
				body := w.Body.String()
				if w.Code != want || w.Header().Get("WWW-Authenticate") != challenge ||
					strings.Contains(body, "example") || strings.Contains(body, "secret") {
					t.Errorf("page %q: got %d %s, want %d", name, w.Code, body, want)
				}
			}
		}
		if w := get(h, "style.css"); w.Code != want {
			t.Errorf("style sheet: got %d", w.Code)
		}
		if stats, _ := q.Stats(t.Context()); stats.Messages != 1 {
			t.Errorf("got %d messages after refused requests, want 1", stats.Messages)
		}
	}
}

// TestForged: a form that another site sends changes nothing.
func TestForged(t *testing.T) {
	for _, tt := range []struct {
		name   string
		header http.Header
		want   int
	}{
		{"own page", http.Header{"Sec-Fetch-Site": {"same-origin"}}, 200},
		{"own page, no Sec-Fetch", http.Header{"Origin": {"http://relay.test"}}, 200},
		{"typed", http.Header{"Sec-Fetch-Site": {"none"}}, 200},
		{"a program", nil, 200},
		{"other site", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		{"other site that lies about Origin", http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"http://relay.test"}}, 403},
		{"other host of the site", http.Header{"Sec-Fetch-Site": {"same-site"}}, 403},
		{"other site, no Sec-Fetch", http.Header{"Origin": {"http://evil.test"}}, 403},
		{"sandboxed frame", http.Header{"Origin": {"null"}}, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, q := newHandler(t)
			enqueue(t, q, queue.Message{Envelope: smtp.NewEnvelope("ann@example.com", "bob@example.net")})
			r := httptest.NewRequest("POST", "http://relay.test/act", strings.NewReader("do=purge&all=true"))
			r.Header = tt.header.Clone()
			if r.Header == nil {
				r.Header = make(http.Header)
			}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			stats, _ := q.Stats(t.Context())
			if w.Code != tt.want || (stats.Messages == 0) != (tt.want == 200) {
				t.Errorf("got %d and %d messages, want %d", w.Code, stats.Messages, tt.want)
			}
		})
	}
	h, q := newHandler(t)
	enqueue(t, q, queue.Message{Envelope: smtp.NewEnvelope("ann@example.com", "bob@example.net")})
	for _, target := range []string{"act?do=purge&all=true", "act?do=cancel&all=true", "act?do=hold&all=true"} {
		if w := get(h, target); w.Code != 200 {
			t.Errorf("%s: got %d", target, w.Code)
		}
	}
	if stats, _ := q.Stats(t.Context()); stats.Messages != 1 || stats.Held != 0 {
		t.Errorf("a GET has changed the queue: %+v", stats)
	}
}

// TestHeldFor: the list has the reason of held mail, and of no other. A recipient may be as it is in a log.
func TestHeldFor(t *testing.T) {
	h, q := newHandler(t)
	for i, recipient := range []string{"bob@example.net", "eve@example.net", "dan@example.net"} {
		id := enqueue(t, q, queue.Message{Envelope: smtp.NewEnvelope("ann@example.com", recipient), Held: i < 2,
			HeldFor: []string{"a first mail", "an invoice", ""}[i]})
		if i == 1 {
			if err := q.Release(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
	}
	page := get(h, "messages").Body.String()
	if !strings.Contains(page, "Held: <bdi>a first mail</bdi>") || strings.Contains(page, "invoice") {
		t.Errorf("got %s, want the reason of the message that is held", page)
	}
	if got := get(h, "messages?format=json").Body.String(); strings.Count(got, "held_for") != 1 {
		t.Errorf("got %s, want one held_for", got)
	}
	for _, recipient := range []string{"bob@example.net", "%3Cbob@example.net%3E"} {
		got := get(h, "messages?format=json&recipient="+recipient).Body.String()
		if !strings.Contains(got, "bob@") || strings.Contains(got, "eve@") {
			t.Errorf("%s: got %s, want one message", recipient, got)
		}
	}
}

func TestHeaders(t *testing.T) {
	h, _ := newHandler(t)
	answers := map[string]*httptest.ResponseRecorder{
		"style":     get(h, "style.css"),
		"no page":   get(h, "nothing"),
		"bad":       get(h, "messages?state=odd"),
		"JSON":      get(h, "messages?format=json"),
		"no method": post(h, "messages", nil),
	}
	for name := range views {
		answers[name] = get(h, name)
	}
	for name, w := range answers {
		for field, want := range map[string]string{
			"Content-Security-Policy": "frame-ancestors 'none'",
			"X-Frame-Options":         "DENY", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"Referrer-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if got := w.Header().Get(field); !strings.Contains(got, want) {
				t.Errorf("%s: got %s %q, want %q", name, field, got, want)
			}
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none';") ||
			strings.Contains(csp, "script") || strings.Contains(csp, "unsafe") || strings.Contains(csp, "http") {
			t.Errorf("%s: policy %s", name, csp)
		}
		for _, no := range []string{"<script", " style=", "http://", "https://", "javascript:"} {
			if body := w.Body.String(); strings.Contains(body, no) {
				t.Errorf("%s: the page has %q", name, no)
			}
		}
	}
	if w := answers["no method"]; w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("got %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}
