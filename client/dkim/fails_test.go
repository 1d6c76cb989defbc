package dkim_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/smtp"
)

// module is a key in a hardware module.
type module struct {
	crypto.Signer
	sign func() ([]byte, error)
}

func (m module) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return m.sign() }

// unreadable is a content that fails.
type unreadable struct{ io.ReaderAt }

func (unreadable) Size() int64 { return 100 }

func (unreadable) ReadAt([]byte, int64) (int, error) { return 0, iotest.ErrTimeout }

// TestFails: a message that can't be signed isn't sent. Its fault is final, one of the keys isn't.
func TestFails(t *testing.T) {
	keys := func(k ...dkim.Key) *dkim.Signer { return &dkim.Signer{Keys: k} }
	sound := keys(both()...)
	locked := func(sign func() ([]byte, error)) *dkim.Signer {
		return keys(dkim.Key{Domain: "example.com", Selector: "m", Private: module{edKey, sign}})
	}
	expired := dkim.Key{Domain: "example.com", Selector: "x", Private: edKey, NotAfter: time.Now().Add(-time.Hour)}
	const (
		rejected = "rejected syntax 554 5.6.0 "
		bad      = rejected + "the message can't be signed: "
		deferred = "deferred policy-auth 451 4.7.5 the message can't be signed now"
	)
	for _, tt := range []struct {
		name    string
		signer  *dkim.Signer
		content smtp.Content
		want    string
		err     string
	}{
		{"two From fields", sound, strings.NewReader("From: a@b.example\r\n" + plain), bad + "it has 2 From fields", "2 From fields"},
		{"a line that is no field", sound, strings.NewReader("From: a@example.com\r\nHello there\r\n\r\n"), bad + `a line of its header is no field: "Hello there\r"`, "no field"},
		{"too many fields", sound, strings.NewReader(strings.Repeat("To: x\r\n", 300) + plain), bad + "it has over 200 fields that are signed", "200"},
		{"a bare LF", sound, strings.NewReader(plain + "a\nb\r\n"), rejected + "bare LF at offset 56", "bare LF"},
		{"a long header", sound, strings.NewReader("From: a@example.com\r\nX: " + strings.Repeat("x", 1<<20)), "rejected syntax 552 5.3.4 the header is too long", "too long"},
		{"can't be read", sound, unreadable{}, "deferred temporary 451 4.3.0 the message can't be read now", "timeout"},
		{"an expired key", keys(expired), strings.NewReader(plain), deferred + ": the key of example.com has expired", "x._domainkey.example.com expired"},
		{"no key of a domain", &dkim.Signer{Domains: []string{"example.com"}}, strings.NewReader(plain), deferred, "has no key"},
		{"a field that is wrong", &dkim.Signer{Keys: both(), Lifetime: 1}, strings.NewReader(plain), deferred, "Lifetime"},
		{"nil", keys(dkim.Key{Domain: "example.com", Selector: "n"}), strings.NewReader(plain), deferred, "Private is nil"},
		{"a locked module", locked(func() ([]byte, error) { return nil, errors.New("it is locked") }), strings.NewReader(plain), deferred, "m._domainkey.example.com: it is locked"},
		{"a panic", locked(func() ([]byte, error) { panic("oops") }), strings.NewReader(plain), deferred, "oops"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			to := new(sink)
			results, err := tt.signer.Wrap(to).Send(t.Context(), env, tt.content)
			if err == nil || !strings.HasPrefix(err.Error(), "dkim: ") || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("got error %v, want %q in it", err, tt.err)
			}
			if len(results) != 2 || to.n != 0 {
				t.Fatalf("got %d results and %d messages, want 2 and none", len(results), to.n)
			}
			for i, r := range results {
				got := fmt.Sprintf("%s %s %s", r.Outcome, r.Reason, r.Reply)
				if !strings.HasPrefix(got, tt.want) || !r.Local || r.Stage != smtp.StageFinal || r.Recipient != env.Recipients[i].Address {
					t.Errorf("got %s (%+v), want %s", got, r, tt.want)
				}
			}
		})
	}
	// One of two keys is enough.
	if got, err := send(t, keys(expired, both()[1]), plain); err != nil || verdicts(t, published(t, both()...), got) != "pass(e.example.com)" {
		t.Errorf("got %v and %q, want one signature", err, got)
	}
	// After an error, the next message is tried again.
	n := 0
	s := locked(func() ([]byte, error) {
		if n++; n == 1 {
			return nil, errors.New("it is locked")
		}
		return []byte("signature"), nil
	})
	_, first := send(t, s, plain)
	if got, err := send(t, s, plain); first == nil || err != nil || !strings.Contains(got, "b=c2lnbmF0dXJl\r\n") {
		t.Errorf("got %v, then %v and %q", first, err, got)
	}
}

