package dmarc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx/dns"
)

var (
	_ Resolver = (*net.Resolver)(nil)
	_ Resolver = (*dns.Resolver)(nil)
)

// brief is what the tables expect: the code, the policy, the organizational domain, the domain of the record, and the
// methods that authenticated.
func brief(r Result) string {
	parts := []string{r.Code.String()}
	if r.Code == Pass || r.Code == Fail {
		parts = append(parts, string(r.Policy), r.OrgDomain, r.RecordDomain)
	}
	if r.SPF {
		parts = append(parts, "spf")
	}
	if r.DKIM {
		parts = append(parts, "dkim")
	}
	return strings.Join(parts, " ")
}

// TestWalkNames has the example of RFC 9989 §4.10, and names around its bound.
func TestWalkNames(t *testing.T) {
	for domain, want := range map[string]string{
		"com":                "com",
		"a.mail.example.com": "a.mail.example.com mail.example.com example.com com",
		"a.b.c.d.e.f.g":      "a.b.c.d.e.f.g b.c.d.e.f.g c.d.e.f.g d.e.f.g e.f.g f.g g",
		"a.b.c.d.e.f.g.h":    "a.b.c.d.e.f.g.h b.c.d.e.f.g.h c.d.e.f.g.h d.e.f.g.h e.f.g.h f.g.h g.h h",
		"a.b.c.d.e.f.g.h.i":  "a.b.c.d.e.f.g.h.i c.d.e.f.g.h.i d.e.f.g.h.i e.f.g.h.i f.g.h.i g.h.i h.i i",
		"a.b.c.d.e.f.g.h.i.j.mail.example.com": "a.b.c.d.e.f.g.h.i.j.mail.example.com g.h.i.j.mail.example.com h.i.j.mail.example.com" +
			" i.j.mail.example.com j.mail.example.com mail.example.com example.com com",
	} {
		if got := strings.Join(walkNames(domain), " "); got != want {
			t.Errorf("%s: got %s, want %s", domain, got, want)
		}
	}
}

