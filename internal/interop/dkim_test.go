package interop

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/mx/dns"
	"github.com/postrider/postrider/server/authres"
	"github.com/postrider/postrider/smtp/dmarc"
)

// records is a resolver of TXT records. Nothing else exists.
type records map[string]string

func noName(name string) error {
	return &net.DNSError{UnwrapErr: dns.NXDomain, Err: "no such name", Name: name, IsNotFound: true}
}

func (r records) LookupTXT(_ context.Context, name string) ([]string, error) {
	if text, ok := r[strings.ToLower(strings.TrimSuffix(name, "."))]; ok {
		return []string{text}, nil
	}
	return nil, noName(name)
}

func (records) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return nil, noName(host)
}
func (records) LookupMX(_ context.Context, name string) ([]*net.MX, error)  { return nil, noName(name) }
func (records) LookupAddr(_ context.Context, addr string) ([]string, error) { return nil, noName(addr) }

const unsignedMail = `From: Ann <ann@source.test>
To: bob@next.test
Subject: hello
  folded  and  spaced
Date: Mon, 30 Nov 2026 17:00:00 +0000

Hello  Bob.
 indented, and a space at the end 

.
end

`

// TestDKIM: dkimpy and OpenDKIM sign a mail, and then it is changed in many ways. We and dkimpy agree about each. DMARC
// passes if the signature does.
func TestDKIM(t *testing.T) {
	needPython(t, "dkim", "nacl")
	dir := t.TempDir()
	zone, signed := signedMails(t, dir)
	var mails []brokenMail
	for signer, text := range signed {
		for _, m := range broken(text) {
			m.how = signer + ", " + m.how
			mails = append(mails, m)
		}
	}
	want := byDKIMpy(t, dir, "verify", mails)
	verifier := &authres.Verifier{Resolver: zone}
	good := 0
	for i, m := range mails {
		res, err := verifier.Verify(t.Context(), authres.Mail{Content: strings.NewReader(m.text)})
		if err != nil {
			t.Errorf("%s: %v", m.how, err)
			continue
		}
		got := slices.ContainsFunc(res.DKIM, func(s authres.Signature) bool { return s.Verdict == authres.Pass })
		// dkimpy reads no header with a space before a colon or without an end, and takes each From for a signed one.
		theirs, lines := want[i], "\r\n"+m.text
		if theirs == "broken" && (strings.Count(lines, "\r\nFrom:") > 1 || strings.Contains(lines, "\r\nFrom :")) {
			theirs = "unread"
		}
		if theirs != "unread" && got != (theirs == "good") {
			t.Errorf("%s: got %s, and %s by dkimpy:\n%s", m.how, res, want[i], m.text)
		}
		if passes := res.DMARC.Code == dmarc.Pass; passes != got && (passes || slices.Equal(res.From, []string{"source.test"})) {
			t.Errorf("%s: got DMARC %s, want a pass if the signature has one: %s\n%s", m.how, res.DMARC.Code, res, m.text)
		}
		if got {
			good++
		}
	}
	if len(signed) != 7 || good < 2*len(signed) || good > len(mails)/4 {
		t.Errorf("got %d good of %d mails by %d signers, want some of each", good, len(mails), len(signed))
	}
	t.Logf("%d good, %d broken", good, len(mails)-good)
}