// TestOrigin: mail of strangers is never signed.
func TestOrigin(t *testing.T) {
	s := &dkim.Signer{Keys: both()}
	for origin, want := range map[smtp.Origin]bool{
		smtp.OriginUnknown: false, smtp.OriginStranger: false, 200: false,
		smtp.OriginAllowed: true, smtp.OriginAuthenticated: true, smtp.OriginCode: true,
	} {
		to := new(sink)
		ctx := smtp.WithJob(t.Context(), smtp.Job{ID: "1", Origin: origin})
		if _, err := s.Wrap(to).Send(ctx, env, strings.NewReader(plain)); err != nil {
			t.Fatal(err)
		}
		if got := strings.HasPrefix(to.content, "DKIM-Signature: "); got != want {
			t.Errorf("%s: got signed %t, want %t", origin, got, want)
		}
	}
	// Nil values go on to the next Sender, which has an error for them.
	if _, err := s.Wrap(smtp.SenderFunc(nil)).Send(t.Context(), nil, nil); err == nil {
		t.Error("got no error for a nil envelope")
	}
}

// TestCheck has a fault in each field, and in each record.
func TestCheck(t *testing.T) {
	small, _ := rsa.GenerateKey(rand.Reader, 1024)
	curve, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	key := func(k dkim.Key) *dkim.Signer {
		if k.Domain == "" {
			k.Domain = "example.com"
		}
		if k.Selector == "" {
			k.Selector = "s"
		}
		return &dkim.Signer{Keys: []dkim.Key{k}}
	}
	rsaOf := func(record string) zone { return zone{"s._domainkey.example.com": {record}} }
	right, _ := dkim.Key{Private: rsaKey}.Record()
	short := "v=DKIM1;p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey))
	edSPKI, _ := x509.MarshalPKIXPublicKey(edKey.Public())
	twice := dkim.Key{Domain: "example.com", Selector: "s", Private: rsaKey}
	for _, tt := range []struct {
		name   string
		signer *dkim.Signer
		zone   zone
		want   string // "": no error
	}{
		{"right", key(dkim.Key{Private: rsaKey}), rsaOf(right), ""},
		{"RSAPublicKey", key(dkim.Key{Private: rsaKey}), rsaOf(short), ""},
		{"white space and more tags", key(dkim.Key{Private: rsaKey}), rsaOf("k=rsa ; h = sha1 : sha256; s=email;t=y; n=x; " + strings.Replace(right[len("v=DKIM1; k=rsa; "):], "A", " A ", 3)), ""},
		{"no answer", key(dkim.Key{Private: rsaKey}), zone{"s._domainkey.example.com": nil}, ""},
		{"no keys", &dkim.Signer{}, nil, "there are no Keys: add one"},
		{"1024 bits", &dkim.Signer{Keys: []dkim.Key{{Domain: "example.com", Selector: "s", Private: small}}, MinBits: 1024}, nil, "there is none"},

		{"no record", key(dkim.Key{Private: rsaKey}), nil, "dkim: the record at s._domainkey.example.com: there is none: publish this TXT record: " + right},
		{"two records", key(dkim.Key{Private: rsaKey}), zone{"s._domainkey.example.com": {right, right}}, "there are 2"},
		{"another key", key(dkim.Key{Private: edKey}), rsaOf("k=ed25519; p=" + base64.StdEncoding.EncodeToString(make([]byte, 32))), "another key"},
		{"another kind", key(dkim.Key{Private: edKey}), rsaOf(right), "k=rsa is another kind"},
		{"no kind", key(dkim.Key{Private: edKey}), rsaOf(short), "k= is missing, which means rsa, and the key is ed25519"},
		{"with a header", key(dkim.Key{Private: edKey}), rsaOf("k=ed25519;p=" + base64.StdEncoding.EncodeToString(edSPKI)), "its 32 octets alone"},
		{"revoked", key(dkim.Key{Private: rsaKey}), rsaOf("v=DKIM1; p="), "revoked"},
		{"no tags", key(dkim.Key{Private: rsaKey}), rsaOf("hello"), `"hello" is no tag`},
		{"no base64", key(dkim.Key{Private: rsaKey}), rsaOf("p=*"), "base64"},
		{"version", key(dkim.Key{Private: rsaKey}), rsaOf(strings.Replace(right, "DKIM1", "DKIM2", 1)), `version is "DKIM2"`},
		{"hash", key(dkim.Key{Private: rsaKey}), rsaOf(right + "; h=sha1"), "h= lacks sha256"},
		{"service", key(dkim.Key{Private: rsaKey}), rsaOf(right + "; s=tlsrpt"), "s= lacks email"},

		{"too short", key(dkim.Key{Private: small}), nil, "dkim: Signer.Keys[0]: s._domainkey.example.com has 1024 bits: use a key of 2048 to 4096 bits"},
		{"another algorithm", key(dkim.Key{Private: curve}), nil, "*ecdsa.PublicKey: DKIM has RSA and Ed25519 only"},
		{"nil", key(dkim.Key{}), nil, "Private is nil"},
		{"a nil RSA key", key(dkim.Key{Private: (*rsa.PrivateKey)(nil)}), nil, "Private has no public key"},
		{"a zero RSA key", key(dkim.Key{Private: &rsa.PrivateKey{}}), nil, "Private has no public key"},
		{"a nil Ed25519 key", key(dkim.Key{Private: ed25519.PrivateKey(nil)}), nil, "Private has no public key"},
		{"half an Ed25519 key", key(dkim.Key{Private: edKey[:40]}), nil, "the key s._domainkey.example.com doesn't sign: ed25519: bad private key length"},
		{"expired", key(dkim.Key{Private: rsaKey, NotAfter: time.Unix(1, 0)}), nil, "expired at 1970"},
		{"Domain", key(dkim.Key{Domain: "a b", Private: rsaKey}), nil, `Domain "a b" is no domain`},
		{"a literal", key(dkim.Key{Domain: "[192.0.2.1]", Private: rsaKey}), nil, "is no domain"},
		{"Selector", key(dkim.Key{Selector: "x; b=", Private: rsaKey}), nil, `Selector "x; b=" is no name`},
		{"a selector with CRLF", key(dkim.Key{Selector: "x\r\n", Private: rsaKey}), nil, "is no name"},
		{"a long name", key(dkim.Key{Domain: strings.Repeat("abcdefghi.", 24) + "example", Private: rsaKey}), nil, "over 253 octets"},
		{"twice", &dkim.Signer{Keys: []dkim.Key{twice, twice}}, nil, "Keys[1]: s._domainkey.example.com is there twice"},
		{"Domains", &dkim.Signer{Keys: both(), Domains: []string{"example.com", "example.org"}}, nil, `Signer.Domains has "example.org", which has no key`},
		{"no domain in Domains", &dkim.Signer{Domains: []string{"a b"}}, nil, `Signer.Domains has "a b"`},
		{"Lifetime", &dkim.Signer{Lifetime: time.Minute}, nil, "Signer.Lifetime is 1m0s: set it to 1h0m0s or more"},
		{"MinBits", &dkim.Signer{MinBits: 512}, nil, "Signer.MinBits is 512: set it to 1024 to 4096"},
		{"Headers", &dkim.Signer{Headers: []string{"X-Y:"}}, nil, `"X-Y:", which is no name`},
		{"a field that changes", &dkim.Signer{Headers: []string{"Received"}}, nil, `"Received", which hosts add`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.signer.Resolver = tt.zone; tt.zone == nil {
				tt.signer.Resolver = zone{}
			}
			err := tt.signer.Wrap(new(sink)).(interface{ Check(context.Context) error }).Check(t.Context())
			if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) {
				t.Errorf("got %s, want %q", got, tt.want)
			}
			if err != nil && !strings.HasPrefix(err.Error(), "dkim: ") {
				t.Errorf("got %v, want it to begin with the package", err)
			}
		})
	}
}

