package postrider

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/bounce"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/mx/dane"
	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/mx/mtasts"
	"github.com/postrider/postrider/mx/tlsrpt"
	"github.com/postrider/postrider/queue/delivery"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/server/authres"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// tlsDomain is a domain with a fault, whose reports are expected.
type tlsDomain struct {
	name  string
	host  string // if empty, mx. and the name
	dane  string // "right", "wrong", "unusable" or "bogus"; if empty, it isn't signed
	sts   string // as servePolicy has it; "404": its policy can't be fetched
	fault func(*smtptest.Host)

	delivered bool
	// want is what each report has, for 3 messages a day. # is the number of attempts on that day, which for mail that
	// waits is more.
	want string
}

var tlsDomains = []tlsDomain{
	{name: "fine.example", delivered: true, want: "no-policy-found fine.example +3 -0"},
	{name: "plain.example", fault: (*smtptest.Host).NoTLS, delivered: true,
		want: "no-policy-found plain.example +0 -3; 3 starttls-not-supported mx.plain.example"},
	{name: "refused.example", fault: func(h *smtptest.Host) {
		h.Answer(smtp.StageTLS, smtp.NewReply(454, "4.7.0", "at "+time.Now().String()))
	}, delivered: true,
		want: "no-policy-found refused.example +0 -3; 3 starttls-not-supported mx.refused.example 454 4.7.0"},
	// A message takes two attempts with TLS, and one in cleartext, which isn't counted.
	{name: "alert.example", fault: func(h *smtptest.Host) { h.FailTLS(smtptest.TLSAlert) }, delivered: true,
		want: "no-policy-found alert.example +0 -6; 6 validation-failure mx.alert.example remote error: tls: internal error"},
	// For a day, it is remembered that a small ClientHello helps.
	{name: "large.example", fault: func(h *smtptest.Host) { h.FailTLS(smtptest.TLSLargeHello) }, delivered: true,
		want: "no-policy-found large.example +3 -1; 1 validation-failure mx.large.example remote error: tls: internal error"},
	{name: "self.example", fault: func(h *smtptest.Host) { h.FailTLS(smtptest.TLSUntrusted) }, delivered: true,
		want: "no-policy-found self.example +3 -0"},
	{name: "enforced.example", sts: "enforce mx.enforced.example", delivered: true, want: "sts enforced.example +3 -0"},
	{name: "name.example", sts: "enforce mx.name.example", fault: func(h *smtptest.Host) { h.FailTLS(smtptest.TLSWrongName) },
		want: "sts name.example +0 -#; # certificate-host-mismatch mx.name.example x509: certificate is valid for other.invalid, not mx.name.example"},
	{name: "expired.example", sts: "testing mx.expired.example", fault: func(h *smtptest.Host) { h.FailTLS(smtptest.TLSExpired) }, delivered: true,
		want: "sts expired.example +0 -3; 3 certificate-expired mx.expired.example"},
	{name: "untrusted.example", sts: "testing mx.untrusted.example", fault: func(h *smtptest.Host) { h.FailTLS(smtptest.TLSUntrusted) }, delivered: true,
		want: "sts untrusted.example +0 -3; 3 certificate-not-trusted mx.untrusted.example x509: certificate signed by unknown authority"},
	{name: "stripped.example", sts: "testing mx.stripped.example", fault: (*smtptest.Host).NoTLS, delivered: true,
		want: "sts stripped.example +0 -3; 3 starttls-not-supported mx.stripped.example"},
	{name: "unlisted.example", sts: "enforce other.unlisted.example",
		want: "sts unlisted.example +0 -#; # validation-failure mx.unlisted.example the policy with id 1 lists other.unlisted.example"},
	{name: "trial.example", sts: "testing other.trial.example", delivered: true,
		want: "sts trial.example +0 -3; 3 validation-failure mx.trial.example the policy with id 1 lists other.trial.example"},
	{name: "unfetched.example", sts: "404", delivered: true,
		want: "no-policy-found unfetched.example +3 -0 / sts unfetched.example +0 -3; 3 sts-policy-fetch-error https://mta-sts.unfetched.example/.well-known/mta-sts.txt: HTTP status 404, want 200"},
	{name: "signed.example", dane: "right", delivered: true, want: "tlsa mx.signed.example +3 -0"},
	{name: "wrong.example", dane: "wrong",
		want: "tlsa mx.wrong.example +0 -#; # validation-failure mx.wrong.example dane: none of the 1 usable TLSA records matches the certificate of \"mx.wrong.example\""},
	{name: "unusable.example", dane: "unusable", delivered: true,
		want: "tlsa mx.unusable.example +0 -3; 3 tlsa-invalid mx.unusable.example none of the TLSA records is usable"},
	{name: "bogus.example", dane: "bogus", want: "tlsa mx.bogus.example +0 -#; # dnssec-invalid the DNS failed"},
	// Two domains at one host: each counts by its own policy.
	{name: "one.example", host: "mx.shared.example", sts: "testing mx.else.example", delivered: true,
		want: "sts one.example +0 -3; 3 validation-failure mx.shared.example the policy with id 1 lists mx.else.example"},
	{name: "two.example", host: "mx.shared.example", delivered: true, want: "no-policy-found two.example +3 -0"},
}

