package dmarc

import (
	"context"
	"net"
	"strings"
	"testing"
)

// zone is a Resolver: the TXT records by name, without a trailing dot. "!" is a lookup that fails. All other names are
// not found, and don't exist unless a longer name is in the zone.
type zone struct {
	t       testing.TB
	records map[string][]string
	asked   []string
}

// newZone reads lines such as "example.net v=DMARC1; p=none": the name is below _dmarc, unless it begins with "=".
func newZone(t testing.TB, lines string) *zone {
	z := &zone{t: t, records: make(map[string][]string)}
	for line := range strings.Lines(lines) {
		name, data, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" {
			continue
		}
		name, plain := strings.CutPrefix(name, "=")
		if !plain {
			name = "_dmarc." + name
		}
		z.records[name] = append(z.records[name], data)
	}
	return z
}

// noSuchName is an error as that of mx/dns.
type noSuchName struct{ error }

func (noSuchName) NoSuchName() bool { return true }

func (z *zone) LookupTXT(ctx context.Context, name string) ([]string, error) {
	name, rooted := strings.CutSuffix(name, ".")
	if !rooted || len(name) > 253 || name != strings.ToLower(name) {
		z.t.Errorf("asked for %q", name)
	}
	z.asked = append(z.asked, name)
	data := z.records[name]
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case len(data) > 0 && data[0] == "!":
		return nil, &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	case len(data) > 0 && data[0] != "":
		return data, nil
	}
	for other := range z.records {
		if other == name || strings.HasSuffix(other, "."+name) {
			return nil, &net.DNSError{Err: "no such records", Name: name, IsNotFound: true}
		}
	}
	return nil, &net.DNSError{UnwrapErr: noSuchName{}, Err: "no such name", Name: name, IsNotFound: true}
}

// identifiers reads "spf:example.net dkim:example.org dkim:-example.com dkim:?example.com": those that pass, fail ("-")
// and can't be evaluated for now ("?").
func identifiers(s string) (m Message) {
	for _, word := range strings.Fields(s) {
		method, domain, _ := strings.Cut(word, ":")
		id := Identifier{Domain: strings.TrimLeft(domain, "-?"), Pass: !strings.ContainsAny(domain[:1], "-?"), Temporary: domain[0] == '?'}
		if method == "spf" {
			m.SPF = id
		} else {
			m.DKIM = append(m.DKIM, id)
		}
	}
	return m
}

// evaluate evaluates a message with the domains in From, separated by commas.
func (z *zone) evaluate(from, ids string) Result {
	m := identifiers(ids)
	if from != "" {
		m.From = strings.Split(from, ",")
	}
	return (&Evaluator{Resolver: z}).Evaluate(z.t.Context(), m)
}
