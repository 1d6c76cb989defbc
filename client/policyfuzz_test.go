package client

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// FuzzPolicies sends to domains with different policies and the same hosts, whose TLS fails in random ways, with and
// without REQUIRETLS and TLS-Required: No. No message that demands TLS goes in cleartext or to the wrong host, and all
// that may be delivered are.
func FuzzPolicies(f *testing.F) {
	f.Add([]byte{0, 1, 8, 0, 1, 2, 3, 0, 1, 2, 3})
	f.Add([]byte{5, 10, 7, 3, 3, 0, 3, 2, 1, 3})
	f.Add([]byte{6, 4, 3, 1, 3, 1, 0})
	f.Add([]byte{8, 0, 5, 0, 3, 0, 3, 1, 3, 2, 3})
	f.Add([]byte{44, 52, 45, 128, 4, 0, 5, 6, 7, 4, 5, 12})  // REQUIRETLS to each domain, and reports
	f.Add([]byte{51, 77, 8, 4, 5, 6, 7, 8, 9, 10, 11, 3, 2}) // TLS-Required: No
	f.Add([]byte{46, 0, 53, 132, 12, 13, 14, 15, 4, 5, 6, 7})
	f.Fuzz(func(t *testing.T, walk []byte) {
		if len(walk) < 4 || len(walk) > 16 {
			return
		}
		synctest.Test(t, func(t *testing.T) { walkPolicies(t, walk[:3], walk[3:]) })
	})
}

// fuzzHost is a host of walkPolicies.
type fuzzHost struct {
	*smtptest.Host
	fault            int // an index of hostFaults
	excluded, offers bool
}

// secure reports whether a session with the host may have TLS, and right whether with the right certificate.
func (h *fuzzHost) secure() bool { return h.fault == 0 || h.fault >= withTLS }
func (h *fuzzHost) right() bool  { return h.secure() && h.fault < wrongCertificate }

// fits reports whether the host may have a message for a domain, and passing whether that may change within hours.
// signed is whether none.test is.
func (h *fuzzHost) fits(domain string, require, optional, signed bool) (fits, passing bool) {
	strict := domain == "encrypted.test" || domain == "verified.test"
	switch {
	case optional:
		return true, true
	case strict && h.excluded:
		return false, true
	case require && (domain == "none.test" && !signed || domain == "testing.test" && h.excluded):
		return false, false // neither DNSSEC nor a policy proves that the host is the domain's
	case require:
		return h.right() && h.offers, !h.secure() && h.fault > 1
	case domain == "encrypted.test":
		return h.secure(), true
	case domain == "verified.test":
		return h.right(), true
	}
	return true, true
}

func walkPolicies(t *testing.T, faults, sends []byte) {
	inet := smtptest.NewNetwork(t)
	domains := []string{"none.test", "testing.test", "encrypted.test", "verified.test"}
	inet.Sign("encrypted.test") // as where there are TLSA records
	signed := sends[0] >= 128
	if signed {
		inet.Sign("none.test")
	}
	hosts := make(map[string]*fuzzHost)
	for i, name := range []string{"a.test", "b.test", "c.test"} {
		for _, domain := range domains {
			inet.MX(domain, name)
		}
		n := int(faults[i])
		h := &fuzzHost{inet.Host(name), n % len(hostFaults), n/len(hostFaults)%4 == 3, n/len(hostFaults)/4%2 == 1}
		hostFaults[h.fault].set(h.Host)
		if h.offers {
			h.OfferRequireTLS()
		}
		hosts[name] = h
	}
	policy := policyFunc(func(to mx.Target) (r mx.Requirement, err error) {
		switch r = verified(inet, to.Host.Name); to.Domain {
		case "none.test":
			return mx.Requirement{}, nil
		case "testing.test":
			r.Testing = true
		case "encrypted.test":
			r.Name, r.Level, r.Verify = "dane:unusable", mx.DemandEncrypted, nil
		}
		if hosts[to.Host.Name].excluded {
			r.Excluded = errors.New("not listed")
		}
		return r, nil
	})
	tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext, Router: &mx.Router{Resolver: inet},
		TLSConfig: &tls.Config{RootCAs: inet.RootCAs()}, Policies: []mx.Policy{policy}, Timeouts: Timeouts{Attempt: time.Hour}}
	defer tr.Close()
	for _, b := range sends {
		domain := domains[int(b)%len(domains)]
		env := smtp.NewEnvelope("ann@client.test", "bob@"+domain)
		env.RequireTLS, env.TLSOptional = b/4%2 == 1, b/4%4 == 2
		if b/4%4 == 3 {
			env.From = "" // a report: REQUIRETLS is left out where it can't be had
		}
		kind := [...]string{"usual", "require", "optional", "report"}[b/4%4]
		results, _ := tr.Send(t.Context(), env, smtp.Text(kind+"\n"))
		r, require := results[0], env.RequireTLS && env.From != ""
		fits, passing := false, false
		for _, h := range hosts {
			f, p := h.fits(domain, require, env.TLSOptional, signed)
			fits, passing = fits || f, passing || p
		}
		want := smtp.Rejected
		if fits {
			want = smtp.Delivered
		} else if passing {
			want = smtp.Deferred
		}
		if r.Outcome != want {
			t.Errorf("%s, REQUIRETLS %t, optional %t: got %+v, want it %v", domain, require, env.TLSOptional, r, want)
		}
		time.Sleep(time.Duration(b/16) * 10 * time.Minute)
	}
	for name, h := range hosts {
		for _, m := range h.Messages() {
			checkWalked(t, name, h, &m, signed)
		}
	}
}

// checkWalked checks that a host may have a message that it has.
func checkWalked(t *testing.T, name string, h *fuzzHost, m *smtptest.Message, signed bool) {
	t.Helper()
	_, domain := smtp.SplitAddress(m.Envelope.Recipients[0].Address)
	strict := domain == "encrypted.test" || domain == "verified.test"
	kind := strings.TrimSpace(string(m.Data))
	proven := !(h.excluded && domain == "testing.test") && (domain != "none.test" || signed)
	bad := false
	switch {
	case kind == "require", m.Envelope.RequireTLS: // also a report
		bad = !m.Envelope.RequireTLS || !m.TLS || !h.right() || !h.offers || !proven || strict && h.excluded
	case strict && kind != "optional":
		bad = !m.TLS || h.excluded || domain == "verified.test" && !h.right()
	}
	if bad {
		t.Errorf("%s has a message (%s) for %s; REQUIRETLS %t, TLS %t, fault %s", name, kind, domain, m.Envelope.RequireTLS,
			m.TLS, hostFaults[h.fault].name)
	}
}
