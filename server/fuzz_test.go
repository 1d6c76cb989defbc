package server

import (
	"context"
	"crypto/tls"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
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
	for i := range chunkVectors {
		f.Add([]byte(talked + chunkVectors[i].in))
	}
	f.Add([]byte("  EHLO \r\nMAIL  FROM : ann@example.com  SIZE=1\r\nRCPT  TO: bob@example.net \r\n" + data + body))
	f.Add([]byte("HELO my printer \xfc\r\nMAIL FROM:a@b\rx\r\n" + rcpt + data + body))
	for _, s := range []string{
		"SCRAM-SHA-256 " + b64("n,,n=ann,r=abc") + "\r\n" + b64("c=biws,r=abc,p="+b64(strings.Repeat("x", 32))),
		"SCRAM-SHA-256 " + b64("y,a=ann,n=bob,r=abc") + "\r\n*", "LOGIN\r\n" + b64("ann") + "\r\n" + b64("secret"),
		"OAUTHBEARER " + b64("n,a=ann,\x01auth=Bearer good\x01\x01"), "OAUTHBEARER " + b64("n,,\x01auth=Bearer bad\x01\x01") + "\r\nAQ==",
		"XOAUTH2\r\n" + b64("user=ann\x01auth=Bearer good\x01\x01"), "LOGIN " + b64("ann") + "\r\n!",
	} {
		f.Add([]byte(ehlo + "AUTH " + s + "\r\n" + mail + rcpt + data + body))
	}
	f.Add([]byte(ehlo + "NOOP\r\nGET / HTTP/1.1\r\n" + mail + rcpt + data + body))
	f.Add([]byte(ehlo + "\x16\x03\x01\x00\r\n" + mail + rcpt + data + body))
	f.Add([]byte(talked + data + strings.Repeat("A: b\r\n", 200) + "\r\n.\r\n" + mail + rcpt + data + body))
	config := testTLS(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		feed(t, raw, config, false)
		feed(t, raw, config, true)
	})
}

// feed feeds raw to one session, for FuzzSession.
func feed(t *testing.T, raw []byte, config *tls.Config, lenient bool) {
	d := &desk{}
	srv := &Server{
		Hostname: "mx.test", Handler: d, TLSConfig: config, AllowInsecureAuth: true, AuthDelay: 1,
		Authenticate: authenticate, StoredCredentials: stored, CheckToken: checkToken,
		Lenient: lenient, BinaryMIME: true, MaxSize: 1000, MaxHeader: 500, MaxDrain: 2000, MaxRecipients: 3, MaxErrors: 10,
		MaxCommands: 50,
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
		if !strings.Contains(unstuff(string(raw)), m.body+theEnd) && !inChunks(string(raw), m.body) {
			t.Errorf("got a mail %q that doesn't stand in the input", m.body)
		}
		if len(m.env.Recipients) == 0 || len(m.env.Recipients) > 3 || len(m.body) > 1000 {
			t.Errorf("got %d recipients and %d octets, want them bounded", len(m.env.Recipients), len(m.body))
		}
		for _, said := range []string{m.peer.Hello, m.env.From, m.env.Recipients[0].Address} {
			if strings.ContainsFunc(said, unicode.IsControl) || !utf8.ValidString(said) || len(said) > 512 {
				t.Errorf("got %q, want it bounded, in UTF-8 and without control characters", said)
			}
		}
	}
	if len(srv.sessions) != 0 || srv.memory.Load() != 0 {
		t.Error("got the session in the books, or memory, want it gone")
	}
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

var bdatLine = regexp.MustCompile(`(?i)bdat +([0-9]+)( last)?[ \t]*\r\n`)

// inChunks reports whether chunks in raw, in their order, are the body of a mail, the last one with LAST.
func inChunks(raw, body string) bool {
	lengths := map[int]bool{0: true} // of the beginnings of body that chunks so far make up
	for _, at := range bdatLine.FindAllStringSubmatchIndex(raw, -1) {
		n, err := strconv.Atoi(raw[at[2]:at[3]])
		if err != nil || n > len(raw)-at[1] {
			continue
		}
		for have := range maps.Clone(lengths) {
			if strings.HasPrefix(body[have:], raw[at[1]:at[1]+n]) {
				if lengths[have+n] = true; at[4] >= 0 && have+n == len(body) {
					return true
				}
			}
		}
	}
	return false
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
