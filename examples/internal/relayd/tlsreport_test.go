package relayd

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postrider/postrider"
)

// TestTLSReport checks that -tls-report makes a Reporter, and warns where nothing signs its mail.
func TestTLSReport(t *testing.T) {
	for _, test := range []struct {
		name, address, domain string
		want                  string // a part of the error, or of the log
	}{
		{"not given", "", "", ""},
		{"signed", "reports@relay.test", "relay.test", ""},
		{"signed below the domain", "reports@mx.relay.test", "RELAY.test", ""},
		{"not signed", "reports@relay.test", "", "without a DKIM signature"},
		{"signed by another domain", "reports@relay.test", "lay.test", "without a DKIM signature"},
		{"no address", "reports", "relay.test", "-tls-report: tlsrpt: From"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var logged bytes.Buffer
			f := &Flags{tlsReport: test.address, dkimDomain: test.domain, state: filepath.Join(t.TempDir(), "spool")}
			reporter, err := f.tlsReporter(&postrider.Relay{}, slog.New(slog.NewTextHandler(&logged, nil)))
			got := logged.String()
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, test.want) || test.want == "" && got != "" {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if want := test.address != "" && err == nil; (reporter != nil) != want {
				t.Errorf("got %v, want one: %t", reporter, want)
			}
		})
	}
}
