package client

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// TestDecide has every cell of decide.
func TestDecide(t *testing.T) {
	demands := [...]tlsDemand{
		{}, {level: mx.DemandEncrypted, testing: true}, {level: mx.DemandVerified, testing: true},
		{level: mx.DemandEncrypted}, {level: mx.DemandVerified}, {level: mx.DemandVerified, strict: true},
	}
	tests := []struct {
		trouble trouble
		want    [len(demands)]decision // nothing, testing (encrypted, verified), encrypted, verified, strict
	}{
		{noTrouble, [...]decision{nextHost, nextHost, nextHost, nextHost, nextHost, nextHost}}, // the session failed otherwise
		{noSTARTTLS, [...]decision{proceed, proceed, proceed, nextHost, nextHost, reject}},
		{refusesSTARTTLS, [...]decision{proceed, proceed, proceed, nextHost, nextHost, nextHost}},
		{failsLargeHello, [...]decision{smallerHello, smallerHello, smallerHello, smallerHello, smallerHello, smallerHello}},
		{failsTLS, [...]decision{inClear, inClear, inClear, nextHost, nextHost, nextHost}},
		{injects, [...]decision{nextHost, nextHost, nextHost, nextHost, nextHost, nextHost}},
		{badCertificate, [...]decision{proceed, proceed, proceed, proceed, nextHost, reject}},
		{excluded, [...]decision{proceed, proceed, proceed, nextHost, nextHost, nextHost}},
		{noREQUIRETLS, [...]decision{proceed, proceed, proceed, proceed, proceed, reject}},
		{unproven, [...]decision{proceed, proceed, proceed, proceed, proceed, reject}},
		{unproven + 1, [...]decision{proceed, proceed, proceed, nextHost, nextHost, nextHost}}, // unknown ones
	}
	for i, test := range tests {
		if int(test.trouble) != i {
			t.Errorf("row %d is for %d: a row is missing", i, test.trouble)
		}
		for n, d := range demands {
			if got := decide(d, test.trouble); got != test.want[n] {
				t.Errorf("%+v, trouble %d: got %d, want %d", d, test.trouble, got, test.want[n])
			}
		}
	}
}

