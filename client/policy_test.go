package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// policyFunc is an mx.Policy.
type policyFunc func(mx.Target) (mx.Requirement, error)

func (f policyFunc) Require(_ context.Context, to mx.Target) (mx.Requirement, error) { return f(to) }

// always returns a Policy that demands the same of all hosts.
func always(r mx.Requirement) policyFunc {
	return func(mx.Target) (mx.Requirement, error) { return r, nil }
}

// verified returns a Requirement as that of MTA-STS.
func verified(inet *smtptest.Network, host string) mx.Requirement {
	roots := inet.RootCAs()
	return mx.Requirement{Name: "sts:1", Level: mx.DemandVerified,
		Verify: func(state tls.ConnectionState) (string, error) {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: host, Roots: roots})
			return "STS", err
		}}
}

// hostFaults are the faults of TLS that a host may have.
var hostFaults = []struct {
	name string
	set  func(*smtptest.Host)
}{
	{"none", func(h *smtptest.Host) {}},
	{"no STARTTLS", (*smtptest.Host).NoTLS},
	{"refused", func(h *smtptest.Host) { h.Answer(smtp.StageTLS, smtp.NewReply(454, "4.7.0", "no")) }},
	{"stalled", func(h *smtptest.Host) { h.StallAt(smtp.StageTLS) }},
	{"closed", func(h *smtptest.Host) { h.CloseAt(smtp.StageTLS) }},
	{"alert", func(h *smtptest.Host) { h.FailTLS(smtptest.TLSAlert) }},
	{"stalled handshake", func(h *smtptest.Host) { h.FailTLS(smtptest.TLSStall) }},
	{"large hello", func(h *smtptest.Host) { h.FailTLS(smtptest.TLSLargeHello) }},
	{"wrong name", func(h *smtptest.Host) { h.FailTLS(smtptest.TLSWrongName) }},
	{"expired", func(h *smtptest.Host) { h.FailTLS(smtptest.TLSExpired) }},
	{"untrusted", func(h *smtptest.Host) { h.FailTLS(smtptest.TLSUntrusted) }},
}

// From these indexes of hostFaults on, a session has TLS, and the certificate is wrong.
const withTLS, wrongCertificate = 7, 8

