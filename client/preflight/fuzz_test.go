package preflight

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// FuzzMessage: any message has a bounded list of findings, each on one line, and two looks find the same.
func FuzzMessage(f *testing.F) {
	for _, text := range []string{transactional, newsletter, report, calendar, international, listed, ""} {
		f.Add([]byte(strings.ReplaceAll(text, "\n", "\r\n")), true)
	}
	for _, fault := range messageFaults[:5] {
		f.Add([]byte("Subject: "+fault.name+"\r\nFrom: \"=?utf-8?q?a?=\" <a@b>, (\\\r\n\r\n"), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, bulk bool) {
		env := smtp.NewEnvelope("a@example.com", "b@example.net")
		content := strings.NewReader(string(b))
		c := &Checker{Bulk: bulk}
		got := c.Message(env, content)
		if len(got) > 40*maxEachKind {
			t.Errorf("got %d findings", len(got))
		}
		for _, f := range got {
			if len(f.String()) > 1000 || strings.ContainsAny(f.String(), "\r\n\x00") {
				t.Errorf("got %q, want one short line", f)
			}
		}
		m := &message{checker: c, env: env}
		if _, ok := m.scan(content); ok && m.read(content) {
			if sum := m.header; sum > len(b) {
				t.Errorf("got a header of %d octets in %d", sum, len(b))
			}
			if d := m.fromDomain(); d != "" && !isDomain(d) {
				t.Errorf("got domain %q", d)
			}
		}
	})
}

// FuzzKey: a record of a key that is taken has the tags of one, and the same with blanks around it.
func FuzzKey(f *testing.F) {
	for _, text := range []string{"v=DKIM1; k=rsa; p=" + rsaKey(1024), "k=ed25519; t=y:s; p=" + strings.Repeat("A", 43) + "=",
		"v=DKIM1; p=", "p=AAAA;;", "h=sha1 : sha256; s=email; p=!"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		bits, testing, err := parseKey(text)
		if err != nil {
			return
		}
		if bits <= 0 || !strings.Contains(text, "p") {
			t.Errorf("%q: got %d bits", text, bits)
		}
		if len(text) > maxKey-2 {
			return
		}
		again, same, err := parseKey(" " + text + " ")
		if again != bits || same != testing || err != nil {
			t.Errorf("%q with blanks: got %d, %v, %v, want %d, %v", text, again, same, err, bits, testing)
		}
	})
}
