package dkim_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/server/authres"
	"github.com/postrider/postrider/smtp"
)

var (
	rsaKey, _   = rsa.GenerateKey(rand.Reader, 2048)
	_, edKey, _ = ed25519.GenerateKey(rand.Reader)
)

// zone has TXT records by their names. Other names don't exist; an empty record is a failure.
type zone map[string][]string

func (z zone) LookupTXT(_ context.Context, name string) ([]string, error) {
	texts, ok := z[strings.TrimSuffix(name, ".")]
	switch {
	case !ok:
		return nil, &net.DNSError{Err: "no such name", Name: name, IsNotFound: true}
	case len(texts) == 0:
		return nil, &net.DNSError{Err: "server failure", Name: name, IsTemporary: true}
	}
	return texts, nil
}

func (zone) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, &net.DNSError{IsNotFound: true}
}

func (zone) LookupMX(context.Context, string) ([]*net.MX, error) {
	return nil, &net.DNSError{IsNotFound: true}
}

func (zone) LookupAddr(context.Context, string) ([]string, error) {
	return nil, &net.DNSError{IsNotFound: true}
}

// published returns a zone with the records of keys.
func published(t testing.TB, keys ...dkim.Key) zone {
	t.Helper()
	z := make(zone)
	for _, k := range keys {
		record, err := k.Record()
		if err != nil {
			t.Fatal(err)
		}
		z[k.Name()] = []string{record}
	}
	return z
}

// both are keys of both kinds for example.com.
func both() []dkim.Key {
	return []dkim.Key{
		{Domain: "example.com", Selector: "r", Private: rsaKey},
		{Domain: "Example.com", Selector: "e", Private: edKey},
	}
}

// sink keeps the last message.
type sink struct {
	content string
	n       int
}

func (s *sink) Send(_ context.Context, _ *smtp.Envelope, c smtp.Content) ([]smtp.Result, error) {
	b, err := io.ReadAll(smtp.NewReader(c))
	s.content, s.n = string(b), s.n+1
	return nil, err
}

var env = smtp.NewEnvelope("ann@example.com", "bob@example.net", "eve@example.net")

// send signs a message and returns what was sent, or the error.
func send(t testing.TB, s *dkim.Signer, content string) (string, error) {
	t.Helper()
	to := new(sink)
	_, err := s.Wrap(to).Send(t.Context(), env, strings.NewReader(content))
	if (err == nil) != (to.n == 1) {
		t.Errorf("got %v, and %d messages", err, to.n)
	}
	return to.content, err
}

// verdicts returns the results of the signatures, such as "pass(r.example.com)".
func verdicts(t testing.TB, z zone, content string) string {
	t.Helper()
	r, err := (&authres.Verifier{Resolver: z}).Verify(t.Context(), authres.Mail{Content: strings.NewReader(content)})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, s := range r.DKIM {
		list = append(list, s.Verdict.String()+"("+s.Selector+"."+s.Domain+")")
		if s.Err != nil {
			t.Log(s.Err)
		}
	}
	return strings.Join(list, " ")
}

func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

const plain = "From: Ann <ann@example.com>\r\nSubject: hello\r\n\r\nHello.\r\n"

