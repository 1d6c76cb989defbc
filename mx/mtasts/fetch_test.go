package mtasts

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp/smtptest"
)

// selfSigned returns a certificate that template describes, signed by itself.
func selfSigned(t *testing.T, template *x509.Certificate) *tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := *template
	if c.SerialNumber = big.NewInt(1); c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, &c, &c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// fetchTest is a way in which the policy of example.com can, or can't, be had.
type fetchTest struct {
	name   string
	do     func(*testing.T, *world)
	result string // empty: no error
	want   string // a part of the error; without an error the policy, "enforce id 1" if it is empty, or "-" for none
	takes  time.Duration
}

const blackHole = "a black hole"

// fetchTests are what RFC 8461 §3.1, §3.2 and §3.3 allow and refuse. Each do changes a world whose policy is right.
func fetchTests() []fetchTest {
	const host = "mta-sts.example.com"
	cert := func(template *x509.Certificate) func(*testing.T, *world) {
		return func(t *testing.T, w *world) { w.cert.Store(selfSigned(t, template)) }
	}
	trusted := func(template *x509.Certificate) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			c := selfSigned(t, template)
			w.cert.Store(c)
			w.RootCAs.AddCert(c.Leaf)
		}
	}
	answer := func(status int, kind, body string) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.answer(status, kind, body) }
	}
	handle := func(h http.HandlerFunc) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.handle(h) }
	}
	slow := func(h http.HandlerFunc) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.handle(h); w.hurry() }
	}
	record := func(texts ...string) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) { w.inet.TXT("_mta-sts.example.com", texts...) }
	}
	padded := enforce + strings.Repeat("x: y\n", (64<<10-len(enforce))/5)
	return []fetchTest{
		{name: "right", do: answer(200, "text/plain", enforce)},
		{name: "parameters", do: answer(200, "Text/Plain; charset=utf-8", enforce)},
		{name: "a malformed parameter", do: answer(200, "text/plain; charset", enforce)},
		{name: "64 KiB", do: answer(200, "text/plain", padded)},
		{name: "a wildcard certificate", do: trusted(&x509.Certificate{DNSNames: []string{"*.example.com"}})},
		{name: "an alias", do: func(_ *testing.T, w *world) {
			w.inet.CNAME("_mta-sts.example.com", "r.example")
			w.inet.TXT("r.example", "v=STSv1; id=1")
		}},

		{name: "CRLF", do: answer(200, "text/plain", strings.ReplaceAll(enforce, "\n", "\r\n"))},
		{name: "no last line end", do: answer(200, "text/plain", strings.TrimSpace(enforce))},
		{name: "fields twice", do: answer(200, "text/plain", enforce+"mode: none\nmax_age: x\nversion: STSv2\n")},
		{name: "unknown fields", do: answer(200, "text/plain", "a-b: c\n"+enforce+"Mode: none\n")},
		{name: "max_age 0", do: answer(200, "text/plain", strings.Replace(enforce, "604800", "0", 1))},
		{name: "max_age too long", do: answer(200, "text/plain", strings.Replace(enforce, "604800", "31557601", 1))},
		{name: "mode none", do: answer(200, "text/plain", "version: STSv1\nmode: none\nmax_age: 86400\n"), want: "none id 1"},
		{name: "another TXT record beside", do: record("v=spf1 -all", "v=STSv1; id=1")},

		{name: "no record", do: record(), want: "-"},
		{name: "two records", do: record("v=STSv1; id=1", "v=STSv1; id=2"), want: "-"},
		{name: "no id", do: record("v=STSv1;"), want: "-"},
		{name: "a malformed id", do: record("v=STSv1; id=2026-12-01;"), want: "-"},
		{name: "a long id", do: record("v=STSv1; id=" + strings.Repeat("1", 33)), want: "-"},
		{name: "a malformed record", do: record("v=STSv1 id=1"), want: "-"},
		{name: "another version of the record", do: record("v=STSv2; id=1"), want: "-"},

		{"another name", trusted(&x509.Certificate{DNSNames: []string{"example.com", "www.mta-sts.example.com"}}), mx.STSWebPKIInvalid, "not " + host, 0},
		{"a name in CN alone", trusted(&x509.Certificate{Subject: pkix.Name{CommonName: host}}), mx.STSWebPKIInvalid, "Common Name", 0},
		{"expired", trusted(&x509.Certificate{DNSNames: []string{host}, NotAfter: time.Date(1999, 12, 31, 23, 30, 0, 0, time.UTC)}), mx.STSWebPKIInvalid, "expired", 0},
		{"not valid yet", func(t *testing.T, w *world) {
			trusted(&x509.Certificate{DNSNames: []string{host}, NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)})(t, w)
		}, mx.STSWebPKIInvalid, "not yet valid", 0},
		{"a wildcard for two labels", trusted(&x509.Certificate{DNSNames: []string{"*.com"}}), mx.STSWebPKIInvalid, "not " + host, 0},
		{"self-signed", cert(&x509.Certificate{DNSNames: []string{host}}), mx.STSWebPKIInvalid, "unknown authority", 0},
		{"for clients", trusted(&x509.Certificate{DNSNames: []string{host}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}), mx.STSWebPKIInvalid, "incompatible key usage", 0},

		{"redirect", handle(func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "https://mta-sts.example.com/other", http.StatusMovedPermanently)
		}), mx.STSPolicyFetchError, "HTTP status 301", 0},
		{"redirect with a policy", answer(302, "text/plain", enforce), mx.STSPolicyFetchError, "HTTP status 302", 0},
		{"303", answer(303, "text/plain", enforce), mx.STSPolicyFetchError, "HTTP status 303", 0},
		{"307", answer(307, "text/plain", enforce), mx.STSPolicyFetchError, "HTTP status 307", 0},
		{"308", answer(308, "text/plain", enforce), mx.STSPolicyFetchError, "HTTP status 308", 0},
		{"404", answer(404, "text/plain", enforce), mx.STSPolicyFetchError, "HTTP status 404", 0},
		{"500", answer(500, "text/plain", enforce), mx.STSPolicyFetchError, "HTTP status 500", 0},
		{"204", answer(204, "text/plain", ""), mx.STSPolicyFetchError, "HTTP status 204", 0},
		{"206", answer(206, "text/plain", enforce), mx.STSPolicyFetchError, "HTTP status 206", 0},
		{"a page", answer(200, "text/html", enforce), mx.STSPolicyFetchError, `Content-Type "text/html", want text/plain`, 0},
		{"similar type", answer(200, "text/plainer", enforce), mx.STSPolicyFetchError, `"text/plainer"`, 0},
		{"type in a parameter", answer(200, "text/html; a=text/plain", enforce), mx.STSPolicyFetchError, "want text/plain", 0},
		{"no type", handle(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header()["Content-Type"] = nil
			rw.Write([]byte(enforce))
		}), mx.STSPolicyFetchError, `Content-Type ""`, 0},
		{"over 64 KiB", answer(200, "text/plain", padded+"x: y\n"), mx.STSPolicyFetchError, "over 65536 octets", 0},
		{"endless", handle(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/plain")
			for {
				if _, err := rw.Write([]byte(enforce)); err != nil {
					return
				}
			}
		}), mx.STSPolicyFetchError, "over 65536 octets", 0},
		{"a large header", handle(func(rw http.ResponseWriter, _ *http.Request) { rw.Header().Set("X", strings.Repeat("x", 20<<10)) }), mx.STSPolicyFetchError, "header", 0},
		{"cut off", handle(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/plain")
			rw.Header().Set("Content-Length", "1000")
			rw.Write([]byte(enforce))
		}), mx.STSPolicyFetchError, "unexpected EOF", 0},
		{"slow", slow(func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "text/plain")
			for ctx := r.Context(); ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
				rw.Write([]byte("x: y\n"))
				http.NewResponseController(rw).Flush()
			}
			panic(http.ErrAbortHandler) // so that the client, which may not have given up yet, never sees an end
		}), mx.STSPolicyFetchError, "did not answer in time", time.Minute},
		{"silent", slow(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done(); panic(http.ErrAbortHandler) }), mx.STSPolicyFetchError, "did not answer in time", time.Minute},
		{"cannot be reached", func(_ *testing.T, w *world) {
			w.inet.Host(host).Down()
			w.addr = "127.0.0.1:1"
		}, mx.STSPolicyFetchError, "refused", 0},
		{blackHole, func(_ *testing.T, w *world) { w.inet.Host(host).Hang() }, mx.STSPolicyFetchError, "deadline exceeded", 15 * time.Second},
		{"no host", func(_ *testing.T, w *world) { w.inet.FailDNS(host, smtptest.NXDomain) }, mx.STSPolicyFetchError, "no address", 0},
		{"no DNS for the host", func(_ *testing.T, w *world) { w.inet.FailDNS(host, smtptest.ServFail) }, mx.STSPolicyFetchError, "cannot look up", 0},
		{"no DNS for the record", func(_ *testing.T, w *world) { w.inet.FailDNS("_mta-sts.example.com", smtptest.ServFail) }, mx.STSPolicyFetchError, "TXT record", 0},

		{"garbage", answer(200, "text/plain", "\x00\xff"), mx.STSPolicyInvalid, "line 1", 0},
		{"empty", answer(200, "text/plain", ""), mx.STSPolicyInvalid, "no version", 0},
		{"no version", answer(200, "text/plain", strings.Replace(enforce, "version: STSv1\n", "", 1)), mx.STSPolicyInvalid, "no version", 0},
		{"no mode", answer(200, "text/plain", strings.Replace(enforce, "mode: enforce\n", "", 1)), mx.STSPolicyInvalid, "no mode", 0},
		{"another mode", answer(200, "text/plain", strings.Replace(enforce, "mode: enforce", "mode: report", 1)), mx.STSPolicyInvalid, `mode "report"`, 0},
		{"no mx", answer(200, "text/plain", "version: STSv1\nmode: enforce\nmax_age: 1\n"), mx.STSPolicyInvalid, "no mx", 0},
		{"no max_age", answer(200, "text/plain", strings.Replace(enforce, "max_age: 604800\n", "", 1)), mx.STSPolicyInvalid, "no max_age", 0},
		{"max_age in words", answer(200, "text/plain", strings.Replace(enforce, "604800", "7d", 1)), mx.STSPolicyInvalid, `max_age "7d"`, 0},
		{"a bad pattern", answer(200, "text/plain", strings.Replace(enforce, "*.example.net", "mx.*.example.net", 1)), mx.STSPolicyInvalid, "mx ", 0},
		{"wrong version", answer(200, "text/plain", strings.Replace(enforce, "STSv1", "STSv2", 1)), mx.STSPolicyInvalid, `version "STSv2"`, 0},
		{"compressed", handle(func(rw http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Accept-Encoding"); got != "" {
				rw.Header().Set("X-Got", got)
			}
			rw.Header().Set("Content-Type", "text/plain")
			rw.Header().Set("Content-Encoding", "gzip")
			rw.Write([]byte("\x1f\x8b\x08"))
		}), mx.STSPolicyInvalid, "line 1", 0},
	}
}

