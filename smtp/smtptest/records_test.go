package smtptest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/postrider/postrider/mx/dns"
)

func TestRecords(t *testing.T) {
	setup := func(t *testing.T) *Network {
		n := NewNetwork(t)
		n.TXT("_mta-sts.example.net", "to be replaced")
		n.TXT("_mta-sts.Example.NET.", "v=STSv1; id=1;", "another")
		n.TXT("former.example", "gone")
		n.TXT("former.example")
		n.Sign("example.net")
		n.Sign("signed.example")
		n.MX("example.net", "mx.example.net")
		n.TLSA("_25._tcp.mx.example.net", tlsa(3, 1, 1, 1, 2), tlsa(2, 0, 2, 3))
		n.TLSA("_25._tcp.mx.example", tlsa(3, 1, 1, 4))
		n.TLSA("_25._tcp.former.example", tlsa(3, 1, 1))
		n.TLSA("_25._tcp.former.example")

		n.CNAME("alias.example", "EXAMPLE.net.")
		n.CNAME("alias.signed.example", "example.net")
		n.CNAME("mx.alias.example", "mx.example.net")
		n.CNAME("_25._tcp.alias.signed.example", "_25._tcp.mx.example.net")
		n.CNAME("_25._tcp.alias.example", "_25._tcp.mx.example.net")
		n.CNAME("dangling.signed.example", "nowhere.signed.example")
		n.TXT("both.example", "hidden by the alias")
		n.CNAME("both.example", "_mta-sts.example.net")
		n.TXT("ended.example", "back")
		n.CNAME("ended.example", "_mta-sts.example.net")
		n.CNAME("ended.example", "")
		for i := range 13 {
			n.CNAME(fmt.Sprintf("c%d.example", i+1), fmt.Sprintf("c%d.example", i))
		}
		n.MX("c0.example", "mx.example.net")
		n.Host("c0.example")
		n.CNAME("a.example", "b.example")
		n.CNAME("b.example", "a.example")
		n.CNAME("self.example", "self.example")
		for name, f := range map[string]DNSFault{"gone.signed.example": NXDomain, "broken.signed.example": ServFail, "slow.signed.example": DNSTimeout} {
			n.TXT(name, "text")
			n.TLSA(name, tlsa(3, 1, 1))
			n.FailDNS(name, f)
			n.CNAME("to-"+name, name)
		}
		n.CNAME("to-gone.example", "gone.signed.example")
		return n
	}
	tests := []lookupTest{
		{name: "txt", lookup: "txt _mta-sts.example.net.", want: `["v=STSv1; id=1;" "another"]`},
		{name: "txt, case", lookup: "txt _MTA-STS.example.NET", want: `["v=STSv1; id=1;" "another"]`},
		{name: "txt, none", lookup: "txt example.net", err: missing},
		{name: "txt, taken away", lookup: "txt former.example", err: missing},
		{name: "txt, alias beside a record", lookup: "txt both.example", want: `["v=STSv1; id=1;" "another"]`},
		{name: "txt, alias ended", lookup: "txt ended.example", want: `["back"]`},
		{name: "txt, NXDOMAIN", lookup: "txt gone.signed.example", err: missing},
		{name: "txt, SERVFAIL behind an alias", lookup: "txt to-broken.signed.example", err: passing},
		{name: "txt, time-out behind an alias", lookup: "txt to-slow.signed.example", err: late, took: dnsPatience},

		{name: "tlsa", lookup: "tlsa _25._tcp.mx.example.net", want: "[{3 1 1 [1 2]} {2 0 2 [3]}] true"},
		{name: "tlsa, not signed", lookup: "tlsa _25._tcp.mx.example", want: "[{3 1 1 [4]}] false"},
		{name: "tlsa, alias in a signed zone", lookup: "tlsa _25._tcp.alias.signed.example", want: "[{3 1 1 [1 2]} {2 0 2 [3]}] true"},
		{name: "tlsa, alias in another", lookup: "tlsa _25._tcp.alias.example", want: "[{3 1 1 [1 2]} {2 0 2 [3]}] false"},
		{name: "tlsa, surely none", lookup: "tlsa _465._tcp.mx.example.net", want: "[] true", err: missing},
		{name: "tlsa, none", lookup: "tlsa _465._tcp.mx.example", want: "[] false", err: missing},
		{name: "tlsa, taken away", lookup: "tlsa _25._tcp.former.example", want: "[] false", err: missing},
		{name: "tlsa, surely no such name", lookup: "tlsa gone.signed.example", want: "[] true", err: missing},
		{name: "tlsa, no such name", lookup: "tlsa to-gone.example", want: "[] false", err: missing},
		{name: "tlsa, SERVFAIL", lookup: "tlsa broken.signed.example", want: "[] false", err: passing},
		{name: "tlsa, time-out", lookup: "tlsa slow.signed.example", want: "[] false", err: late, took: dnsPatience},

		{name: "proof of an MX", lookup: "mx-proof example.net.", want: "example.net. true"},
		{name: "proof of an MX, alias in a signed zone", lookup: "mx-proof alias.signed.example", want: "example.net. true"},
		{name: "proof of an MX, alias in another", lookup: "mx-proof alias.example", want: "example.net. false"},
		{name: "proof that there is no MX", lookup: "mx-proof mx.example.net", want: "mx.example.net. true", err: missing},
		{name: "proof that there is no name", lookup: "ip4-proof gone.signed.example", want: "gone.signed.example. true", err: missing},
		{name: "proof of an address", lookup: "ip4-proof MX.example.net.", want: "mx.example.net. true"},
		{name: "proof of an address, alias in another zone", lookup: "ip4-proof mx.alias.example", want: "mx.example.net. false"},
		{name: "no proof of a failure", lookup: "ip4-proof broken.signed.example", want: " false", err: passing},
		{name: "alias", lookup: "alias alias.signed.example", want: "example.net. true"},
		{name: "alias, not signed", lookup: "alias mx.alias.example.", want: "mx.example.net. false"},
		{name: "alias of an alias", lookup: "alias c2.example", want: "c1.example. false"},
		{name: "alias of what fails", lookup: "alias to-broken.signed.example", want: "broken.signed.example. true"},
		{name: "alias, none", lookup: "alias example.net", want: " true", err: missing},
		{name: "alias, time-out", lookup: "alias slow.signed.example", want: " false", err: late, took: dnsPatience},

		{name: "mx behind an alias", lookup: "mx alias.example", want: "[mx.example.net. 10]"},
		{name: "address behind an alias", lookup: "ip mx.alias.example", want: "[192.0.2.10]"},
		{name: "address, no such alias", lookup: "ip dangling.signed.example", err: missing},
		{name: "mx, eleven aliases", lookup: "mx c11.example", want: "[mx.example.net. 10]"},
		{name: "mx, twelve", lookup: "mx c12.example", err: passing},
		{name: "address, eleven aliases", lookup: "ip c11.example", want: "[192.0.2.11]"},
		{name: "address, thirteen", lookup: "ip c13.example", err: passing},
		{name: "circle", lookup: "mx a.example", err: passing},
		{name: "circle of one", lookup: "txt self.example", err: passing},
	}
	checkLookups(t, setup, tests)
}

