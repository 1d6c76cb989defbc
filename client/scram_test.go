package client

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"

	"github.com/postrider/postrider/internal/scram"
	"github.com/postrider/postrider/smtp"
)

// The example of RFC 7677 §3, for user "user" and password "pencil".
const (
	vectorNonce  = "rOprNGfwEbeRWgbNEkqO"
	vectorFirst  = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	vectorProof  = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	vectorServer = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

// vector begins the exchange of RFC 7677 §3.
func vector(t testing.TB, identity string) smtp.AuthExchange {
	t.Helper()
	c := &Credentials{Username: "user", Password: "pencil", AuthorizationID: identity, nonce: vectorNonce}
	client, err := c.Begin(t.Context(), smtp.AuthHost{Mechanisms: []string{scram.SHA256}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func TestSCRAMVector(t *testing.T) {
	client := vector(t, "")
	mech, ir, err := client.Start()
	if want := "n,,n=user,r=" + vectorNonce; mech != "SCRAM-SHA-256" || string(ir) != want || err != nil {
		t.Errorf("got %s %q, %v, want %q", mech, ir, err, want)
	}
	if got, err := client.Next([]byte(vectorFirst)); string(got) != vectorProof || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, vectorProof)
	}
	if client.(smtp.AuthCompleter).Complete() == nil {
		t.Error("complete before the host's signature")
	}
	if got, err := client.Next([]byte(vectorServer)); got == nil || len(got) != 0 || err != nil {
		t.Errorf("got %q, %v, want an empty response", got, err)
	}
	if err := client.(smtp.AuthCompleter).Complete(); err != nil {
		t.Errorf("got %v", err)
	}
	if _, err := client.Next(nil); !errors.Is(err, sasl.ErrUnexpectedServerChallenge) || client.(smtp.AuthCompleter).Complete() == nil {
		t.Errorf("a challenge behind the end: got %v, want it refused", err)
	}
}

func TestSCRAMErrors(t *testing.T) {
	salt := ",s=W22ZaJ0SNY7soEsUEjb6gQ=="
	nonce := "r=" + vectorNonce + "x"
	tests := []struct {
		name  string
		first string // the host's; if empty, that of the vector
		final string
		want  string // the end of the error; empty: none
		empty bool   // there is an empty response all the same
	}{
		{name: "good", final: vectorServer},
		{name: "extension", first: vectorFirst + ",x=1", final: "v=", want: "doesn't know the password"},
		{name: "extension behind the signature", final: vectorServer + ",x=1"},
		{name: "mandatory extension", first: "m=1," + vectorFirst, want: "is malformed"},
		{name: "empty", first: ",", want: "is malformed"},
		{name: "no salt", first: nonce + ",i=4096", want: "is malformed"},
		{name: "empty salt", first: nonce + ",s=,i=4096", want: "is malformed"},
		{name: "bad salt", first: nonce + ",s=!,i=4096", want: "salt is malformed"},
		{name: "no count", first: nonce + salt, want: "is malformed"},
		{name: "other order", first: nonce + ",i=4096" + salt, want: "is malformed"},
		{name: "another nonce", first: "r=" + strings.ToUpper(vectorNonce) + "x" + salt + ",i=4096", want: "nonce doesn't begin with ours"},
		{name: "our nonce alone", first: "r=" + vectorNonce + salt + ",i=4096", want: "nonce doesn't begin with ours"},
		{name: "our nonce behind", first: "r=x" + vectorNonce + salt + ",i=4096", want: "nonce doesn't begin with ours"},
		{name: "few iterations", first: nonce + salt + ",i=4095", want: `"4095" iterations, want 4096 to 2000000`},
		{name: "least iterations", first: nonce + salt + ",i=4096", final: "v=x", want: "doesn't know the password"},
		{name: "many iterations", first: nonce + salt + ",i=2000001", want: `"2000001" iterations, want 4096 to 2000000`},
		{name: "all iterations", first: nonce + salt + ",i=99999999999999999999999", want: "iterations, want 4096 to 2000000"},
		{name: "negative iterations", first: nonce + salt + ",i=-4096", want: "iterations, want 4096 to 2000000"},
		{name: "refused at once", first: "e=unknown-user", want: "the host answers unknown-user", empty: true},
		{name: "refused", final: "e=invalid-proof", want: "the host answers invalid-proof", empty: true},
		{name: "refused in odd words", final: "e=\x1b[31mno", want: "the host answers an error without a name", empty: true},
		{name: "no signature", final: "v=", want: "doesn't know the password"},
		{name: "nothing", final: ",", want: "doesn't know the password"},
		{name: "a signature's half", final: vectorServer[:24], want: "doesn't know the password"},
		{name: "another signature", final: "v=" + base64.StdEncoding.EncodeToString(make([]byte, 32)), want: "doesn't know the password"},
		{name: "the proof sent back", final: "v=" + vectorProof[len(vectorProof)-44:], want: "doesn't know the password"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			client := vector(t, "")
			client.Start()
			if test.first == "" {
				test.first = vectorFirst
			}
			response, err := client.Next([]byte(test.first))
			if err == nil {
				response, err = client.Next([]byte(test.final))
			}
			complete := client.(smtp.AuthCompleter).Complete() == nil
			if test.want == "" {
				if err != nil || !complete {
					t.Errorf("got %v, complete: %t", err, complete)
				}
				return
			}
			if err == nil || !strings.HasSuffix(err.Error(), test.want) || complete {
				t.Errorf("got %v, complete: %t, want %q", err, complete, test.want)
			}
			if (response != nil) != test.empty || len(response) > 0 {
				t.Errorf("got response %q, want an empty one: %t", response, test.empty)
			}
			if _, err := client.Next([]byte(vectorServer)); err == nil || client.(smtp.AuthCompleter).Complete() == nil {
				t.Error("it goes on after an error")
			}
		})
	}
}

// TestSCRAMNames: separators are escaped, and names are normalized.
func TestSCRAMNames(t *testing.T) {
	tests := []struct {
		name           string
		user, identity string
		want           string // empty: an error
	}{
		{name: "plain", user: "ann@example.com", want: "n,,n=ann@example.com,r=N"},
		{name: "escaped", user: "a=b,c=2C", want: "n,,n=a=3Db=2Cc=3D2C,r=N"},
		{name: "for another", user: "ann", identity: "bob,m=1", want: "n,a=bob=2Cm=3D1,n=ann,r=N"},
		{name: "full-width comma", user: "a，b", want: "n,,n=a=2Cb,r=N"},
		{name: "composed", user: "Andre\u0301", want: "n,,n=Andr\u00e9,r=N"},
		{name: "control character", user: "a\x00b"},
		{name: "control character in the identity", user: "ann", identity: "b\r\nRSET"},
		{name: "not UTF-8", user: "\xff"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := &Credentials{Username: test.user, Password: "x", AuthorizationID: test.identity, nonce: "N"}
			client, err := c.Begin(t.Context(), smtp.AuthHost{Mechanisms: []string{scram.SHA256}})
			if err != nil {
				if test.want != "" {
					t.Errorf("got %v, want %q", err, test.want)
				}
				return
			}
			if _, ir, _ := client.Start(); string(ir) != test.want {
				t.Errorf("got %q, want %q", ir, test.want)
			}
		})
	}
}

