package client

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// FuzzPolicies sends to domains with different policies and the same hosts, whose TLS fails in random ways. No message
// of a domain that demands TLS goes in cleartext or to the wrong host, and all others are delivered.
func FuzzPolicies(f *testing.F) {
	f.Add([]byte{0, 1, 8, 0, 1, 2, 3, 0, 1, 2, 3})
	f.Add([]byte{5, 10, 7, 3, 3, 0, 3, 2, 1, 3})
	f.Add([]byte{6, 4, 3, 1, 3, 1, 0})
	f.Add([]byte{8, 0, 5, 0, 3, 0, 3, 1, 3, 2, 3})
	f.Fuzz(func(t *testing.T, walk []byte) {
		if len(walk) < 4 || len(walk) > 16 {
			return
		}
		synctest.Test(t, func(t *testing.T) { walkPolicies(t, walk[:3], walk[3:]) })
	})
}

func walkPolicies(t *testing.T, faults, sends []byte) {
	inet := smtptest.NewNetwork(t)
	domains := []string{"none.test", "testing.test", "encrypted.test", "verified.test"}
	names := []string{"a.test", "b.test", "c.test"}
	fits := make(map[string]int) // the hosts that the domain may use
	var hosts []*smtptest.Host
	faultOf := func(i int) int { return int(faults[i]) % len(hostFaults) }
	excludes := func(i int) bool { return int(faults[i])/len(hostFaults)%4 == 3 }
	for i, name := range names {
		for _, domain := range domains {
			inet.MX(domain, name)
		}
		hosts = append(hosts, inet.Host(name))
		hostFaults[faultOf(i)].set(hosts[i])
		secure := !excludes(i) && (faultOf(i) == 0 || faultOf(i) >= withTLS)
		if secure {
			fits["encrypted.test"]++
		}
		if secure && faultOf(i) < wrongCertificate {
			fits["verified.test"]++
		}
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
		for i, name := range names {
			if name == to.Host.Name && excludes(i) {
				r.Excluded = errors.New("not listed")
			}
		}
		return r, nil
	})
	tr := &Transport{Hostname: "client.test", DialContext: inet.DialContext, Router: &mx.Router{Resolver: inet},
		Policies: []mx.Policy{policy}, Timeouts: Timeouts{Attempt: time.Hour}}
	defer tr.Close()
	for _, b := range sends {
		domain := domains[int(b)%len(domains)]
		results, _ := tr.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@"+domain), smtp.Text("Hello.\n"))
		strict := domain == "encrypted.test" || domain == "verified.test"
		if want := !strict || fits[domain] > 0; (results[0].Outcome == smtp.Delivered) != want {
			t.Errorf("%s: got %+v, delivered: want %t", domain, results[0], want)
		}
		if results[0].Outcome.Final() && results[0].Outcome != smtp.Delivered {
			t.Errorf("%s: got %+v, want it deferred", domain, results[0])
		}
		time.Sleep(time.Duration(b/16) * 10 * time.Minute)
	}
	for i, host := range hosts {
		for _, m := range host.Messages() {
			_, domain := smtp.SplitAddress(m.Envelope.Recipients[0].Address)
			switch {
			case domain != "encrypted.test" && domain != "verified.test":
			case !m.TLS, excludes(i), domain == "verified.test" && faultOf(i) >= wrongCertificate:
				t.Errorf("%s has a message for %s; fault %s, TLS %t", names[i], domain, hostFaults[faultOf(i)].name, m.TLS)
			}
		}
	}
}
