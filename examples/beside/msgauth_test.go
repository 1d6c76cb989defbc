package beside

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"strings"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
	ourdkim "github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/smtp"
)

// FuzzMsgauth has go-msgauth verify any message that postrider signs.
func FuzzMsgauth(f *testing.F) {
	for _, seed := range []string{
		signedMail(1, "Hello. \t \r\n..\r\n \r\n\r\n"), "From: ann@example.com", "From :\r\n ann@example.com\r\nTo:\r\n\t\r\nTo: x\r\n\r\n",
		"From: ann@example.com\r\n\r\nGr\xc3\xbc\xc3\x9fe" + strings.Repeat(" x", 600), "Subject:\tcaf\xe9\r\nfrom:ann@example.com\r\n\r\n \r\n",
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	key := ourdkim.Key{Domain: "example.com", Selector: "s", Private: ed25519.NewKeyFromSeed(make([]byte, 32))}
	record, err := key.Record()
	if err != nil {
		f.Fatal(err)
	}
	options := &dkim.VerifyOptions{LookupTXT: func(string) ([]string, error) { return []string{record}, nil }}
	f.Fuzz(func(t *testing.T, content string, keep bool) {
		var sent []byte
		to := smtp.SenderFunc(func(_ context.Context, _ *smtp.Envelope, c smtp.Content) (_ []smtp.Result, err error) {
			sent, err = io.ReadAll(smtp.NewReader(c))
			return nil, err
		})
		signer := &ourdkim.Signer{Keys: []ourdkim.Key{key}, Keep8Bit: keep}
		env := smtp.NewEnvelope("ann@example.com", "bob@example.net")
		if _, err := signer.Wrap(to).Send(t.Context(), env, strings.NewReader(content)); err != nil || string(sent) == content {
			return
		}
		list, err := dkim.VerifyWithOptions(bytes.NewReader(sent), options)
		if err != nil || len(list) == 0 || list[0].Err != nil {
			t.Errorf("got %+v, %v for %q", list, err, sent)
			if len(list) > 0 {
				t.Log(list[0].Err)
			}
		}
	})
}