// TestPolicies drives the cells of the matrix, with real handshakes.
func TestPolicies(t *testing.T) {
	policies := map[string]func(*smtptest.Network) []mx.Policy{
		"none": func(*smtptest.Network) []mx.Policy { return nil },
		"zero": func(*smtptest.Network) []mx.Policy { return []mx.Policy{always(mx.Requirement{})} },
		"enforce": func(inet *smtptest.Network) []mx.Policy {
			return []mx.Policy{always(mx.Requirement{}), always(verified(inet, "mx.example.net"))}
		},
		"testing": func(inet *smtptest.Network) []mx.Policy {
			r := verified(inet, "mx.example.net")
			r.Testing = true
			return []mx.Policy{always(r), always(mx.Requirement{})}
		},
		"encrypted": func(*smtptest.Network) []mx.Policy {
			return []mx.Policy{always(mx.Requirement{Name: "dane:unusable", Level: mx.DemandEncrypted})}
		},
		"encrypted, then enforce": func(inet *smtptest.Network) []mx.Policy { // RFC 8461 §2: nothing of DANE has failed
			return []mx.Policy{always(mx.Requirement{Name: "dane:unusable", Level: mx.DemandEncrypted}),
				always(verified(inet, "mx.example.net"))}
		},
		"encrypted, then testing": func(inet *smtptest.Network) []mx.Policy {
			r := verified(inet, "mx.example.net")
			r.Testing = true
			return []mx.Policy{always(mx.Requirement{Name: "dane:unusable", Level: mx.DemandEncrypted}), always(r)}
		},
		"DANE": func(inet *smtptest.Network) []mx.Policy { // a self-signed certificate would do, and STS isn't asked
			right := inet.Certificate("mx.example.net").Certificate[0]
			verify := func(state tls.ConnectionState) (string, error) {
				if !bytes.Equal(state.PeerCertificates[0].Raw, right) {
					return "", errors.New("no TLSA record matches")
				}
				return "DANE-EE", nil
			}
			dane := mx.Requirement{Name: "dane:1", Level: mx.DemandVerified, Verify: verify}
			return []mx.Policy{always(dane), policyFunc(func(mx.Target) (mx.Requirement, error) {
				return mx.Requirement{}, errors.New("STS was asked in spite of DANE")
			})}
		},
		"testing, then enforce": func(inet *smtptest.Network) []mx.Policy {
			r := verified(inet, "mx.example.net")
			r.Testing = true
			return []mx.Policy{always(r), always(verified(inet, "mx.example.net"))}
		},
		"excluded": func(inet *smtptest.Network) []mx.Policy {
			r := verified(inet, "mx.example.net")
			r.Excluded = errors.New("not listed")
			return []mx.Policy{always(r)}
		},
		"excluded in testing": func(inet *smtptest.Network) []mx.Policy {
			r := verified(inet, "mx.example.net")
			r.Excluded, r.Testing = errors.New("not listed"), true
			return []mx.Policy{always(r)}
		},
		"unknown": func(inet *smtptest.Network) []mx.Policy {
			return []mx.Policy{policyFunc(func(mx.Target) (mx.Requirement, error) { return mx.Requirement{}, errors.New("no answer") }),
				always(verified(inet, "mx.example.net"))}
		},
		"panic": func(*smtptest.Network) []mx.Policy {
			return []mx.Policy{policyFunc(func(mx.Target) (mx.Requirement, error) { panic("policy") })}
		},
		"without a name": func(*smtptest.Network) []mx.Policy {
			return []mx.Policy{always(mx.Requirement{Level: mx.DemandEncrypted})}
		},
		"without a Verify": func(*smtptest.Network) []mx.Policy {
			return []mx.Policy{always(mx.Requirement{Name: "x", Level: mx.DemandVerified})}
		},
		"a Verify that panics": func(*smtptest.Network) []mx.Policy {
			return []mx.Policy{always(mx.Requirement{Name: "x", Level: mx.DemandVerified, Verify: func(tls.ConnectionState) (string, error) { panic("verify") }})}
		},
		"5xx": func(*smtptest.Network) []mx.Policy {
			return []mx.Policy{policyFunc(func(mx.Target) (mx.Requirement, error) { return mx.Requirement{}, smtp.NewReply(550, "5.7.1", "no") })}
		},
	}
	// For each of hostFaults: (v)erified, (e)ncrypted, cleartext in the same session (c) or in another one (C), or
	// deferred (-); then the connections of all.
	tests := map[string]string{
		"none":                    "e c c C C C C e e e e; 1 1 1 2 2 3 3 2 1 1 1",
		"zero":                    "e c c C C C C e e e e; 1 1 1 2 2 3 3 2 1 1 1",
		"testing":                 "v c c C C C C v e e e; 1 1 1 2 2 3 3 2 1 1 1",
		"excluded in testing":     "v c c C C C C v e e e; 1 1 1 2 2 3 3 2 1 1 1",
		"encrypted":               "e - - - - - - e e e e; 1 1 1 1 1 2 2 2 1 1 1",
		"encrypted, then enforce": "v - - - - - - v - - -; 1 1 1 1 1 2 2 2 1 1 1",
		"encrypted, then testing": "e - - - - - - e e e e; 1 1 1 1 1 2 2 2 1 1 1",
		"enforce":                 "v - - - - - - v - - -; 1 1 1 1 1 2 2 2 1 1 1",
		"testing, then enforce":   "v - - - - - - v - - -; 1 1 1 1 1 2 2 2 1 1 1",
		"DANE":                    "v - - - - - - v - - -; 1 1 1 1 1 2 2 2 1 1 1",
		"excluded":                "- - - - - - - - - - -; 0 0 0 0 0 0 0 0 0 0 0",
		"unknown":                 "- - - - - - - - - - -; 0 0 0 0 0 0 0 0 0 0 0",
		"panic":                   "- - - - - - - - - - -; 0 0 0 0 0 0 0 0 0 0 0",
		"5xx":                     "- - - - - - - - - - -; 0 0 0 0 0 0 0 0 0 0 0",
		"without a name":          "- - - - - - - - - - -; 0 0 0 0 0 0 0 0 0 0 0",
		"without a Verify":        "- - - - - - - - - - -; 0 0 0 0 0 0 0 0 0 0 0",
		"a Verify that panics":    "- - - - - - - - - - -; 1 1 1 1 1 2 2 2 1 1 1",
	}
	for name, want := range tests {
		t.Run(name, func(t *testing.T) {
			var codes, connections []string
			for _, fault := range hostFaults {
				synctest.Test(t, func(t *testing.T) {
					inet := smtptest.NewNetwork(t)
					host := inet.MX("example.net", "mx.example.net")
					fault.set(host)
					code := policySend(t, inet, host, policies[name](inet))
					codes = append(codes, code)
					connections = append(connections, fmt.Sprint(host.Connections()))
				})
			}
			if got := strings.Join(codes, " ") + "; " + strings.Join(connections, " "); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// policySend sends a message to the only host, checks what is told of it, and returns a code of TestPolicies.
func policySend(t *testing.T, inet *smtptest.Network, host *smtptest.Host, policies []mx.Policy) string {
	t.Helper()
	var last Try
	tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext, Router: &mx.Router{Resolver: inet},
		Policies: policies, Tried: func(_ context.Context, t Try) { last = t }}
	defer tr.Close()
	results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
	r, s := results[0], last.Security
	if r.Outcome != smtp.Delivered {
		if r.Outcome != smtp.Deferred || r.Stage != smtp.StageTLS || r.Host == "" {
			t.Errorf("got %+v, want it deferred because of TLS", r)
		}
		if s.Reached == mx.DemandEncrypted && !strings.Contains(r.Reply.Text, "the certificate ") {
			t.Errorf("got %v after a handshake, want that the certificate is at fault", r.Reply)
		}
		if r.Security == nil || (r.Security.Wanted != s.Wanted.String() || r.Security.Reached != s.Reached.String()) {
			t.Errorf("got %+v in the result, want %+v", r.Security, s)
		}
		if last.Err == nil || len(host.Messages()) > 0 {
			t.Errorf("got the error %v and %d messages, want an error and none", last.Err, len(host.Messages()))
		}
		return "-"
	}
	secure := s.Reached != mx.DemandNothing
	if want := (smtp.Security{Wanted: s.Wanted.String(), Reached: s.Reached.String(), CipherSuite: s.CipherSuite,
		KeyExchange: s.KeyExchange, PostQuantum: s.PostQuantum(), VerifiedBy: s.VerifiedBy}); r.Security == nil || *r.Security != want {
		t.Errorf("got %+v in the result, want %+v", r.Security, want)
	}
	if r.Policy != s.Policy || r.TLS != s.Version || host.Messages()[0].TLS != secure ||
		(s.Version != "" && s.CipherSuite != "" && s.KeyExchange != "") != secure {
		t.Errorf("got %+v, and the result %+v: they differ", s, r)
	}
	if short := s.Testing && s.Reached < s.Wanted; short && s.Err == nil {
		t.Errorf("got %+v, want why it fell short", s)
	}
	switch {
	case s.Reached == mx.DemandVerified && s.VerifiedBy != "":
		return "v"
	case s.Reached == mx.DemandEncrypted && s.VerifiedBy == "":
		return "e"
	case host.Connections() == 1:
		return "c"
	}
	return "C"
}

// TestExplicitRoutes: policies are for hosts from the DNS.
func TestExplicitRoutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.Host("relay.test").NoTLS()
		tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext,
			Router:   &mx.Router{Resolver: inet, Routes: map[string]mx.Route{"*": mustRoute(mx.Smarthost("relay.test:25"))}},
			Policies: []mx.Policy{policyFunc(func(mx.Target) (mx.Requirement, error) { panic("asked") })}}
		defer tr.Close()
		if _, err := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n")); err != nil {
			t.Errorf("got %v, want it delivered", err)
		}
	})
}

