package header

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestRead(t *testing.T) {
	long := "A: " + strings.Repeat("x", 5000) + "\r\n\r\nbody"
	for _, header := range []string{"", "\r\nbody", "A: b\r\n\r\nbody", "A: b\r\n", long} {
		r := &oneByOne{s: header}
		got, _, err := Read(r)
		if err != nil || string(got)+r.s != header {
			t.Errorf("%.20q: got %.20q and %.20q left, %v", header, got, r.s, err)
		}
	}
	headerless := &oneByOne{s: "Hello.\r\n" + strings.Repeat("Hello.\r\n", Max/8+1)}
	if got, _, err := Read(headerless); err != nil || string(got) != "Hello.\r\n" {
		t.Errorf("text in small pieces: got %.20q, %v, want its first line", got, err)
	}
	if _, _, err := Read(io.MultiReader(strings.NewReader("A: b\r\n"), idle{})); err != io.ErrNoProgress {
		t.Errorf("a reader that returns nothing: got %v, want %v", err, io.ErrNoProgress)
	}
	_, _, err := Read(strings.NewReader(strings.Repeat("A: b\r\n", Max/6+1)))
	if reply, ok := errors.AsType[*smtp.Reply](err); !ok || reply.Code != 552 {
		t.Errorf("a header over the bound: got %v, want 552", err)
	}
}

type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

type oneByOne struct{ s string }

func (r *oneByOne) Read(p []byte) (int, error) {
	n, err := strings.NewReader(r.s).Read(p[:min(1, len(p))])
	r.s = r.s[n:]
	return n, err
}

// TestWithoutResults: a stranger's claim to have our results goes, in every form; the results of others stay.
func TestWithoutResults(t *testing.T) {
	for _, tt := range []struct {
		name, field string
		ours        bool
	}{
		{"ours", "Authentication-Results: mx.test; spf=pass", true},
		{"no space", "Authentication-Results:mx.test;spf=pass", true},
		{"case", "authentication-RESULTS: MX.Test; spf=pass", true},
		{"space before the colon", "Authentication-Results : mx.test; spf=pass", true},
		{"a folded name", "Authentication-Results\r\n : mx.test; spf=pass", true},
		{"a folded value", "Authentication-Results:\r\n\tmx.test; spf=pass", true},
		{"a comment", "Authentication-Results: (a (b) \\) c) mx.test; spf=pass", true},
		{"a version", "Authentication-Results: mx.test 1; none", true},
		{"a comment after it", "Authentication-Results: mx.test(c); none", true},
		{"quoted", `Authentication-Results: "mx\.test"; none`, true},
		{"a root dot", "Authentication-Results: mx.test.; none", true},
		{"spaces around a dot", "Authentication-Results: mx . test; none", true},
		{"a comment in the name", "Authentication-Results: mx(c).(c)\r\n\ttest 1; none", true},
		{"spaces around each dot", "Authentication-Results: mx . test .; none", true},
		{"a root dot and a version", "Authentication-Results: mx.test. 1; none", true},
		{"another host with spaces", "Authentication-Results: mx . test . other; none", true}, // some read "mx.test"
		{"another host in a word", "Authentication-Results: a .mx.test; none", false},
		{"nothing", "Authentication-Results:", true},
		{"no host", "Authentication-Results: ; spf=pass", true},
		{"an open comment", "Authentication-Results: (mx.other; none", true},
		{"an open quote", `Authentication-Results: "mx.other; none`, true},
		{"another host", "Authentication-Results: mx.other; spf=pass", false},
		{"longer", "Authentication-Results: mx.test.evil.test; none", false},
		{"another field", "X-Authentication-Results: mx.test; none", false},
		{"in a value", "Subject: Authentication-Results: mx.test", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const before, after = "A: b\r\n", "From: x\r\n\r\nAuthentication-Results: mx.test; none\r\n"
			want := before + after
			if !tt.ours {
				want = before + tt.field + "\r\n" + after
			}
			if got := string(WithoutResults([]byte(before+tt.field+"\r\n"+after), "mx.test")); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// TestResultsOfUnicodeHost: a name in Unicode is the same as its A-label (RFC 8601 §5, RFC 5890 §2.3.2.1).
func TestResultsOfUnicodeHost(t *testing.T) {
	for _, id := range []string{"xn--bcher-kva.example", "bücher.example", "BÜCHER.example"} {
		for _, host := range []string{"xn--bcher-kva.example", "XN--BCHER-KVA.example.", "bücher.example", `"Bücher.example"`} {
			if !IsResults([]byte("Authentication-Results: "+host+"; spf=pass\r\n"), id) {
				t.Errorf("got %s as another host than %s", host, id)
			}
		}
		if IsResults([]byte("Authentication-Results: bucher.example; spf=pass\r\n"), id) {
			t.Errorf("got bucher.example as %s", id)
		}
	}
	if !IsResults([]byte("Authentication-Results: [192.0.2.1]; spf=pass\r\n"), "[192.0.2.1]") {
		t.Error("got an address literal as another host")
	}
}
