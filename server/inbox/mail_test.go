package inbox

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func read(data string) *Mail {
	return (&Message{Envelope: smtp.NewEnvelope(""), Data: []byte(data)}).Read()
}

// outline is what is read of a mail, in one line for each part.
func outline(m *Mail) string {
	var b strings.Builder
	for i := range m.Parts {
		p := &m.Parts[i]
		fmt.Fprintf(&b, "%s %s", p.Path, p.Type)
		if p.Name != "" {
			fmt.Fprintf(&b, " %q", p.Name)
		}
		if p.Attachment {
			b.WriteString(" attached")
		}
		fmt.Fprintf(&b, " %q\n", p.Decode())
	}
	return b.String()
}

// TestRead: parts, encodings and charsets, well-formed and not.
func TestRead(t *testing.T) {
	for _, tt := range []struct {
		name, mail string
		text, html string
		parts      string
		problems   int
	}{
		{name: "plain", mail: "Subject: x\n\nHello.\n", text: "Hello.\n", parts: "1 text/plain \"Hello.\\r\\n\"\n"},
		{name: "empty", mail: "", parts: "1 text/plain \"\"\n"},
		{name: "no body", mail: "Subject: x\n", parts: "1 text/plain \"\"\n"},
		{name: "no header", mail: "\nHello.\n", text: "Hello.\n", parts: "1 text/plain \"Hello.\\r\\n\"\n"},
		{name: "no empty line", mail: "Subject: x\nHello.\n", text: "Hello.\n", parts: "1 text/plain \"Hello.\\r\\n\"\n", problems: 1},
		{name: "alternatives", mail: "Content-Type: multipart/alternative; boundary=b\n\npreamble\n--b\n\nText\n--b\nContent-Type: text/html\n\n<p>HTML\n--b--\nepilogue\n",
			text: "Text", html: "<p>HTML", parts: "1 text/plain \"Text\"\n2 text/html \"<p>HTML\"\n"},
		{name: "nested", mail: "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\n\nx\n--b\n" +
			"Content-Type: image/png; name=x.png\nContent-Transfer-Encoding: base64\n\naW1n\n--b--\n--a\nContent-Type: text/plain\nContent-Disposition: attachment; filename=t.txt\n\nfile\n--a--\n",
			html: "x", parts: "1.1 text/html \"x\"\n1.2 image/png \"x.png\" attached \"img\"\n2 text/plain \"t.txt\" attached \"file\"\n"},
		{name: "quoted-printable", mail: "Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain; charset=iso-8859-1\n\ngr=FCn =\nfor = all\n",
			text: "grün for = all\n", parts: "1 text/plain \"gr\\xfcn for = all\\r\\n\"\n"},
		{name: "windows-1252", mail: "Content-Type: text/plain; charset=\"Windows-1252\"\n\n\x80 5\n", text: "€ 5\n", parts: "1 text/plain \"\\x80 5\\r\\n\"\n"},
		{name: "unknown charset", mail: "Content-Type: text/plain; charset=x-none\n\na\xFFb\n", text: "a\uFFFDb\n", parts: "1 text/plain \"a\\xffb\\r\\n\"\n", problems: 1},
		{name: "malformed base64", mail: "Content-Transfer-Encoding: base64\n\naGVs!bG8\n", text: "hello", parts: "1 text/plain \"hello\"\n"},
		{name: "no boundary", mail: "Content-Type: multipart/mixed\n\nx\n", text: "x\n", parts: "1 text/plain \"x\\r\\n\"\n", problems: 1},
		{name: "another boundary", mail: "Content-Type: multipart/mixed; boundary=a\n\n--b\n\nx\n", text: "--b\n\nx\n", parts: "1 text/plain \"--b\\r\\n\\r\\nx\\r\\n\"\n", problems: 1},
		{name: "no end", mail: "Content-Type: multipart/mixed; boundary=a\n\n--a\n\nx\n", text: "x\n", parts: "1 text/plain \"x\\r\\n\"\n"},
		{name: "inner without an end", mail: "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--a\n\ny\n--a--\n",
			text: "x\ny", parts: "1.1 text/plain \"x\"\n2 text/plain \"y\"\n"},
		{name: "ends in a header", mail: "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: text/html\n--a--\n", parts: "1 text/html \"\"\n"},
		{name: "message within", mail: "Content-Type: message/rfc822\n\nSubject: y\n\nz\n", parts: "1 message/rfc822 attached \"Subject: y\\r\\n\\r\\nz\\r\\n\"\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := read(crlf(tt.mail))
			if m.Text != tt.text || m.HTML != tt.html || outline(m) != tt.parts || len(m.Problems) != tt.problems {
				t.Errorf("got text %q, HTML %q, problems %q and parts\n%s\nwant %q, %q, %d and\n%s",
					m.Text, m.HTML, m.Problems, outline(m), tt.text, tt.html, tt.problems, tt.parts)
			}
		})
	}
}