// TestMatrix has every cell of the matrix of demands and of troubles of a host, from what the policies return and the
// sender wishes to what follows. "defer" and "bounce" come after the last host.
func TestMatrix(t *testing.T) {
	accept := func(tls.ConnectionState) (string, error) { return "", nil }
	enforce := mx.Requirement{Name: "sts:1", Level: mx.DemandVerified, Verify: accept}
	testing, dane := enforce, enforce
	testing.Testing, dane.Name = true, "dane:1"
	unusable := mx.Requirement{Name: "dane:unusable", Level: mx.DemandEncrypted}
	all := func(r ...mx.Requirement) []mx.Requirement { return r }
	columns := []struct {
		name    string
		trouble trouble
		proven  bool // by DNSSEC
	}{
		{"no STARTTLS", noSTARTTLS, true}, {"refused", refusesSTARTTLS, true}, {"stalled", failsTLS, true},
		{"handshake fails", failsTLS, true}, {"large hello", failsLargeHello, true},
		{"bad certificate", badCertificate, true}, {"not in the STS policy", excluded, false},
		{"no REQUIRETLS", noREQUIRETLS, true}, {"MX insecure", unproven, false},
	}
	const r, o, s, l = "requiretls", "optional", "report", "lax"
	rows := []struct {
		name     string
		wish     string
		policies []mx.Requirement
		want     string // (p)roceed, in (c)leartext on a new connection, (s)maller ClientHello, (d)efer, (b)ounce
	}{
		{"none", "", nil, "p p c c s p p p p"},
		{"STS testing", "", all(testing), "p p c c s p p p p"},
		{"STS enforce", "", all(enforce), "d d d d s d d p p"},
		{"DANE usable", "", all(dane), "d d d d s d p p p"},
		{"DANE unusable", "", all(unusable), "d d d d s p p p p"},
		{"DANE and STS", "", all(dane, enforce), "d d d d s d p p p"},
		{"DANE unusable, STS enforce", "", all(unusable, enforce), "d d d d s d d p p"},
		{"DANE unusable, STS testing", "", all(unusable, testing), "d d d d s p p p p"},
		{"REQUIRETLS", r, nil, "b d d d s b b b b"},
		{"REQUIRETLS, STS testing", r, all(testing), "b d d d s b b b p"}, // STS proves the MX in the last column
		{"REQUIRETLS, STS enforce", r, all(enforce), "b d d d s b d b p"},
		{"REQUIRETLS, DANE usable", r, all(dane), "b d d d s b p b p"},
		{"REQUIRETLS, DANE unusable", r, all(unusable), "b d d d s b p b p"},
		{"REQUIRETLS, DANE unusable, STS enforce", r, all(unusable, enforce), "b d d d s b d b p"},
		{"REQUIRETLS, lax", l, nil, "d d d d s p p p p"},
		{"REQUIRETLS, lax, STS testing", l, all(testing), "d d d d s p p p p"},
		{"REQUIRETLS, lax, STS enforce", l, all(enforce), "d d d d s d d p p"},
		{"REQUIRETLS, a report", s, nil, "p p c c s p p p p"},
		{"REQUIRETLS, a report, STS testing", s, all(testing), "p p c c s p p p p"},
		{"REQUIRETLS, a report, STS enforce", s, all(enforce), "d d d d s d d p p"},
		{"REQUIRETLS, a report, DANE unusable", s, all(unusable), "d d d d s p p p p"},
		{"TLS-Required: No", o, nil, "p p c c s p p p p"},
		{"TLS-Required: No, STS enforce", o, all(enforce), "p p c c s p p p p"},
		{"TLS-Required: No, DANE usable", o, all(dane), "p p c c s p p p p"},
		{"TLS-Required: No, DANE unusable", o, all(unusable), "p p c c s p p p p"},
		{"TLS-Required: No, DANE unusable, STS enforce", o, all(unusable, enforce), "p p c c s p p p p"},
	}
	names := map[decision]string{proceed: "p", inClear: "c", smallerHello: "s", nextHost: "d", reject: "b"}
	for _, row := range rows {
		env := &smtp.Envelope{From: "ann@example.net", RequireTLS: row.wish != "" && row.wish != o, TLSOptional: true}
		if row.wish == s {
			env.From = ""
		}
		env.TLSOptional = row.wish != "" // REQUIRETLS overrides it
		wish := wishOf(env, row.wish == l)
		var got []string
		for _, column := range columns {
			var sum mx.Requirement
			proven := column.proven // and where there are TLSA records, since they are secure like the MX records
			for _, p := range row.policies {
				proven = proven || strings.HasPrefix(p.Name, "dane")
				if column.trouble == excluded && strings.HasPrefix(p.Name, "sts") {
					p.Excluded = errors.New("not listed")
				}
				sum = stricter(sum, p)
			}
			need, early := wish.combine(sum, proven, accept)
			trouble := column.trouble
			switch {
			case early != noTrouble:
				trouble = early
			case trouble == excluded && need.Excluded == nil, trouble == unproven:
				got = append(got, "p") // the host is used
				continue
			}
			got = append(got, names[decide(tlsDemand{need.Level, need.Testing, wish == fullTLS}, trouble)])
			if strict := need.Level == mx.DemandVerified && !need.Testing; wish == fullTLS && !strict {
				t.Errorf("%s, %s: got %+v, want a verified certificate", row.name, column.name, need)
			}
			if want := need.Level == mx.DemandVerified; early == noTrouble && (need.Verify != nil) != want {
				t.Errorf("%s, %s: got %+v, a Verify: want %t", row.name, column.name, need, want)
			}
		}
		if got := strings.Join(got, " "); got != row.want {
			t.Errorf("%s:\ngot  %s\nwant %s", row.name, got, row.want)
		}
	}
}
