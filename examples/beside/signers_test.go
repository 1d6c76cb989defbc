package beside

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-msgauth/dkim"
	ourdkim "github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/smtp"
	gomail "github.com/wneessen/go-mail"
)

// signers make a signed message and discard it. A func gets another message at each call, except that of
// "postrider-again", which gets the same one, as for its next destination.
var signers = []struct {
	name string
	make func(key crypto.Signer, body string) func(n int) error
}{
	{"postrider", signPostrider},
	{"postrider-again", func(key crypto.Signer, body string) func(int) error {
		sign := signPostrider(key, body)
		return func(int) error { return sign(0) }
	}},
	{"go-msgauth", signMsgauth},
	{"go-mail", signGoMail},
}

func signedMail(n int, body string) string {
	return fmt.Sprintf("From: ann@example.com\r\nTo: bob@example.net\r\nSubject: mail %d\r\n"+
		"Date: Mon, 30 Nov 2026 17:00:00 +0000\r\nMessage-ID: <%d@example.com>\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\n\r\n%s", n, n, body)
}

func signPostrider(key crypto.Signer, body string) func(int) error {
	signer := &ourdkim.Signer{Keys: []ourdkim.Key{{Domain: "example.com", Selector: "s", Private: key}}}
	sender := signer.Wrap(smtp.SenderFunc(func(_ context.Context, _ *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		_, err := io.Copy(io.Discard, smtp.NewReader(c))
		return nil, err
	}))
	env := smtp.NewEnvelope("ann@example.com", "bob@example.net")
	return func(n int) error {
		_, err := sender.Send(context.Background(), env, strings.NewReader(signedMail(n, body)))
		return err
	}
}

func signMsgauth(key crypto.Signer, body string) func(int) error {
	options := &dkim.SignOptions{
		Domain: "example.com", Selector: "s", Signer: key,
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
		HeaderKeys: []string{"From", "From", "To", "To", "Subject", "Subject", "Date", "Date", "Message-ID"},
	}
	return func(n int) error { return dkim.Sign(io.Discard, strings.NewReader(signedMail(n, body)), options) }
}

// signGoMail composes the message, since go-mail signs no other.
func signGoMail(key crypto.Signer, body string) func(int) error {
	signer := gomail.NewDKIMSigner("example.com", "s", key)
	return func(n int) error {
		msg := gomail.NewMsg(gomail.WithEncoding(gomail.NoEncoding), gomail.WithNoDefaultUserAgent(), gomail.WithDKIM(signer))
		if err := msg.From("ann@example.com"); err != nil {
			return err
		}
		if err := msg.To("bob@example.net"); err != nil {
			return err
		}
		msg.Subject(fmt.Sprintf("mail %d", n))
		msg.SetBodyString(gomail.TypeTextPlain, body)
		_, err := msg.WriteTo(io.Discard)
		return err
	}
}

// BenchmarkSigners: the signers take turns, in rounds. See the package doc.
func BenchmarkSigners(b *testing.B) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	const line = "All lines of this body are alike, as they are in a newsletter.\r\n"
	for _, key := range []struct {
		name string
		crypto.Signer
	}{{"RSA-2048", rsaKey}, {"Ed25519", edKey}} {
		for _, size := range []struct {
			name   string
			octets int
			turn   int
		}{{"10KiB", 10 << 10, 100}, {"10MiB", 10 << 20, 1}} {
			b.Run(key.name+"/"+size.name, func(b *testing.B) {
				body := strings.Repeat(line, size.octets/len(line))
				signs := make([]func(int) error, len(signers))
				for i, s := range signers {
					signs[i] = s.make(key.Signer, body)
				}
				times := make([][]float64, len(signers))
				var octets, allocs [8]float64
				n := 0
				for b.Loop() {
					for i, sign := range signs {
						var before, after runtime.MemStats
						runtime.ReadMemStats(&before)
						begin := time.Now()
						for range size.turn {
							if err := sign(n); err != nil {
								b.Fatal(err)
							}
							n++
						}
						times[i] = append(times[i], float64(time.Since(begin))/float64(size.turn))
						runtime.ReadMemStats(&after)
						octets[i] = float64(after.TotalAlloc-before.TotalAlloc) / float64(size.turn)
						allocs[i] = float64(after.Mallocs-before.Mallocs) / float64(size.turn)
					}
				}
				b.ReportMetric(0, "ns/op") // of all of them
				for i, s := range signers {
					b.ReportMetric(median(times[i])/1000, "µs-"+s.name)
					b.ReportMetric(octets[i]/1024, "KiB-"+s.name)
					b.ReportMetric(allocs[i], "allocs-"+s.name)
				}
			})
		}
	}
}

// TestSigners: each of them signs.
func TestSigners(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range signers {
		if err := s.make(key, "Hello.\r\n")(1); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}