// signedMails has dkimpy, in its directory, and OpenDKIM sign the mail. It returns the zone of all keys, and the mails by
// their signers.
func signedMails(t *testing.T, dir string) (zone records, signed map[string]string) {
	t.Helper()
	opendkim := startOpenDKIM(t, "Canonicalization relaxed/simple\n")
	private, rsaRecord := newRSAKey(t)
	public, seed, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	zone = records{
		"rsa._domainkey.source.test":     rsaRecord,
		"ed25519._domainkey.source.test": "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public),
		"sel._domainkey.source.test":     opendkim.record,
		"_dmarc.source.test":             "v=DMARC1; p=reject",
	}
	var keys strings.Builder
	for name, text := range zone {
		fmt.Fprintln(&keys, name, text)
	}
	write(t, filepath.Join(dir, "keys"), keys.String())
	write(t, filepath.Join(dir, "rsa"), private)
	write(t, filepath.Join(dir, "ed25519"), base64.StdEncoding.EncodeToString(seed.Seed()))
	write(t, filepath.Join(dir, "unsigned"), crlf(unsignedMail))
	if out, err := exec.Command(python, "testdata/dkim_mails.py", dir, "sign").CombinedOutput(); err != nil {
		t.Fatalf("dkimpy: %v\n%s", err, out)
	}
	signed = make(map[string]string)
	names, _ := filepath.Glob(filepath.Join(dir, "*-*-*"))
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		signed["dkimpy "+filepath.Base(name)] = string(text)
	}
	text, refusal := opendkim.send("127.0.0.1", crlf(unsignedMail))
	if refusal != "" {
		t.Fatal(refusal)
	}
	signed["opendkim"] = text
	return zone, signed
}

// brokenMail is a signed mail with one change.
type brokenMail struct{ how, text string }

// broken returns a signed mail as it is, and with each of many changes. All lines end in CRLF.
func broken(text string) []brokenMail {
	mails := []brokenMail{{"unchanged", text}}
	add := func(text, how string, args ...any) {
		mails = append(mails, brokenMail{fmt.Sprintf(how, args...), text})
	}
	for i := range len(text) {
		if strings.ContainsRune("\r\n", rune(text[i])) {
			continue
		}
		switch i % 4 {
		case 0:
			add(text[:i]+text[i+1:], "octet %d away", i)
		case 1:
			add(text[:i]+" "+text[i:], "a space at %d", i)
		case 2:
			add(text[:i]+string(text[i]^1)+text[i+1:], "octet %d changed", i)
		case 3:
			add(text[:i]+string(text[i]^0x20)+text[i+1:], "octet %d in the other case", i)
		}
	}
	lines := strings.SplitAfter(text, "\r\n")
	for i := range lines[:len(lines)-1] {
		before, after := strings.Join(lines[:i], ""), strings.Join(lines[i+1:], "")
		add(before+after, "line %d away", i)
		add(before+lines[i]+lines[i]+after, "line %d twice", i)
		add(before+strings.TrimSuffix(lines[i], "\r\n")+" \t\r\n"+after, "space after line %d", i)
		add(before+strings.Replace(lines[i], " ", "\r\n\t", 1)+after, "line %d folded", i)
		if i > 0 {
			add(strings.Join(lines[:i-1], "")+lines[i]+lines[i-1]+after, "lines %d and %d the other way round", i-1, i)
		}
	}
	add(text+"\r\n\r\n", "empty lines at the end")
	add(text+"more\r\n", "a line more")
	add("From: eve@bank.test\r\n"+text, "another From on top")
	add("X-Unsigned: 1\r\n"+text, "a field on top")
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	add(head+"\r\nFrom: eve@bank.test\r\n\r\n"+body, "another From below")
	add(head+"\r\nSubject: hi\r\n\r\n"+body, "another Subject below")
	add(head+"\r\n\r\n", "no body")
	return mails
}

// byDKIMpy returns dkimpy's verdict on each mail: see the script for its jobs.
func byDKIMpy(t *testing.T, dir, job string, mails []brokenMail) []string {
	t.Helper()
	return verdicts(t, dir, mails, exec.Command(python, "testdata/dkim_mails.py", dir, job))
}

// verdicts has a program verify mails, which it finds in dir.
func verdicts(t *testing.T, dir string, mails []brokenMail, program *exec.Cmd) []string {
	t.Helper()
	var all strings.Builder
	for _, m := range mails {
		fmt.Fprintf(&all, "%d\n%s", len(m.text), m.text)
	}
	write(t, filepath.Join(dir, "mails"), all.String())
	failure := new(strings.Builder)
	program.Stderr = failure
	out, err := program.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, tail(failure.String()))
	}
	lines := strings.Fields(string(out))
	if len(lines) != len(mails) {
		t.Fatalf("%s said something about %d mails, want all %d", program, len(lines), len(mails))
	}
	return lines
}
