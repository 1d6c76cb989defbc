package webhook

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The example of Standard Webhooks, which the libraries of the project have in their tests.
const (
	specSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	specID     = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	specTime   = 1614265330
	specBody   = `{"test": 2432232314}`
	specValue  = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func request(id string, at int64, signatures string) http.Header {
	h := make(http.Header)
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", strconv.FormatInt(at, 10))
	h.Set("webhook-signature", signatures)
	return h
}

// privateKey is a fixed key of Ed25519, and publicKey that of its receiver.
var privateKey, publicKey = func() (string, string) {
	k := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	text := base64.StdEncoding.EncodeToString
	return privatePrefix + text(k), publicPrefix + text(k.Public().(ed25519.PublicKey))
}()

func TestSign(t *testing.T) {
	got, err := sign(specID, time.Unix(specTime, 0), []byte(specBody), []string{specSecret})
	if err != nil || got != specValue {
		t.Errorf("got %q, %v, want %q", got, err, specValue)
	}
	both, err := sign(specID, time.Unix(specTime, 0), []byte(specBody), []string{privateKey, specSecret})
	if err != nil || !strings.HasPrefix(both, v1a) || !strings.HasSuffix(both, " "+specValue) {
		t.Errorf("got %q, %v, want one v1a, and %q", both, err, specValue)
	}
}

func TestVerify(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // in a bubble
	signatures := func(secrets ...string) string {
		s, err := sign("m_1", now, []byte("{}"), secrets)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	other := NewSecret()
	right := func(signatures string) http.Header { return request("m_1", now.Unix(), signatures) }
	tests := []struct {
		name   string
		header http.Header
		body   string
		keys   []string
		want   string // a part of the error; if empty, there is none
	}{
		{"by a secret", right(signatures(secret)), "{}", []string{secret}, ""},
		{"by the new secret", right(signatures(other, secret)), "{}", []string{secret}, ""},
		{"by the old key", right(signatures(secret)), "{}", []string{other, secret}, ""},
		{"by Ed25519", right(signatures(privateKey)), "{}", []string{publicKey}, ""},
		{"by both", right(signatures(privateKey, secret)), "{}", []string{secret}, ""},
		{"beside another version", right("v9,AAAA " + signatures(secret)), "{}", []string{secret}, ""},
		{"4 minutes ago", request("m_1", now.Unix()-240, sigAt(t, now.Add(-4*time.Minute))), "{}", []string{secret}, ""},
		{"6 minutes ago", request("m_1", now.Unix()-360, sigAt(t, now.Add(-6*time.Minute))), "{}", []string{secret}, "from now"},
		{"in 6 minutes", request("m_1", now.Unix()+360, sigAt(t, now.Add(6*time.Minute))), "{}", []string{secret}, "from now"},
		{"another secret", right(signatures(other)), "{}", []string{secret}, "no signature"},
		{"another body", right(signatures(secret)), "{ }", []string{secret}, "no signature"},
		{"another id", request("m_2", now.Unix(), signatures(secret)), "{}", []string{secret}, "no signature"},
		{"another time", request("m_1", now.Unix()+1, signatures(secret)), "{}", []string{secret}, "no signature"},
		{"v1a is no v1", right(strings.Replace(signatures(secret), v1, v1a, 1)), "{}", []string{secret}, "no signature"},
		{"an id that moves the separator", request("m_1.946684800", 0, signatures(secret)), "{}", []string{secret}, "malformed"},
		{"no fields", http.Header{}, "{}", []string{secret}, "missing"},
		{"nil", nil, "{}", []string{secret}, "missing"},
		{"no key", right(signatures(secret)), "{}", nil, "no key"},
		{"a private key", right(signatures(secret)), "{}", []string{privateKey}, "key 0"},
		{"a time that isn't one", request("m_1", 0, "v1,x"), "{}", []string{secret}, "from now"},
		{"no base64", right("v1,%%%"), "{}", []string{secret}, "no signature"},
		{"an empty signature", right("v1,"), "{}", []string{secret}, "no signature"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := Verify(tt.header, []byte(tt.body), tt.keys...)
				if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %q", err, tt.want)
				}
			})
		})
	}
}

func sigAt(t *testing.T, at time.Time) string {
	s, err := sign("m_1", at, []byte("{}"), []string{secret})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// FuzzVerify: no request of a stranger passes, and none makes Verify panic.
func FuzzVerify(f *testing.F) {
	f.Add("m_1", "946684800", specValue, "{}")
	f.Add("m_1", "-1", "v1,AAAA v1a,BBBB", "")
	f.Add(specID, strconv.Itoa(specTime), specValue, specBody)
	f.Fuzz(func(t *testing.T, id, at, signatures, body string) {
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {at}, "Webhook-Signature": {signatures}}
		if Verify(h, []byte(body), secret, publicKey) == nil {
			t.Error("got nil, want an error")
		}
	})
}

// modules is where .ci/run installs the library of Standard Webhooks for JavaScript.
const modules = "/usr/local/lib/postrider-interop/standardwebhooks/node_modules"

// TestLibrary has the library of Standard Webhooks verify what is signed here, and sign what is verified here.
func TestLibrary(t *testing.T) {
	_, err := os.Stat(modules)
	if _, lacks := exec.LookPath("node"); err != nil || lacks != nil {
		if os.Getenv("POSTRIDER_INTEROP") == "required" {
			t.Fatalf("node, or standardwebhooks in %s, is missing", modules)
		}
		t.Skipf("node, or standardwebhooks in %s, isn't installed", modules)
	}
	now := time.Now()
	value, err := sign("m_1", now, []byte(specBody), []string{NewSecret(), secret})
	if err != nil {
		t.Fatal(err)
	}
	script := `const { Webhook } = require("standardwebhooks")
const [key, id, at, value, body] = process.argv.slice(1)
const wh = new Webhook(key), headers = { "webhook-id": id, "webhook-timestamp": at, "webhook-signature": value }
console.log(JSON.stringify(wh.verify(body, headers)))
try { wh.verify(body + " ", headers) } catch (e) { console.log(e.message) }
console.log(wh.sign("m_2", new Date(at * 1000), body))`
	at := strconv.FormatInt(now.Unix(), 10)
	cmd := exec.Command("node", "-e", script, secret, "m_1", at, value, specBody)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules)
	out, err := cmd.CombinedOutput()
	lines := strings.Split(string(out), "\n")
	if err != nil || len(lines) != 4 || lines[0] != `{"test":2432232314}` || lines[1] != "No matching signature found" {
		t.Fatalf("got %v, %s", err, out)
	}
	if err := Verify(request("m_2", now.Unix(), lines[2]), []byte(specBody), secret); err != nil {
		t.Errorf("a request of the library: got %v, want nil", err)
	}
}
