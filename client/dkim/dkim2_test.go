package dkim

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/canonical"
	"github.com/postrider/postrider/smtp"
)

// verifyDKIM2 verifies a message after its first hop, and returns the reverse-path and the recipients that are signed.
func verifyDKIM2(message string, public crypto.PublicKey) (from string, to []string, err error) {
	d, err := readDraft(strings.NewReader(message))
	if err != nil {
		return "", nil, err
	}
	var kept []string
	own := make(map[string]string)
	for _, field := range d.fields {
		switch name := canonical.Name(field); {
		case name == "message-instance" || name == "dkim2-signature":
			own[name] = stripped(strings.TrimSuffix(field, "\r\n"))
		case !isUnsigned(name):
			kept = append(kept, field)
		}
	}
	_, text, _ := strings.Cut(message, "\r\n\r\n")
	body := canonical.NewHash(false, -1)
	w := &canonical.Body{Hashes: []*canonical.Hash{body}}
	io.WriteString(w, text)
	w.End()
	instance := own["message-instance"]
	if want := "message-instance:m=1;h=sha256:" + headerHash(kept) + ":" + encode(body.Sum(nil)) + ";\r\n"; instance != want {
		return "", nil, fmt.Errorf("got %q, want %q", instance, want)
	}
	signature := own["dkim2-signature"]
	tags, err := canonical.ParseTags(strings.TrimPrefix(signature, "dkim2-signature:"))
	if err != nil {
		return "", nil, err
	}
	value := tags["s"][strings.LastIndexByte(tags["s"], ':')+1:]
	b, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return "", nil, err
	}
	sum := sha256.Sum256([]byte(instance + strings.Replace(signature, value, "", 1)))
	switch public := public.(type) {
	case *rsa.PublicKey:
		err = rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], b)
	case ed25519.PublicKey:
		if !ed25519.Verify(public, sum[:], b) {
			err = errors.New("the signature is wrong")
		}
	}
	for _, path := range strings.Split(tags["rt"], ",") {
		to = append(to, decodePath(path))
	}
	return decodePath(tags["mf"]), to, err
}

func decodePath(path string) string {
	b, _ := base64.StdEncoding.DecodeString(path)
	return string(b)
}

// sent is a message to a host.
type sent struct {
	env     smtp.Envelope
	content string
}

