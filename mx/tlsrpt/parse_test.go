package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// example is the report of RFC 8460, appendix B.
func example() *Report {
	day := time.Date(2016, 4, 1, 0, 0, 0, 0, time.UTC)
	return &Report{
		Organization: "Company-X", Contact: "sts-reporting@company-x.example", Begin: day, End: day.Add(24*time.Hour - time.Second),
		ID: "5065427c-23d3-47ca-b6e0-946ea0e8c4be",
		Policies: []Policy{{
			Type: "sts", Domain: "company-y.example", Hosts: []string{"*.mail.company-y.example"},
			Lines:     []string{"version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"},
			Successes: 5326, Failures: 303,
			Details: []Detail{
				{Type: "certificate-expired", SendingIP: netip.MustParseAddr("2001:db8:abcd:12::1"), Host: "mx1.mail.company-y.example", Sessions: 100},
				{Type: "starttls-not-supported", SendingIP: netip.MustParseAddr("2001:db8:abcd:13::1"), Host: "mx2.mail.company-y.example",
					ReceivingIP: netip.MustParseAddr("203.0.113.56"), Sessions: 200,
					Info: "https://reports.company-x.example/report_info?id=5065427c-23d3#StarttlsNotSupported"},
				{Type: "validation-failure", SendingIP: netip.MustParseAddr("198.51.100.62"), ReceivingIP: netip.MustParseAddr("203.0.113.58"),
					Host: "mx-backup.mail.company-y.example", Sessions: 3, Code: "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED"},
			},
		}},
	}
}

func exampleText(t testing.TB) string {
	b, err := os.ReadFile("testdata/rfc8460-b.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func gzipped(t testing.TB, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestParseExample: the example of the RFC, in each form, and once around.
func TestParseExample(t *testing.T) {
	text := exampleText(t)
	again, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"JSON": text, "gzip": gzipped(t, text), "byte order mark": "\ufeff" + text, "as we write it": string(again),
		"mx-host as a string": strings.Replace(text, `["*.mail.company-y.example"]`, `"*.mail.company-y.example"`, 1),
		"unknown fields":      strings.Replace(text, `"report-id"`, `"x": [1, {}], "report-id"`, 1),
	} {
		got, err := Parse(strings.NewReader(text))
		if err != nil || !reflect.DeepEqual(got, example()) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, example())
		}
	}
}

