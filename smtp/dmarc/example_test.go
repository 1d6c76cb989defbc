package dmarc_test

import (
	"context"
	"fmt"
	"net"

	"github.com/postrider/postrider/smtp/dmarc"
)

// records is a resolver for the examples: TXT records by name.
type records map[string]string

func (r records) LookupTXT(_ context.Context, name string) ([]string, error) {
	if text, ok := r[name]; ok {
		return []string{text}, nil
	}
	return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
}

// A server asks whether SPF or DKIM has authenticated the domain in the From field. The Resolver is a *dns.Resolver, as
// a rule.
func ExampleEvaluator() {
	evaluator := &dmarc.Evaluator{Resolver: records{"_dmarc.example.net.": "v=DMARC1; p=reject"}}
	for _, signer := range []string{"mail.example.net", "example.org"} {
		result := evaluator.Evaluate(context.Background(), dmarc.Message{
			From: []string{"news.example.net"},
			DKIM: []dmarc.Identifier{{Domain: signer, Pass: true}},
		})
		fmt.Println(result)
	}
	// Output:
	// pass: news.example.net
	// fail: news.example.net: reject
}

// The owner of a domain wants to know what is wrong with the record.
func ExampleParse() {
	record, err := dmarc.Parse("v=DMARC1; p=reject; sp=rejct; rua=dmarc@example.com; pct=50")
	fmt.Println(err)
	fmt.Println("ignored:", record.Unknown)
	// Output:
	// dmarc: sp=rejct: want none or quarantine or reject (RFC 9989 section 4.7)
	// rua: "dmarc@example.com" is no URI: want one as in "mailto:dmarc@example.com" (RFC 9989 section 4.7)
	// ignored: [pct]
}
