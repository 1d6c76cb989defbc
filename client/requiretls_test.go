package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestRequireTLS sends messages with REQUIRETLS, or with TLS-Required: No, to a host with each fault of TLS, with real
// handshakes.
func TestRequireTLS(t *testing.T) {
	type world struct {
		signed, offers bool   // DNSSEC, REQUIRETLS
		policy         string // enforce, testing, unusable, unknown; with "!": the host isn't listed
		lax            bool
		from           string // if empty, ann@client.test
		optional       bool
	}
	// For each of hostFaults: delivered with the parameter (R), or without it over verified TLS (v), encrypted (e) or in
	// cleartext (c); or deferred (-), or rejected by 5.7.10 (x) or 5.7.30 (X).
	tests := []struct {
		name string
		world
		want string
	}{
		{"secure MX", world{signed: true, offers: true}, "R x - - - - - R x x x"},
		{"secure MX, not offered", world{signed: true}, "X x - - - - - X x x x"},
		{"insecure MX", world{offers: true}, "x x x x x x x x x x x"},
		{"STS", world{offers: true, policy: "enforce"}, "R x - - - - - R x x x"},
		{"STS, not offered", world{policy: "enforce"}, "X x - - - - - X x x x"},
		{"STS, not listed", world{signed: true, offers: true, policy: "enforce!"}, "- - - - - - - - - - -"},
		{"STS in testing", world{offers: true, policy: "testing"}, "R x - - - - - R x x x"},
		{"STS in testing, not listed", world{offers: true, policy: "testing!"}, "x x x x x x x x x x x"},
		{"STS in testing, not listed, secure MX", world{signed: true, offers: true, policy: "testing!"}, "R x - - - - - R x x x"},
		{"DANE unusable", world{signed: true, offers: true, policy: "unusable"}, "R x - - - - - R x x x"},
		{"a policy that isn't known", world{signed: true, offers: true, policy: "unknown"}, "- - - - - - - - - - -"},
		{"lax", world{offers: true, lax: true}, "R - - - - - - R R R R"},
		{"lax, not offered", world{lax: true}, "e - - - - - - e e e e"},
		{"lax, STS", world{lax: true, policy: "enforce"}, "v - - - - - - v - - -"},
		{"a report", world{signed: true, offers: true, from: "<>"}, "R c c c c c c R e e e"},
		{"a report, not offered", world{signed: true, from: "<>"}, "v c c c c c c v e e e"},
		{"a report, insecure MX", world{offers: true, from: "<>"}, "e c c c c c c e e e e"},
		{"a report, STS", world{offers: true, policy: "enforce", from: "<>"}, "R - - - - - - R - - -"},
		{"a report, DANE unusable", world{signed: true, offers: true, policy: "unusable", from: "<>"}, "e - - - - - - e e e e"},
		{"optional", world{optional: true}, "e c c c c c c e e e e"},
		{"optional, STS", world{policy: "enforce", optional: true}, "v c c c c c c v e e e"},
		{"optional, STS, not listed", world{policy: "enforce!", optional: true}, "v c c c c c c v e e e"},
		{"optional, DANE unusable", world{policy: "unusable", optional: true}, "e c c c c c c e e e e"},
		{"optional, a policy that isn't known", world{policy: "unknown", optional: true}, "e c c c c c c e e e e"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, fault := range hostFaults {
				synctest.Test(t, func(t *testing.T) {
					inet := smtptest.NewNetwork(t)
					host := inet.MX("example.net", "mx.example.net")
					if test.signed {
						inet.Sign("example.net")
					}
					if test.offers {
						host.OfferRequireTLS()
					}
					fault.set(host)
					got = append(got, requireSend(t, inet, host, &Transport{Policies: namedPolicies(inet, test.policy),
						LaxRequireTLS: test.lax}, test.from, test.optional))
				})
			}
			if got := strings.Join(got, " "); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// namedPolicies returns the policies of a world of TestRequireTLS.
func namedPolicies(inet *smtptest.Network, name string) []mx.Policy {
	if name == "" {
		return nil
	}
	return []mx.Policy{policyFunc(func(to mx.Target) (mx.Requirement, error) {
		r := verified(inet, to.Host.Name)
		mode, unlisted := strings.CutSuffix(name, "!")
		switch {
		case mode == "unusable":
			return mx.Requirement{Name: "dane:unusable", Level: mx.DemandEncrypted}, nil
		case mode == "unknown":
			return mx.Requirement{}, errors.New("no answer")
		case unlisted:
			r.Excluded = errors.New("not listed")
		}
		r.Testing = mode == "testing"
		return r, nil
	}), policyFunc(func(mx.Target) (mx.Requirement, error) { return mx.Requirement{}, nil })}
}

// requireSend sends a message to the only host, checks what is told of it, and returns a code of TestRequireTLS.
func requireSend(t *testing.T, inet *smtptest.Network, host *smtptest.Host, tr *Transport, from string, optional bool) string {
	t.Helper()
	var last Try
	tr.Hostname, tr.DialContext, tr.Router = "client.test", inet.DialContext, &mx.Router{Resolver: inet}
	tr.TLSConfig = &tls.Config{RootCAs: inet.RootCAs()}
	tr.Tried = func(_ context.Context, t Try) { last = t }
	defer tr.Close()
	env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
	if from == "<>" {
		env.From = ""
	}
	env.RequireTLS, env.TLSOptional = !optional, optional
	results, _ := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
	r, s := results[0], last.Security
	if r.Outcome != smtp.Delivered {
		if n := len(host.Messages()); n > 0 || r.Stage != smtp.StageTLS && r.Reason != smtp.TLS {
			t.Errorf("got %+v and %d messages, want none, because of TLS", r, n)
		}
		if r.Outcome == smtp.Deferred {
			return "-"
		}
		if !strings.HasPrefix(r.Policy, "requiretls") || r.Reply.Code != 550 {
			t.Errorf("got %+v, want 550 and the policy requiretls", r)
		}
		return map[string]string{"5.7.10": "x", "5.7.30": "X"}[r.Reply.Enhanced.String()]
	}
	if r.Policy != s.Policy {
		t.Errorf("got the policy %q, and %q in the result: they differ", s.Policy, r.Policy)
	}
	switch m := host.Messages()[0]; {
	case m.Envelope.RequireTLS && !m.TLS:
		return "REQUIRETLS in clear"
	case m.Envelope.RequireTLS && s.Reached != mx.DemandVerified && !tr.LaxRequireTLS:
		return "REQUIRETLS without verification"
	case m.Envelope.RequireTLS:
		return "R"
	case !m.TLS:
		return "c"
	}
	return map[mx.Demand]string{mx.DemandEncrypted: "e", mx.DemandVerified: "v"}[s.Reached]
}

// TestRequireTLSHosts: the other hosts are tried first, a host that may have REQUIRETLS later has the message wait, and
// no session of another message carries it.
func TestRequireTLSHosts(t *testing.T) {
	lacks := func(*smtptest.Host) {}
	has := (*smtptest.Host).OfferRequireTLS
	down := func(h *smtptest.Host) { h.Down() }
	stripped := (*smtptest.Host).NoTLS
	tests := []struct {
		name string
		a, b func(*smtptest.Host)
		max  int    // MaxAddrs
		want string // the outcome and the host of a message before, of one with REQUIRETLS, and of one after; connections
	}{
		{"the first has it", has, lacks, 0, "delivered a.test; delivered a.test; delivered a.test; 2 0"},
		{"the second has it", lacks, has, 0, "delivered a.test; delivered b.test; delivered a.test; 2 1"},
		{"the first has no TLS", stripped, has, 0, "delivered a.test; delivered b.test; delivered a.test; 2 1"},
		{"none has it", lacks, lacks, 0, "delivered a.test; 550 5.7.30 b.test; delivered a.test; 2 1"},
		{"the second is down", lacks, down, 0, "delivered a.test; 451 4.4.1 b.test; delivered a.test; 2 0"},
		{"the first is down", down, lacks, 0, "delivered b.test; 451 4.4.1 a.test; delivered b.test; 0 2"},
		{"the second isn't tried", lacks, has, 1, "delivered a.test; 451 4.4.2 ; delivered a.test; 2 0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				a, b := inet.MX("example.net", "a.test"), inet.MX("example.net", "b.test")
				inet.Sign("example.net")
				test.a(a)
				test.b(b)
				tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext, Router: &mx.Router{Resolver: inet},
					TLSConfig: &tls.Config{RootCAs: inet.RootCAs()}, MaxAddrs: test.max}
				defer tr.Close()
				var got []string
				for i := range 3 {
					env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
					env.RequireTLS = i == 1
					results, _ := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
					r := results[0]
					what := r.Outcome.String()
					if r.Outcome != smtp.Delivered {
						what = fmt.Sprint(r.Reply.Code, " ", r.Reply.Enhanced)
					}
					got = append(got, what+" "+r.Host)
				}
				got = append(got, fmt.Sprint(a.Connections(), b.Connections()))
				if got := strings.Join(got, "; "); got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
			})
		})
	}
}