// TestFetch: each failure has the result type of RFC 8460, and takes as long as it may.
func TestFetch(t *testing.T) {
	for _, tt := range fetchTests() {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				tt.do(t, w)
				start := time.Now()
				p, err := w.Lookup(t.Context(), "example.com")
				if got := time.Since(start); got != tt.takes {
					t.Errorf("took %v, want %v", got, tt.takes)
				}
				tt.check(t, p, err)
				if n := w.fetched(); n > 1 {
					t.Errorf("got %d requests, want one", n)
				}
			})
		})
	}
}

// check checks the result of Lookup, without a policy that was there before.
func (tt *fetchTest) check(t *testing.T, p *Policy, err error) {
	t.Helper()
	if tt.result == "" {
		want := cmp.Or(tt.want, "enforce id 1")
		if got := strings.Replace(show(p, err), "testing", "enforce", 1); cmp.Or(got, "-") != want {
			t.Errorf("got %q, want %q", got, want)
		}
		return
	}
	failed, ok := errors.AsType[*Error](err)
	if !ok || p != nil || failed.Result != tt.result || failed.Domain != "example.com" || !strings.Contains(err.Error(), tt.want) {
		t.Errorf("got %+v, %+v, want %s with %q", p, err, tt.result, tt.want)
	}
}

