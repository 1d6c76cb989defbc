package dmarc

import (
	"context"
	"net"
	"strings"
	"testing"
)

// everywhere has the same record at each name below _dmarc, or only where the name has "x".
type everywhere struct {
	t       *testing.T
	text    string
	some    bool
	lookups int
}

func (e *everywhere) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if !strings.HasSuffix(name, ".") || len(name) > 254 || strings.Contains(name, "..") || strings.ToLower(name) != name {
		e.t.Errorf("asked for %q", name)
	}
	e.lookups++
	switch {
	case strings.Contains(name, "fail"):
		return nil, &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	case !strings.HasPrefix(name, "_dmarc.") || e.some && !strings.Contains(name, "x"):
		return nil, &net.DNSError{UnwrapErr: noSuchName{}, Err: "no such name", Name: name, IsNotFound: true}
	}
	return []string{e.text}, nil
}

// FuzzEvaluate evaluates a message with a record that stands at many names.
func FuzzEvaluate(f *testing.F) {
	for _, text := range []string{
		"v=DMARC1; p=reject; sp=quarantine; np=none; adkim=s; aspf=r; t=y",
		"v=DMARC1; psd=y; p=none; rua=mailto:a@example.com!10m,https://example.com; ruf=x; fo=1:d:s",
		"v=DMARC1; psd=n; p=; rua=mailto:a@example.com",
		"v = DMARC1;;p=none p;pct=50;",
		"v=DMARC1",
		"v=DMARC10; p=reject",
	} {
		f.Add(text, "a.x.example.com", "x.example.com", "b.x.example.com", true)
		f.Add(text, "a.b.c.d.e.f.g.h.i.example.com,bücher.example", "fail.example.com", "a.b.c.d.e.f.g.h.i.j.k.l.example.com", false)
	}
	f.Fuzz(func(t *testing.T, text, from, spf, dkim string, some bool) {
		z := &everywhere{t: t, text: text, some: some}
		r := (&Evaluator{Resolver: z}).Evaluate(t.Context(), Message{
			From: strings.Split(from, ","),
			SPF:  Identifier{Domain: spf, Pass: true},
			DKIM: []Identifier{{Domain: dkim, Pass: len(dkim)%2 == 0, Temporary: len(dkim)%3 == 0}},
		})
		if z.lookups > 25*maxAuthors {
			t.Errorf("%d lookups", z.lookups)
		}
		decided := r.Code == Pass || r.Code == Fail
		if decided == (r.Err != nil) || decided != (r.Policy != "") || decided && (r.Record == nil || r.RecordDomain == "") ||
			(r.SPF || r.DKIM) != (r.Code == Pass) || r.Code > PermError {
			t.Errorf("got %+v", r)
		}
		if r.OrgDomain != "" && r.Domain != r.OrgDomain && !strings.HasSuffix(r.Domain, "."+r.OrgDomain) {
			t.Errorf("got organizational domain %q of %q", r.OrgDomain, r.Domain)
		}
		record, err := Parse(text)
		if record == nil {
			if err == nil || decided {
				t.Errorf("got no record and %v, %v", err, r)
			}
			return
		}
		if record.Policy == "" || record.FailureOptions == "" || record.policyError && err == nil {
			t.Errorf("got %+v, %v", record, err)
		}
		for _, uri := range append(record.AggregateURIs, record.FailureURIs...) {
			if strings.ContainsFunc(uri, notVisible) || strings.ContainsAny(uri, ",;!") {
				t.Errorf("got URI %q", uri)
			}
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\x00\x1b") {
			t.Errorf("got error %q", err)
		}
	})
}