// TestRequireTLSRoutes: an explicit route needs no proof, and what stays on this machine no TLS.
func TestRequireTLSRoutes(t *testing.T) {
	smarthost := func(addr string) mx.Route { return mustRoute(mx.Smarthost(addr)) }
	required := func(addr string) mx.Route { r := smarthost(addr); r.TLS = mx.TLSRequired; return r }
	never := func(addr string) mx.Route { r := smarthost(addr); r.TLS = mx.TLSNone; return r }
	has := (*smtptest.Host).OfferRequireTLS
	lmtp := (*smtptest.Host).LMTP
	wrong := func(h *smtptest.Host) { h.OfferRequireTLS(); h.FailTLS(smtptest.TLSWrongName) }
	tests := []struct {
		name  string
		host  string // if empty, relay.test
		route mx.Route
		set   func(*smtptest.Host)
		want  string // the outcome, whether MAIL had the parameter, and whether there was TLS
	}{
		{"smarthost", "", smarthost("relay.test:25"), has, "delivered true true"},
		{"smarthost, TLS required", "", required("relay.test:587"), has, "delivered true true"},
		{"smarthost, implicit TLS", "", smarthost("relay.test:465"), has, "delivered true true"},
		{"smarthost, not offered", "", required("relay.test:25"), func(*smtptest.Host) {}, "550 5.7.30"},
		{"smarthost, another certificate", "", smarthost("relay.test:25"), wrong, "550 5.7.10"},
		{"smarthost, TLS required, another certificate", "", required("relay.test:25"), wrong, "550 5.7.10"},
		{"smarthost, TLS forbidden", "", never("relay.test:25"), has, "550 5.7.10"},
		{"smarthost on this machine, TLS forbidden", "localhost", never("localhost:25"), has, "550 5.7.30"},
		{"smarthost on this machine", "localhost", smarthost("localhost:25"), wrong, "delivered true true"},
		{"LMTP", "", mustRoute(mx.LMTP("relay.test:24")), lmtp, "delivered false true"},
		{"LMTP, offered", "", mustRoute(mx.LMTP("relay.test:24")), func(h *smtptest.Host) { h.LMTP(); h.OfferRequireTLS() }, "delivered true true"},
		{"LMTP without TLS", "", mustRoute(mx.LMTP("relay.test:24")), func(h *smtptest.Host) { h.LMTP(); h.NoTLS() }, "550 5.7.10"},
		{"LMTP on a socket", "/lmtp", mustRoute(mx.LMTP("/lmtp")), func(h *smtptest.Host) { h.LMTP(); h.NoTLS() }, "delivered false false"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.Host(cmp.Or(test.host, "relay.test"))
				test.set(host)
				if test.host == "localhost" {
					host.SetAddrs(netip.MustParseAddr("127.0.0.1"))
				}
				tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext, TLSConfig: &tls.Config{RootCAs: inet.RootCAs()},
					Router:   &mx.Router{Resolver: inet, Routes: map[string]mx.Route{"*": test.route}},
					Policies: []mx.Policy{policyFunc(func(mx.Target) (mx.Requirement, error) { panic("asked") })}}
				defer tr.Close()
				env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
				env.RequireTLS = true
				results, _ := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
				got := fmt.Sprint(results[0].Reply.Code, " ", results[0].Reply.Enhanced)
				if results[0].Outcome == smtp.Delivered {
					m := host.Messages()[0]
					got = fmt.Sprint("delivered ", m.Envelope.RequireTLS, " ", m.TLS)
				}
				if got != test.want {
					t.Errorf("got %s, want %s: %+v", got, test.want, results[0])
				}
			})
		})
	}
}