// TestPoliciesByDomain: two domains with one host have their own sessions, and a domain that can't use the first host
// uses the second.
func TestPoliciesByDomain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		a, b := inet.MX("strict.test", "a.test"), inet.MX("strict.test", "b.test")
		inet.MX("loose.test", "a.test")
		a.FailTLS(smtptest.TLSUntrusted)
		tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext, Router: &mx.Router{Resolver: inet},
			Policies: []mx.Policy{policyFunc(func(to mx.Target) (mx.Requirement, error) {
				if to.Domain != "strict.test" {
					return mx.Requirement{}, nil
				}
				return verified(inet, to.Host.Name), nil
			})}}
		defer tr.Close()
		send := func(domain, want string) {
			t.Helper()
			results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@"+domain), smtp.Text("Hello.\n"))
			if r := results[0]; fmt.Sprint(r.Outcome, " ", r.Host, " ", r.Policy) != want {
				t.Errorf("%s: got %+v, want %s", domain, r, want)
			}
		}
		send("loose.test", "delivered a.test ") // leaves a session with a.test
		send("strict.test", "delivered b.test sts:1")
		a.FailTLS(smtptest.NoTLSFault)
		send("strict.test", "delivered a.test sts:1")
		send("strict.test", "delivered a.test sts:1")
		send("loose.test", "delivered a.test ")
		if got := []int{a.Connections(), len(a.Messages()), b.Connections()}; fmt.Sprint(got) != "[3 4 1]" {
			t.Errorf("got %v connections and messages, want [3 4 1]: one more that was refused, and one for each policy", got)
		}
	})
}

