package authres

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

// RFC 8463, Appendix A: its message, signed by both algorithms.
const (
	rfc8463 = `DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
`
	rfc8463Zone = `
	brisbane._domainkey.football.example.com TXT v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
	test._domainkey.football.example.com TXT v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB`
)

func TestRFC8463(t *testing.T) {
	list := verify(t, newZone(rfc8463Zone), message(rfc8463))
	if len(list) != 2 {
		t.Fatalf("got %v", list)
	}
	for i, want := range []Signature{
		{Pass, "football.example.com", "brisbane", "@football.example.com", "ed25519-sha256", "/gCrinpc", false, nil},
		{Pass, "football.example.com", "test", "@football.example.com", "rsa-sha256", "F45dVWDf", false, nil},
	} {
		if list[i] != want {
			t.Errorf("got %+v, want %+v", list[i], want)
		}
	}
}

const plain = "From: ann@example.net\r\nTo: bob@example.org\r\nSubject: a  b\r\n\r\nHi,\r\n\r\nbye.\r\n"

// TestSignatures: what signatures are worth. A message may be changed after it was signed.
func TestSignatures(t *testing.T) {
	for _, c := range []struct {
		name   string
		signer signer
		change [2]string // old and new
		key    string    // the record, if another
		want   Verdict
		err    string
	}{
		{name: "simple", want: Pass},
		{name: "relaxed", signer: signer{relaxed: true}, want: Pass},
		{name: "RSA", signer: signer{rsa: true}, want: Pass},
		{name: "RSA, relaxed", signer: signer{rsa: true, relaxed: true}, want: Pass},
		{name: "RSA without a SubjectPublicKeyInfo", signer: signer{rsa: true}, key: "p=" + base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey)), want: Pass},

		// Changes on the way.
		{name: "the body", change: [2]string{"bye", "buy"}, want: Fail, err: "the body has changed"},
		{name: "a line more", change: [2]string{"bye.\r\n", "bye.\r\nPS\r\n"}, want: Fail, err: "the body has changed"},
		{name: "empty lines more", change: [2]string{"bye.\r\n", "bye.\r\n\r\n\r\n"}, want: Pass},
		{name: "white space in the body", change: [2]string{"bye.", "bye. "}, want: Fail, err: "the body has changed"},
		{name: "white space in the body, relaxed", signer: signer{relaxed: true}, change: [2]string{"bye.", "bye. \t"}, want: Pass},
		{name: "a signed field", change: [2]string{"a  b", "a  c"}, want: Fail, err: "the signed header fields have changed"},
		{name: "white space in a field", change: [2]string{"a  b", "a b"}, want: Fail, err: "the signed header"},
		{name: "white space in a field, relaxed", signer: signer{relaxed: true}, change: [2]string{"Subject: a  b", "SUBJECT:a\r\n\tb"}, want: Pass},
		{name: "another field", change: [2]string{"bob@", "eve@"}, want: Pass},
		{name: "a field more", change: [2]string{"To:", "Received: x\r\nTo:"}, want: Pass},
		{name: "another From on top", change: [2]string{"From:", "From: eve@example.com\r\nFrom:"}, want: Fail, err: "the signed header"},
		{name: "another From below", change: [2]string{"To:", "From: eve@example.com\r\nTo:"}, want: Fail, err: "the signed header"},
		{name: "a tag of the signature", change: [2]string{"s=ed;", "s=ed; n=x;"}, want: Fail, err: "the signed header"},
		{name: "the signature in lines", change: [2]string{"b=", "b=\r\n\t "}, signer: signer{relaxed: true}, want: Pass},
		{name: "the signature in lines, simple", change: [2]string{"b=", "b=\r\n\t "}, want: Pass},
		{name: "a tag behind the signature", change: [2]string{"==\r\nFrom", "==; z=1\r\nFrom"}, want: Fail, err: "the signed header"},

		// Tags (RFC 6376 §3.5).
		{name: "v=2", signer: signer{tags: map[string]string{"v": "2"}}, want: Neutral, err: `version "2"`},
		{name: "no v", signer: signer{tags: map[string]string{"v": ""}}, want: PermError, err: "the tag v is missing"},
		{name: "no bh", signer: signer{tags: map[string]string{"bh": ""}}, want: PermError, err: "the tag bh is missing"},
		{name: "no b", signer: signer{tags: map[string]string{"b": ""}}, want: PermError, err: "the tag b is missing"},
		{name: "b isn't base64", signer: signer{tags: map[string]string{"b": "*"}}, want: Neutral, err: "the tag b isn't base64"},
		{name: "bh isn't base64", signer: signer{tags: map[string]string{"bh": "*"}}, want: Neutral, err: "the tag bh isn't base64"},
		{name: "a short signature", signer: signer{tags: map[string]string{"b": "AAAA"}}, want: Fail, err: "forged"},
		{name: "a short signature, RSA", signer: signer{rsa: true, tags: map[string]string{"b": "AAAA"}}, want: Fail, err: "forged"},
		{name: "rsa-sha1", signer: signer{tags: map[string]string{"a": "rsa-sha1"}}, want: Policy, err: `"rsa-sha1" isn't accepted`},
		{name: "another canonicalization", signer: signer{tags: map[string]string{"c": "nowsp"}}, want: Neutral, err: `"nowsp" is unknown`},
		{name: "c of the header alone", signer: signer{tags: map[string]string{"c": "simple"}}, want: Pass},
		{name: "no c", signer: signer{tags: map[string]string{"c": ""}}, want: Pass},
		{name: "From isn't signed", signer: signer{tags: map[string]string{"h": "subject"}}, want: PermError, err: "the From field isn't signed"},
		{name: "many names", signer: signer{tags: map[string]string{"h": "from" + strings.Repeat(":x", 200)}}, want: Policy, err: "over 200 names"},
		{name: "names without a field", signer: signer{tags: map[string]string{"h": "From:X-None:Subject:"}}, want: Pass},
		{name: "names with white space", signer: signer{tags: map[string]string{"h": "from:subject:\r\n  from"}}, want: Pass},
		{name: "d isn't a domain", signer: signer{tags: map[string]string{"d": "a..b"}}, want: PermError, err: "is no domain"},
		{name: "d is an address", signer: signer{tags: map[string]string{"d": "[192.0.2.1]"}}, want: PermError, err: "is no domain"},
		{name: "s isn't a selector", signer: signer{tags: map[string]string{"s": "a/b"}}, want: PermError, err: "is no selector"},
		{name: "i", signer: signer{tags: map[string]string{"i": "ann@example.net"}}, want: Pass},
		{name: "i below d", signer: signer{tags: map[string]string{"i": "@mail.Example.net"}}, want: Pass},
		{name: "i elsewhere", signer: signer{tags: map[string]string{"i": "@notexample.net"}}, want: PermError, err: "isn't in d="},
		{name: "i above d", signer: signer{tags: map[string]string{"i": "@net"}}, want: PermError, err: "isn't in d="},
		{name: "i without @", signer: signer{tags: map[string]string{"i": "example.net"}}, want: PermError, err: "isn't in d="},
		{name: "q", signer: signer{tags: map[string]string{"q": "x:dns/txt"}}, want: Pass},
		{name: "another q", signer: signer{tags: map[string]string{"q": "x"}}, want: PermError, err: "q= has no known way"},
		{name: "expired", signer: signer{tags: map[string]string{"t": "1", "x": "2"}}, want: Fail, err: "expired"},
		{name: "not expired", signer: signer{tags: map[string]string{"t": "1", "x": "99999999999"}}, want: Pass},
		{name: "expired before it began", signer: signer{tags: map[string]string{"t": "999999999999", "x": "99999999999"}}, want: Neutral, err: "x= is before t="},
		{name: "x isn't a time", signer: signer{tags: map[string]string{"x": "-1"}}, want: Neutral, err: "is no time"},
		{name: "l of all", signer: signer{tags: map[string]string{"l": "13"}}, want: Pass},
		{name: "l of a part", signer: signer{tags: map[string]string{"l": "3", "bh": sumOf("Hi,")}}, want: Policy, err: "a part of the body"},
		{name: "l of nothing", signer: signer{tags: map[string]string{"l": "0", "bh": sumOf("")}}, want: Policy, err: "a part of the body"},
		{name: "l of a part that has changed", signer: signer{tags: map[string]string{"l": "3", "bh": sumOf("Ho,")}}, want: Fail, err: "the body has changed"},
		{name: "l of more", signer: signer{tags: map[string]string{"l": "14"}}, want: Fail, err: "shorter than l="},
		{name: "l isn't a number", signer: signer{tags: map[string]string{"l": "+1"}}, want: Neutral, err: "is no length"},
		{name: "a tag twice", signer: signer{tags: map[string]string{"z": "1; v=1"}}, want: Neutral, err: "the tag v appears twice"},
		{name: "no tag", signer: signer{tags: map[string]string{"z": "1; x y"}}, want: Neutral, err: `"x y" is no tag`},
		{name: "an empty tag", signer: signer{tags: map[string]string{"z": "1;;"}}, want: Neutral, err: `"" is no tag`},

		// Keys (RFC 6376 §3.6.1).
		{name: "no key", key: "none", want: PermError, err: "no key at ed._domainkey.example.net"},
		{name: "no key for now", key: "!", want: TempError, err: "server failure"},
		{name: "two keys", key: "v=DKIM1; p=\ned._domainkey.example.net TXT v=DKIM1; p=", want: PermError, err: "2 keys"},
		{name: "a revoked key", key: "v=DKIM1; k=ed25519; p=", want: PermError, err: "revoked"},
		{name: "a key without p", key: "v=DKIM1; k=ed25519", want: PermError, err: "revoked"},
		{name: "a key of another version", key: "v=DKIM2; k=ed25519; p=AAAA", want: PermError, err: `version "DKIM2"`},
		{name: "a key of another kind", key: "v=DKIM1; p=AAAA", want: PermError, err: `the key is for "rsa", the signature is ed25519`},
		{name: "a key that isn't base64", key: "k=ed25519; p=*", want: PermError, err: "the tag p isn't base64"},
		{name: "a short key", key: "k=ed25519; p=AAAA", want: PermError, err: "isn't one of Ed25519"},
		{name: "a key that isn't RSA", signer: signer{rsa: true}, key: "p=AAAA", want: PermError, err: "isn't one of RSA"},
		{name: "a record that is none", key: "hello", want: PermError, err: "is no tag"},
		{name: "a key for another hash", key: edRecord() + "; h=sha1", want: PermError, err: "sha256"},
		{name: "a key for two hashes", key: edRecord() + "; h=sha1:sha256", want: Pass},
		{name: "a key for another service", key: edRecord() + "; s=chat", want: PermError, err: "isn't for email"},
		{name: "a key for email", key: edRecord() + "; s=chat : email; n=notes;", want: Pass},
		{name: "a key for all services", key: edRecord() + "; s=*", want: Pass},
		{name: "a key for the domain itself", key: edRecord() + "; t=s", signer: signer{tags: map[string]string{"i": "@a.example.net"}}, want: PermError, err: "no subdomain"},
		{name: "a key for the domain itself, and it is", key: edRecord() + "; t=x:s", signer: signer{tags: map[string]string{"i": "@Example.Net"}}, want: Pass},
		{name: "a weak key", signer: signer{rsa: true}, key: weakKey(t), want: Policy, err: "the key has 1016 bits"},
		{name: "a key that takes too much time", signer: signer{rsa: true}, key: rsaRecord(t, &rsa.PublicKey{N: newInt(8200), E: 65537}), want: Policy, err: "the key has 8200 bits"},
		{name: "a huge key", signer: signer{rsa: true}, key: "p=" + strings.Repeat("A", 5000), want: Policy, err: "over 4096 octets"},
	} {
		z := keys(t)
		selector := "ed"
		if c.signer.rsa {
			selector = "rsa"
		}
		if name := selector + "._domainkey.example.net TXT"; c.key == "none" {
			delete(z.records, name)
		} else if c.key != "" {
			z.records[name] = newZone(name + " " + c.key).records[name]
		}
		text := c.signer.sign(plain)
		if c.change[0] != "" && !strings.Contains(text, c.change[0]) {
			t.Fatalf("%s: no %q in %q", c.name, c.change[0], text)
		}
		text = strings.Replace(text, c.change[0], c.change[1], 1)
		list := verify(t, z, text)
		if len(list) != 1 {
			t.Fatalf("%s: got %d signatures", c.name, len(list))
		}
		s := list[0]
		if s.Verdict != c.want || (s.Err != nil) != (c.want != Pass) || s.Err != nil && (c.err == "" || !strings.Contains(s.Err.Error(), c.err)) {
			t.Errorf("%s: got %v, %v; want %v, %q\n%s", c.name, s.Verdict, s.Err, c.want, c.err, text)
		}
	}
}

