package server

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// FuzzSession feeds octets to a session. For any input, the session ends after it, its replies are well-formed, and
// each message that the Handler gets is in the input, with its end.
func FuzzSession(f *testing.F) {
	files, _ := filepath.Glob("testdata/dialogues/*.txt")
	for _, file := range files {
		script, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(clientSide(string(script))))
	}
	for _, end := range []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\n.\r\r\n", "\r\n\x00.\r\n"} {
		f.Add([]byte(talked + data + "x" + end + mail + rcpt + data + body))
	}
	config := testTLS(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		d := &desk{}
		srv := &Server{
			Hostname: "mx.test", Handler: d, TLSConfig: config, Authenticate: authenticate, AllowInsecureAuth: true,
			MaxSize: 1000, MaxDrain: 2000, MaxRecipients: 3, MaxErrors: 10, MaxCommands: 50,
		}
		near, far := newPipe("198.51.100.7")
		near.out.buf = raw
		near.CloseWrite()
		sess := newSession(srv, far)
		if ok, _ := srv.admit(sess); !ok {
			t.Fatal("got the session refused, want it admitted")
		}
		sess.serve(context.Background())

		said := string(near.in.buf)
		said, _, _ = strings.Cut(said, "220 2.0.0 go ahead\r\n") // binary from here on
		checkReplies(t, said)
		for _, m := range d.all() {
			if !strings.Contains(unstuff(string(raw)), m.body+theEnd) {
				t.Errorf("got a mail %q that doesn't stand in the input", m.body)
			}
			if len(m.env.Recipients) == 0 || len(m.env.Recipients) > 3 || len(m.body) > 1000 {
				t.Errorf("got %d recipients and %d octets, want them bounded", len(m.env.Recipients), len(m.body))
			}
		}
		if len(srv.sessions) != 0 {
			t.Error("got the session in the books, want it gone")
		}
	})
}

// clientSide returns the octets that the client sends in a dialogue.
func clientSide(script string) string {
	var b strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		if text, ok := strings.CutPrefix(line, "C: "); ok {
			b.WriteString(text + "\r\n")
		} else if quoted, ok := strings.CutPrefix(line, "C. "); ok {
			raw, _ := strconv.Unquote(quoted)
			b.WriteString(raw)
		}
	}
	return b.String()
}

const theEnd = "\xff the end of a mail\r\n"

// unstuff removes the leading dot of each line of raw. A line that is only a dot becomes theEnd.
func unstuff(raw string) string {
	lines := strings.SplitAfter(raw, "\r\n")
	for i, line := range lines {
		if line == ".\r\n" {
			lines[i] = theEnd
		} else {
			lines[i] = strings.TrimPrefix(line, ".")
		}
	}
	return strings.Join(lines, "")
}

// checkReplies fails the test unless said is a sequence of complete replies (RFC 5321 §4.2).
func checkReplies(t *testing.T, said string) {
	t.Helper()
	open := "" // the code of a reply that has further lines
	for line := range strings.Lines(said) {
		text, ok := strings.CutSuffix(line, "\r\n")
		if !ok || len(line) > 512 || len(text) < 4 {
			t.Fatalf("got reply line %q, want one with CRLF, of 512 octets at most", line)
		}
		for _, c := range []byte(text) {
			if c < ' ' || c > '~' {
				t.Fatalf("got reply line %q, want printable ASCII", line)
			}
		}
		code, err := strconv.Atoi(text[:3])
		if err != nil || code < 200 || code > 599 || text[3] != ' ' && text[3] != '-' {
			t.Fatalf("got reply line %q, want a code", line)
		}
		if open != "" && text[:3] != open {
			t.Fatalf("got %q within a reply of %s", line, open)
		}
		open = ""
		if text[3] == '-' {
			open = text[:3]
		}
	}
	if open != "" {
		t.Fatalf("got %q, want its last reply ended", said)
	}
}
