package mtasts

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp/smtptest"
)

// world is a domain, example.com, with a policy host, and a Client.
type world struct {
	*Client
	inet     *smtptest.Network
	sockets  bool                            // the policy host is at a real socket
	addr     string                          // of the socket
	testing  bool                            // the policy host says testing in place of enforce
	cert     atomic.Pointer[tls.Certificate] // of the policy host
	handler  atomic.Pointer[http.HandlerFunc]
	requests atomic.Int32
	lookups  atomic.Int32 // of TXT records
	logged   *buffer
}

// buffer is a log that is written and read concurrently.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// take returns what was logged, and forgets it.
func (b *buffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.b.String()
	b.b.Reset()
	return s
}

// counting counts the lookups of TXT records.
type counting struct {
	*smtptest.Network
	n *atomic.Int32
}

func (c counting) LookupTXT(ctx context.Context, name string) ([]string, error) {
	c.n.Add(1)
	return c.Network.LookupTXT(ctx, name)
}

const enforce = "version: STSv1\nmode: enforce\nmx: mx.example.com\nmx: *.example.net\nmax_age: 604800\n"

// newWorld returns a world whose domain has the policy enforce, with the id 1. Call it in a bubble.
func newWorld(t *testing.T) *world { return startWorld(t, new(world)) }

// startWorld is newWorld with fields that are set.
func startWorld(t *testing.T, w *world) *world {
	w.inet, w.logged = smtptest.NewNetwork(t), new(buffer)
	w.inet.TXT("_mta-sts.example.com", "v=STSv1; id=1;")
	w.serve(t, "example.com")
	w.answer(200, "text/plain", enforce)
	w.Client = w.newClient()
	return w
}

// newClient returns another Client of the world.
func (w *world) newClient() *Client {
	c := &Client{Resolver: counting{w.inet, &w.lookups}, RootCAs: w.inet.RootCAs(), DialContext: w.inet.DialContext,
		Logger: slog.New(slog.NewTextHandler(w.logged, nil))}
	if w.sockets {
		c.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return dialTo(w.addr)(ctx, network, addr)
		}
	}
	return c
}

// serve starts the policy host of a domain.
func (w *world) serve(t *testing.T, domain string) {
	host := "mta-sts." + domain
	cert := w.inet.Certificate(host)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.requests.Add(1)
		if w.testing {
			rw = lenient{rw}
		}
		(*w.handler.Load())(rw, r)
	}))
	if w.sockets {
		w.inet.Host(host)
		w.addr = s.Listener.Addr().String()
	} else {
		s.Listener.Close()
		var err error
		if s.Listener, err = w.inet.Listen(host + ":443"); err != nil {
			t.Fatal(err)
		}
	}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.TLS = &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName != host {
			t.Errorf("got SNI %q, want %q", hello.ServerName, host)
		}
		if other := w.cert.Load(); other != nil {
			return other, nil
		}
		return &cert, nil
	}, ClientAuth: tls.RequestClientCert, VerifyConnection: func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) > 0 {
			t.Error("got a client certificate, want none")
		}
		return nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
}

// lenient is a response with testing in place of enforce.
type lenient struct{ http.ResponseWriter }

func (l lenient) Write(b []byte) (int, error) {
	return l.ResponseWriter.Write(bytes.ReplaceAll(b, []byte("mode: enforce"), []byte("mode: testing")))
}

func (l lenient) Unwrap() http.ResponseWriter { return l.ResponseWriter }

// handle sets the handler of all policy hosts.
func (w *world) handle(h http.HandlerFunc) { w.handler.Store(&h) }

func (w *world) answer(status int, kind, body string) {
	w.handle(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", kind)
		rw.WriteHeader(status)
		if r.Method == http.MethodGet && r.URL.Path == "/.well-known/mta-sts.txt" {
			rw.Write([]byte(body))
		}
	})
}

// fetched returns the number of requests since the last call.
func (w *world) fetched() int32 { return w.requests.Swap(0) }

// inBubble runs f with a world.
func inBubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld(t)) })
}

// show returns the result of Lookup in a short form.
func show(p *Policy, err error) string {
	var parts []string
	if p != nil {
		parts = append(parts, p.Mode.String(), "id", p.ID)
	}
	if err != nil {
		parts = append(parts, err.Error())
	}
	return strings.Join(parts, " ")
}

// hurry has a Client with real sockets wait less: its time isn't that of a bubble.
func (w *world) hurry() {
	if w.sockets {
		w.Timeout = 300 * time.Millisecond
	}
}

// dialTo returns a dialer that connects to addr, whatever is asked.
func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}