func tlsa(usage, selector, matching uint8, data ...byte) dns.TLSA {
	return dns.TLSA{Usage: usage, Selector: selector, MatchingType: matching, Data: data}
}

func TestAuthentic(t *testing.T) {
	n := NewNetwork(t)
	n.Sign("example.net")
	n.CNAME("in.example.net", "other.example.net")
	n.CNAME("out.example.net", "example.com")
	n.CNAME("circle.example.net", "circle.example.net")
	for name, want := range map[string]bool{
		"example.net": true, "MX.example.net.": true, "in.example.net": true, "out.example.net": false,
		"notexample.net": false, "net": false, "example.com": false, "circle.example.net": false,
	} {
		if got := n.Authentic(name); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// TestRecordsAreCopies: the caller may change the result of a lookup.
func TestRecordsAreCopies(t *testing.T) {
	n := NewNetwork(t)
	n.TXT("a.example", "text")
	n.TLSA("a.example", dns.TLSA{Data: []byte{1}})
	for range 2 {
		texts, err := n.LookupTXT(t.Context(), "a.example")
		records, _, tlsaErr := n.LookupTLSA(t.Context(), "a.example")
		if err := errors.Join(err, tlsaErr); err != nil || texts[0] != "text" || records[0].Data[0] != 1 {
			t.Fatalf("got %q, %v and %v", texts, records, err)
		}
		texts[0], records[0].Data[0] = "other", 2
	}
}
