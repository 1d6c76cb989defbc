package dmarc

import (
	"reflect"
	"strings"
	"testing"
)

// TestParse has records that are right.
func TestParse(t *testing.T) {
	for text, want := range map[string]Record{
		"v=DMARC1;p=none":                            {},
		"v=DMARC1; p=reject":                         {Policy: Reject},
		"v = DMARC1 ;\tp = Reject ; ":                {Policy: Reject},
		"v=DMARC1;p=quarantine;":                     {Policy: Quarantine},
		"v=DMARC1; sp=reject; p=none":                {Subdomains: Reject},
		"v=DMARC1;p=none;sp=quarantine;np=reject":    {Subdomains: Quarantine, NonExistent: Reject},
		"v=DMARC1;p=none;adkim=s;aspf=S":             {StrictDKIM: true, StrictSPF: true},
		"v=DMARC1;p=none;adkim=r;aspf=R":             {},
		"v=DMARC1;p=none;psd=y":                      {PSD: PSDYes},
		"v=DMARC1;p=none;psd=n":                      {PSD: PSDNo},
		"v=DMARC1;p=none;psd=u":                      {},
		"v=DMARC1;p=none;t=y":                        {Testing: true},
		"v=DMARC1;p=none;t=n":                        {},
		"v=DMARC1;p=none;fo=1:d:s":                   {FailureOptions: "1:d:s"},
		"v=DMARC1;p=none;fo=s:0":                     {FailureOptions: "s:0"},
		"v=DMARC1;p=none;pct=50;rf=afrf;ri=86400;x=": {Unknown: []string{"pct", "rf", "ri", "x"}},
		"v=DMARC1;p=none;P=reject":                   {Unknown: []string{"P"}},
		"v=DMARC1;p=none;rua=mailto:a@example.com , https://example.com/r ;ruf=mailto:b%21c@example.com!10m": {
			AggregateURIs: []string{"mailto:a@example.com", "https://example.com/r"}, FailureURIs: []string{"mailto:b%21c@example.com"}},
		"v=DMARC1;p=none;rua=mailto:a@example.com?subject=x!1": {AggregateURIs: []string{"mailto:a@example.com?subject=x"}},
	} {
		if want.Policy == "" {
			want.Policy = NoPolicy
		}
		if want.FailureOptions == "" {
			want.FailureOptions = "0"
		}
		got, err := Parse(text)
		if err != nil || got == nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", text, got, err, want)
		}
	}
}

// TestNoRecord has texts that receivers ignore (RFC 9989 §4.7, v).
func TestNoRecord(t *testing.T) {
	for _, text := range []string{"", "v=DMARC1p=none", "v=dmarc1; p=none", "V=DMARC1; p=none", " v=DMARC1; p=none", "v=DMARC2; p=none", "v=DMARC10", "p=none; v=DMARC1", "v=spf1 -all", ";v=DMARC1", "v:DMARC1;", "v=DMARC1, p=none"} {
		if r, err := Parse(text); r != nil || err == nil || !strings.Contains(err.Error(), `begin with "v=DMARC1;"`) {
			t.Errorf("%q: got %v, %v", text, r, err)
		}
	}
}

