package scram

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// TestVector is the example of RFC 7677 §3, for the password "pencil".
func TestVector(t *testing.T) {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	keys, err := Derive("pencil", salt, MinIterations)
	if err != nil {
		t.Fatal(err)
	}
	const nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	auth := "n=user,r=rOprNGfwEbeRWgbNEkqO,r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=" + nonce
	proof := Mask(keys.Client, keys.Stored, auth)
	if got, want := base64.StdEncoding.EncodeToString(proof), "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="; got != want {
		t.Errorf("got proof %s, want %s", got, want)
	}
	if got := Mask(proof, keys.Stored, auth); string(got) != string(keys.Client) {
		t.Errorf("got key %x from the proof, want %x", got, keys.Client)
	}
	got := base64.StdEncoding.EncodeToString(MAC(keys.Server, auth))
	if want := "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="; got != want {
		t.Errorf("got signature %s, want %s", got, want)
	}
}

func TestEndPoint(t *testing.T) {
	for algorithm, size := range map[x509.SignatureAlgorithm]int{
		x509.SHA1WithRSA: 32, x509.SHA256WithRSA: 32, x509.ECDSAWithSHA384: 48, x509.SHA512WithRSAPSS: 64, x509.PureEd25519: 0,
	} {
		b, ok := EndPoint(&x509.Certificate{Raw: []byte("x"), SignatureAlgorithm: algorithm})
		if len(b.Data) != size || ok != (size > 0) {
			t.Errorf("%v: got %q, %t, want %d octets", algorithm, b, ok, size)
		}
	}
}

func TestName(t *testing.T) {
	for _, name := range []string{"ann", "a=b,c", "=3D", "=2C,", ""} {
		if got, ok := ParseName(Name(name)); got != name || !ok {
			t.Errorf("%q: got %q, %t", name, got, ok)
		}
	}
	for _, bad := range []string{"=", "a=3", "=3d", "a,b", "==3D"} {
		if got, ok := ParseName(bad); ok {
			t.Errorf("%q: got %q, want it refused", bad, got)
		}
	}
}

func TestBindings(t *testing.T) {
	exported, unique := []byte("exported"), []byte("unique")
	tests := []struct {
		name    string
		version uint16
		err     error
		unique  []byte
		want    string
	}{
		{name: "TLS 1.3", version: tls.VersionTLS13, want: "tls-exporter exported;"},
		{name: "TLS 1.2", version: tls.VersionTLS12, unique: unique, want: "tls-unique unique;tls-exporter exported;"},
		{name: "TLS 1.2 without extended master secret", version: tls.VersionTLS12, unique: unique, err: errors.New("no"), want: ""},
		{name: "TLS 1.2 without tls-unique", version: tls.VersionTLS12, want: ""},
		{name: "TLS 1.1", version: tls.VersionTLS11, unique: unique, want: ""},
	}
	for _, test := range tests {
		got := ""
		for _, b := range bindings(test.version, exported, test.err, test.unique) {
			got += b.Name + " " + string(b.Data) + ";"
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	for _, state := range []*tls.ConnectionState{nil, {Version: tls.VersionTLS13}} {
		if b := Bindings(state); b != nil {
			t.Errorf("before the handshake: got %q", b)
		}
	}
}

// TestBindingsOfNoConnection: a state that a program made has no bindings, and doesn't panic.
func TestBindingsOfNoConnection(t *testing.T) {
	for _, version := range []uint16{0, tls.VersionTLS12, tls.VersionTLS13, 0xffff} {
		if got := Bindings(&tls.ConnectionState{HandshakeComplete: true, Version: version}); got != nil {
			t.Errorf("version %#x: got %v, want none", version, got)
		}
	}
}

func TestPrepare(t *testing.T) {
	tests := []struct {
		name, in, want string // an empty want is an error
	}{
		// RFC 4013 §3
		{"soft hyphen", "I\u00adX", "IX"},
		{"no change", "user", "user"},
		{"case", "USER", "USER"},
		{"feminine ordinal", "\u00aa", "a"},
		{"roman nine", "\u2168", "IX"},
		{"control", "\u0007", ""},
		{"both directions", "\u0627\u0031", ""},

		{"graphics", " !\"#$%&'()*+,-./0~", " !\"#$%&'()*+,-./0~"},
		{"no-break space", "a\u00a0b\u3000c", "a b c"},
		{"decomposed", "u\u0308", "\u00fc"},
		{"from the right", "\u0627\u0628", "\u0627\u0628"},
		{"digits between", "\u0627\u0031\u0628", "\u0627\u0031\u0628"},
		{"left among right", "\u0627a\u0628", ""},
		{"right among left", "a\u0627b", ""},
		{"newer than the RFC", "\U0001f600", "\U0001f600"},
		{"NUL", "a\x00", ""},
		{"line end", "secret\n", ""},
		{"C1", "a\u0085", ""},
		{"private", "\ue000", ""},
		{"no character", "\ufdd0", ""},
		{"replacement", "\ufffd", ""},
		{"line separator", "a\u2028b", ""},
		{"override", "a\u202eb", ""},
		{"ideographic description", "\u2ff0", ""},
		{"tag", "a\U000e0041", ""},
		{"nothing left", "\u00ad", ""},
		{"empty", "", ""},
		{"not UTF-8", "a\xe9", ""},
	}
	for _, test := range tests {
		got, err := Prepare(test.in)
		if got != test.want || (err != nil) != (test.want == "") {
			t.Errorf("%s: got %q, %v, want %q", test.name, got, err, test.want)
		}
		if err != nil && len(test.in) > 1 && strings.Contains(err.Error(), test.in) {
			t.Errorf("%s: %v holds what it is about", test.name, err)
		}
	}
}
