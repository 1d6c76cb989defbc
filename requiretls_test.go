package postrider

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestRequireTLS: a message with REQUIRETLS comes over SMTP or from code, and goes on with it; or its sender gets a
// report, with REQUIRETLS if it can be had (RFC 8689 §5).
func TestRequireTLS(t *testing.T) {
	has, lacks := (*smtptest.Host).OfferRequireTLS, func(*smtptest.Host) {}
	noTLS := (*smtptest.Host).NoTLS
	tests := []struct {
		name         string
		next, source func(*smtptest.Host) // the hosts of the recipient and of the sender
		code         bool
		want         string // what the recipient and the sender got: the parameter, TLS
		status       string // in the report
	}{
		{"over SMTP", has, has, false, "[true true] []", ""},
		{"from code", has, has, true, "[true true] []", ""},
		{"the next host lacks it", lacks, has, false, "[] [true true]", "5.7.30"},
		{"from code, the next host lacks it", lacks, has, true, "[] [true true]", "5.7.30"},
		{"the next host has no TLS", noTLS, has, false, "[] [true true]", "5.7.10"},
		{"both lack it", lacks, lacks, false, "[] [false true]", "5.7.30"},
		{"both have no TLS", noTLS, noTLS, false, "[] [false false]", "5.7.10"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				next, source := inet.MX("next.test", "mx.next.test"), inet.MX("source.test", "mx.source.test")
				inet.Sign("test")
				test.next(next)
				test.source(source)
				r := newRelay(inet)
				r.TLSConfig = &tls.Config{Certificates: []tls.Certificate{inet.Certificate("relay.test")}}
				r.Transport = &client.Transport{TLSConfig: &tls.Config{RootCAs: inet.RootCAs()}}
				r.Domains = []string{"next.test"}
				r.Authenticate = func(context.Context, *server.Peer, string, string) error { return nil }
				serve(t, inet, r)
				env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
				env.RequireTLS, env.Ret = true, smtp.RetFull
				const body = "Subject: Quarterly figures\r\nTLS-Required: No\r\n\r\nSecret.\r\n"
				var err error
				if test.code {
					_, err = r.Send(t.Context(), env, strings.NewReader(body))
				} else {
					sub := submission(inet)
					sub.Addr, sub.Auth = "relay.test:587", &client.Credentials{Username: "ann", Password: "secret"}
					_, err = sub.Send(t.Context(), env, smtp.Text(body))
					sub.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				show := func(h *smtptest.Host) (list []bool) {
					for _, m := range h.Messages() {
						list = append(list, m.Envelope.RequireTLS, m.TLS)
					}
					return list
				}
				if got := fmt.Sprint(show(next), show(source)); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
				for _, m := range source.Messages() {
					text := string(m.Data)
					if !strings.Contains(text, "\r\nStatus: "+test.status+"\r\n") || strings.Contains(text, "Secret") ||
						m.Envelope.From != "" {
						t.Errorf("got the report\n%s\nwant one with %s and without the content", text, test.status)
					}
				}
			})
		})
	}
}

// TestTLSOptional: the header field TLS-Required: No is read where a message is accepted, and is added for a program.
func TestTLSOptional(t *testing.T) {
	tests := []struct {
		name     string
		header   string
		optional bool // set by a program
		want     bool // it is delivered although DANE fails
		fields   int  // TLS-Required in what arrives
	}{
		{name: "none", header: "Subject: x\n"},
		{name: "No", header: "TLS-Required: No\n", want: true, fields: 1},
		{name: "folded", header: "tls-required:\n \t no \n", want: true, fields: 1},
		{name: "another value", header: "TLS-Required: Yes\n"},
		{name: "with a comment", header: "TLS-Required: No (thanks)\n"},
		{name: "twice", header: "TLS-Required: No\nTLS-Required: No\n"},
		{name: "in the body", header: "Subject: x\n\nTLS-Required: No\n"},
		{name: "of another name", header: "X-TLS-Required: No\n"},
		{name: "from code", header: "Subject: x\n", optional: true, want: true, fields: 1},
		{name: "from code, with the field", header: "TLS-Required: No\n", optional: true, want: true, fields: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("next.test", "mx.next.test")
				inet.Sign("next.test")
				inet.TLSA("_25._tcp.mx.next.test", dns.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: make([]byte, 32)})
				r := newRelay(inet)
				r.Transport = &client.Transport{Policies: []mx.Policy{dane.Policy{}}}
				inet.Go(r.Run)
				env := smtp.NewEnvelope("ann@source.test", "bob@next.test")
				env.TLSOptional = test.optional
				if _, err := r.Send(t.Context(), env, strings.NewReader(test.header+"\nHi.\n")); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				messages := host.Messages()
				if got := len(messages) == 1; got != test.want {
					t.Fatalf("got it delivered: %t, want %t", got, test.want)
				}
				if !test.want {
					return
				}
				head, _, _ := strings.Cut(strings.ToLower(string(messages[0].Data)), "\r\n\r\n")
				if got := strings.Count(head, "tls-required:"); got != test.fields {
					t.Errorf("got %d fields, want %d:\n%s", got, test.fields, head)
				}
				if env.TLSOptional != test.optional {
					t.Error("the caller's envelope was changed")
				}
			})
		})
	}
}

// TestTLSOptionalReport: the report on a message with TLS-Required: No has the field, too.
func TestTLSOptionalReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		next, source := inet.MX("next.test", "mx.next.test"), inet.MX("source.test", "mx.source.test")
		next.Reject("bob@next.test", nil)
		r := newRelay(inet)
		inet.Go(r.Run)
		body := strings.NewReader("TLS-Required: No\n\nHi.\n")
		if _, err := r.Send(t.Context(), smtp.NewEnvelope("ann@source.test", "bob@next.test"), body); err != nil {
			t.Fatal(err)
		}
		source.Wait(1)
		if got := string(source.Messages()[0].Data); !strings.HasPrefix(got, "TLS-Required: No\r\n") {
			t.Errorf("got %s, want the field", got)
		}
	})
}
