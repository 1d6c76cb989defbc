package dane

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx/dns"
)

// realChain returns the TLSA records of a mail host and the session in which it presented its certificates, from a file
// in testdata/chains.
func realChain(t *testing.T, host string) (records []dns.TLSA, state tls.ConnectionState) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "chains", host+".pem"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var r dns.TLSA
		var data string
		if n, _ := fmt.Sscanf(line, "_25._tcp."+host+" TLSA %d %d %d %s", &r.Usage, &r.Selector, &r.MatchingType, &data); n == 4 {
			if r.Data, err = hex.DecodeString(data); err != nil {
				t.Fatal(err)
			}
			records = append(records, r)
		}
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		state.PeerCertificates = append(state.PeerCertificates, cert)
	}
	if len(records) == 0 || len(state.PeerCertificates) < 2 {
		t.Fatalf("%s: got %d records and %d certificates", host, len(records), len(state.PeerCertificates))
	}
	return records, state
}

// TestRealChains: the certificates of real mail hosts match, at their date, the records that the hosts published then.
func TestRealChains(t *testing.T) {
	const nl, ietf = "internet.nl", "mail.ietf.org"
	date := func(year int) time.Time { return time.Date(year, 5, 16, 12, 0, 0, 0, time.UTC) }
	tests := []struct {
		name        string
		chain       string
		of          string // the host of the records; if empty, that of the chain
		usage       uint8  // of the records that count; if zero, all do
		certificate string // the name to find; if empty, the host
		at          time.Time
		want        string
	}{
		{name: "internet.nl", chain: nl, at: date(2023), want: "3 1 1"},
		{name: "internet.nl, its authority alone", chain: nl, usage: usageTA, at: date(2023), want: "2 1 1"},
		{name: "mail.ietf.org", chain: ietf, at: date(2023), want: "3 1 1"},

		// RFC 7672 §3.1.1: dates and names count for DANE-TA alone.
		{name: "internet.nl, expired", chain: nl, at: date(2024), want: "3 1 1"},
		{name: "internet.nl, its authority alone, expired", chain: nl, usage: usageTA, at: date(2024), want: "expired"},
		{name: "internet.nl, its authority alone, not valid yet", chain: nl, usage: usageTA, at: date(2022), want: "not yet valid"},
		{name: "mail.ietf.org, expired", chain: ietf, at: date(2024), want: "3 1 1"},
		{name: "internet.nl, another name", chain: nl, certificate: "mail.internet.nl", at: date(2023), want: "3 1 1"},
		{name: "internet.nl, its authority alone, another name", chain: nl, usage: usageTA, certificate: "mail.internet.nl", at: date(2023), want: "want one of"},

		{name: "the records of another host", chain: ietf, of: nl, at: date(2023), want: "none of the 2 usable TLSA records matches"},
		{name: "the chain of another host", chain: nl, of: ietf, at: date(2023), want: "none of the 1 usable TLSA records matches"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, state := realChain(t, tt.chain)
			if tt.of == "" {
				tt.of = tt.chain
			}
			if tt.certificate == "" {
				tt.certificate = tt.chain
			}
			all, _ := realChain(t, tt.of)
			var records []dns.TLSA
			for _, r := range all {
				if tt.usage == 0 || r.Usage == tt.usage {
					records = append(records, r)
				}
			}
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(tt.at))
				by, err := Verify(records, []string{tt.certificate}, state)
				got := fmt.Sprint(by.Usage, by.Selector, by.MatchingType)
				if err != nil {
					got = err.Error()
				}
				if !strings.Contains(got, tt.want) || err == nil && got != tt.want {
					t.Errorf("got %s, want %s", got, tt.want)
				}
			})
		})
	}
}
