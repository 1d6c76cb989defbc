package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// showResult returns a TLSResult in a short form.
func showResult(r mx.TLSResult) string {
	policy := "none"
	if r.Policy != nil {
		policy = r.Policy.Type
	}
	parts := []string{policy}
	if !r.Remote.IsValid() {
		parts = append(parts, "unconnected")
	}
	if r.Reused {
		parts = append(parts, "reused")
	}
	for _, f := range r.Failures {
		code := strings.Trim(fmt.Sprintf(" (%.40s", f.Code), " (")
		parts = append(parts, strings.Trim(f.Type+" "+code, " "))
	}
	if len(r.Failures) == 0 {
		parts = append(parts, "ok")
	}
	return strings.Join(parts, ", ")
}

// TestTLSResult: what Transport.TLSResult hears about two messages to a host with each fault of TLS.
func TestTLSResult(t *testing.T) {
	found := &mx.FoundPolicy{Type: "sts"}
	policies := map[string]func(*smtptest.Network) mx.Policy{
		"none": func(*smtptest.Network) mx.Policy { return always(mx.Requirement{}) },
		"testing": func(inet *smtptest.Network) mx.Policy {
			r := verified(inet, "mx.example.net")
			r.Testing, r.Found = true, found
			return always(r)
		},
		"enforce": func(inet *smtptest.Network) mx.Policy {
			r := verified(inet, "mx.example.net")
			r.Found = found
			return always(r)
		},
	}
	const again = "none, validation-failure TLS failed at the host before"
	tests := []struct {
		fault, policy string
		want          string // by message
	}{
		{"none", "none", "none, ok | none, reused, ok"},
		{"none", "testing", "sts, ok | sts, reused, ok"},
		{"none", "enforce", "sts, ok | sts, reused, ok"},
		{"no STARTTLS", "none", "none, starttls-not-supported | none, reused, starttls-not-supported"},
		{"no STARTTLS", "testing", "sts, starttls-not-supported | sts, reused, starttls-not-supported"},
		{"no STARTTLS", "enforce", "sts, starttls-not-supported | sts, starttls-not-supported"},
		{"refused", "none", "none, starttls-not-supported 454 4.7.0 | none, reused, starttls-not-supported 454 4.7.0"},
		{"refused", "enforce", "sts, starttls-not-supported 454 4.7.0 | sts, starttls-not-supported 454 4.7.0"},
		{"stalled", "none", "none, validation-failure read: i/o timeout | none, validation-failure TLS failed at the host before"},
		{"closed", "enforce", "sts, validation-failure EOF | sts, validation-failure EOF"},
		{"alert", "none", "none, validation-failure remote error: tls: internal error; none, validation-failure remote error: tls: internal error | none, reused, validation-failure remote error: tls: internal error"},
		{"alert", "testing", "sts, validation-failure remote error: tls: internal error; sts, validation-failure remote error: tls: internal error | sts, reused, validation-failure remote error: tls: internal error"},
		{"alert", "enforce", "sts, validation-failure remote error: tls: internal error; sts, validation-failure remote error: tls: internal error | sts, validation-failure remote error: tls: internal error; sts, validation-failure remote error: tls: internal error"},
		{"large hello", "none", "none, validation-failure remote error: tls: internal error; none, ok | none, reused, ok"},
		{"wrong name", "none", "none, ok | none, reused, ok"},
		{"wrong name", "testing", "sts, certificate-host-mismatch x509: certificate is valid for other.inv | sts, reused, certificate-host-mismatch x509: certificate is valid for other.inv"},
		{"wrong name", "enforce", "sts, certificate-host-mismatch x509: certificate is valid for other.inv | sts, certificate-host-mismatch x509: certificate is valid for other.inv"},
		{"expired", "enforce", "sts, certificate-expired | sts, certificate-expired"},
		{"untrusted", "enforce", "sts, certificate-not-trusted x509: certificate signed by unknown auth | sts, certificate-not-trusted x509: certificate signed by unknown auth"},
	}
	for _, tt := range tests {
		t.Run(tt.policy+", "+tt.fault, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("example.net", "mx.example.net")
				for _, fault := range hostFaults {
					if fault.name == tt.fault {
						fault.set(host)
					}
				}
				got := heard(t, inet, policies[tt.policy](inet), func(*Transport) {})
				if got != tt.want {
					t.Errorf("got\n%s, want\n%s", got, tt.want)
				}
			})
		})
	}
	t.Run("remembered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			inet := smtptest.NewNetwork(t)
			inet.MX("example.net", "mx.example.net").FailTLS(smtptest.TLSAlert)
			got := heard(t, inet, always(mx.Requirement{}), func(tr *Transport) { tr.CloseIdle() })
			if _, second, _ := strings.Cut(got, " | "); !strings.HasPrefix(second, again) {
				t.Errorf("got %s, want %s", second, again)
			}
		})
	})
}