// TestPrivateAddresses: a policy host inside isn't connected to, unless that is allowed.
func TestPrivateAddresses(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:192.168.0.1", "0.0.0.0"} {
		inBubble(t, func(t *testing.T, w *world) {
			w.inet.Host("mta-sts.example.com").SetAddrs(netip.MustParseAddr(addr))
			p, err := w.Lookup(t.Context(), "example.com")
			if got := show(p, err); !strings.Contains(got, "only private or reserved addresses") || w.fetched() > 0 {
				t.Errorf("%s: got %s", addr, got)
			}
			c := w.newClient()
			c.AllowPrivate = true
			p, err = c.Lookup(t.Context(), "example.com")
			if got := show(p, err); strings.Contains(got, "private") {
				t.Errorf("%s, AllowPrivate: got %s", addr, got)
			}
		})
	}
}

// TestSeveralAddresses: an address that doesn't answer isn't the end.
func TestSeveralAddresses(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		dead := w.inet.Host("dead.example")
		dead.Hang()
		host := w.inet.Host("mta-sts.example.com")
		live := host.Addrs()[0]
		host.SetAddrs(dead.Addrs()[0], netip.MustParseAddr("10.0.0.1"), live)
		if got := show(w.Lookup(t.Context(), "example.com")); got != "enforce id 1" {
			t.Errorf("got %s", got)
		}
	})
}

