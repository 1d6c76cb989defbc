package tlsrpt

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// uploads is a web server that takes reports.
type uploads struct {
	mu     sync.Mutex
	got    []string // type and policies of each, or the error
	handle func(n int, w http.ResponseWriter, r *http.Request)
}

// serve starts a web server at a host of the network, with a client that trusts it.
func (w *world) serve(t *testing.T, host string) *uploads {
	u := new(uploads)
	l, err := w.inet.Listen(host + ":443")
	if err != nil {
		t.Fatal(err)
	}
	cert := w.inet.Certificate(host)
	server := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		defer u.mu.Unlock()
		line := fmt.Sprint(r.Method, " ", r.URL, " ", r.Header.Get("Content-Type"))
		if report, err := Parse(r.Body); err != nil {
			line += " " + err.Error()
		} else {
			line += " " + show(report.Policies)
		}
		u.got = append(u.got, line)
		if u.handle != nil {
			u.handle(len(u.got), rw, r)
		} else {
			rw.WriteHeader(http.StatusCreated)
		}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}}))
	}()
	t.Cleanup(func() { server.Close(); <-done })
	w.HTTP = &http.Client{Transport: &http.Transport{DialContext: w.inet.DialContext, DisableKeepAlives: true,
		TLSClientConfig: &tls.Config{RootCAs: w.inet.RootCAs()}}}
	return u
}

func (u *uploads) take() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	got := u.got
	u.got = nil
	return got
}

// TestPost: what becomes of an upload by how the server answers.
func TestPost(t *testing.T) {
	const gz = "POST /v1/tlsrpt?a=b application/tlsrpt+gzip no-policy-found example.net +1 -0"
	status := func(code int) func(int, http.ResponseWriter, *http.Request) {
		return func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	tests := []struct {
		name   string
		handle func(n int, w http.ResponseWriter, r *http.Request)
		want   []string
		tries  int
		mails  int
	}{
		{"taken", nil, []string{gz}, 1, 1},
		{"OK", status(200), []string{gz}, 1, 1},
		{"a large answer", func(_ int, w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Repeat("x", 2*maxResponse))
		}, []string{gz}, 1, 1},
		{"not compressed", func(_ int, w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Content-Type") == typeGzip {
				w.WriteHeader(http.StatusUnsupportedMediaType)
			}
		}, []string{gz, strings.Replace(gz, "gzip", "json", 1)}, 2, 1},
		{"fails, and mail works", status(500), []string{gz}, 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				u := w.serve(t, "reporting.example.net")
				u.handle = tt.handle
				w.inet.TXT("_smtp._tls.example.net", "v=TLSRPTv1; rua=https://reporting.example.net/v1/tlsrpt?a=b,mailto:a@example.net,mailto:a@example.net")
				w.run(t)
				w.Record(t.Context(), success("example.net"))
				time.Sleep(60 * time.Hour)
				synctest.Wait()
				if got, mails := u.take(), w.take(); fmt.Sprint(got) != fmt.Sprint(tt.want) || len(mails) != tt.mails {
					t.Errorf("got %q, %d mails, want %q, %d", got, len(mails), tt.want, tt.mails)
				}
			})
		})
	}
}

// TestPostRetry: a server that fails for hours gets the report later, whatever it does.
func TestPostRetry(t *testing.T) {
	for name, handle := range map[string]func(w http.ResponseWriter, r *http.Request){
		"500": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) },
		"404": func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(404) },
		"closed": func(w http.ResponseWriter, r *http.Request) {
			if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
				conn.Close()
			}
		},
		"stalled": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				u := w.serve(t, "reporting.example.net")
				u.handle = func(n int, w http.ResponseWriter, r *http.Request) {
					if n < 4 {
						handle(w, r)
					}
				}
				w.Sender = nil
				w.Spread = -1
				w.inet.TXT("_smtp._tls.example.net", "v=TLSRPTv1; rua=https://reporting.example.net/,mailto:a@example.net")
				w.run(t)
				w.Record(t.Context(), success("example.net"))
				time.Sleep(60 * time.Hour)
				synctest.Wait()
				if got := u.take(); len(got) != 4 {
					t.Errorf("got %d requests, want 4: %q", len(got), got)
				}
			})
		})
	}
}

// TestDefaultClient: without HTTP, nothing inside is asked, and no redirect is followed.
func TestDefaultClient(t *testing.T) {
	for _, url := range []string{"https://127.0.0.1/", "https://[::1]:8443/", "https://10.0.0.1/", "https://inside.example.net/", "https://169.254.169.254/a"} {
		inBubble(t, func(t *testing.T, w *world) {
			w.inet.Host("inside.example.net").SetAddrs(netip.MustParseAddr("192.168.0.1"))
			w.inet.TXT("_smtp._tls.example.net", "v=TLSRPTv1; rua="+url)
			w.run(t)
			w.Record(t.Context(), success("example.net"))
			time.Sleep(29 * time.Hour)
			synctest.Wait()
			if got := w.logged.take(); !strings.Contains(got, "only private or reserved addresses") {
				t.Errorf("%s: got log %s", url, got)
			}
		})
	}
	if err := new(Reporter).client().CheckRedirect(nil, nil); err != http.ErrUseLastResponse {
		t.Errorf("redirect: got %v", err)
	}
}

// TestPanics: a Sender that panics is one that fails.
func TestPanics(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		send, panicked := w.Sender, false
		w.Sender = smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
			if !panicked {
				panicked = true
				panic("Sender")
			}
			return send.Send(ctx, env, c)
		})
		w.run(t)
		w.Record(t.Context(), success("example.net"))
		time.Sleep(60 * time.Hour)
		synctest.Wait()
		if got := w.take(); len(got) != 1 || !panicked {
			t.Errorf("got %d mails", len(got))
		}
	})
}