// TestSigns: what is sent verifies, and only what should be signed is.
func TestSigns(t *testing.T) {
	keys := append(both(),
		dkim.Key{Domain: "example.org", Selector: "o", Private: edKey, Subdomains: true},
		dkim.Key{Domain: "own.example.org", Selector: "s", Private: edKey},
		dkim.Key{Domain: "bücher.example", Selector: "b", Private: edKey},
	)
	z := published(t, keys...)
	s := &dkim.Signer{Keys: keys, Resolver: z}
	const ours = "pass(r.example.com) pass(e.example.com)"
	for _, tt := range []struct{ name, content, want string }{
		{"both kinds", plain, ours},
		{"folded and empty fields", crlf("From:\n Ann\n <ann@EXAMPLE.com>\nSubject:\nTo: \n\t\nX: y\n\nHello.  \n\t\n.\n..\n\n\n"), ours},
		{"no line end", "From: ann@example.com\r\n\r\nHello.", ours},
		{"no body", "From: ann@example.com\r\n\r\n", ours},
		{"no empty line", "From: ann@example.com\r\n", ours},
		{"no end of the header", "Subject: x\r\nFrom: ann@example.com", ours},
		{"a preamble", "From ann Mon Jan  1 00:00:00 2024\r\n" + plain, ours},
		{"two addresses, two domains", "From: a@example.com, b@example.org\r\n\r\nx\r\n", ours + " pass(o.example.org)"},
		{"an address that can't be parsed", "From: Foo, Inc. <a@example.com>\r\n\r\nx\r\n", ours},
		{"several fields of a name", "To: a\r\nTo: b\r\nSender: c\r\n" + plain, ours},
		{"a subdomain", "From: a@b.c.example.org\r\n\r\nx\r\n", "pass(o.example.org)"},
		{"a subdomain with a key", "From: a@own.example.org\r\n\r\nx\r\n", "pass(s.own.example.org)"},
		{"below one with a key", "From: a@x.own.example.org\r\n\r\nx\r\n", "pass(o.example.org)"},
		{"a U-label", "From: a@BÜCHER.example\r\n\r\nx\r\n", "pass(b.xn--bcher-kva.example)"},
		{"a raw header", "Subject: caf\xe9\r\n" + plain, ours},
		{"a signature of another", "DKIM-Signature: v=1; d=x.example\r\n" + plain, ours + " permerror(.x.example)"},
		{"another subdomain", "From: a@sub.example.com\r\n\r\nx\r\n", ""},
		{"no key", "From: a@example.net\r\n\r\nx\r\n", ""},
		{"a domain that is none", "From: a@[192.0.2.1]\r\n\r\nx\r\n", ""},
		{"no From", "Subject: x\r\n\r\nx\r\n", ""},
		{"no header", "Hello.\r\n", ""},
		{"empty", "", ""},
		{"two From fields without a key", "From: a@example.net\r\nFrom: b@example.net\r\n\r\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := send(t, s, tt.content)
			if err != nil {
				t.Fatal(err)
			}
			if v := verdicts(t, z, got); v != tt.want {
				t.Errorf("got %q, want %q for\n%s", v, tt.want, got)
			}
			if tt.want == "" && got != tt.content {
				t.Errorf("got %q, want it as it was", got)
			}
			for line := range strings.Lines(got) {
				if len(line) > 78 || !strings.HasSuffix(line, "\r\n") && strings.HasSuffix(tt.content, "\n") {
					t.Errorf("got line %q", line)
				}
			}
		})
	}
}

// TestOversigned: a field that readers look at, and is added on the way, breaks the signature. One that hosts add
// doesn't.
func TestOversigned(t *testing.T) {
	z := published(t, both()...)
	signed, err := send(t, &dkim.Signer{Keys: both()[1:]}, plain)
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"From: x@y.example": "fail(e.example.com)", "Subject: x": "fail(e.example.com)", "Date: x": "fail(e.example.com)",
		"List-Unsubscribe-Post: x": "fail(e.example.com)", "Content-Type: text/html": "fail(e.example.com)",
		"Received: x": "pass(e.example.com)", "Sender: x": "pass(e.example.com)", "List-Id: x": "pass(e.example.com)",
	} {
		if got := verdicts(t, z, field+"\r\n"+signed); got != want {
			t.Errorf("%s: got %s, want %s", field, got, want)
		}
	}
	for _, change := range []string{"Hello.", "Subject: hello", "ann@"} {
		if got := verdicts(t, z, strings.Replace(signed, change, "x"+change, 1)); got != "fail(e.example.com)" {
			t.Errorf("%s: got %s, want a failure", change, got)
		}
	}
}

// TestSevenBit: a body that a host would change is changed before it is signed.
func TestSevenBit(t *testing.T) {
	z := published(t, both()...)
	const head = "From: ann@example.com\r\nSubject: caf\xe9\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
	long := strings.Repeat("x", 2000)
	for _, tt := range []struct {
		name, content string
		keep          bool
		want          string // in what is sent
	}{
		{"8-bit", head + "\r\nGrüße.\r\n", false, "\r\n\r\nGr=C3=BC=C3=9Fe.\r\n"},
		{"a long line", head + "\r\n" + long + "\r\n", false, "=\r\n"},
		{"kept", head + "\r\nGrüße.\r\n", true, "\r\n\r\nGrüße.\r\n"},
		{"signed by another", "DKIM-Signature: v=1; d=x.example\r\n" + head + "\r\nGrüße.\r\n", false, "\r\n\r\nGrüße.\r\n"},
		{"can't be converted", strings.Replace(head, "text/plain", "message/partial", 1) + "\r\nGrüße.\r\n", false, "\r\n\r\nGrüße.\r\n"},
		{"binary in base64", "From: a@example.com\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\n\r\n\x00\n\xff", false, "\r\n\r\nAAr/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := send(t, &dkim.Signer{Keys: both(), Keep8Bit: tt.keep}, tt.content)
			if err != nil {
				t.Fatal(err)
			}
			if v := verdicts(t, z, got); !strings.HasPrefix(v, "pass(r.example.com) pass(e.example.com)") || !strings.Contains(got, tt.want) {
				t.Errorf("got %s, want %q in\n%q", v, tt.want, got)
			}
		})
	}
}
