package spf_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/postrider/postrider/smtp/spf"
)

// records is a resolver for the examples: TXT records by name.
type records map[string]string

func (r records) LookupTXT(_ context.Context, name string) ([]string, error) {
	if text, ok := r[name]; ok {
		return []string{text}, nil
	}
	return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}

func (r records) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) { return nil, nil }

func (r records) LookupMX(context.Context, string) ([]*net.MX, error) { return nil, nil }

func (r records) LookupAddr(context.Context, string) ([]string, error) { return nil, nil }

// A server asks whether a client may send mail from an address. The Resolver is a *dns.Resolver or a *net.Resolver, as
// a rule.
func ExampleChecker() {
	checker := &spf.Checker{Hostname: "mx1.example.com", Resolver: records{
		"example.net.":     "v=spf1 ip4:192.0.2.0/24 exp=why.example.net -all",
		"why.example.net.": "%{i} is none of our hosts",
		"example.org.":     "v=spf1 ip4:192.0.2.0/33 -all",
	}}
	for _, mailFrom := range []string{"ann@example.net", "bob@example.org"} {
		for _, ip := range []string{"192.0.2.25", "198.51.100.7"} {
			result := checker.Check(context.Background(), netip.MustParseAddr(ip), "mail.example.net", mailFrom)
			fmt.Println(result)
			if result.Code == spf.Fail {
				fmt.Println(" ", result.Explanation)
			}
		}
	}
	// Output:
	// pass: example.net: ip4:192.0.2.0/24
	// fail: example.net: -all
	//   198.51.100.7 is none of our hosts
	// permerror: example.org: term "ip4:192.0.2.0/33": prefix length "33": want 0 to 32 (RFC 7208 section 5.6)
	// permerror: example.org: term "ip4:192.0.2.0/33": prefix length "33": want 0 to 32 (RFC 7208 section 5.6)
}