// TestRequireTLSServerName: the ServerName of a TLSConfig stands for the host of an explicit route, and for no MX host.
func TestRequireTLSServerName(t *testing.T) {
	for _, test := range []struct {
		name   string
		routes map[string]mx.Route
		want   smtp.Outcome
	}{
		{"MX", nil, smtp.Rejected},
		{"smarthost", map[string]mx.Route{"*": mustRoute(mx.Smarthost("mx.example.net:25"))}, smtp.Delivered},
	} {
		synctest.Test(t, func(t *testing.T) {
			inet := smtptest.NewNetwork(t)
			host := inet.MX("example.net", "mx.example.net")
			inet.Sign("example.net")
			host.OfferRequireTLS()
			host.FailTLS(smtptest.TLSWrongName) // the certificate of other.invalid
			tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext,
				TLSConfig: &tls.Config{RootCAs: inet.RootCAs(), ServerName: "other.invalid"},
				Router:    &mx.Router{Resolver: inet, Routes: test.routes}}
			defer tr.Close()
			env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
			env.RequireTLS = true
			results, _ := tr.Send(t.Context(), env, smtp.Text("Hello.\n"))
			if results[0].Outcome != test.want {
				t.Errorf("%s: got %+v, want it %v", test.name, results[0], test.want)
			}
		})
	}
}

