package dkim_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log"
	"strings"

	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/smtp"
)

// How do I sign my mail? A Signer goes around a Sender: by Wrap of a Relay or of a Submission. The Sender here prints how
// the message begins.
func Example() {
	private := ed25519.NewKeyFromSeed([]byte("an example: 32 octets of a seed."))
	key := dkim.Key{Domain: "example.com", Selector: "2026a", Private: private}
	record, err := key.Record()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("publish at", key.Name()+":", record)

	signer := &dkim.Signer{Keys: []dkim.Key{key}}
	next := smtp.SenderFunc(func(_ context.Context, _ *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
		begin := make([]byte, len("DKIM-Signature: v=1; a=ed25519-sha256;"))
		_, err := c.ReadAt(begin, 0)
		fmt.Println(string(begin))
		return nil, err
	})
	env := smtp.NewEnvelope("ann@example.com", "bob@example.net")
	message := "From: ann@example.com\r\nSubject: hello\r\n\r\nHello.\r\n"
	if _, err := signer.Wrap(next).Send(context.Background(), env, strings.NewReader(message)); err != nil {
		log.Fatal(err)
	}
	// Output:
	// publish at 2026a._domainkey.example.com: v=DKIM1; k=ed25519; p=MqCucAIpHz6iQzW6xu1JaGe7RD7avTX2nfLx4PAYqIo=
	// DKIM-Signature: v=1; a=ed25519-sha256;
}
