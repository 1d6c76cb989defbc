package preflight

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"net/mail"
	"testing"

	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/compose"
	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/smtp"
)

// TestSigned: nothing is found in a newsletter that is composed and signed, with the records that package dkim says.
// Without the records, there is.
func TestSigned(t *testing.T) {
	large, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer := &dkim.Signer{Keys: []dkim.Key{
		{Domain: "example.com", Selector: "rsa", Private: large}, {Domain: "example.com", Selector: "ed", Private: edwards},
	}}
	s := newSample(t, "")
	s.checker.Bulk, s.checker.Keys = true, nil
	letter := &compose.Message{
		From: mail.Address{Name: "Tee & Söhne", Address: "news@example.com"}, To: []mail.Address{{Address: "ann@example.net"}},
		Subject: "Grüner Tee", HTML: "<p>Grüner Tee</p>", ListID: "tea.example.com",
		Unsubscribe: &compose.Unsubscribe{URL: "https://example.com/u", Keys: [][]byte{make([]byte, 32)}},
	}
	env, content, err := letter.Compose()
	if err != nil {
		t.Fatal(err)
	}
	var got Findings
	look := smtp.SenderFunc(func(ctx context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		got = append(s.checker.Message(env, c), s.checker.Sender(ctx, env, c)...)
		return nil, nil
	})
	sender := client.AddMissing(signer.Wrap(look))
	if _, err := sender.Send(t.Context(), env, content); err != nil || kinds(got) != "refusal no-key" {
		t.Errorf("without records: got %v\n%s", err, got)
	}
	for _, key := range signer.Keys {
		record, err := key.Record()
		if err != nil {
			t.Fatal(err)
		}
		s.zone.TXT(key.Name(), record)
	}
	if _, err := sender.Send(t.Context(), env, content); err != nil || len(got) > 0 {
		t.Errorf("got %v\n%s", err, got)
	}
}