// TestDKIM2: each recipient gets a message of its own, with a signature that has the reverse-path and this recipient.
func TestDKIM2(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	public, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const plain = "From: ann@example.com\r\nSubject:  a\r\n\tb \r\nX-Y: z\r\nTo: x@y.example\r\nTo: y@z.example\r\n\r\nHello. \r\n\r\n\r\n"
	for _, tt := range []struct {
		name, from, content string
		key                 crypto.Signer
		public              crypto.PublicKey
		want                string // the reverse-path that is signed; "": there is no DKIM2
	}{
		{"RSA", "ann@example.com", plain, rsaKey, &rsaKey.PublicKey, "<ann@example.com>"},
		{"Ed25519", "ann@example.com", plain, edKey, public, "<ann@example.com>"},
		{"below the domain", "b+1@Bounces.example.com", plain, edKey, public, "<b+1@Bounces.example.com>"},
		{"null", "", plain, edKey, public, "<>"},
		{"8-bit", "ann@example.com", strings.Replace(plain, "Hello.", "Grüße.", 1), edKey, public, "<ann@example.com>"},
		{"no body", "ann@example.com", "From: ann@example.com\r\n", edKey, public, "<ann@example.com>"},
		{"another domain", "ann@example.net", plain, edKey, public, ""},
		{"the end of another domain", "ann@anexample.com", plain, edKey, public, ""},
		{"another From", "ann@example.com", strings.Replace(plain, "example.com", "example.net", 1), edKey, public, ""},
		{"another hop", "ann@example.com", "Message-Instance: m=1\r\n" + plain, edKey, public, ""},
		{"another signature", "ann@example.com", "DKIM2-Signature: i=1\r\n" + plain, edKey, public, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var list []sent
			next := smtp.SenderFunc(func(_ context.Context, env *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
				b, err := io.ReadAll(smtp.NewReader(c))
				list = append(list, sent{*env, string(b)})
				if err != nil || env.Recipients[0].Address != "eve@example.net" {
					return nil, err
				}
				return nil, smtp.NewReply(550, "5.1.1", "no such user")
			})
			s := &Signer{Keys: []Key{{Domain: "example.com", Selector: "s", Private: tt.key}}, DKIM2: true}
			env := smtp.NewEnvelope(tt.from, "bob@example.net", "eve@example.net")
			results, err := s.Wrap(next).Send(t.Context(), env, strings.NewReader(tt.content))
			if tt.want == "" {
				if len(list) != 1 || len(list[0].env.Recipients) != 2 || strings.HasPrefix(list[0].content, "DKIM2-Signature: i=1;") {
					t.Errorf("got %+v, want one message without DKIM2", list)
				}
				return
			}
			if len(results) != 2 || results[0].Outcome != smtp.Delivered || results[1].Outcome != smtp.Rejected ||
				results[1].Recipient != "eve@example.net" || err == nil {
				t.Errorf("got %+v, %v, want the results of both recipients", results, err)
			}
			for i, got := range list {
				to := env.Recipients[i].Address
				from, signed, err := verifyDKIM2(got.content, tt.public)
				if err != nil || from != tt.want || len(signed) != 1 || signed[0] != "<"+to+">" ||
					len(got.env.Recipients) != 1 || got.env.Recipients[0].Address != to || got.env.From != tt.from {
					t.Errorf("got %s to %s, %v, for\n%s", from, signed, err, got.content)
				}
				if !strings.Contains(got.content, "\r\nDKIM-Signature: v=1;") {
					t.Errorf("got no DKIM-Signature in\n%s", got.content)
				}
				for change, works := range map[string]bool{"Subject:": false, "To: x": false, "X-Y:": true, "DKIM-Signature:": true} {
					changed := strings.Replace(got.content, "\r\n"+change, "\r\n"+change+"x", 1)
					if changed == got.content {
						continue
					}
					if _, _, err := verifyDKIM2(changed, tt.public); (err == nil) != works {
						t.Errorf("with another %s: got %v", change, err)
					}
				}
			}
			if len(list) != 2 {
				t.Errorf("got %d messages, want 2", len(list))
			}
		})
	}
}

// locking is a key that signs twice.
type locking struct {
	crypto.Signer
	n int
}

func (l *locking) Sign(r io.Reader, sum []byte, o crypto.SignerOpts) ([]byte, error) {
	if l.n++; l.n > 2 {
		return nil, errors.New("it is locked")
	}
	return l.Signer.Sign(r, sum, o)
}

// TestDKIM2Fails: a recipient whose message can't be signed is Deferred. The others have theirs.
func TestDKIM2Fails(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := &Signer{Keys: []Key{{Domain: "example.com", Selector: "s", Private: &locking{Signer: edKey}}}, DKIM2: true}
	next := smtp.SenderFunc(func(context.Context, *smtp.Envelope, smtp.Content) ([]smtp.Result, error) { return nil, nil })
	env := smtp.NewEnvelope("ann@example.com", "bob@example.net", "eve@example.net")
	results, err := s.Wrap(next).Send(t.Context(), env, strings.NewReader("From: ann@example.com\r\n\r\n"))
	if err == nil || !strings.Contains(err.Error(), "dkim: to eve@example.net: it is locked") || len(results) != 2 ||
		results[0].Outcome != smtp.Delivered || results[1].Outcome != smtp.Deferred || results[1].Reason != smtp.PolicyAuth {
		t.Errorf("got %+v, %v", results, err)
	}
}

// TestHeaderHash: the fields are in the order of DKIM2 §6.2, in their canonical form.
func TestHeaderHash(t *testing.T) {
	got := headerHash([]string{"To: a\r\n", "SUBJECT :  x\r\n\ty \r\n", "to: b\r\n", "From: c\r\n", "TO: d\r\n"})
	want := sha256.Sum256([]byte("from:c\r\nsubject:x y\r\nto:d\r\nto:b\r\nto:a\r\n"))
	if got != encode(want[:]) {
		t.Errorf("got %s, want %s", got, encode(want[:]))
	}
}