// set sets the domain up, and has its reports sent to a mailbox elsewhere.
func (d *tlsDomain) set(t *testing.T, inet *smtptest.Network) *smtptest.Host {
	name := d.host
	if name == "" {
		name = "mx." + d.name
	}
	inet.TXT("_smtp._tls."+d.name, "v=TLSRPTv1; rua=mailto:"+d.name+"@reports.example")
	host := inet.MX(d.name, name)
	if d.fault != nil {
		d.fault(host)
	}
	if d.sts != "" {
		servePolicy(t, inet, d.name, strings.TrimPrefix(d.sts, "404"))
	}
	if d.dane != "" {
		inet.Sign(d.name)
		key := sha256.Sum256(inet.Certificate(name).Leaf.RawSubjectPublicKeyInfo)
		record := dns.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: key[:]}
		switch d.dane {
		case "wrong":
			record.Data = make([]byte, len(key))
		case "unusable":
			record.Usage = 1
		case "bogus":
			inet.FailDNS("_25._tcp."+name, smtptest.ServFail)
		}
		inet.TLSA("_25._tcp."+name, record)
	}
	return host
}

// TestTLSReports: a Relay sends to hosts with every kind of failure for two days, and reports it to a mailbox that gets
// its mail in cleartext. The counts are exact, and no policy in testing stops a mail.
func TestTLSReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		hosts := make(map[string]*smtptest.Host)
		for _, d := range tlsDomains {
			hosts[d.name] = d.set(t, inet)
		}
		inbox := inet.MX("reports.example", "mx.reports.example")
		inbox.NoTLS()
		// Whoever takes the reports would like one on the way there, but there is none.
		inet.TXT("_smtp._tls.reports.example", "v=TLSRPTv1; rua=mailto:self@reports.example")

		var mu sync.Mutex
		attempts := make(map[string]int) // by domain and day
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		key := dkim.Key{Domain: "relay.test", Selector: "r", Private: private}
		record, err := key.Record()
		if err != nil {
			t.Fatal(err)
		}
		inet.TXT(key.Name(), record)
		signer := &dkim.Signer{Keys: []dkim.Key{key}, Headers: tlsrpt.SignedHeaders(), Resolver: inet}
		sts := &mtasts.Client{Resolver: inet, RootCAs: inet.RootCAs(), DialContext: inet.DialContext}
		reporter := &tlsrpt.Reporter{From: "tls-reports@relay.test", Resolver: inet, Store: &tlsrpt.Dir{Path: filepath.Join(t.TempDir(), "tls")}}
		verp := &bounce.VERP{Domain: "bounces.relay.test", Keys: [][]byte{make([]byte, 32)}}
		relay := &Relay{Hostname: "relay.test", Queue: mem.New(), Resolver: inet, DialContext: inet.DialContext,
			// The reports have another reverse-path on their way, and don't count all the same.
			Wrap:   func(next smtp.Sender) smtp.Sender { return verp.Wrap(signer.Wrap(next)) },
			Runner: &delivery.Runner{Retry: []time.Duration{90 * time.Minute}},
			Transport: &client.Transport{
				Policies:  []mx.Policy{dane.Policy{}, sts},
				TLSResult: reporter.Record,
				Tried: func(_ context.Context, try client.Try) {
					mu.Lock()
					defer mu.Unlock()
					attempts[try.Session.Host+time.Now().Format(time.DateOnly)]++
				},
			}}
		reporter.Sender = smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
			_, err := relay.Send(ctx, env, smtp.NewReader(c))
			return nil, err
		})
		inet.Go(relay.Run)
		inet.Go(reporter.Run)

		start := time.Now()
		for range 2 {
			for range 3 {
				for _, d := range tlsDomains {
					env := smtp.NewEnvelope("ann@relay.test", "bob@"+d.name)
					if _, err := relay.Send(t.Context(), env, strings.NewReader("Subject: hi\n\nHi.\n")); err != nil {
						t.Fatal(err)
					}
					time.Sleep(5 * time.Minute) // so that sessions aren't reused, and the failure of TLS is forgotten
				}
				time.Sleep(time.Hour)
			}
			time.Sleep(24*time.Hour - time.Since(start)%(24*time.Hour))
		}
		time.Sleep(5 * time.Hour)
		synctest.Wait()

		for _, d := range tlsDomains {
			want := 0
			for _, o := range tlsDomains {
				if o.delivered && hosts[o.name] == hosts[d.name] {
					want += 6
				}
			}
			if got := len(hosts[d.name].Messages()); got != want {
				t.Errorf("%s: got %d mails, want %d", d.name, got, want)
			}
		}
		reports := readReports(t, inet, inbox)
		for _, d := range tlsDomains {
			for _, day := range []string{"2000-01-01", "2000-01-02"} {
				want := strings.ReplaceAll(d.want, "#", fmt.Sprint(attempts["mx."+d.name+day]))
				if got := reports[d.name+" "+day]; got != want {
					t.Errorf("%s, %s: got\n%s\nwant\n%s", d.name, day, got, want)
				}
				delete(reports, d.name+" "+day)
			}
		}
		if len(reports) > 0 {
			t.Errorf("got further reports: %q", reports)
		}
	})
}