func TestSCRAMNonce(t *testing.T) {
	c := &Credentials{Username: "ann", Password: "x"}
	seen := make(map[string]bool)
	for range 100 {
		client, err := c.Begin(t.Context(), smtp.AuthHost{Mechanisms: []string{scram.SHA256}})
		if err != nil {
			t.Fatal(err)
		}
		_, ir, _ := client.Start()
		nonce := string(bytes.TrimPrefix(ir, []byte("n,,n=ann,r=")))
		if len(nonce) < 24 || strings.Contains(nonce, ",") || seen[nonce] {
			t.Fatalf("got nonce %q, want another", nonce)
		}
		seen[nonce] = true
	}
}

// expensive keeps the fuzzer from hashing for seconds.
var expensive = regexp.MustCompile(`i=0*[1-9][0-9]{4,}`)

// FuzzSCRAM has a host that sends any two messages. A proof is sent only for a nonce that begins with ours. The exchange
// is complete only with a signature that requires the password.
func FuzzSCRAM(f *testing.F) {
	f.Add(vectorFirst, vectorServer)
	f.Add(vectorFirst+",x=1", vectorServer+",x=1")
	f.Add("m=1,"+vectorFirst, "e=invalid-proof")
	f.Add("e=other-error", "")
	f.Add("r="+vectorNonce+",s=,i=1", "v=")
	f.Fuzz(func(t *testing.T, first, final string) {
		if expensive.MatchString(first) {
			t.Skip("expensive")
		}
		client := vector(t, "")
		_, ir, _ := client.Start()
		response, err := client.Next([]byte(first))
		if err != nil {
			if len(response) > 0 {
				t.Errorf("got %q with %v", response, err)
			}
			return
		}
		if !strings.HasPrefix(string(response), "c=biws,r="+vectorNonce) {
			t.Errorf("got %q to %q", response, first)
		}
		_, err = client.Next([]byte(final))
		if complete := client.(smtp.AuthCompleter).Complete() == nil; complete != (err == nil) {
			t.Fatalf("complete: %t, with %v", complete, err)
		}
		if err == nil {
			bare, _, _ := strings.Cut(string(response), ",p=")
			want := "v=" + base64.StdEncoding.EncodeToString(scramKeys("pencil", first).sign(string(ir[len("n,,"):])+","+first+","+bare))
			if got, _, _ := strings.Cut(final, ","); got != want {
				t.Errorf("complete with %q, want %q", final, want)
			}
		}
	})
}

// keys are the keys of a password that a SCRAM host stores.
type keys struct{ stored, server []byte }

// scramKeys returns the keys for the salt and the iterations in a server-first-message.
func scramKeys(password, first string) keys {
	m := regexp.MustCompile(`^r=[^,]+,s=([^,]+),i=([0-9]+)`).FindStringSubmatch(first)
	if m == nil {
		return keys{}
	}
	salt, _ := base64.StdEncoding.DecodeString(m[1])
	var n int
	fmt.Sscan(m[2], &n)
	salted, _ := pbkdf2.Key(sha256.New, password, salt, n, 32)
	client := sha256.Sum256(hmacOf(salted, "Client Key"))
	return keys{stored: client[:], server: hmacOf(salted, "Server Key")}
}

func (k keys) sign(auth string) []byte { return hmacOf(k.server, auth) }

// proves reports whether a proof is that of the password (RFC 5802 §3).
func (k keys) proves(auth string, proof []byte) bool {
	signature := hmacOf(k.stored, auth)
	if len(proof) != len(signature) {
		return false
	}
	for i := range signature {
		signature[i] ^= proof[i]
	}
	sum := sha256.Sum256(signature)
	return hex.EncodeToString(sum[:]) == hex.EncodeToString(k.stored)
}

func hmacOf(key []byte, s string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(s))
	return h.Sum(nil)
}