// checked is a Sender with a Check.
type checked struct{ sink }

func (*checked) Check(context.Context) error { return errors.New("of the next Sender") }

func TestCheckGoesOn(t *testing.T) {
	s := &dkim.Signer{
		Keys:     []dkim.Key{{Domain: "example.com", Selector: "s", Private: rsaKey}},
		Resolver: zone{"s._domainkey.example.com": nil}, // no answer
	}
	checking := s.Wrap(new(checked))
	if err := checking.(interface{ Check(context.Context) error }).Check(t.Context()); err == nil || err.Error() != "of the next Sender" {
		t.Errorf("got %v, want that of the next Sender", err)
	}
}

// TestCheckAll: the error names each key that is wrong, so that all of them can be mended at once.
func TestCheckAll(t *testing.T) {
	keys := []dkim.Key{
		{Domain: "example.com", Selector: "missing", Private: rsaKey},
		{Domain: "example.com", Selector: "right", Private: edKey},
		{Domain: "example.net", Selector: "other", Private: edKey},
		{Domain: "example.org", Selector: "old", Private: rsaKey, NotAfter: time.Unix(1, 0)},
		{Domain: "example.org", Selector: "unknown", Private: edKey},
	}
	right, _ := keys[1].Record()
	missing, _ := keys[0].Record()
	z := zone{
		"right._domainkey.example.com":   {right},
		"other._domainkey.example.net":   {missing},
		"unknown._domainkey.example.org": nil, // no answer
	}
	err := (&dkim.Signer{Keys: keys, Resolver: z}).Check(t.Context())
	want := []string{
		"dkim: the record at missing._domainkey.example.com: there is none: publish this TXT record: " + missing,
		"dkim: the record at other._domainkey.example.net: k=rsa is another kind of key: publish this TXT record: " + right,
		"dkim: the key old._domainkey.example.org expired at ",
	}
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != len(want) {
		t.Fatalf("got\n%v\nwant %d lines", err, len(want))
	}
	for i, line := range lines {
		if !strings.HasPrefix(line, want[i]) {
			t.Errorf("got %s, want %s", line, want[i])
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := (&dkim.Signer{Keys: keys[:2], Resolver: z}).Check(ended); strings.Contains(fmt.Sprint(err), "\n") {
		t.Errorf("got %v after ctx has ended, want one line", err)
	}
}

// TestSwitch replaces a key: the new one is published, then it signs, then the old one is removed.
func TestSwitch(t *testing.T) {
	_, newKey, _ := ed25519.GenerateKey(rand.Reader)
	old := dkim.Key{Domain: "example.com", Selector: "2026a", Private: edKey}
	next := dkim.Key{Domain: "example.com", Selector: "2026b", Private: newKey}
	z := published(t, old)
	s := &dkim.Signer{Keys: []dkim.Key{old}, Resolver: z}
	signedBy := func(want string) {
		t.Helper()
		got, err := send(t, s, plain)
		if err != nil || verdicts(t, z, got) != "pass("+want+".example.com)" {
			t.Errorf("got %v and\n%s, want it signed by %s", err, got, want)
		}
	}
	signedBy("2026a")
	for _, tt := range []struct {
		records []string
		keys    []dkim.Key
		want    string
	}{
		{[]string{""}[:0], []dkim.Key{next}, "isn't known: "},
		{[]string{"v=DKIM1; k=ed25519; p="}, []dkim.Key{next}, "revoked"},
		{nil, []dkim.Key{{Domain: "example.com", Selector: "2026b"}}, "Private is nil"},
	} {
		z["2026b._domainkey.example.com"] = tt.records
		if err := s.Switch(t.Context(), tt.keys); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q in it", err, tt.want)
		}
		signedBy("2026a")
	}
	record, err := next.Record()
	if err != nil {
		t.Fatal(err)
	}
	z["2026b._domainkey.example.com"] = []string{record}
	if err := s.Switch(t.Context(), []dkim.Key{next}); err != nil {
		t.Fatal(err)
	}
	signedBy("2026b")
	delete(z, "2026a._domainkey.example.com")
	signedBy("2026b")
	if err := s.Check(t.Context()); err != nil {
		t.Errorf("got %v after the old key was removed", err)
	}
	if err := (&dkim.Signer{Lifetime: 1}).Switch(t.Context(), nil); err == nil {
		t.Error("got no error for a Signer with a wrong field")
	}
}
