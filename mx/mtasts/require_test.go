package mtasts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

func target(domain, host string) mx.Target {
	return mx.Target{Domain: domain, Host: mx.Host{Name: host, Port: 25}}
}

// TestRequire: what each mode demands of each host.
func TestRequire(t *testing.T) {
	for _, tt := range []struct{ mode, host, want string }{
		{"enforce", "mx.example.com", "verified testing=false <nil>"},
		{"enforce", "b.example.net", "verified testing=false <nil>"},
		{"enforce", "b.c.example.net", "verified testing=false validation-failure"},
		{"enforce", "evil.example", "verified testing=false validation-failure"},
		{"testing", "mx.example.com", "verified testing=true <nil>"},
		{"testing", "evil.example", "verified testing=true validation-failure"},
		{"none", "evil.example", "nothing"},
		{"invalid", "evil.example", "nothing"},
	} {
		inBubble(t, func(t *testing.T, w *world) {
			w.answer(200, "text/plain", strings.Replace(enforce, "enforce", tt.mode, 1))
			r, err := w.Require(t.Context(), target("example.com", tt.host))
			if err != nil {
				t.Fatal(err)
			}
			got := r.Level.String()
			if r.Level == mx.DemandNothing {
				if r.Name != "" || r.Verify != nil || r.Excluded != nil || r.Testing {
					t.Errorf("%s: got %+v", tt.mode, r)
				}
			} else {
				got += fmt.Sprint(" testing=", r.Testing, " ", result(r.Excluded))
				if !strings.HasPrefix(r.Name, "sts:"+tt.mode+":") || r.ServerName != "" || r.Verify == nil {
					t.Errorf("%s: got %+v", tt.mode, r)
				}
			}
			if got != tt.want {
				t.Errorf("%s, %s: got %s, want %s", tt.mode, tt.host, got, tt.want)
			}
		})
	}
}

// result returns the result type of an error.
func result(err error) string {
	if failed, ok := errors.AsType[*Error](err); ok {
		return failed.Result
	}
	return fmt.Sprint(err)
}

// TestTwoDomains: two domains with the same hosts are apart: one demands, the other doesn't, and a third lists less.
func TestTwoDomains(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		host := target("example.com", "mx.example.com")
		for _, domain := range []string{"same.example", "less.example"} {
			w.serve(t, domain)
			w.inet.TXT("_mta-sts."+domain, "v=STSv1; id=1")
		}
		require := func(domain string) mx.Requirement {
			host.Domain = domain
			r, err := w.Require(t.Context(), host)
			if err != nil {
				t.Fatal(err)
			}
			return r
		}
		first, none := require("example.com"), require("without.example")
		w.answer(200, "text/plain", "version: STSv1\nmode: enforce\nmx: *.example.net\nmx: mx.example.com\nmx: *.example.net\nmax_age: 86400")
		same := require("same.example")
		w.answer(200, "text/plain", "version: STSv1\nmode: enforce\nmx: *.example.net\nmax_age: 86400")
		less := require("less.example")
		if none.Name != "" || first.Name == "" || same.Name != first.Name || less.Name == first.Name {
			t.Errorf("got names %q, %q, %q, %q", none.Name, first.Name, same.Name, less.Name)
		}
		if none.Level != mx.DemandNothing || first.Excluded != nil || same.Excluded != nil || less.Excluded == nil {
			t.Errorf("got %+v, %+v, %+v, %+v", none, first, same, less)
		}
	})
}

// TestRequireFails: without an answer about the policy, the host isn't used.
func TestRequireFails(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r, err := w.Require(ctx, target("example.com", "mx.example.com"))
		reply, ok := errors.AsType[*smtp.Reply](err)
		if !ok || reply.Code != 451 || !errors.Is(err, context.Canceled) || r.Level != mx.DemandNothing {
			t.Errorf("got %+v, %v, want 451 and the end of ctx", r, err)
		}
		if got, want := reply.Text, "the MTA-STS policy of example.com could not be looked up"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestVerify: the certificate of the MX host, in real handshakes.
func TestVerify(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		valid := w.inet.Certificate("mx.example.com")
		other := w.inet.Certificate("mx.other.example")
		trusted := func(template *x509.Certificate) tls.Certificate {
			c := selfSigned(t, template)
			w.RootCAs.AddCert(c.Leaf)
			return *c
		}
		tests := []struct {
			name, host string
			cert       tls.Certificate
			want       string
		}{
			{"valid", "mx.example.com", valid, "<nil>"},
			{"a wildcard", "mx.example.com", trusted(&x509.Certificate{DNSNames: []string{"*.example.com"}}), "<nil>"},
			{"another name", "mx.example.com", other, mx.CertificateHostMismatch},
			{"another host that the policy lists", "b.example.net", valid, mx.CertificateHostMismatch},
			{"the pattern as a name", "b.example.net", trusted(&x509.Certificate{DNSNames: []string{"example.net"}}), mx.CertificateHostMismatch},
			{"CN alone", "mx.example.com", trusted(&x509.Certificate{Subject: pkix.Name{CommonName: "mx.example.com"}}), mx.CertificateHostMismatch},
			{"expired", "mx.example.com", trusted(&x509.Certificate{DNSNames: []string{"mx.example.com"}, NotAfter: time.Now().Add(-time.Minute)}), mx.CertificateExpired},
			{"self-signed", "mx.example.com", *selfSigned(t, &x509.Certificate{DNSNames: []string{"mx.example.com"}}), mx.CertificateNotTrusted},
			{"for clients", "mx.example.com", trusted(&x509.Certificate{DNSNames: []string{"mx.example.com"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}), mx.ValidationFailure},
		}
		for _, tt := range tests {
			r, err := w.Require(t.Context(), target("example.com", tt.host))
			if err != nil {
				t.Fatal(err)
			}
			by, err := r.Verify(handshake(t, w, tt.host, tt.cert))
			if got := result(err); got != tt.want || (by == "MTA-STS") != (err == nil) {
				t.Errorf("%s: got %s (%v) by %q, want %s", tt.name, got, err, by, tt.want)
			}
		}
		r, err := w.Require(t.Context(), target("example.com", "mx.example.com"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Verify(tls.ConnectionState{}); result(err) != mx.ValidationFailure {
			t.Errorf("no certificate: got %v", err)
		}
	})
}

// handshake returns the state of a handshake with a server that has a certificate.
func handshake(t *testing.T, w *world, host string, cert tls.Certificate) tls.ConnectionState {
	listener, err := w.inet.Listen(host + ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	done := make(chan struct{})
	defer func() { <-done }()
	go func() {
		defer close(done)
		if conn, err := listener.Accept(); err == nil {
			defer conn.Close()
			tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
		}
	}()
	conn, err := w.inet.DialContext(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	return client.ConnectionState()
}

// selfSignedPool returns a pool that isn't empty.
func selfSignedPool(t *testing.T) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(selfSigned(t, &x509.Certificate{}).Leaf)
	return pool
}