// TestEvaluate: the first domain is that of From.
func TestEvaluate(t *testing.T) {
	const (
		plain = "example.com v=DMARC1; p=reject"
		deep  = "example.com v=DMARC1; p=reject\nsigning.example.com v=DMARC1; p=none"
		bank  = "bank.example v=DMARC1; p=reject; sp=quarantine; psd=y\ngiant.bank.example v=DMARC1; p=none"
		skip  = "a.b.c.d.e.f.g.h.i.j.k.example.com"
	)
	for _, c := range []struct{ name, zone, from, ids, want string }{
		// RFC 9989 §4.4, table.
		{"relaxed", plain, "news.example.com", "dkim:foo.example.com", "pass reject example.com example.com dkim"},
		{"the same", plain + "\nnews.example.com v=DMARC1; p=none", "news.example.com", "dkim:news.example.com", "pass none example.com news.example.com dkim"},
		{"another", plain, "news.example.com", "dkim:foo.example.net", "fail reject example.com example.com"},

		// RFC 9989, Appendix B.1.
		{"SPF aligned", plain, "example.com", "spf:example.com", "pass reject example.com example.com spf"},
		{"SPF aligned, relaxed", plain, "example.com", "spf:child.example.com", "pass reject example.com example.com spf"},
		{"SPF aligned, the parent", plain, "child.example.com", "spf:example.com", "pass reject example.com example.com spf"},
		{"SPF not aligned", plain, "example.com", "spf:example.net", "fail reject example.com example.com"},

		// RFC 9989, Appendix B.4 (walks).
		{"simple", deep, "example.com", "spf:example.com dkim:signing.example.com", "pass reject example.com example.com spf dkim"},
		{"deep", deep, skip, "spf:example.com dkim:signing.example.com", "pass reject example.com example.com spf dkim"},
		{"a public suffix", bank, "giant.bank.example", "spf:mail.giant.bank.example dkim:mail.mega.bank.example", "pass none giant.bank.example giant.bank.example spf"},
		{"below a public suffix, no record", bank, "mail.mega.bank.example", "spf:mega.bank.example dkim:giant.bank.example", "pass quarantine mega.bank.example bank.example spf"},
		{"below an organization below a public suffix", bank, "a.giant.bank.example", "", "fail none giant.bank.example giant.bank.example"},
		{"the walk ends at the suffix itself", bank + "\nexample v=DMARC1; p=none", "bank.example", "spf:mega.bank.example", "fail reject bank.example bank.example"},
		{"the suffix isn't aligned", bank, "mega.bank.example", "spf:bank.example", "fail quarantine mega.bank.example bank.example"},
		{"a sister isn't aligned", bank, "giant.bank.example", "spf:mega.bank.example", "fail none giant.bank.example giant.bank.example"},
		{"the suffix itself", bank, "bank.example", "spf:bank.example", "pass reject bank.example bank.example spf"},
		{"the suffix itself and what is below", bank, "bank.example", "spf:mega.bank.example", "fail reject bank.example bank.example"},

		// RFC 9989 §4.10.2, examples and rules.
		{"the fewest labels", "mail.example.com v=DMARC1; p=none\n" + plain, "a.mail.example.com", "spf:b.example.com", "pass reject example.com example.com spf"},
		{"psd=n", "mail.example.com v=DMARC1; p=quarantine; psd=n\n" + plain, "a.mail.example.com", "spf:b.example.com dkim:b.mail.example.com", "pass quarantine mail.example.com mail.example.com dkim"},
		{"psd=n at the start", "mail.example.com v=DMARC1; p=quarantine; psd=n\n" + plain, "mail.example.com", "spf:b.example.com", "fail quarantine mail.example.com mail.example.com"},
		{"psd=y at the top", "com v=DMARC1; p=reject; psd=y", "a.mail.example.com", "spf:b.example.com", "pass reject example.com com spf"},
		{"another organization below", "other.example.com v=DMARC1; p=none; psd=n\n" + plain, "example.com", "spf:other.example.com", "fail reject example.com example.com"},
		{"between org and suffix", "com v=DMARC1; p=reject; psd=y\nmail.example.com v=DMARC1; p=none", "a.mail.example.com", "spf:example.com", "pass reject example.com com spf"},
		{"a top-level domain without psd", "com v=DMARC1; p=quarantine", "a.example.com", "spf:b.example.net spf:example.org", "fail quarantine com com"},
		{"psd=y beyond nine labels", "3.4.5.6.7.8.9 v=DMARC1; p=reject; psd=y\n2.3.4.5.6.7.8.9 v=DMARC1; p=none", "0.1.2.3.4.5.6.7.8.9", "", "fail reject 2.3.4.5.6.7.8.9 3.4.5.6.7.8.9"},

		// RFC 9989 §4.10.1: which policy.
		{"p", "example.com v=DMARC1; p=reject; sp=none; np=none", "example.com", "", "fail reject example.com example.com"},
		{"sp", "example.com v=DMARC1; p=reject; sp=quarantine; np=none\n=a.example.com x", "a.example.com", "", "fail quarantine example.com example.com"},
		{"sp, no data", "example.com v=DMARC1; p=reject; sp=quarantine; np=none\n=b.a.example.com x", "a.example.com", "", "fail quarantine example.com example.com"},
		{"p for subdomains", "example.com v=DMARC1; p=reject; np=none\n=a.example.com x", "a.example.com", "", "fail reject example.com example.com"},
		{"np", "example.com v=DMARC1; p=none; sp=quarantine; np=reject", "a.example.com", "", "fail reject example.com example.com"},
		{"np, no sp", "example.com v=DMARC1; p=none; np=reject", "a.example.com", "", "fail reject example.com example.com"},
		{"no np", "example.com v=DMARC1; p=none; sp=quarantine", "a.example.com", "", "fail quarantine example.com example.com"},
		{"np isn't asked for beside a pass", "example.com v=DMARC1; p=none; np=reject\n=a.example.com !", "a.example.com", "spf:example.com", "pass none example.com example.com spf"},
		{"np can't be asked for", "example.com v=DMARC1; p=none; np=reject\n=a.example.com !", "a.example.com", "", "temperror"},
		{"np as p", "example.com v=DMARC1; p=reject; np=reject\n=a.example.com !", "a.example.com", "", "fail reject example.com example.com"},
		{"sp of a suffix", bank, "x.bank.example", "", "fail quarantine x.bank.example bank.example"},
		{"the record of the domain", "a.example.com v=DMARC1; p=none\n" + plain, "a.example.com", "", "fail none example.com a.example.com"},
		{"no record in between", "b.example.com v=DMARC1; p=none\n" + plain, "a.b.example.com", "", "fail reject example.com example.com"},

		// RFC 9989 §4.7, t.
		{"testing reject", "example.com v=DMARC1; p=reject; t=y", "example.com", "", "fail quarantine example.com example.com"},
		{"testing quarantine", "example.com v=DMARC1; p=quarantine; t=y", "example.com", "", "fail none example.com example.com"},
		{"testing none", "example.com v=DMARC1; p=none; t=y", "example.com", "", "fail none example.com example.com"},
		{"testing np", "example.com v=DMARC1; p=none; np=reject; t=y", "a.example.com", "", "fail quarantine example.com example.com"},

		// Alignment modes (RFC 9989 §4.4).
		{"strict SPF", "example.com v=DMARC1; p=reject; aspf=s", "example.com", "spf:a.example.com dkim:a.example.com", "pass reject example.com example.com dkim"},
		{"strict DKIM", "example.com v=DMARC1; p=reject; adkim=s", "example.com", "spf:a.example.com dkim:a.example.com", "pass reject example.com example.com spf"},
		{"strict and equal", "example.com v=DMARC1; p=reject; adkim=s; aspf=s", "a.example.com", "spf:A.Example.com. dkim:a.example.com", "pass reject example.com example.com spf dkim"},
		{"a name that ends alike", plain, "example.com", "spf:notexample.com dkim:com", "fail reject example.com example.com"},

		// Identifiers.
		{"nothing passes", plain, "example.com", "spf:-example.com dkim:-example.com", "fail reject example.com example.com"},
		{"one of several signatures", plain, "example.com", "dkim:-example.com dkim:example.net dkim:a.example.com", "pass reject example.com example.com dkim"},
		{"a domain that isn't one", plain, "example.com", "spf:[192.0.2.1] dkim:..", "fail reject example.com example.com"},
		{"SPF for now", plain, "example.com", "spf:?a.example.com dkim:-example.com", "temperror"},
		{"DKIM for now", plain, "example.com", "dkim:?example.com", "temperror"},
		{"for now, not aligned", plain, "example.com", "spf:?example.net dkim:?example.org", "fail reject example.com example.com"},
		{"for now, but another passes", plain, "example.com", "spf:?example.com dkim:example.com", "pass reject example.com example.com dkim"},

		// No record, and those with errors.
		{"no record", "", "example.com", "spf:example.com", "none"},
		{"of another version", "example.com v=DMARC2; p=reject", "example.com", "spf:example.com", "none"},
		{"one among others", "example.com hello\nexample.com v=DMARC1; p=reject\nexample.com v=spf1", "example.com", "", "fail reject example.com example.com"},
		{"two", "example.com v=DMARC1; p=reject\nexample.com v=DMARC1; p=none", "example.com", "", "none"},
		{"two, and one of the parent", "a.example.com v=DMARC1; p=none\na.example.com v=DMARC1; p=none\n" + plain, "a.example.com", "", "fail reject example.com example.com"},
		{"no p", "example.com v=DMARC1", "example.com", "", "fail none example.com example.com"},
		{"a bad p", "example.com v=DMARC1; p=rject", "example.com", "spf:example.com", "permerror"},
		{"a bad sp", "example.com v=DMARC1; p=reject; sp=x", "example.com", "", "permerror"},
		{"a bad p with rua", "example.com v=DMARC1; p=rject; rua=mailto:a@example.com", "example.com", "", "fail none example.com example.com"},
		{"a bad np with rua", "example.com v=DMARC1; p=reject; np=x; rua=mailto:a@example.com", "example.com", "", "fail none example.com example.com"},
		{"a bad p with a bad rua", "example.com v=DMARC1; p=rject; rua=a@example.com", "example.com", "", "permerror"},
		{"other mistakes", "example.com v=DMARC1; p=reject; x; adkim=q; adkim=s; t=?", "example.com", "dkim:a.example.com", "pass reject example.com example.com dkim"},

		// Lookups that fail.
		{"of the domain", "example.com !", "example.com", "spf:example.com", "temperror"},
		{"of a parent", plain + "\ncom !", "a.example.com", "spf:a.example.com", "temperror"},
		{"of a parent, but it is equal", plain + "\ncom !", "example.com", "spf:example.com", "pass reject  example.com spf"},
		{"of a parent, and it isn't equal", plain + "\ncom !", "example.com", "spf:a.example.com", "temperror"},
		{"of a parent, and it might have a record", plain + "\ncom !", "example.com", "spf:other.com", "temperror"},
		{"of a parent, but it is strict", "example.com v=DMARC1; p=reject; aspf=s\ncom !", "example.com", "spf:a.example.com", "fail reject  example.com"},
		{"of a parent, and nothing passes", plain + "\ncom !", "example.com", "spf:-example.com", "fail reject  example.com"},
		{"of an identifier", plain + "\na.example.com !", "example.com", "spf:a.example.com", "temperror"},
		{"of an identifier, but another passes", plain + "\na.example.com !", "example.com", "spf:a.example.com dkim:b.example.com", "pass reject example.com example.com dkim"},

		// The From field (RFC 9989 §5.3.1, §11.5).
		{"a U-label", "xn--bcher-kva.example v=DMARC1; p=reject", "bücher.example", "dkim:BÜCHER.example", "pass reject xn--bcher-kva.example xn--bcher-kva.example dkim"},
		{"case and a dot", plain, "EXAMPLE.com.", "", "fail reject example.com example.com"},
		{"no From", plain, "", "spf:example.com", "permerror"},
		{"a literal", plain, "[192.0.2.1]", "spf:example.com", "permerror"},
		{"no name", plain, "a..b", "spf:example.com", "permerror"},
		{"one label", "localhost v=DMARC1; p=reject", "localhost", "", "fail reject localhost localhost"},
		{"the same twice", plain, "example.com,Example.Com", "spf:example.com", "pass reject example.com example.com spf"},
		{"the same, five times", plain, "example.com,example.com,example.com,example.com,example.com", "spf:example.com", "pass reject example.com example.com spf"},
		{"two, one fails", plain + "\nexample.net v=DMARC1; p=quarantine", "example.com,example.net", "spf:example.com", "fail quarantine example.net example.net"},
		{"two, both fail", "example.net v=DMARC1; p=quarantine\n" + plain, "example.net,example.com", "spf:example.org", "fail reject example.com example.com"},
		{"two, both pass", "example.net v=DMARC1; p=quarantine\n" + plain, "example.net,example.com", "spf:example.net dkim:example.com", "pass reject example.com example.com dkim"},
		{"two, one has no record", plain, "example.com,example.net", "spf:example.com", "none"},
		{"two, one can't be asked for", plain + "\nexample.net !", "example.net,example.com", "spf:example.com", "temperror"},
		{"two, both with errors", "example.com v=DMARC1; p=x\nexample.net !", "example.com,example.net", "", "temperror"},
		{"four", plain, "a.test,b.test,c.test,example.com", "", "fail reject example.com example.com"},
		{"five", plain, "a.test,b.test,c.test,example.com,d.test", "", "permerror"},
	} {
		z := newZone(t, c.zone)
		r := z.evaluate(c.from, c.ids)
		if got := brief(r); got != c.want {
			t.Errorf("%s: got %s (%v), want %s", c.name, got, r.Err, c.want)
		}
		if (r.Err != nil) != (r.Code == None || r.Code == TempError || r.Code == PermError) {
			t.Errorf("%s: got %v with error %v", c.name, r.Code, r.Err)
		}
		seen := slices.Clone(z.asked)
		slices.Sort(seen)
		if len(slices.Compact(seen)) != len(z.asked) {
			t.Errorf("%s: asked twice: %q", c.name, z.asked)
		}
	}
}

