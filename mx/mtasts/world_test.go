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

	"github.com/postrider/postrider/smtp/smtptest"
)

// world is a domain, example.com, with a policy host, and a Client.
type world struct {
	*Client
	inet     *smtptest.Network
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
func newWorld(t *testing.T) *world {
	w := &world{inet: smtptest.NewNetwork(t), logged: new(buffer)}
	w.Client = w.newClient()
	w.inet.TXT("_mta-sts.example.com", "v=STSv1; id=1;")
	w.serve(t, "example.com")
	w.answer(200, "text/plain", enforce)
	return w
}

// newClient returns another Client of the world.
func (w *world) newClient() *Client {
	return &Client{Resolver: counting{w.inet, &w.lookups}, RootCAs: w.inet.RootCAs(), DialContext: w.inet.DialContext,
		Logger: slog.New(slog.NewTextHandler(w.logged, nil))}
}

// serve starts the policy host of a domain.
func (w *world) serve(t *testing.T, domain string) {
	host := "mta-sts." + domain
	listener, err := w.inet.Listen(host + ":443")
	if err != nil {
		t.Fatal(err)
	}
	cert := w.inet.Certificate(host)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.requests.Add(1)
		(*w.handler.Load())(rw, r)
	}))
	s.Listener.Close()
	s.Listener = listener
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

// dialTo returns a dialer that connects to addr, whatever is asked.
func dialTo(addr string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}