// readReports returns the reports in an inbox in a short form, by domain and day. Each must be signed.
func readReports(t *testing.T, inet *smtptest.Network, inbox *smtptest.Host) map[string]string {
	t.Helper()
	reports := make(map[string]string)
	for _, message := range inbox.Messages() {
		verifier := &authres.Verifier{Resolver: inet}
		res, err := verifier.Verify(t.Context(), authres.Mail{Content: bytes.NewReader(message.Data)})
		if err != nil || len(res.DKIM) != 1 || res.DKIM[0].Domain != "relay.test" {
			t.Errorf("got DKIM %+v, %v", res, err)
		}
		signed := string(message.Data[:bytes.Index(message.Data, []byte("\r\nFrom:"))])
		for _, name := range tlsrpt.SignedHeaders() {
			if !strings.Contains(signed, strings.ToLower(name)) && !strings.Contains(signed, name) {
				t.Errorf("%s isn't signed: %s", name, signed)
			}
		}
		m, err := tlsrpt.ParseMail(bytes.NewReader(message.Data))
		if err != nil {
			t.Error(err)
			continue
		}
		if got, want := message.Envelope.Recipients[0].Address, m.Domain+"@reports.example"; got != want {
			t.Errorf("got a report about %s for %s", m.Domain, got)
		}
		var policies []string
		for _, p := range m.Report.Policies {
			line := fmt.Sprintf("%s %s +%d -%d", p.Type, p.Domain, p.Successes, p.Failures)
			for _, d := range p.Details {
				line += strings.TrimRight(fmt.Sprintf("; %d %s %s", d.Sessions, d.Type, strings.TrimSpace(d.Host+" "+d.Code)), " ")
			}
			policies = append(policies, line)
		}
		key := m.Domain + " " + m.Report.Begin.Format(time.DateOnly)
		if _, twice := reports[key]; twice {
			t.Errorf("got two reports %s", key)
		}
		slices.Sort(policies)
		reports[key] = strings.Join(policies, " / ")
	}
	if len(reports) == 0 {
		t.Errorf("got no reports, %v", slices.Collect(maps.Keys(reports)))
	}
	return reports
}