func TestParse(t *testing.T) {
	report := func(policies string) string {
		return `{"organization-name":"x","date-range":{"start-datetime":"2026-01-01T00:00:00Z","end-datetime":"2026-01-01T23:59:59+00:00"},"report-id":"1","policies":` + policies + `}`
	}
	policy := func(policy, details string) string {
		return report(`[{"policy":{"policy-type":"sts"` + policy + `},"summary":{"total-successful-session-count":1,"total-failure-session-count":2}` + details + `}]`)
	}
	many := func(n int, s string) string { return "[" + strings.TrimSuffix(strings.Repeat(s+",", n), ",") + "]" }
	tests := []struct{ name, text, want string }{
		{"small", policy("", ""), "{Type:sts Lines:[] Domain: Hosts:[] Successes:1 Failures:2 Details:[]}"},
		{"null lists", policy(`,"policy-string":null,"mx-host":null`, `,"failure-details":null`), "{Type:sts Lines:[] Domain: Hosts:[] Successes:1 Failures:2 Details:[]}"},
		{"an address that isn't valid", policy("", `,"failure-details":[{"result-type":"new","sending-mta-ip":"[192.0.2.1]","receiving-ip":"fe80::1%eth0","failed-session-count":1}]`),
			"Details:[{Type:new SendingIP:invalid IP ReceivingIP:fe80::1 Host: Greeting: Code: Info: Sessions:1}]"},
		{"no policies", report("null"), "policies: there are none"},
		{"no policy", report("[]"), "policies: there are none"},
		{"most policies", report(many(MaxPolicies, "{}")), "1000 policies"},
		{"too many policies", report(many(MaxPolicies+1, "{}")), "policies: too many"},
		{"too many details", policy("", `,"failure-details":`+many(MaxDetails+1, "{}")), "failure-details: too many"},
		{"too many details together", report("[" + strings.Repeat(`{"failure-details":`+many(MaxDetails/2, "{}")+"},", 2) + `{"failure-details":[{}]}]`), "failure-details: too many"},
		{"too many lines", policy(`,"policy-string":`+many(MaxLines+1, `""`), ""), "too many"},
		{"too large", report(`"` + strings.Repeat(" ", MaxSize) + `"`), "over 8388608 octets"},
		{"a bomb", gzipped(t, strings.Repeat(" ", 2*MaxSize)), "over 8388608 octets"},
		{"cut gzip", gzipped(t, policy("", ""))[:40], "unexpected EOF"},
		{"bad gzip", "\x1f\x8b\x09", "EOF"},
		{"empty", "", "unexpected end of JSON"},
		{"a page", "<html>", "invalid character"},
		{"a list", "[]", "cannot unmarshal array"},
		{"two reports", policy("", "") + policy("", ""), "after top-level value"},
		{"policies that are no list", report("{}"), `want a list, got "{}"`},
		{"no date", strings.Replace(policy("", ""), "2026-01-01T00:00:00Z", "yesterday", 1), "start-datetime"},
		{"no end", strings.Replace(policy("", ""), "2026-01-01T23:59:59+00:00", "", 1), "end-datetime"},
		{"backwards", strings.Replace(policy("", ""), "2026-01-01T00", "2026-01-02T00", 1), "before it begins"},
		{"a negative count", strings.Replace(policy("", ""), ":2}", ":-2}", 1), `number of sessions "-2"`},
		{"a fraction", strings.Replace(policy("", ""), ":2}", ":2.5}", 1), `number of sessions "2.5"`},
		{"a large count", strings.Replace(policy("", ""), ":2}", ":9007199254740992}", 1), "number of sessions"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Parse(strings.NewReader(tt.text))
			got := ""
			switch {
			case err != nil:
				got = err.Error()
			case len(r.Policies) == 1:
				got = fmt.Sprintf("%+v", r.Policies[0])
			default:
				got = fmt.Sprintf("%d policies", len(r.Policies))
			}
			if !strings.Contains(got, tt.want) {
				t.Errorf("got %.300s, want %s", got, tt.want)
			}
		})
	}
}

// manyFields returns different fields that have so many octets together.
func manyFields(octets int) string {
	var b strings.Builder
	for i := 0; b.Len() < octets; i++ {
		fmt.Fprintf(&b, "x%x:\n", i)
	}
	return b.String()
}

func TestParseNothing(t *testing.T) {
	if _, err := Parse(nil); err == nil || !strings.Contains(err.Error(), "the reader is nil") {
		t.Errorf("Parse: got %v", err)
	}
	if _, err := ParseMail(nil); err == nil || !strings.Contains(err.Error(), "the reader is nil") {
		t.Errorf("ParseMail: got %v", err)
	}
	if got := new(Message).Filename(); got != "" {
		t.Errorf("Filename without a Report: got %q", got)
	}
}