// TestTLSMemories: what failed of a host's TLS isn't tried again for each message.
func TestTLSMemories(t *testing.T) {
	tests := []struct {
		name   string
		fault  smtptest.TLSFault
		policy mx.Requirement
		after  time.Duration // of the second message
		wants  []string      // what each message got, and its connections
		forget bool
	}{
		{name: "large hello", fault: smtptest.TLSLargeHello, after: time.Hour, wants: []string{"X25519 2", "X25519 1"}},
		{name: "large hello, a day", fault: smtptest.TLSLargeHello, after: 25 * time.Hour, wants: []string{"X25519 2", "X25519 2"}},
		{name: "large hello, no memory", fault: smtptest.TLSLargeHello, forget: true, wants: []string{"X25519 2", "X25519 2"}},
		{name: "large hello, used meanwhile", fault: smtptest.TLSLargeHello, after: 23 * time.Hour, wants: []string{"X25519 2", "X25519 1", "X25519 2"}},
		{name: "alert", fault: smtptest.TLSAlert, after: 59 * time.Minute, wants: []string{" 3", " 1"}},
		{name: "alert, an hour", fault: smtptest.TLSAlert, after: 61 * time.Minute, wants: []string{" 3", " 3"}},
		{name: "alert, no memory", fault: smtptest.TLSAlert, forget: true, wants: []string{" 3", " 3"}},
		{name: "alert, a policy", fault: smtptest.TLSAlert, policy: mx.Requirement{Name: "x", Level: mx.DemandEncrypted}, wants: []string{" 3", "deferred 2"}},
		{name: "none", wants: []string{"X25519MLKEM768 1", "X25519MLKEM768 1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("example.net", "mx.example.net")
				host.FailTLS(test.fault)
				var last Try
				failed, logged := 0, new(bytes.Buffer) // handshakes
				second := false                        // the policy appears after the first message
				tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext, Router: &mx.Router{Resolver: inet},
					IdleTimeout: -1, Logger: slog.New(slog.NewTextHandler(logged, nil)),
					Tried: func(_ context.Context, t Try) {
						if last = t; t.Err != nil {
							failed++
						}
					},
					Policies: []mx.Policy{policyFunc(func(mx.Target) (mx.Requirement, error) {
						if second {
							return test.policy, nil
						}
						return mx.Requirement{}, nil
					})}}
				if test.forget {
					tr.RememberFor = -1
				}
				defer tr.Close()
				before := 0
				for i, want := range test.wants {
					results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n"))
					what := last.Security.KeyExchange
					if results[0].Outcome != smtp.Delivered {
						what = results[0].Outcome.String()
					} else if what == "" && last.Security.Err == nil {
						t.Error("got no error of TLS, want the cause of cleartext")
					}
					if remembered := errors.Is(last.Security.Err, ErrTLSFailedBefore); remembered != (want == " 1") {
						t.Errorf("message %d: got %v, remembered: %t", i, last.Security.Err, remembered)
					}
					if got := fmt.Sprint(what, " ", host.Connections()-before); got != want {
						t.Errorf("message %d: got %s, want %s", i, got, want)
					}
					// Each handshake that failed is told, by Tried and in the log.
					fails, told := host.Connections()-before-1, strings.Count(logged.String(), "TLS failed, ")
					if what == "deferred" {
						failed-- // the last one, after which nothing else is tried
					}
					if failed != fails || told != fails {
						t.Errorf("message %d: got %d by Tried, and told %d times, want %d\n%s", i, failed, told, fails, logged)
					}
					failed = 0
					logged.Reset()
					if last.Security.PostQuantum() != strings.Contains(want, "MLKEM") {
						t.Errorf("message %d: got post-quantum %t for %s", i, last.Security.PostQuantum(), want)
					}
					before, second = host.Connections(), true
					time.Sleep(test.after)
				}
			})
		})
	}
}