// TestProblems has records with mistakes: what the error says, and what remains.
func TestProblems(t *testing.T) {
	const none = NoPolicy
	for _, c := range []struct {
		text, problem string
		want          Record
	}{
		{"v=DMARC1", "p is missing", Record{Policy: none}},
		{"v=DMARC1;;", "several semicolons", Record{Policy: none}},
		{"v=DMARC1; p=none; ;", "several semicolons", Record{Policy: none}},
		{"v=DMARC1;; p=reject", "empty tag", Record{Policy: Reject}},
		{"v=DMARC1; rua=mailto:a@example.com", "p is missing", Record{Policy: none, AggregateURIs: []string{"mailto:a@example.com"}}},
		{"v=DMARC1; p=rejct", "p=rejct: want none or quarantine or reject", Record{Policy: none, policyError: true}},
		{"v=DMARC1; p=", "p=: want", Record{Policy: none, policyError: true}},
		{"v=DMARC1; p=reject sp=none", "p=reject sp=none: want", Record{Policy: none, policyError: true}},
		{"v=DMARC1; p=reject; sp=x", "sp=x: want", Record{Policy: Reject, policyError: true}},
		{"v=DMARC1; p=reject; np=x\x00\u017f", "np=x??: want", Record{Policy: Reject, policyError: true}},
		{"v=DMARC1; p=none; p=reject", "p appears twice", Record{Policy: none}},
		{"v=DMARC1; p=none; v=DMARC1", "v appears twice", Record{Policy: none}},
		{"v=DMARC1; p=none; adkim=strict", "adkim=strict: want r or s", Record{Policy: none}},
		{"v=DMARC1; p=none; aspf=\u017f", "aspf=?: want r or s", Record{Policy: none}},
		{"v=DMARC1; p=none; psd=yes", "psd=yes: want u or y or n", Record{Policy: none}},
		{"v=DMARC1; p=none; t=1", "t=1: want n or y", Record{Policy: none}},
		{"v=DMARC1; p=none; t", `"t" is no tag`, Record{Policy: none}},
		{"v=DMARC1; p=none, rua=mailto:a@example.com", "p=none, rua=", Record{Policy: none, policyError: true}},
		{"v=DMARC1; p=none; a_b=c", `"a_b=c" is no tag`, Record{Policy: none}},
		{"v=DMARC1; p=none; =c", `"=c" is no tag`, Record{Policy: none}},
		{"v=DMARC1; p=none; fo=0:1", "fo=0:1: want", Record{Policy: none}},
		{"v=DMARC1; p=none; fo=1:0", "fo=1:0: want", Record{Policy: none}},
		{"v=DMARC1; p=none; fo=d:d", "fo=d:d: want", Record{Policy: none}},
		{"v=DMARC1; p=none; fo=", "fo=: want", Record{Policy: none}},
		{"v=DMARC1; p=none; fo=01", "fo=01: want", Record{Policy: none}},
		{"v=DMARC1; p=none; rua=", "no URI", Record{Policy: none}},
		{"v=DMARC1; p=none; rua=a@example.com", `"a@example.com" is no URI: want one as in "mailto:`, Record{Policy: none}},
		{"v=DMARC1; p=none; rua=mailto:a", "no valid address", Record{Policy: none}},
		{"v=DMARC1; p=none; rua=mailto:postmaster", "no valid address", Record{Policy: none}},
		{"v=DMARC1; p=none; rua=mailto://a@example.com", "no valid address", Record{Policy: none}},
		{"v=DMARC1; p=none; rua=mailto:a b@example.com", "no URI", Record{Policy: none}},
		{"v=DMARC1; p=none; rua=mailto:ä@example.com", "no URI", Record{Policy: none}},
		{"v=DMARC1; p=none; rua=mailto:a!b@example.com", "%21", Record{Policy: none}},
		{"v=DMARC1; p=none; rua=mailto:a@example.com!10mm", "%21", Record{Policy: none}},
		{"v=DMARC1; p=none; rua=mailto:a@example.com!k", "%21", Record{Policy: none}},
		{"v=DMARC1; p=none; rua=mailto:a@example.com mailto:b@example.com", "no URI", Record{Policy: none}},
		{"v=DMARC1; p=none; ruf=mailto:a,,mailto:a@example.com", "no URI", Record{Policy: none, FailureURIs: []string{"mailto:a@example.com"}}},
	} {
		c.want.FailureOptions = "0"
		got, err := Parse(c.text)
		if err == nil || !strings.Contains(err.Error(), c.problem) || !strings.HasPrefix(err.Error(), "dmarc: ") {
			t.Errorf("%q: got error %v, want %q", c.text, err, c.problem)
		}
		if got == nil || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%q: got %+v, want %+v", c.text, got, c.want)
		}
	}
	if _, err := Parse("v=DMARC1" + strings.Repeat(";x", 9999)); strings.Count(err.Error(), "is no tag") != 20 {
		t.Errorf("got %d problems, want 20", strings.Count(err.Error(), "is no tag"))
	}
	// All of them at once.
	_, err := Parse("v=DMARC1; p=x; t=x; adkim=x")
	for _, want := range []string{"p=x", "t=x", "adkim=x"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
