package interop

import (
	"crypto/ed25519"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider"
	"github.com/postrider/postrider/client"
	"github.com/postrider/postrider/client/dkim"
	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/server/authres"
	"github.com/postrider/postrider/smtp"
)

// signedBodies are bodies that hosts change, or that signers and verifiers may take in different ways.
var signedBodies = []struct{ name, content string }{
	{"plain", letter("Hello.\r\n")},
	{"dots", letter(".\r\n..\r\n.x\r\n\r\n.\r\n")},
	{"trailing", letter("spaces   \r\ntab\t\r\n \t \r\n\tx  y\r\n   \r\n\r\n\r\n")},
	{"from", letter("From here\r\n>From there\r\n")},
	{"long", letter(strings.Repeat("long ", 1000) + "\r\n" + strings.Repeat("x", 3000) + "\r\n")},
	{"eight-bit", letter("Grüße, 你好.\r\n" + strings.Repeat("länger ", 200) + "\r\n")},
	{"no-end", letter("no line end")},
	{"empty", letter("")},
	{"raw-header", "Subject: caf\xe9\r\nFrom: J\xf6rg <ann@source.test>\r\n\r\nGr\xfc\xdfe\r\n"},
	{"folded", "From:\r\n Ann\r\n\t<ann@source.test>\r\nSubject:\r\n a  b\r\n\tc  \r\nTo: a@b.test\r\nTo: b@c.test\r\nX-Empty:\r\n\r\nx\r\n"},
	{"nested", nestedMail},
	{"unsubscribe", "From: ann@source.test\r\nSubject: news\r\nDate: Mon, 30 Nov 2026 17:00:00 +0000\r\nMessage-ID: <1@source.test>\r\n" +
		"List-Unsubscribe: <https://source.test/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\r\nx\r\n"},
}

// TestSigned: mail from code is signed and goes over a Relay and a Postfix or an Exim, and so does mail that the Relay
// signs, reports included. At the end dkimpy, OpenDKIM, go-msgauth and we find all signatures to be good.
func TestSigned(t *testing.T) {
	needPython(t, "dkim", "nacl")
	dir := t.TempDir()
	private, record := newRSAKey(t)
	rsaKey, err := dkim.ParsePrivate([]byte(private))
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	zone := make(records)
	var lines []string
	keys := []dkim.Key{}
	for _, domain := range []string{"source.test", "relay.test"} {
		keys = append(keys, dkim.Key{Domain: domain, Selector: "r", Private: rsaKey}, dkim.Key{Domain: domain, Selector: "e", Private: edKey})
	}
	for _, k := range keys {
		if zone[k.Name()], err = k.Record(); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, k.Name()+" "+zone[k.Name()])
	}
	if got := zone["r._domainkey.source.test"]; got != record {
		t.Errorf("got record %q, want %q", got, record)
	}
	write(t, filepath.Join(dir, "keys"), strings.Join(lines, "\n")+"\n")
	signer := &dkim.Signer{Keys: keys, Resolver: zone}
	if err := signer.Check(t.Context()); err != nil {
		t.Fatal(err)
	}

	var mails []brokenMail
	for name, start := range map[string]func(*testing.T) *nextHost{"postfix": postfix, "exim": exim} {
		t.Run(name, func(t *testing.T) {
			for to, data := range waysOfSigned(t, start(t), signer) {
				mails = append(mails, brokenMail{to, string(data)})
			}
		})
	}
	slices.SortFunc(mails, func(a, b brokenMail) int { return strings.Compare(a.how, b.how) })
	byDKIMpy := byDKIMpy(t, dir, "all", mails)
	msgauth := exec.Command("go", "run", "./msgauth", dir)
	msgauth.Dir = "../../examples/beside"
	byMsgauth := verdicts(t, dir, mails, msgauth)
	opendkim := startOpenDKIM(t, "", lines...)
	verifier := &authres.Verifier{Resolver: zone}
	for i, m := range mails {
		res, err := verifier.Verify(t.Context(), authres.Mail{Content: strings.NewReader(m.text)})
		if err != nil || len(res.DKIM) != 2 || slices.ContainsFunc(res.DKIM, func(s authres.Signature) bool { return s.Verdict != authres.Pass }) {
			t.Errorf("%s: got %v, %v, want two good signatures", m.how, res, err)
		}
		if byDKIMpy[i] != "good" {
			t.Errorf("%s: got %s by dkimpy", m.how, byDKIMpy[i])
		}
		if byMsgauth[i] != "good" {
			t.Errorf("%s: got %s by go-msgauth", m.how, byMsgauth[i])
		}
		// OpenDKIM knows no Ed25519.
		got, refusal := opendkim.send("127.0.0.2", m.text)
		found := regexp.MustCompile(`(?m)^Authentication-Results: mx\.test;\r\n(?:[ \t].*\r\n)+`).FindString(got)
		if refusal != "" || !strings.Contains(found, "dkim=pass (2048-bit key") || !strings.Contains(found, "header.s=r") {
			t.Errorf("%s: got %q, refused %q, want the RSA signature to pass by OpenDKIM", m.how, found, refusal)
		}
		if t.Failed() {
			t.Fatalf("%s:\n%s", m.how, m.text)
		}
	}
	if want := 2 * 3 * len(signedBodies); len(mails) != want {
		t.Errorf("got %d mails, want %d", len(mails), want)
	}
	t.Logf("%d mails", len(mails))
}

// waysOfSigned sends all bodies in three ways, and returns what h has stored, by recipient.
func waysOfSigned(t *testing.T, h *nextHost, signer *dkim.Signer) map[string][]byte {
	t.Helper()
	signing := &postrider.Relay{
		Routes: map[string]mx.Route{"*": h.mxRoute(t, ways[0])}, Resolver: loopback{}, DialContext: h.dial,
		Wrap: func(next smtp.Sender) smtp.Sender { return client.AddMissing(signer.Wrap(next)) },
	}
	own := serveRelay(t, signing)
	plain := &postrider.Relay{
		Routes: map[string]mx.Route{"*": h.mxRoute(t, ways[0])}, Resolver: loopback{}, DialContext: h.dial,
	}
	s := &client.Submission{Addr: net.JoinHostPort("127.0.0.1", serveRelay(t, plain).port), TLS: mx.TLSNone, Wrap: signer.Wrap}
	defer s.Close()
	var to []string
	for _, m := range signedBodies {
		byCode, byClient, sender := m.name+".code@"+h.domain(), m.name+".client@"+h.domain(), m.name+".sender@"+h.domain()
		to = append(to, byCode, byClient, sender)
		if results, err := s.Send(t.Context(), smtp.NewEnvelope("ann@source.test", byCode), strings.NewReader(m.content)); err != nil {
			t.Fatalf("%s: got %+v, %v", m.name, results, err)
		}
		own.accepts(t, smtp.NewEnvelope("ann@source.test", byClient), strings.TrimSuffix(m.content, "\r\n")+"\r\n")
		unknown := smtp.NewEnvelope(sender, fmt.Sprintf("nobody.%s@%s", m.name, h.domain()))
		unknown.Ret = smtp.RetFull
		if _, err := signing.Send(t.Context(), unknown, strings.NewReader(m.content)); err != nil {
			t.Fatal(err)
		}
	}
	stored := h.await(t, to)
	for address, data := range stored {
		if strings.Contains(address, ".sender@") != strings.Contains(string(data), "multipart/report") {
			t.Errorf("%s: got %.2000q, want a report to the senders alone", address, data)
		}
	}
	return stored
}