// TestPolicyGate: a session without the TLS that a policy demands doesn't reach MAIL, whatever led there.
func TestPolicyGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.Host("a.test")
		nc, err := inet.DialContext(t.Context(), "tcp", "a.test:25")
		if err != nil {
			t.Fatal(err)
		}
		c := &Conn{Hostname: "client.test", Host: "a.test", TLS: mx.TLSNone,
			required: mx.Requirement{Name: "dane:1", Level: mx.DemandEncrypted}}
		if err := c.Open(t.Context(), nc); err == nil || !strings.Contains(err.Error(), "451 4.7.10") {
			t.Errorf("got %v, want 451 4.7.10", err)
		}
	})
}

// TestHostThatDemandsTLS: a host that refuses MAIL in cleartext gets TLS again. TLS that fails there bounces no mail.
func TestHostThatDemandsTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		host.FailTLS(smtptest.TLSAlert)
		host.Answer(smtp.StageMail, smtp.NewReply(530, "5.7.0", "Must issue a STARTTLS command first"))
		tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext, Router: &mx.Router{Resolver: inet}}
		defer tr.Close()
		inet.MX("example.org", "mx.example.net")
		next := inet.MX("example.org", "mx2.example.net")
		send := func(to, want string) {
			t.Helper()
			results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", to), smtp.Text("Hello.\n"))
			r := results[0]
			if got := fmt.Sprint(r.Outcome, " ", r.Reply.Code, " ", r.TLS); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		send("bob@example.net", "deferred 530 ")
		send("bob@example.org", "delivered 250 TLS 1.3")
		if n := len(next.Messages()); n != 1 {
			t.Errorf("got %d messages at the next host, want 1", n)
		}
		host.Heal()
		host.FailTLS(smtptest.NoTLSFault)
		tr.CloseIdle()
		send("bob@example.net", "delivered 250 TLS 1.3")
	})
}

// TestShrink: what a caller wants of key exchanges remains so.
func TestShrink(t *testing.T) {
	hybrid, small := tls.X25519MLKEM768, tls.X25519
	tests := []struct {
		given       []tls.CurveID
		most        uint16
		large       bool
		smallBecome []tls.CurveID
	}{
		{nil, 0, true, classical},
		{[]tls.CurveID{hybrid, small}, 0, true, []tls.CurveID{small}},
		{[]tls.CurveID{hybrid}, 0, false, []tls.CurveID{hybrid}},
		{[]tls.CurveID{small}, 0, false, []tls.CurveID{small}},
		{nil, tls.VersionTLS12, false, nil},
	}
	for _, test := range tests {
		cfg := &tls.Config{CurvePreferences: test.given, MaxVersion: test.most}
		large := shrink(cfg, false)
		still := shrink(cfg, true)
		if large != test.large || still || fmt.Sprint(cfg.CurvePreferences) != fmt.Sprint(test.smallBecome) {
			t.Errorf("%v: got large %t, then %t with %v; want %t, then false with %v",
				test.given, large, still, cfg.CurvePreferences, test.large, test.smallBecome)
		}
	}
}

// TestWhyRefused: what is said of a certificate that a policy refuses, in a report to the sender, for example.
func TestWhyRefused(t *testing.T) {
	sts, tlsa := mx.Requirement{Found: &mx.FoundPolicy{Type: "sts"}}, mx.Requirement{Found: &mx.FoundPolicy{Type: "tlsa"}}
	none := errors.New("dane: none of the 1 usable TLSA records matches")
	tests := []struct {
		name string
		r    mx.Requirement
		err  error
		want string
	}{
		{"expired", sts, x509.CertificateInvalidError{Reason: x509.Expired}, "the certificate has expired, or isn't valid yet"},
		{"another name", sts, fmt.Errorf("x: %w", x509.HostnameError{Certificate: new(x509.Certificate)}), "the certificate is for another host"},
		{"self-signed", mx.Requirement{}, x509.UnknownAuthorityError{}, "the certificate isn't from a trusted authority"},
		{"no record", tlsa, none, "the certificate matches none of the host's TLSA records"},
		{"below a record", tlsa, x509.CertificateInvalidError{Reason: x509.TooManyIntermediates}, "the certificate can't be verified"},
		{"a panic", tlsa, errPanic, "the certificate can't be verified"},
		{"another policy", mx.Requirement{}, none, "the certificate can't be verified"},
	}
	for _, tt := range tests {
		if got := whyRefused(&tt.r, tt.err); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}
