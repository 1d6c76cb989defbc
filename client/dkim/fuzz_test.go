package dkim_test

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/smtp"
)

// FuzzSign signs any message. What is sent verifies, or there is an error with a reply, or the From field has no domain
// with a key and nothing is changed.
func FuzzSign(f *testing.F) {
	for _, seed := range []string{
		plain, "From: ann@example.com", "From:\r\n ann@example.com\r\nTo:\r\n\t\r\n\r\n \t\r\n.\r\n\r\n\r\n",
		"From ann Mon\r\nFrom : ann@example.com \t\r\nX:y\r\n\r\n", "From: \"x@example.com\" (c@d) <ann@example.com,\r\n\r\na\rb\n\x00",
		"From: ann@example.com\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xff\r\n--b--\r\n",
		"DKIM-Signature: v=1\r\nfrom: ann@example.com\r\nno field\r\n\r\n", "\xef\xbb\xbfFrom: ann@example.com\r\n\r\n",
		"Sender: x\r\nFrom: a@example.com, b@example.net\r\nSender: y\r\n\r\n" + strings.Repeat("x", 1000),
	} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	keys := both()[1:] // RSA takes too long here
	z := published(f, keys...)
	f.Fuzz(func(t *testing.T, content string, keep bool) {
		s := &dkim.Signer{Keys: keys, Keep8Bit: keep}
		got, err := send(t, s, content)
		if err != nil {
			if results, _ := s.Wrap(new(sink)).Send(t.Context(), env, strings.NewReader(content)); results[0].Outcome != smtp.Rejected || !results[0].Reply.Permanent() {
				t.Errorf("got %v, want it rejected", err)
			}
			return
		}
		if got == content {
			return
		}
		if v := verdicts(t, z, got); !strings.HasPrefix(v, "pass(e.example.com)") {
			t.Errorf("got %q for %q", v, got)
		}
	})
}

// FuzzRecord has Check read any record. One that it accepts is one by which a signature verifies.
func FuzzRecord(f *testing.F) {
	key := both()[0]
	record, err := key.Record()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		record, record[len("v=DKIM1; "):] + ";t=y:s", "v=DKIM1;; " + record, "p=; p=", "k=rsa; p=MDA=", "h = sha256 :sha1; s=*;" + record, "",
	} {
		f.Add(seed)
	}
	signed, err := send(f, &dkim.Signer{Keys: []dkim.Key{key}}, plain)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		z := zone{key.Name(): {text}}
		err := (&dkim.Signer{Keys: []dkim.Key{key}, Resolver: z}).Check(t.Context())
		if v := verdicts(t, z, signed); (err == nil) != (v == "pass(r.example.com)") {
			t.Errorf("got %v by Check, and %s for %q", err, v, text)
		}
	})
}