// TestReadBounds: what is nested or large without end is read as far as the bounds go, and says so.
func TestReadBounds(t *testing.T) {
	var deep strings.Builder
	for i := range 100 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
	}
	deep.WriteString("\nat the bottom\n")
	many := "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\npart\n", 10_000) + "--b--\n"
	for _, tt := range []struct {
		name, mail string
		parts      int
		want       string // a problem
		shown      string // in the text or a part
	}{
		{"100 levels", deep.String(), 1, "isn't taken apart", "at the bottom"},
		{"10,000 parts", many, maxParts, "9,000 further parts are not shown", "part"},
		{"large header", strings.Repeat("X-Y: z\n", 100_000) + "\nbody\n", 1, "header of the message is cut", "body"},
		{"large text", "\n" + strings.Repeat("line of text\n", maxText/10), 1, "Part 1 is cut", "line of text"},
		{"large HTML", "Content-Type: text/html\n\n" + strings.Repeat("line of text\n", maxHTML/10), 1, "Part 1 is cut", "line of text"},
		{"boundaries", "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n", 100_000), maxParts, "99,000 further parts", ""},
		{"malformed headers", "Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\nx\n", 10_000), maxParts, "has no empty line", "x"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			begin := time.Now()
			m := read(crlf(tt.mail))
			if problems := strings.Join(m.Problems, "\n"); !strings.Contains(problems, tt.want) || len(m.Parts) != tt.parts ||
				len(m.Problems) > maxProblems {
				t.Errorf("got %d parts and the problems %.500s, want %d and %s", len(m.Parts), problems, tt.parts, tt.want)
			}
			shown := m.Text + m.HTML
			for i := range m.Parts {
				shown += string(m.Parts[i].raw)
			}
			if !strings.Contains(shown, tt.shown) {
				t.Errorf("%q isn't shown", tt.shown)
			}
			if len(m.Text) > maxText+2*maxParts || len(m.HTML) > maxHTML {
				t.Errorf("got %d octets of text and %d of HTML", len(m.Text), len(m.HTML))
			}
			if d := time.Since(begin); d > time.Minute {
				t.Errorf("it took %v", d)
			}
		})
	}
}

// TestReadDelimiters: lines that look like delimiters take nothing, however many multiparts are open, and a boundary
// that is too long is none.
func TestReadDelimiters(t *testing.T) {
	nested := func(boundary, lines int) []byte {
		var b strings.Builder
		name := strings.Repeat("x", boundary-2)
		for i := range maxDepth {
			if i > 0 {
				fmt.Fprintf(&b, "--%s%02d\r\n", name, i-1)
			}
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%s%02d\r\n\r\n", name, i)
		}
		return []byte(b.String() + strings.Repeat("--\n--"+name+"\n", lines))
	}
	allocs := func(lines int) float64 {
		m := &Message{Data: nested(70, lines)}
		return testing.AllocsPerRun(3, func() { summarize(m) })
	}
	if few, many := allocs(10), allocs(5000); many > 2*few { // -race empties pools at random
		t.Errorf("got %v allocations with 10,000 lines, want about %v as with 20", many, few)
	}
	for _, boundary := range []int{70, 71} {
		m := read(string(nested(boundary, 1)))
		tooLong := strings.Contains(strings.Join(m.Problems, "\n"), "without a boundary of 1 to 70 octets")
		if tooLong != (boundary > 70) {
			t.Errorf("boundaries of %d octets: got the problems %q", boundary, m.Problems)
		}
	}
}

// FuzzRead: whatever comes is read without a panic, each octet of a part is of the message, and the text is UTF-8.
func FuzzRead(f *testing.F) {
	f.Add([]byte(crlf("Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: text/html; charset=x\n\n<p>\n--a--\n")))
	f.Add([]byte("Content-Transfer-Encoding: quoted-printable\r\n\r\n=\r\n=3D=\xFF"))
	f.Add([]byte("Content-Type: text/html; name*=utf-8''%FF\r\nContent-Transfer-Encoding: base64\r\n\r\nPHA+"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := &Message{Envelope: smtp.NewEnvelope(""), Data: data}
		summarize(m)
		mail := m.Read()
		sum := 0
		for i := range mail.Parts {
			p := &mail.Parts[i]
			if sum += len(p.raw); len(p.Decode()) > 4*len(p.raw)+4 {
				t.Errorf("part %s has %d octets, %d encoded", p.Path, len(p.Decode()), len(p.raw))
			}
		}
		if len(mail.Parts) == 0 || len(mail.Parts) > maxParts || sum > len(data) {
			t.Errorf("got %d parts with %d octets of %d", len(mail.Parts), sum, len(data))
		}
		if strings.ToValidUTF8(mail.Text+mail.HTML, "") != mail.Text+mail.HTML {
			t.Errorf("got %q and %q", mail.Text, mail.HTML)
		}
		checkFrame(t, mail)
	})
}
