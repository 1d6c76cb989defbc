package postrider

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/mx/mtasts"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestDANEAndMTASTS: a Relay with both policies, one domain with a host that has faults of TLS.
func TestDANEAndMTASTS(t *testing.T) {
	noTLS := (*smtptest.Host).NoTLS
	untrusted := func(h *smtptest.Host) { h.FailTLS(smtptest.TLSUntrusted) }
	tests := []struct {
		name   string
		dane   bool   // the domain is signed and has a TLSA record
		usage  uint8  // of that record; if zero, 3
		sts    string // the mode and the host of its policy; if empty, it has none
		fault  func(*smtptest.Host)
		broken bool // the TLSA records can't be looked up
		want   string
	}{
		{name: "neither", fault: noTLS, want: "delivered   nothing"},
		{name: "DANE", dane: true, want: "delivered dane TLSA 3  verified"},
		{name: "DANE, no STARTTLS", dane: true, fault: noTLS, want: "deferred dane  nothing"},
		{name: "DANE, another certificate", dane: true, fault: untrusted, want: "deferred dane  encrypted"},
		{name: "DANE, no answer", dane: true, broken: true, want: "deferred   nothing"},
		{name: "STS", sts: "enforce mx.example.net", want: "delivered sts: MTA-STS verified"},
		{name: "STS, no STARTTLS", sts: "enforce mx.example.net", fault: noTLS, want: "deferred sts:  nothing"},
		{name: "STS, untrusted", sts: "enforce mx.example.net", fault: untrusted, want: "deferred sts:  encrypted"},
		{name: "STS, not listed", sts: "enforce other.example.net", want: "deferred sts:  nothing"},
		{name: "STS in testing", sts: "testing other.example.net", fault: noTLS, want: "delivered sts:  nothing"},
		{name: "both", dane: true, sts: "enforce other.example.net", want: "delivered dane TLSA 3  verified"},
		{name: "DANE unusable", dane: true, usage: 1, fault: untrusted, want: "delivered dane  encrypted"},
		{name: "DANE unusable, STS", dane: true, usage: 1, sts: "enforce mx.example.net", want: "delivered sts: MTA-STS verified"},
		{name: "DANE unusable, STS, untrusted", dane: true, usage: 1, sts: "enforce mx.example.net", fault: untrusted,
			want: "deferred sts:  encrypted"},
		{name: "both, DANE fails", dane: true, sts: "enforce mx.example.net", broken: true, want: "deferred   nothing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("example.net", "mx.example.net")
				if test.fault != nil {
					test.fault(host)
				}
				const record = "_25._tcp.mx.example.net"
				if test.dane {
					inet.Sign("example.net")
					key := sha256.Sum256(inet.Certificate("mx.example.net").Leaf.RawSubjectPublicKeyInfo)
					inet.TLSA(record, dns.TLSA{Usage: cmp.Or(test.usage, 3), Selector: 1, MatchingType: 1, Data: key[:]})
				}
				if test.broken {
					inet.FailDNS(record, smtptest.ServFail)
				}
				if test.sts != "" {
					servePolicy(t, inet, "example.net", test.sts)
				}
				got := make(chan string, 1)
				sts := &mtasts.Client{Resolver: inet, RootCAs: inet.RootCAs(), DialContext: inet.DialContext}
				relay := &Relay{Hostname: "relay.test", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
					Transport: &client.Transport{
						Policies: []mx.Policy{dane.Policy{}, sts},
						Tried: func(_ context.Context, try client.Try) {
							outcome := "deferred"
							if try.Err == nil {
								outcome = try.Results[0].Outcome.String()
							}
							s := try.Security
							select {
							case got <- fmt.Sprintf("%s %.4s %.7s %v", outcome, s.Policy, s.VerifiedBy, s.Reached):
							default: // a later attempt
							}
						},
					}}
				inet.Go(relay.Run)
				env := smtp.NewEnvelope("ann@relay.test", "bob@example.net")
				if _, err := relay.Send(t.Context(), env, strings.NewReader("Subject: hi\n\nHi.\n")); err != nil {
					t.Fatal(err)
				}
				if got := <-got; got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}

// servePolicy serves an MTA-STS policy for a domain: "enforce mx.example.net". Without one, it serves nothing.
func servePolicy(t *testing.T, inet *smtptest.Network, domain, policy string) {
	var mode, host string
	fmt.Sscan(policy, &mode, &host)
	inet.TXT("_mta-sts."+domain, "v=STSv1; id=1;")
	listener, err := inet.Listen("mta-sts." + domain + ":443")
	if err != nil {
		t.Fatal(err)
	}
	cert := inet.Certificate("mta-sts." + domain)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if policy == "" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, "version: STSv1\nmode: "+mode+"\nmx: "+host+"\nmax_age: 86400\n")
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{cert}}))
	}()
	t.Cleanup(func() { server.Close(); <-done })
}