// TestErrors: Err names the domain and the mistake.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ zone, from, want string }{
		{"", "a.example.com", "none: a.example.com: no DMARC record"},
		{"a.example.com v=DMARC1\na.example.com v=DMARC1", "a.example.com", "none: a.example.com: 2 DMARC records"},
		{"example.com v=DMARC1; p=x", "a.example.com", "permerror: example.com: p=x: want none"},
		{"example.com !", "example.com", "temperror: _dmarc.example.com: lookup _dmarc.example.com: server failure"},
		{"example.com v=DMARC1; p=x; t=x", "example.com", "permerror: example.com: p=x: want none or quarantine or reject (RFC 9989 section 4.7); t=x: want"},
		{"", "", "permerror: the From field has no domain"},
		{"", "a..b", "permerror: the From field: smtp: domain"},
	} {
		if got := newZone(t, c.zone).evaluate(c.from, "").String(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.from, got, c.want)
		}
	}
	for want, r := range map[string]Result{
		"fail: example.com: reject": {Code: Fail, Domain: "example.com", Policy: Reject},
		"pass: example.com":         {Code: Pass, Domain: "example.com", Policy: Reject},
		"unknown: example.com":      {Code: 99, Domain: "example.com"},
	} {
		if got := r.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestBounds: what a message with many labels and signatures causes.
func TestBounds(t *testing.T) {
	author := strings.Repeat("a.", 100) + "example.com"
	z := newZone(t, "example.com v=DMARC1; p=none; np=reject\n=x.example.com x")
	var ids strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&ids, " dkim:%s%d.other.example.com", strings.Repeat("b.", 50), i)
	}
	r := z.evaluate(author, "spf:x.c.d.e.f.g.h.example.com"+ids.String())
	if r.Code != Pass || len(z.asked) > 89 {
		t.Errorf("got %v after %d lookups", r, len(z.asked))
	}
	z = newZone(t, "example.com v=DMARC1; p=none; np=reject")
	for i := range 20 {
		z.records[fmt.Sprintf("_dmarc.h%d.example.com", i)] = []string{"v=DMARC1; p=none; psd=n"}
	}
	ids.Reset()
	for i := range 20 {
		fmt.Fprintf(&ids, " dkim:a.b.c.d.e.f.g.h%d.example.com", i)
	}
	if r := z.evaluate("example.com", ids.String()+" dkim:z.example.com"); r.Code != Fail {
		t.Errorf("the eleventh identifier counts: %v", r)
	}
	if r := z.evaluate("example.com", ids.String()+" dkim:example.com"); r.Code != Pass {
		t.Errorf("one that is equal needs no walk: %v", r)
	}
	z = newZone(t, "example.com v=DMARC1; p=none")
	if z.evaluate("example.com", "dkim:mail.example.net"); len(z.asked) != 2 {
		t.Errorf("asked for %q: that of another organization isn't needed", z.asked)
	}
	// A name that is too long for a record.
	long := strings.Repeat(strings.Repeat("a", 49)+".", 4) + strings.Repeat("a", 48) + ".com"
	if z := newZone(t, ""); z.evaluate(long, "").Code != None || slices.Contains(z.asked, "_dmarc."+long) {
		t.Errorf("asked for %q", z.asked)
	}
}

