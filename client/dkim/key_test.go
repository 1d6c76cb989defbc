package dkim_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/client/dkim"
)

func pemOf(kind string, der []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestParsePrivate(t *testing.T) {
	pkcs8 := func(key any) string {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		return pemOf("PRIVATE KEY", der, err)
	}
	curve, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	pkcs1 := pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey), nil)
	der, err := x509.MarshalECPrivateKey(curve)
	sec1 := pemOf("EC PRIVATE KEY", der, err)
	for _, tt := range []struct {
		name, file string
		want       crypto.PrivateKey
		err        string
	}{
		{"PKCS #8, RSA", pkcs8(rsaKey), rsaKey, ""},
		{"PKCS #8, Ed25519", pkcs8(edKey), edKey, ""},
		{"PKCS #1", pkcs1, rsaKey, ""},
		{"text and a certificate before it", "hello\n" + pemOf("CERTIFICATE", []byte("x"), nil) + pkcs1, rsaKey, ""},
		{"CRLF", strings.ReplaceAll(pkcs1, "\n", "\r\n"), rsaKey, ""},

		{"empty", "", nil, "there is no private key in PEM"},
		{"cut", pkcs1[:len(pkcs1)/2], nil, "there is no private key in PEM"},
		{"damaged", pemOf("PRIVATE KEY", []byte("secret"), nil), nil, "can't be read"},
		{"a public key", pemOf("PUBLIC KEY", []byte("x"), nil), nil, "there is no private key"},
		{"a curve in PKCS #8", pkcs8(curve), nil, "*ecdsa.PrivateKey: DKIM has RSA and Ed25519 only"},
		{"a curve in SEC 1", sec1, nil, `"EC PRIVATE KEY": DKIM has`},
		{"a password", pemOf("ENCRYPTED PRIVATE KEY", []byte("x"), nil), nil, "has a password"},
		{"a password, PKCS #1", strings.Replace(pkcs1, "KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\n\n", 1), nil, "has a password"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := dkim.ParsePrivate([]byte(tt.file))
			if tt.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), "dkim: ") || !strings.Contains(err.Error(), tt.err) || got != nil {
					t.Errorf("got %v, %v, want %q", got, err, tt.err)
				}
			} else if err != nil || !tt.want.(interface{ Equal(crypto.PrivateKey) bool }).Equal(got) {
				t.Errorf("got %v, want the key", err)
			}
		})
	}
}

func TestRecord(t *testing.T) {
	k := dkim.Key{Domain: "bücher.example", Selector: "s", Private: rsaKey}
	line, err := k.ZoneLine()
	if err != nil {
		t.Fatal(err)
	}
	name, strs, _ := strings.Cut(strings.TrimSuffix(line, " )"), " IN TXT ( ")
	text := ""
	for s := range strings.SplitSeq(strs, " \"") {
		s = strings.Trim(s, `"`)
		if text += s; len(s) > 255 {
			t.Errorf("got a string of %d octets, want 255 at most", len(s))
		}
	}
	record, err := k.Record()
	if want := "s._domainkey.xn--bcher-kva.example"; err != nil || name != want+"." || text != record || k.Name() != want {
		t.Errorf("got %s and %v, want the record %s of %s", line, err, record, want)
	}
	if got := fmt.Sprintf("%v %+v %s %#v", k, []dkim.Key{k}, &k, k); strings.Count(got, k.Name()) != 4 || len(got) > 200 {
		t.Errorf("got %s, want the name only", got)
	}
	if _, err := (dkim.Key{}).ZoneLine(); err == nil || !strings.Contains(err.Error(), "Private is nil") {
		t.Errorf("got %v, want an error", err)
	}
}