func TestParseMail(t *testing.T) {
	text := exampleText(t)
	encoded := base64.StdEncoding.EncodeToString([]byte(gzipped(t, text)))
	const top = "From: a@example.com\r\nTLS-Report-Domain:  example.net \r\nTLS-Report-Submitter: example.com\r\n"
	gz := "Content-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" + encoded + "\r\n"
	multi := func(parts ...string) string {
		return "Content-Type: multipart/report; report-type=tlsrpt; boundary=b\r\n\r\nx\r\n--b\r\n" + strings.Join(parts, "--b\r\n") + "--b--\r\n"
	}
	words := "Content-Type: text/plain\r\n\r\nHi\r\n"
	nested := strings.ReplaceAll(multi(words, gz), "=b\r\n", "=c\r\n")
	nested = strings.ReplaceAll(nested, "--b", "--c")
	deep := gz
	for i := range maxDepth + 1 {
		deep = fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n%s\r\n--b%d--\r\n", i, i, deep, i)
	}
	tests := []struct{ name, text, want string }{
		{"multipart/report", top + multi(words, gz), ""},
		{"within another part", top + multi(nested, words), ""},
		{"alone", top + gz, ""},
		{"JSON", top + "Content-Type: application/tlsrpt+json\r\n\r\n" + text, ""},
		{"LF", strings.ReplaceAll(top+multi(words, gz), "\r\n", "\n"), ""},
		{"quoted-printable", top + "Content-Type: application/tlsrpt+json\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + strings.ReplaceAll(text, "=", "=3D"), ""},
		{"by its file name", top + multi(words, "Content-Type: application/gzip\r\nContent-Disposition: attachment; filename=\"a!b!1!2.JSON.GZ\"\r\nContent-Transfer-Encoding: BASE64\r\n\r\n"+encoded+"\r\n"), ""},
		{"by its name", top + multi(words, "Content-Type: application/octet-stream; name=a.json\r\n\r\n"+text+"\r\n"), ""},
		{"no report", top + words, "it has no report"},
		{"no report in its parts", top + multi(words, words), "it has no report"},
		{"too deep", top + deep, "too many parts"},
		{"too many parts", top + multi(append(slices.Repeat([]string{words}, maxParts), gz)...), "too many parts"},
		{"a long header", manyFields(maxMailHeader-10_000) + top + gz, ""},
		{"too long a header", manyFields(maxMailHeader) + top + gz, "its header has over 1048576 octets"},
		{"a header without an end", manyFields(2 * maxMailHeader), "its header has over 1048576 octets"},
		{"a long mail", top + multi(words+strings.Repeat("x", 2*maxMailHeader)+"\r\n", gz), ""},
		{"no boundary", top + "Content-Type: multipart/report\r\n\r\nx", "boundary is empty"},
		{"not base64", top + strings.Replace(gz, encoded[:4], "!!!!", 1), "illegal base64"},
		{"not a report", top + "Content-Type: application/tlsrpt+json\r\n\r\n{}", "start-datetime"},
		{"not a mail", "x", "mail: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseMail(strings.NewReader(tt.text))
			if tt.want == "" {
				if err != nil || m.Domain != "example.net" || m.Submitter != "example.com" || !reflect.DeepEqual(m.Report, example()) {
					t.Errorf("got %+v, %v", m, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v, want %s", m, err, tt.want)
			}
		})
	}
}

// FuzzParse: a report that is read is within the bounds, and is the same when it is written and read again.
func FuzzParse(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte) { checkParsed(t, text) })
}

func checkParsed(t *testing.T, text []byte) {
	r, err := Parse(bytes.NewReader(text))
	if err != nil {
		return
	}
	details := 0
	for _, p := range r.Policies {
		details += len(p.Details)
	}
	if len(r.Policies) > MaxPolicies || details > MaxDetails || r.End.Before(r.Begin) {
		t.Fatalf("got %d policies, %d details, %v to %v", len(r.Policies), details, r.Begin, r.End)
	}
	again, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	// In UTC, the year may be one that RFC 3339 doesn't have.
	if len(again) > MaxSize || r.End.UTC().Year() > 9999 || r.Begin.UTC().Year() < 0 {
		return
	}
	got, err := Parse(bytes.NewReader(again))
	if err != nil {
		t.Fatalf("%s: %v", again, err)
	}
	if third, err := json.Marshal(got); err != nil || !bytes.Equal(again, third) {
		t.Errorf("got %s, %v, want %s", third, err, again)
	}
}

// FuzzParseMail: a mail with anything in it ends in a report or an error.
func FuzzParseMail(f *testing.F) {
	f.Fuzz(func(t *testing.T, text []byte) {
		if m, err := ParseMail(bytes.NewReader(text)); (m == nil) == (err == nil) || m != nil && m.Report == nil {
			t.Errorf("got %v, %v", m, err)
		}
	})
}