// plain is a resolver that can't tell that a name doesn't exist.
type plain struct{ *zone }

func (p plain) LookupTXT(ctx context.Context, name string) ([]string, error) {
	texts, err := p.zone.LookupTXT(ctx, name)
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		e.UnwrapErr = nil
	}
	return texts, err
}

// TestExistence: by which errors a domain doesn't exist.
func TestExistence(t *testing.T) {
	z := newZone(t, "example.com v=DMARC1; p=none; np=reject")
	r := (&Evaluator{Resolver: plain{z}}).Evaluate(t.Context(), Message{From: []string{"a.example.com"}})
	if brief(r) != "fail none example.com example.com" {
		t.Errorf("got %v", r)
	}
	if err := (&net.DNSError{UnwrapErr: dns.NXDomain, IsNotFound: true}); !isNoSuchName(err) {
		t.Error("the error of mx/dns isn't known")
	}
	if err := (&net.DNSError{UnwrapErr: dns.Refused, IsTemporary: true}); isNoSuchName(err) {
		t.Error("REFUSED counts as no such name")
	}
}

// TestRecordsBesideAnError: they count.
func TestRecordsBesideAnError(t *testing.T) {
	l := &lookups{resolver: both{}, known: make(map[string]answer)}
	if f, err := l.record(t.Context(), "example.com"); err != nil || f.record == nil {
		t.Errorf("got %v, %v", f, err)
	}
}

type both struct{}

func (both) LookupTXT(context.Context, string) ([]string, error) {
	return []string{"v=DMARC1; p=none"}, errors.New("failed")
}

type slow struct{}

func (slow) LookupTXT(ctx context.Context, name string) ([]string, error) {
	<-ctx.Done()
	return nil, &net.DNSError{UnwrapErr: ctx.Err(), Err: "timeout", Name: name, IsTimeout: true, IsTemporary: true}
}

func TestTimeout(t *testing.T) {
	for _, c := range []struct{ timeout, ctx, want time.Duration }{
		{0, time.Hour, 20 * time.Second},
		{3 * time.Second, time.Hour, 3 * time.Second},
		{time.Hour, 2 * time.Second, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			e := &Evaluator{Resolver: slow{}, Timeout: c.timeout}
			ctx, cancel := context.WithTimeout(t.Context(), c.ctx)
			defer cancel()
			begin := time.Now()
			r := e.Evaluate(ctx, Message{From: []string{"example.com"}})
			if r.Code != TempError || !errors.Is(r.Err, context.DeadlineExceeded) || time.Since(begin) != c.want {
				t.Errorf("got %v after %v, want a temperror after %v", r, time.Since(begin), c.want)
			}
		})
	}
}