// sumOf is the tag bh of a body.
func sumOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// weakKey is the record of an RSA key with 1016 bits, which can't be made by crypto/rsa.
func weakKey(t *testing.T) string {
	weak := rsa.PublicKey{N: newInt(1016), E: 65537}
	return rsaRecord(t, &weak)
}

// TestTesting: the flag of the key is told, and changes nothing else.
func TestTesting(t *testing.T) {
	z := newZone("ed._domainkey.example.net TXT " + edRecord() + "; t=y:s")
	if s := verify(t, z, signer{}.sign(plain))[0]; s.Verdict != Pass || !s.Testing {
		t.Errorf("got %+v", s)
	}
}

// TestSeveral: each signature has a result, up to 8 are verified, and fields of this name can be signed, too.
func TestSeveral(t *testing.T) {
	text := signer{}.sign(plain)
	both := signer{rsa: true, tags: map[string]string{"h": "from:dkim-signature:dkim-signature"}}.sign(text)
	if list := verify(t, keys(t), both); len(list) != 2 || list[0].Verdict != Pass || list[1].Verdict != Pass {
		t.Errorf("got %+v", list)
	}
	broken := strings.Replace(both, "s=ed;", "s=ed; ", 1)
	if list := verify(t, keys(t), broken); list[0].Verdict != Fail || list[1].Verdict != Fail {
		t.Errorf("a signed signature has changed: got %+v", list)
	}
	// They may need different parts of the same body.
	parts := signer{tags: map[string]string{"l": "3", "bh": sumOf("Hi,")}}.sign(text)
	if list := verify(t, keys(t), parts); list[0].Verdict != Policy || list[1].Verdict != Pass {
		t.Errorf("got %+v", list)
	}
	many := plain
	for i := range 20 {
		many = signer{relaxed: i%2 == 0, rsa: i%3 == 0}.sign(many)
	}
	z := keys(t)
	list := verify(t, z, many)
	if len(list) != 9 || len(z.asked) != 8 {
		t.Fatalf("got %d results, %d lookups", len(list), len(z.asked))
	}
	for i, s := range list {
		if want := map[bool]Verdict{true: Pass, false: Policy}[i < 8]; s.Verdict != want {
			t.Errorf("%d: got %v, %v", i, s.Verdict, s.Err)
		}
	}
}

