package authres

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/canonical"
)

var (
	rsaKey, _          = rsa.GenerateKey(rand.Reader, 2048)
	edPublic, edKey, _ = ed25519.GenerateKey(rand.Reader)
)

// signer signs messages for tests. Its tags replace those of a usual signature; an empty value removes one.
type signer struct {
	tags    map[string]string
	rsa     bool
	body    string // that is hashed, if not that of the message
	relaxed bool   // both, and otherwise simple
}

// sign returns a message with a DKIM-Signature on top.
func (s signer) sign(text string) string {
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	if s.body != "" {
		body = s.body
	}
	h := canonical.NewHash(s.relaxed, -1)
	b := &canonical.Body{Relaxed: s.relaxed, Hashes: []*canonical.Hash{h}}
	io.WriteString(b, body)
	b.End()
	c := "simple/simple"
	if s.relaxed {
		c = "relaxed/relaxed"
	}
	tags := map[string]string{"v": "1", "a": "ed25519-sha256", "d": "example.net", "s": "ed", "c": c, "h": "from:subject:from", "bh": base64.StdEncoding.EncodeToString(h.Sum(nil))}
	if s.rsa {
		tags["a"], tags["s"] = "rsa-sha256", "rsa"
	}
	for name, value := range s.tags {
		tags[name] = value
	}
	field := "DKIM-Signature:"
	for _, name := range []string{"v", "a", "d", "s", "c", "i", "q", "t", "x", "l", "h", "bh", "z"} {
		if tags[name] != "" {
			field += fmt.Sprintf(" %s=%s;\r\n", name, tags[name])
		}
	}
	field += " b="
	fields, _, _ := readFields(strings.NewReader(field + "\r\n" + head + "\r\n\r\n"))
	sig := &signature{relaxedHeader: s.relaxed, names: strings.Split(strings.ToLower(tags["h"]), ":")}
	sum := (&dkim{fields: fields}).headerSum(sig)
	var signed []byte
	if s.rsa {
		signed, _ = rsa.SignPKCS1v15(nil, rsaKey, crypto.SHA256, sum[:])
	} else {
		signed = ed25519.Sign(edKey, sum[:])
	}
	if v, ok := s.tags["b"]; ok {
		return field + v + "\r\n" + text
	}
	return field + base64.StdEncoding.EncodeToString(signed) + "\r\n" + text
}

func rsaRecord(t testing.TB, key *rsa.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der)
}

func edRecord() string { return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(edPublic) }

// keys is a zone with both keys of example.net.
func keys(t testing.TB) *zone {
	return newZone("ed._domainkey.example.net TXT " + edRecord() + "\nrsa._domainkey.example.net TXT " + rsaRecord(t, &rsaKey.PublicKey))
}
