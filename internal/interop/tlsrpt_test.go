package interop

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/tlsrpt"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestTLSReportSchema: a report with every kind of failure, the example of RFC 8460, and reports with faults, checked by
// Python's jsonschema and read by its email package.
func TestTLSReportSchema(t *testing.T) {
	needPython(t, "jsonschema")
	dir := t.TempDir()
	write := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	b, err := os.ReadFile("../../mx/tlsrpt/testdata/rfc8460-b.json")
	if err != nil {
		t.Fatal(err)
	}
	example := string(b)
	files := []string{write("example.json", example)}
	wants := []string{"ok"}
	for i, mail := range reportsOfAll(t) {
		files, wants = append(files, write(fmt.Sprintf("mail%d.eml", i), mail)), append(wants, "ok")
	}
	if len(files) < 3 {
		t.Fatalf("got %d reports, want two more", len(files)-1)
	}
	for i, fault := range []struct{ old, new, want string }{
		{`"report-id"`, `"id"`, "$: "},
		{`"sts"`, `"mta-sts"`, "$.policies[0].policy.policy-type: "},
		{`"198.51.100.62"`, `"198.51.100"`, "$.policies[0].failure-details[2].sending-mta-ip: "},
		{`303`, `"303"`, "$.policies[0].summary.total-failure-session-count: "},
		{`"certificate-expired"`, `"expired"`, "$.policies[0].failure-details[0].result-type: "},
		{`2016-04-01T00:00:00Z`, `2016-04-01`, "$.date-range.start-datetime: "},
	} {
		files = append(files, write(fmt.Sprintf("fault%d.json", i), strings.Replace(example, fault.old, fault.new, 1)))
		wants = append(wants, fault.want)
	}
	out, err := exec.Command(python, append([]string{"testdata/tlsrpt.py"}, files...)...).CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) != len(files) {
		t.Fatalf("%v\n%s", err, out)
	}
	for i, want := range wants {
		if got := lines[i]; got != want && (want == "ok" || !strings.HasPrefix(got, want)) {
			t.Errorf("%s: got %s, want %s", filepath.Base(files[i]), got, want)
		}
	}
}

// reportsOfAll returns the mails of a Reporter that has recorded every kind of failure, for two domains.
func reportsOfAll(t *testing.T) (mails []string) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		var mu sync.Mutex
		r := &tlsrpt.Reporter{From: "tls-reports@relay.test", Organization: "Relay \"& Söhne\"", Resolver: inet,
			Sender: smtp.SenderFunc(func(_ context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
				mu.Lock()
				defer mu.Unlock()
				b, err := io.ReadAll(smtp.NewReader(c))
				mails = append(mails, string(b))
				return nil, err
			})}
		inet.Go(r.Run)
		for i, domain := range []string{"example.net", "xn--bcher-kva.example"} {
			inet.TXT("_smtp._tls."+domain, "v=TLSRPTv1; rua=mailto:reports@"+domain)
			for _, policy := range []*mx.FoundPolicy{
				nil,
				{Type: "sts", Lines: []string{"version: STSv1", "mode: testing", "mx: *." + domain, "max_age: 86400"}, Hosts: []string{"*." + domain}},
				{Type: "tlsa", Domain: "mx." + domain, Lines: []string{"3 1 1 00ff"}},
			} {
				result := mx.TLSResult{Domain: domain, Host: "mx." + domain, Greeting: "mx." + domain, Policy: policy,
					Remote: netip.MustParseAddr([]string{"192.0.2.10", "2001:db8::10"}[i]), Local: netip.MustParseAddr("198.51.100.1")}
				r.Record(t.Context(), result)
				for _, kind := range []string{
					mx.STARTTLSNotSupported, mx.CertificateHostMismatch, mx.CertificateExpired, mx.CertificateNotTrusted,
					mx.ValidationFailure, mx.TLSAInvalid, mx.DNSSECInvalid, mx.DANERequired, mx.STSPolicyFetchError,
					mx.STSPolicyInvalid, mx.STSWebPKIInvalid,
				} {
					result.Failures = []mx.TLSFailure{{Type: kind, Code: "because \"\x00\xff\n"}, {Type: kind}}
					r.Record(t.Context(), result)
				}
			}
		}
		time.Sleep(30 * time.Hour)
	})
	return mails
}