// TestSameName: of several fields with a name, the last ones are signed (RFC 6376 §5.4.2).
func TestSameName(t *testing.T) {
	text := signer{tags: map[string]string{"h": "received:from:received"}}.sign("Received: a\r\nReceived: b\r\nReceived: c\r\n" + plain)
	for old, want := range map[string]Verdict{"Received: a": Pass, "Received: b": Fail, "Received: c": Fail} {
		if s := verify(t, keys(t), strings.Replace(text, old, "Received: x", 1))[0]; s.Verdict != want {
			t.Errorf("%s has changed: got %v, want %v", old, s.Verdict, want)
		}
	}
	swapped := strings.Replace(text, "Received: b\r\nReceived: c\r\n", "Received: c\r\nReceived: b\r\n", 1)
	if s := verify(t, keys(t), swapped)[0]; s.Verdict != Fail {
		t.Errorf("swapped: got %v", s.Verdict)
	}
}

// TestBodyFails: an error of the body is an error of all, and none that a signature has.
func TestBodyFails(t *testing.T) {
	failed := errors.New("failed")
	fields, _, _ := readFields(strings.NewReader(signer{}.sign(plain)))
	_, err := (&dkim{resolver: keys(t), fields: fields, body: iotest.ErrReader(failed)}).verify(t.Context())
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}

func TestOddMessages(t *testing.T) {
	for name, text := range map[string]string{
		"empty":            "",
		"no header":        "\r\nhi\r\n",
		"no body":          "From: a@example.net\r\n",
		"no empty line":    "From: a@example.net\r\nhello there\r\n",
		"no line end":      "From: a@example.net",
		"a preamble":       "From ann Mon Jan  1 00:00:00 2024\r\nFrom: a@example.net\r\n\r\nhi\r\n",
		"an empty field":   "DKIM-Signature:\r\n\r\n",
		"a field of blank": "DKIM-Signature: \r\n \r\n\r\n",
	} {
		for _, s := range verify(t, keys(t), text) {
			if s.Verdict == Pass || s.Err == nil {
				t.Errorf("%s: got %+v", name, s)
			}
		}
	}
	// A message without a body or an empty line has an empty body.
	if s := verify(t, keys(t), strings.TrimSuffix(signer{}.sign("From: a@example.net\r\n\r\n"), "\r\n"))[0]; s.Verdict != Pass {
		t.Errorf("got %+v", s)
	}
}
