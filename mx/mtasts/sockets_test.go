package mtasts

import (
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// mail sends a mail to a domain and returns what became of it.
func (w *world) mail(t *testing.T, domain string) string {
	t.Helper()
	tr := &client.Transport{Hostname: "client.test", DialContext: w.inet.DialContext, Router: &mx.Router{Resolver: w.inet},
		Policies: []mx.Policy{w.Client}, IdleTimeout: -1}
	defer tr.Close()
	results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@"+domain), smtp.Text("Hello.\n"))
	return results[0].Outcome.String()
}

// recheckNow has the next lookup ask for the TXT record, as if time had passed.
func (w *world) recheckNow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.domains["example.com"].check = time.Time{}
}

// inModes runs f with a policy host at a real socket, once with policies in enforce and once with the same in testing.
func inModes(t *testing.T, name string, f func(t *testing.T, w *world)) {
	for _, lax := range []bool{false, true} {
		mode := map[bool]string{false: "enforce", true: "testing"}[lax]
		t.Run(name+"/"+mode, func(t *testing.T) {
			t.Parallel()
			f(t, startWorld(t, &world{sockets: true, testing: lax}))
		})
	}
}

// TestSockets fetches the policy from a real HTTPS server with a private root, and sends mail to a host without STARTTLS.
// The mail waits only for a policy in enforce that could be had, or was had before.
func TestSockets(t *testing.T) {
	tests := append(fetchTests(), fetchTest{"no TLS", func(t *testing.T, w *world) {
		s := httptest.NewServer(nil)
		t.Cleanup(s.Close)
		w.addr = s.Listener.Addr().String()
	}, mx.STSPolicyFetchError, "does not look like a TLS handshake", 0}, fetchTest{"no handshake", func(t *testing.T, w *world) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		w.addr = l.Addr().String()
		w.hurry()
	}, mx.STSPolicyFetchError, "in time", 0})
	for _, tt := range tests {
		if tt.name == blackHole {
			continue // real sockets have none on one machine
		}
		inModes(t, tt.name, func(t *testing.T, w *world) {
			w.inet.MX("example.com", "mx.example.com").NoTLS()
			tt.do(t, w)
			p, err := w.Lookup(t.Context(), "example.com")
			tt.check(t, p, err)
			want := "delivered"
			if p != nil && p.Mode == Enforce {
				want = "deferred"
			}
			if got := w.mail(t, "example.com"); got != want {
				t.Errorf("got mail %s, want %s", got, want)
			}
			if n := w.fetched(); n > 1 {
				t.Errorf("got %d requests, want one", n)
			}
		})
		inModes(t, tt.name+", with a policy", func(t *testing.T, w *world) {
			host := w.inet.MX("example.com", "mx.example.com")
			if got := w.mail(t, "example.com"); got != "delivered" {
				t.Fatalf("got mail %s, want it delivered", got)
			}
			w.record("v=STSv1; id=2;")
			tt.do(t, w)
			w.recheckNow()
			host.NoTLS()
			want := "deferred"
			if w.testing || strings.HasPrefix(tt.want, "none ") {
				want = "delivered"
			}
			if got := w.mail(t, "example.com"); got != want {
				t.Errorf("got mail %s, want %s", got, want)
			}
		})
	}
}

// TestHosts: mail to a host that falls short of a policy waits in enforce, and doesn't in testing.
func TestHosts(t *testing.T) {
	fault := func(f smtptest.TLSFault) func(*smtptest.Host) {
		return func(h *smtptest.Host) { h.FailTLS(f) }
	}
	for _, tt := range []struct {
		name, pattern, host string // if empty, mx.example.com
		fault               func(*smtptest.Host)
		want                string // in enforce
	}{
		{name: "right", want: "delivered"},
		{name: "in upper case", pattern: "MX.Example.COM", want: "delivered"},
		{name: "wildcard", pattern: "*.example.com", want: "delivered"},
		{name: "wildcard for one label only", pattern: "*.example.com", host: "a.mx.example.com", want: "deferred"},
		{name: "wildcard, not the name itself", pattern: "*.mx.example.com", want: "deferred"},
		{name: "wildcard above", pattern: "*.com", want: "deferred"},
		{name: "A-labels", pattern: "*.xn--bcher-kva.example", host: "mx.bücher.example", want: "delivered"},
		{name: "U-labels", pattern: "*.Bücher.example", host: "mx.xn--bcher-kva.example", want: "delivered"},
		{name: "not listed", pattern: "mx.example.net", want: "deferred"},
		{name: "no STARTTLS", fault: (*smtptest.Host).NoTLS, want: "deferred"},
		{name: "no handshake", fault: fault(smtptest.TLSAlert), want: "deferred"},
		{name: "another name", fault: fault(smtptest.TLSWrongName), want: "deferred"},
		{name: "expired", fault: fault(smtptest.TLSExpired), want: "deferred"},
		{name: "another authority", fault: fault(smtptest.TLSUntrusted), want: "deferred"},
		{name: "refuses STARTTLS", fault: func(h *smtptest.Host) { h.Answer(smtp.StageTLS, smtp.NewReply(454, "4.7.0", "no TLS now")) }, want: "deferred"},
		{name: "a large ClientHello breaks it", fault: fault(smtptest.TLSLargeHello), want: "delivered"},
	} {
		inModes(t, tt.name, func(t *testing.T, w *world) {
			pattern, name := tt.pattern, tt.host
			if pattern == "" {
				pattern = "mx.example.com"
			}
			if name == "" {
				name = "mx.example.com"
			}
			host := w.inet.MX("example.com", name)
			if tt.fault != nil {
				tt.fault(host)
			}
			w.answer(200, "text/plain", fmt.Sprintf("version: STSv1\nmode: enforce\nmx: %s\nmax_age: 86400\n", pattern))
			want := tt.want
			if w.testing {
				want = "delivered"
			}
			if got := w.mail(t, "example.com"); got != want || w.fetched() != 1 {
				t.Errorf("got mail %s, want %s", got, want)
			}
		})
	}
}
