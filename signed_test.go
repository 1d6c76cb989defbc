package postrider

import (
	"crypto/ed25519"
	"crypto/rand"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/server/authres"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// TestSignedRelay: a Relay with a Signer signs its own mail and its reports. When the key expires, own mail waits for
// the next key, and strangers' mail goes on.
func TestSignedRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		far, back := inet.MX("next.test", "mx.next.test"), inet.MX("source.test", "mx.source.test")
		far.Reject("eve@next.test", smtp.NewReply(550, "5.1.1", "no such user"))
		newKey := func(domain, selector string, end time.Duration) dkim.Key {
			_, private, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return dkim.Key{Domain: domain, Selector: selector, Private: private, NotAfter: time.Now().Add(end)}
		}
		publish := func(k dkim.Key) {
			record, err := k.Record()
			if err != nil {
				t.Fatal(err)
			}
			inet.TXT(k.Name(), record)
		}
		first, reports := newKey("source.test", "a", time.Hour), newKey("relay.test", "r", 1000*time.Hour)
		signer := &dkim.Signer{Keys: []dkim.Key{first, reports}, Resolver: inet}
		r := newRelay(inet)
		r.Domains = []string{"next.test"}
		r.Wrap = func(next smtp.Sender) smtp.Sender { return client.AddMissing(signer.Wrap(next)) }
		const missing = "relay: Wrap: dkim: the record at a._domainkey.source.test: there is none: publish this TXT record: v=DKIM1; "
		if err := r.Check(t.Context()); err == nil || !strings.HasPrefix(err.Error(), missing) {
			t.Errorf("got %v, want %s…", err, missing)
		}
		publish(first)
		publish(reports)
		if err := r.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		serve(t, inet, r)
		signedBy := func(m smtptest.Message) string {
			t.Helper()
			verifier := &authres.Verifier{Resolver: inet}
			res, err := verifier.Verify(t.Context(), authres.Mail{Content: strings.NewReader(string(m.Data))})
			switch {
			case err != nil:
				t.Fatal(err)
			case len(res.DKIM) == 0:
				return "nobody"
			case res.DKIM[0].Verdict != authres.Pass:
				t.Errorf("got %v for\n%s", res, m.Data)
			}
			return res.DKIM[0].Selector + "." + res.DKIM[0].Domain
		}

		mustSend(t, r, "ann@source.test", "bob@next.test")
		if m := far.Wait(1)[0]; signedBy(m) != "a.source.test" || !strings.Contains(string(m.Data), "\r\nMessage-ID: <") {
			t.Errorf("got it signed by %s:\n%s", signedBy(m), m.Data)
		}
		mustSend(t, r, "ann@source.test", "eve@next.test")
		if m := back.Wait(1)[0]; signedBy(m) != "r.relay.test" {
			t.Errorf("got the report signed by %s:\n%s", signedBy(m), m.Data)
		}

		time.Sleep(2 * time.Hour)
		mustSend(t, r, "ann@source.test", "late@next.test")
		const stranger = "EHLO there.test\r\nMAIL FROM:<x@there.test>\r\nRCPT TO:<bob@next.test>\r\nDATA\r\n" +
			"From: ann@source.test\r\n\r\nforged\r\n.\r\nQUIT\r\n"
		if got := talk(t, inet, stranger); got != "220 250 250 250 354 250 221" {
			t.Fatalf("got replies %s", got)
		}
		if m := far.Wait(2)[1]; signedBy(m) != "nobody" || !strings.Contains(string(m.Data), "forged") {
			t.Errorf("got it signed by %s:\n%s", signedBy(m), m.Data)
		}
		synctest.Wait()
		if n := queued(t, r); n != 1 {
			t.Errorf("got %d messages in the queue, want the one that can't be signed", n)
		}
		second := newKey("source.test", "b", 1000*time.Hour)
		publish(second)
		if err := signer.Switch(t.Context(), []dkim.Key{second, reports}); err != nil {
			t.Fatal(err)
		}
		if m := far.Wait(3)[2]; signedBy(m) != "b.source.test" || m.Envelope.Recipients[0].Address != "late@next.test" {
			t.Errorf("got it signed by %s:\n%s", signedBy(m), m.Data)
		}
	})
}
