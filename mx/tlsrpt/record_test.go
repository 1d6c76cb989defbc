package tlsrpt

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

func TestParseRecord(t *testing.T) {
	long := "v=TLSRPTv1; rua=" + strings.Repeat("mailto:a@example.com,", 10) + "mailto:b@example.com"
	tests := []struct {
		name  string
		texts []string
		want  string // destinations, or a part of the error
	}{
		{"mail, as in the RFC", []string{"v=TLSRPTv1;rua=mailto:reports@example.com"}, "[reports@example.com]"},
		{"HTTPS, as in the RFC", []string{"v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt"}, "[https://reporting.example.com/v1/tlsrpt]"},
		{"both", []string{"v=TLSRPTv1; rua=mailto:a@example.com , https://b.example/?c=d;"}, "[a@example.com https://b.example/?c=d]"},
		{"tabs", []string{"v=TLSRPTv1\t;\trua=mailto:a@example.com\t;\t"}, "[a@example.com]"},
		{"extensions", []string{"v=TLSRPTv1; a_b-c.9=~!x; rua=mailto:a@example.com; z=1"}, "[a@example.com]"},
		{"two rua", []string{"v=TLSRPTv1; rua=mailto:a@example.com; rua=mailto:b@example.com"}, "[a@example.com]"},
		{"others beside it", []string{"v=spf1 -all", "v=TLSRPTv1;rua=mailto:a@example.com", "", "v=TLSRPTv10; x", "v=TLSRPTv1"}, "[a@example.com]"},
		{"header fields of mailto", []string{"v=TLSRPTv1; rua=mailto:a@example.com?subject=x"}, "[a@example.com]"},
		{"percent encoding", []string{"v=TLSRPTv1; rua=mailto:a%2Cb%21@example.com"}, `error: no TXT record begins with v=TLSRPTv1; that is valid: rua "mailto:a%2Cb%21@example.com"`},
		{"an exclamation point, encoded", []string{"v=TLSRPTv1; rua=mailto:a%21b@example.com"}, "[a!b@example.com]"},
		{"a fragment", []string{"v=TLSRPTv1; rua=https://example.com/a#b"}, "[https://example.com/a]"},
		{"an unknown scheme beside it", []string{"v=TLSRPTv1; rua=foo:bar,mailto:a@example.com"}, "[a@example.com]"},
		{"more than ten", []string{long}, "[" + strings.TrimSpace(strings.Repeat("a@example.com ", 10)) + "]"},
		{"none", nil, "no TXT record begins"},
		{"only others", []string{"v=spf1 -all", "V=TLSRPTv1; rua=mailto:a@example.com", " v=TLSRPTv1;rua=mailto:a@example.com", "v=TLSRPTv1 rua=mailto:a@example.com"}, "no TXT record begins"},
		{"two", []string{"v=TLSRPTv1; rua=mailto:a@example.com", "v=TLSRPTv1; rua=mailto:a@example.com"}, "several"},
		{"two, one not valid", []string{"v=TLSRPTv1; rua=mailto:a@example.com", "v=TLSRPTv1;"}, "several"},
		{"no rua", []string{"v=TLSRPTv1; a=1"}, "it has no rua"},
		{"nothing", []string{"v=TLSRPTv1;"}, "it has no rua"},
		{"an empty rua", []string{"v=TLSRPTv1; rua="}, "want a name"},
		{"an empty URI", []string{"v=TLSRPTv1; rua=mailto:a@example.com,"}, "want URIs"},
		{"unknown schemes alone", []string{"v=TLSRPTv1; rua=foo:bar"}, "neither mailto nor https"},
		{"http", []string{"v=TLSRPTv1; rua=http://example.com/"}, "neither mailto nor https"},
		{"no scheme", []string{"v=TLSRPTv1; rua=a@example.com"}, "want URIs"},
		{"a size, as in DMARC", []string{"v=TLSRPTv1; rua=mailto:a@example.com!10m"}, "want URIs"},
		{"an empty field", []string{"v=TLSRPTv1;; rua=mailto:a@example.com"}, "want a name"},
		{"a space in a URI", []string{"v=TLSRPTv1; rua=mailto:a@example.com mailto:b@example.com"}, "want URIs"},
		{"no domain", []string{"v=TLSRPTv1; rua=mailto:postmaster"}, "the domain is missing"},
		{"no address", []string{"v=TLSRPTv1; rua=mailto:@example.com"}, "rua"},
		{"a line end", []string{"v=TLSRPTv1; rua=mailto:a%0D%0ARCPT@example.com"}, "rua"},
		{"no host", []string{"v=TLSRPTv1; rua=https:///a"}, "want a host"},
		{"a user", []string{"v=TLSRPTv1; rua=https://a:b@example.com/"}, "want a host and no user"},
		{"letters beyond ASCII", []string{"v=TLSRPTv1; rua=mailto:é@example.com"}, "want URIs"},
		{"an extension that isn't valid", []string{"v=TLSRPTv1; rua=mailto:a@example.com; -a=1"}, "want a name"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			list, err := parseRecord(tt.texts)
			got := fmt.Sprint(list)
			if err != nil {
				got = "error: " + err.Error()
			}
			if got != tt.want && (err == nil || !strings.Contains(got, tt.want) || !errors.Is(err, errNoRecord)) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// FuzzParseRecord: what is accepted can be sent to.
func FuzzParseRecord(f *testing.F) {
	f.Fuzz(func(t *testing.T, a, b string) {
		list, err := parseRecord([]string{a, b})
		if err == nil && len(list) == 0 || len(list) > maxDestinations {
			t.Fatalf("got %v, %v", list, err)
		}
		for _, d := range list {
			if (d.address == "") == (d.url == "") || d.address != "" && smtp.CheckAddress(d.address) != nil ||
				d.url != "" && !strings.HasPrefix(d.url, "https://") || strings.ContainsAny(d.String(), "\r\n") {
				t.Errorf("got %q", d)
			}
		}
	})
}