// TestTLSResultOfPolicies: what a policy says by itself, without a session and beside one.
func TestTLSResultOfPolicies(t *testing.T) {
	found := &mx.FoundPolicy{Type: "tlsa"}
	bogus := &resultError{mx.DNSSECInvalid, errors.New("bogus")}
	tests := []struct {
		name string
		r    mx.Requirement
		err  error
		want string
	}{
		{"not known", mx.Requirement{}, bogus, "none, unconnected, dnssec-invalid bogus"},
		{"not known, not the domain's fault", mx.Requirement{}, errors.New("no"), ""},
		{"excluded", mx.Requirement{Name: "x", Level: mx.DemandEncrypted, Found: found, Excluded: &resultError{mx.ValidationFailure, errors.New("not listed")}}, nil,
			"tlsa, unconnected, validation-failure not listed"},
		{"excluded in testing", mx.Requirement{Name: "x", Level: mx.DemandEncrypted, Testing: true, Found: found, Excluded: &resultError{mx.ValidationFailure, errors.New("not listed")}}, nil,
			"tlsa, validation-failure not listed"},
		{"trouble alone", mx.Requirement{Trouble: &resultError{mx.STSPolicyFetchError, errors.New("404")}}, nil, "none, sts-policy-fetch-error 404"},
		{"trouble", mx.Requirement{Name: "x", Level: mx.DemandEncrypted, Found: found, Trouble: &resultError{mx.TLSAInvalid, errors.New("unusable")}}, nil,
			"tlsa, tlsa-invalid unusable"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				inet.MX("example.net", "mx.example.net")
				policy := policyFunc(func(mx.Target) (mx.Requirement, error) { return tt.r, tt.err })
				if got, _, _ := strings.Cut(heard(t, inet, policy, func(*Transport) {}), " | "); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// TestTLSResultWishes: the policy of a domain is told of whatever the sender asks for.
func TestTLSResultWishes(t *testing.T) {
	bogus := &resultError{mx.DNSSECInvalid, errors.New("bogus")}
	unlisted := &resultError{mx.ValidationFailure, errors.New("not listed")}
	errNone := errors.New("none")
	tests := []struct {
		name    string
		wish    func(*smtp.Envelope)
		lax     bool
		testing bool
		err     error // of the policy; errNone: there is none
		want    string
	}{
		{"REQUIRETLS, not listed, testing", func(env *smtp.Envelope) { env.RequireTLS = true }, false, true, unlisted, "sts, unconnected, validation-failure not listed"},
		{"REQUIRETLS of a report, no policy", func(env *smtp.Envelope) { env.RequireTLS, env.From = true, "" }, false, false, errNone, "none, ok"},
		{"REQUIRETLS", func(env *smtp.Envelope) { env.RequireTLS = true }, false, false, nil, "sts, ok"},
		{"REQUIRETLS, testing", func(env *smtp.Envelope) { env.RequireTLS = true }, false, true, nil, "sts, ok"},
		{"REQUIRETLS, lax, testing", func(env *smtp.Envelope) { env.RequireTLS = true }, true, true, nil, "sts, ok"},
		{"REQUIRETLS of a report", func(env *smtp.Envelope) { env.RequireTLS, env.From = true, "" }, false, true, nil, "sts, ok"},
		{"TLS-Required: No", func(env *smtp.Envelope) { env.TLSOptional = true }, false, false, nil, "sts, ok"},
		{"TLS-Required: No, not known", func(env *smtp.Envelope) { env.TLSOptional = true }, false, false, bogus, "none, dnssec-invalid bogus"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("example.net", "mx.example.net")
				host.OfferRequireTLS()
				if tt.err == errNone {
					host.FailTLS(smtptest.TLSWrongName)
				}
				r := verified(inet, "mx.example.net")
				r.Testing, r.Found = tt.testing, &mx.FoundPolicy{Type: "sts"}
				var got []string
				tr := &Transport{
					Hostname: "relay.test", Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext,
					LaxRequireTLS: tt.lax,
					Policies: []mx.Policy{policyFunc(func(mx.Target) (mx.Requirement, error) {
						switch tt.err {
						case nil:
							return r, nil
						case errNone:
							return mx.Requirement{}, nil
						case unlisted:
							r.Excluded = unlisted
							return r, nil
						}
						return mx.Requirement{}, tt.err
					})},
					TLSResult: func(_ context.Context, r mx.TLSResult) { got = append(got, showResult(r)) },
				}
				defer tr.Close()
				env := smtp.NewEnvelope("ann@example.com", "bob@example.net")
				tt.wish(env)
				tr.Send(t.Context(), env, smtp.Text("Subject: x\n\nx\n"))
				if got := strings.Join(got, "; "); got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}

// TestTLSResultFields: two domains at one host, and cases in which nothing is told.
func TestTLSResultFields(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("example.net", "mx.example.net")
		inet.MX("example.org", "mx.example.net")
		var got []string
		tr := &Transport{Hostname: "relay.test", Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext,
			TLSResult: func(_ context.Context, r mx.TLSResult) {
				got = append(got, fmt.Sprintln(r.Domain, r.Host, r.From, r.Remote == host.Addrs()[0], r.Local, r.Greeting, r.Reused))
				panic("TLSResult")
			}}
		defer tr.Close()
		send := func(to string) {
			tr.Send(t.Context(), smtp.NewEnvelope("ann@example.com", to), smtp.Text("Subject: x\n\nx\n"))
		}
		send("bob@example.net")
		send("bob@example.org")
		want := []string{
			fmt.Sprintln("example.net", "mx.example.net", "ann@example.com", true, "192.0.2.1", "mx.example.net", false),
			fmt.Sprintln("example.org", "mx.example.net", "ann@example.com", true, "192.0.2.1", "mx.example.net", true),
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got %q, want %q", got, want)
		}
		got = nil
		tr.CloseIdle()
		host.Down()
		send("bob@example.net")
		host.Up()
		host.CloseAt(smtp.StageGreeting)
		send("bob@example.net")
		host.Heal()
		tr.Router.Redirect("example.net", &mx.Route{Name: "relay", Hosts: []mx.Host{{Name: "mx.example.net", Port: 25}}})
		send("bob@example.net")
		if len(got) > 0 {
			t.Errorf("got %q from a host that is down, one that closes at once, and an explicit route", got)
		}
	})
}

// TestTLSResultNextHost: the failure of one host isn't told of the next one.
func TestTLSResultNextHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		inet.MX("example.net", "a.example.net")
		inet.MX("example.net", "b.example.net")
		first := true
		policy := policyFunc(func(mx.Target) (r mx.Requirement, err error) {
			if first {
				err = &resultError{mx.DNSSECInvalid, errors.New("bogus")}
			}
			first = false
			return r, err
		})
		const want = "none, unconnected, dnssec-invalid bogus; none, ok"
		if got, _, _ := strings.Cut(heard(t, inet, policy, func(*Transport) {}), " | "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	})
}

type resultError struct {
	result string
	error
}

func (r *resultError) ResultType() string { return r.result }
func (r *resultError) Unwrap() error      { return r.error }

// heard sends two messages to example.net, with between called in between, and returns what TLSResult hears.
func heard(t *testing.T, inet *smtptest.Network, policy mx.Policy, between func(*Transport)) string {
	var got [2][]string
	message := 0
	tr := &Transport{Hostname: "relay.test", Router: &mx.Router{Resolver: inet}, DialContext: inet.DialContext,
		Policies:  []mx.Policy{policy},
		TLSResult: func(_ context.Context, r mx.TLSResult) { got[message] = append(got[message], showResult(r)) }}
	defer tr.Close()
	for message = range got {
		if message == 1 {
			between(tr)
		}
		tr.Send(t.Context(), smtp.NewEnvelope("ann@example.com", "bob@example.net"), smtp.Text("Subject: x\n\nx\n"))
	}
	return strings.Join(got[0], "; ") + " | " + strings.Join(got[1], "; ")
}
