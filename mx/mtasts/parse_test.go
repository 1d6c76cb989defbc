package mtasts

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseRecord(t *testing.T) {
	tests := []struct {
		name  string
		texts []string
		want  string // an id, or a part of the error
	}{
		{"as in the RFC", []string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{"no last semicolon", []string{"v=STSv1; id=1"}, "1"},
		{"no space", []string{"v=STSv1;id=1"}, "1"},
		{"tabs", []string{"v=STSv1\t;\tid=1\t;\t"}, "1"},
		{"extensions", []string{"v=STSv1; a_b-c.9=~!x; id=1; z=1;"}, "1"},
		{"an extension named as the version", []string{"v=STSv1; v=STSv2; id=1"}, "1"},
		{"two ids", []string{"v=STSv1; id=1; id=2;"}, "1"},
		{"a second id that isn't valid", []string{"v=STSv1; id=1; id=-;"}, "1"},
		{"32 characters", []string{"v=STSv1; id=" + strings.Repeat("a", 32)}, strings.Repeat("a", 32)},
		{"others beside it", []string{"v=spf1 -all", "v=STSv1; id=1", "", "v=STSv10; id=2", "v=STSv1"}, "1"},

		{"none", nil, "no TXT record begins"},
		{"only others", []string{"v=spf1 -all", "V=STSv1; id=1", " v=STSv1; id=1", "v=stsv1; id=1", "v = STSv1; id=1"}, "no TXT record begins"},
		{"another version", []string{"v=STSv2; id=1"}, "no TXT record begins"},
		{"two", []string{"v=STSv1; id=1", "v=STSv1; id=1"}, "several TXT records"},
		{"two, the second not valid", []string{"v=STSv1; id=1", "v=STSv1; id"}, "several TXT records"},
		{"two, the first not valid", []string{"v=STSv1;", "v=STSv1; id=1"}, "several TXT records"},
		{"no id", []string{"v=STSv1; a=1;"}, "no id"},
		{"nothing", []string{"v=STSv1;"}, "no id"},
		{"an empty id", []string{"v=STSv1; id=;"}, "want a name"},
		{"an empty field", []string{"v=STSv1;; id=1"}, "want a name"},
		{"two last semicolons", []string{"v=STSv1; id=1;;"}, "want a name"},
		{"33 characters", []string{"v=STSv1; id=" + strings.Repeat("a", 33)}, "want 1 to 32"},
		{"not alphanumeric", []string{"v=STSv1; id=2020-01-01"}, "want 1 to 32"},
		{"letters beyond ASCII", []string{"v=STSv1; id=é"}, "want a name"},
		{"a space in the id", []string{"v=STSv1; id=1 2"}, "want a name"},
		{"a space before =", []string{"v=STSv1; id =1"}, "want a name"},
		{"ID", []string{"v=STSv1; ID=1"}, "no id"},
		{"an extension that isn't valid", []string{"v=STSv1; id=1; -a=1"}, "want a name"},
		{"a long name", []string{"v=STSv1; id=1; " + strings.Repeat("a", 33) + "=1"}, "want a name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseRecord(tt.texts)
			if err != nil {
				got = "error: " + err.Error()
			}
			if got != tt.want && (err == nil || !strings.Contains(got, tt.want)) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestParsePolicy(t *testing.T) {
	const rest = "\nmode: enforce\nmx: a.example\nmax_age: 86400"
	tests := []struct{ name, body, want string }{
		{"as in the RFC", "version: STSv1\nmode: enforce\nmx: mail.example.com\nmx: *.example.net\nmx: backupmx.example.com\nmax_age: 604800\n",
			"enforce [mail.example.com *.example.net backupmx.example.com] 168h0m0s"},
		{"CRLF", "version: STSv1\r\nmode: testing\r\nmx: a.example\r\nmax_age: 86400\r\n", "testing [a.example] 24h0m0s"},
		{"both, no last one", "version: STSv1\nmode: enforce\r\nmx: a.example\nmax_age: 86400", "enforce [a.example] 24h0m0s"},
		{"any order", "max_age:0\nmx:a.example\nmode:enforce\nversion:STSv1", "enforce [a.example] 0s"},
		{"white space", "version: \t STSv1 \t" + rest + "  \r\n\n\r\n \t\n", "enforce [a.example] 24h0m0s"},
		{"none without mx", "version: STSv1\nmode: none\nmax_age: 86400", "none [] 24h0m0s"},
		{"unknown keys", "version: STSv1\nx-y_z.0: é \x00 : ;\nMode: none\nnew:\nnew: a" + rest, "enforce [a.example] 24h0m0s"},
		{"duplicates", "version: STSv1" + rest + "\nversion: STSv2\nmode: none\nmax_age: x", "enforce [a.example] 24h0m0s"},
		{"U-labels", "version: STSv1\nmode: enforce\nmx: *.BÜCHER.example\nmx: xn--bcher-kva.example.\nmax_age: 1", "enforce [*.xn--bcher-kva.example xn--bcher-kva.example] 1s"},
		{"the longest max_age", "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 31557600", "enforce [a.example] 8766h0m0s"},
		{"over the longest max_age", "version: STSv1\nmode: enforce\nmx: a.example\nmax_age: 9999999999", "enforce [a.example] 8766h0m0s"},

		{"empty", "", "it has no version"},
		{"a page", "<!DOCTYPE html>\n<html>", `line 1: "<!DOCTYPE html>": want a key`},
		{"no version", "mode: none\nmax_age: 1", "it has no version"},
		{"another version", "version: STSv2" + rest, `line 1: version "STSv2": want STSv1`},
		{"another case", "version: stsv1" + rest, `version "stsv1"`},
		{"no mode", "version: STSv1\nmx: a.example\nmax_age: 1", "it has no mode"},
		{"another mode", "version: STSv1\nmode: report\nmx: a.example\nmax_age: 1", `line 2: mode "report": want`},
		{"an empty mode", "version: STSv1\nmode:\nmx: a.example\nmax_age: 1", `mode ""`},
		{"no max_age", "version: STSv1\nmode: enforce\nmx: a.example", "it has no max_age"},
		{"a negative max_age", "version: STSv1\nmode: none\nmax_age: -1", `max_age "-1"`},
		{"a signed max_age", "version: STSv1\nmode: none\nmax_age: +1", `max_age "+1"`},
		{"an empty max_age", "version: STSv1\nmode: none\nmax_age:", `max_age ""`},
		{"max_age in words", "version: STSv1\nmode: none\nmax_age: 1d", `max_age "1d"`},
		{"11 digits", "version: STSv1\nmode: none\nmax_age: 00000000001", `max_age "00000000001"`},
		{"no mx", "version: STSv1\nmode: enforce\nmax_age: 1", "it has no mx"},
		{"testing without mx", "version: STSv1\nmode: testing\nmax_age: 1", "it has no mx"},
		{"a wildcard alone", "version: STSv1\nmode: enforce\nmx: *\nmax_age: 1", `line 3: mx "*": want`},
		{"a wildcard and a dot", "version: STSv1\nmode: enforce\nmx: *.\nmax_age: 1", `mx "*."`},
		{"a wildcard in a label", "version: STSv1\nmode: enforce\nmx: mx*.example\nmax_age: 1", `mx "mx*.example"`},
		{"two wildcards", "version: STSv1\nmode: enforce\nmx: *.*.example\nmax_age: 1", `mx "*.*.example"`},
		{"a wildcard in the middle", "version: STSv1\nmode: enforce\nmx: a.*.example\nmax_age: 1", `mx "a.*.example"`},
		{"the form of a draft", "version: STSv1\nmode: enforce\nmx: .example.com\nmax_age: 1", `mx ".example.com"`},
		{"a list", "version: STSv1\nmode: enforce\nmx: a.example, b.example\nmax_age: 1", `mx "a.example, b.example"`},
		{"an address", "version: STSv1\nmode: enforce\nmx: [192.0.2.1]\nmax_age: 1", `mx "[192.0.2.1]"`},
		{"an empty mx", "version: STSv1\nmode: enforce\nmx:\nmax_age: 1", `mx ""`},
		{"no colon", "version: STSv1\nhello" + rest, `line 2: "hello": want a key`},
		{"a space before the key", "version: STSv1\n mode: none\nmax_age: 1", "want a key"},
		{"a space before the colon", "version : STSv1" + rest, "want a key"},
		{"a byte order mark", "\ufeffversion: STSv1" + rest, "line 1"},
		{"CR alone", "version: STSv1\rmode: none\rmax_age: 1", "line 1: version"},
		{"JSON", `{"version": "STSv1"}`, "line 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := parsePolicy(tt.body)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got error %v, want %s", err, tt.want)
				}
				return
			}
			if got := fmt.Sprint(p.Mode, " ", p.MX, " ", p.MaxAge); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestMatch(t *testing.T) {
	p := &Policy{MX: []string{"mx.example.com", "*.example.net", "*.xn--bcher-kva.example"}}
	for host, want := range map[string]bool{
		"mx.example.com": true, "MX.Example.Com.": true, "a.mx.example.com": false, "example.com": false, "xmx.example.com": false,
		"a.example.net": true, "example.net": false, "a.b.example.net": false, "*.example.net": false, ".example.net": false,
		"a.xn--bcher-kva.example": true, "a.bücher.example": true, "A.BÜCHER.example": true, "bücher.example": false,
		"a_b.example.net": true, "a.example.net.evil.example": false, "net": false, "": false, "[192.0.2.1]": false,
		"mx.example.com evil": false,
	} {
		if got := p.Match(host); got != want {
			t.Errorf("%q: got %t, want %t", host, got, want)
		}
	}
	if new(Policy).Match("mx.example.com") {
		t.Error("a policy without patterns matches")
	}
}

func TestMode(t *testing.T) {
	if got := fmt.Sprint(None, Testing, Enforce, Mode(9)); got != "none testing enforce unknown" {
		t.Errorf("got %s", got)
	}
}

// FuzzParsePolicy: what is accepted is within its bounds, is accepted again when it is written anew, and matches its
// own hosts only.
func FuzzParsePolicy(f *testing.F) {
	f.Fuzz(func(t *testing.T, body string) {
		p, err := parsePolicy(body)
		if err != nil {
			return
		}
		if p.MaxAge < 0 || p.MaxAge > maxMaxAge || p.Mode > Enforce || p.Mode != None && len(p.MX) == 0 {
			t.Fatalf("got %+v", p)
		}
		again := fmt.Sprintf("version: STSv1\nmode: %v\nmax_age: %d\n", p.Mode, p.MaxAge/time.Second)
		for _, pattern := range p.MX {
			again += "mx: " + pattern + "\n"
			suffix, wildcard := strings.CutPrefix(pattern, "*.")
			if wildcard {
				if one := (&Policy{MX: []string{pattern}}); one.Match(suffix) || one.Match("a.b."+suffix) {
					t.Errorf("%s matches more than one label", pattern)
				}
			} else if !p.Match(pattern) {
				t.Errorf("%s doesn't match itself", pattern)
			}
		}
		q, err := parsePolicy(again)
		if err != nil || q.Mode != p.Mode || q.MaxAge != p.MaxAge || !slices.Equal(q.MX, p.MX) {
			t.Errorf("got %+v, %v, want %+v", q, err, p)
		}
	})
}

// FuzzParseRecord: an id is valid, and comes from exactly one record.
func FuzzParseRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, a, b string) {
		id, err := parseRecord([]string{a, b})
		if err == nil != isID(id) {
			t.Fatalf("got %q, %v", id, err)
		}
		if err != nil {
			return
		}
		one, _ := parseRecord([]string{a})
		two, _ := parseRecord([]string{b})
		if one == two || one != "" && two != "" {
			t.Errorf("got %q of %q and %q", id, one, two)
		}
		if again, err := parseRecord([]string{"v=STSv1; id=" + id}); err != nil || again != id {
			t.Errorf("got %q, %v, want %q", again, err, id)
		}
	})
}