// TestRequireTLSConn: a session of a caller, without a Transport, is no way out.
func TestRequireTLSConn(t *testing.T) {
	tests := []struct {
		name string
		tls  mx.TLSLevel
		set  func(*smtptest.Host)
		want string
	}{
		{"verified", mx.TLSRequired, (*smtptest.Host).OfferRequireTLS, "delivered 250 2.0.0"},
		{"not offered", mx.TLSRequired, func(*smtptest.Host) {}, "rejected 550 5.7.30"},
		{"not verified", mx.TLSOpportunistic, (*smtptest.Host).OfferRequireTLS, "rejected 550 5.7.10"},
		{"in clear", mx.TLSNone, func(h *smtptest.Host) { h.NoTLS(); h.Offer("REQUIRETLS") }, "rejected 550 5.7.10"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				test.set(inet.Host("a.test"))
				nc, err := inet.DialContext(t.Context(), "tcp", "a.test:25")
				if err != nil {
					t.Fatal(err)
				}
				c := &Conn{Hostname: "client.test", Host: "a.test", TLS: test.tls, TLSConfig: &tls.Config{RootCAs: inet.RootCAs()}}
				if err := c.Open(t.Context(), nc); err != nil {
					t.Fatal(err)
				}
				defer c.Quit(t.Context())
				env := smtp.NewEnvelope("ann@client.test", "bob@example.net")
				env.RequireTLS = true
				results, _ := c.Send(t.Context(), env, smtp.Text("Hello.\n"))
				r := results[0]
				if got := fmt.Sprint(r.Outcome, " ", r.Reply.Code, " ", r.Reply.Enhanced); got != test.want {
					t.Errorf("got %s, want %s", got, test.want)
				}
			})
		})
	}
}