// TestProxy: the request goes through a proxy only if the field says so. Real sockets, and a real environment.
func TestProxy(t *testing.T) {
	var connects []string
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		connects = append(connects, r.Method+" "+r.Host)
		rw.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	for _, key := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(key, proxy.URL)
	}
	at, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	inet := smtptest.NewNetwork(t)
	inet.TXT("_mta-sts.example.com", "v=STSv1; id=1")
	inet.Host("mta-sts.example.com")
	c := &Client{Resolver: inet, RootCAs: x509.NewCertPool(), DialContext: dialTo("127.0.0.1:1")}
	if got := show(c.Lookup(t.Context(), "example.com")); !strings.Contains(got, "refused") || len(connects) > 0 {
		t.Errorf("without Proxy: got %s, and %q at the proxy", got, connects)
	}
	c = &Client{Resolver: inet, RootCAs: x509.NewCertPool(), Proxy: http.ProxyURL(at)}
	got := show(c.Lookup(t.Context(), "example.com"))
	if want := "CONNECT mta-sts.example.com:443"; !strings.Contains(got, "Forbidden") || fmt.Sprint(connects) != "["+want+"]" {
		t.Errorf("got %s, and %q at the proxy, want %s", got, connects, want)
	}
}

// TestRealServer: the server and the sockets of the system.
func TestRealServer(t *testing.T) {
	inet := smtptest.NewNetwork(t)
	inet.TXT("_mta-sts.bücher.example", "v=STSv1; id=1")
	inet.Host("mta-sts.bücher.example").SetAddrs(netip.MustParseAddr("127.0.0.1"))
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if got := r.Host; got != "mta-sts.xn--bcher-kva.example" {
			t.Errorf("got host %s", got)
		}
		rw.Header().Set("Content-Type", "text/plain")
		rw.Write([]byte(enforce))
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("mta-sts.bücher.example")}}
	s.StartTLS()
	defer s.Close()
	var asked string
	dial := dialTo(s.Listener.Addr().String())
	c := &Client{Resolver: inet, RootCAs: inet.RootCAs(), AllowPrivate: true}
	c.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		asked = addr
		return dial(ctx, network, addr)
	}
	if got := show(c.Lookup(t.Context(), "BÜCHER.example.")); got != "enforce id 1" || asked != "127.0.0.1:443" {
		t.Errorf("got %s from %s", got, asked)
	}
}
