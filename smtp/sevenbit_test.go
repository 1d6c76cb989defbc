package smtp_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/postrider/postrider/smtp"
)

// crlf makes a message of a text with "\n" line ends.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

func contentString(t testing.TB, c smtp.Content) string {
	t.Helper()
	b, err := io.ReadAll(smtp.NewReader(c))
	if err != nil || int64(len(b)) != c.Size() {
		t.Fatalf("got %d octets, error %v, want %d", len(b), err, c.Size())
	}
	return string(b)
}

const mime8 = "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"

func TestSevenBit(t *testing.T) {
	long := strings.Repeat("0123456789", 100)
	tests := []struct {
		name   string
		in     string
		want   string
		signed bool
	}{
		{"ASCII", "A: b\n\nc\n", "A: b\n\nc\n", false},
		{"only the header is 8-bit", "A: caf\xe9\n\nc\n", "A: caf\xe9\n\nc\n", false},
		{"text", mime8 + "Content-Transfer-Encoding: 8bit\nA: caf\xe9\n\ncafé \n=\n",
			mime8 + "Content-Transfer-Encoding: quoted-printable\nA: caf\xe9\n\ncaf=C3=A9=20\n=3D\n", false},
		{"no MIME, UTF-8", "A: b\n\ncafé\n", "A: b\n" + mime8 + "Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n", false},
		{"no MIME, not UTF-8", "A: b\n\ncaf\xe9\n", "A: b\nMIME-Version: 1.0\nContent-Type: text/plain; charset=unknown-8bit\n" +
			"Content-Transfer-Encoding: quoted-printable\n\ncaf=E9\n", false},
		{"Content-Type without MIME-Version", "Content-Type: text/html\n\n<p>café\n",
			"Content-Type: text/html\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n<p>caf=C3=A9\n", false},
		{"no header", "\ncafé\n", mime8 + "Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n", false},
		{"no header and no empty line", "Hi café\n", mime8 + "Content-Transfer-Encoding: quoted-printable\n\nHi caf=C3=A9\n", false},
		{"no empty line", "A: b\nHi café\n", "A: b\n" + mime8 + "Content-Transfer-Encoding: quoted-printable\n\nHi caf=C3=A9\n", false},
		{"mailbox line", "From ann Sun Nov 22\nA: b\n\ncafé\n",
			"From ann Sun Nov 22\nA: b\n" + mime8 + "Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n", false},
		{"lying encoding", mime8 + "Content-Transfer-Encoding: 7bit\n\ncafé\n", mime8 + "Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n", false},
		{"encoding in comments, folded", mime8 + "content-transfer-encoding :\n (a\n \\) b) 8BIT;\nA: b\n\ncafé\n",
			mime8 + "Content-Transfer-Encoding: quoted-printable\nA: b\n\ncaf=C3=A9\n", false},
		{"encoding that doesn't exist", mime8 + "Content-Transfer-Encoding: 8-bit\n\ncafé\n",
			mime8 + "Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n", false},
		{"two encodings", mime8 + "Content-Transfer-Encoding: 8bit\nA: b\nContent-Transfer-Encoding: base64\n\ncafé\n",
			mime8 + "Content-Transfer-Encoding: quoted-printable\nA: b\n\ncaf=C3=A9\n", false},
		{"quoted-printable with 8-bit octets", mime8 + "Content-Transfer-Encoding: quoted-printable\n\nfa=C3=A7ade caf\xe9 =\nend\n",
			mime8 + "Content-Transfer-Encoding: quoted-printable\n\nfa=C3=A7ade caf=E9 =\nend\n", false},
		{"an equals sign before 8-bit octets", mime8 + "Content-Transfer-Encoding: quoted-printable\n\na=\xe9 x=\xc3\xa9=\nend=\xe9=3D\n",
			mime8 + "Content-Transfer-Encoding: quoted-printable\n\na=3D=E9 x=3D=C3=A9=\nend=3D=E9=3D\n", false},
		{"base64 with 8-bit octets", mime8 + "Content-Transfer-Encoding: base64\n\nY2Fm\xe9w6k=\n", mime8 + "Content-Transfer-Encoding: base64\n\nY2Fm?w6k=\n", false},
		{"binary type", "MIME-Version: 1.0\nContent-Type: application/x-foo\nContent-Transfer-Encoding: binary\n\n\xff\xfe\xfd\n",
			"MIME-Version: 1.0\nContent-Type: application/x-foo\nContent-Transfer-Encoding: base64\n\n//79DQo=\n", false},
		{"long line", mime8 + "\n" + long + "\n", mime8 + "Content-Transfer-Encoding: quoted-printable\n\n" + qpLines(long) + "\n", false},
		{"long line, no MIME", "A: b\n\n" + long + "\n", "A: b\nMIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n\n" + qpLines(long) + "\n", false},
		{"line of 998 octets", mime8 + "\n" + long[:998] + "\n", mime8 + "\n" + long[:998] + "\n", false},
		{"long line, signed", "DKIM-Signature: x\n\n" + long + "\n", "DKIM-Signature: x\n\n" + long + "\n", false},
		{"DKIM", "dkim-signature: v=1\n" + mime8 + "\ncafé\n", "dkim-signature: v=1\n" + mime8 + "Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n", true},
		{"ARC", "ARC-Message-Signature: i=1\n" + mime8 + "\ncafé\n",
			"ARC-Message-Signature: i=1\n" + mime8 + "Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n", true},
		{"multipart", multi("mixed", "8bit", "\ncafé", "Content-Type: text/plain\n\nASCII", "Content-Type: image/png\n\n\xff\xfe\xfd", "\n"),
			multi("mixed", "7bit", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9",
				"Content-Type: text/plain\n\nASCII", "Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n//79", "\n"), false},
		{"spaces around the slash", "Content-Type: multipart (a) / mixed; boundary=b\nMIME-Version: 1.0\n\n--b\n\ncafé\n--b--\n",
			"Content-Type: multipart (a) / mixed; boundary=b\nMIME-Version: 1.0\n\n--b\nContent-Type: text/plain; charset=utf-8\n" +
				"Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n--b--\n", false},
		{"multipart without an 8-bit part", multi("mixed", "8bit", "\nASCII"), multi("mixed", "8bit", "\nASCII"), false},
		{"part without an empty line", multi("mixed", "", "Hi café"),
			multi("mixed", "", "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nHi caf=C3=A9"), false},
		{"header of a part is 8-bit", multi("mixed", "", "Content-Type: text/plain; name=\"caf\xe9\"\n\nASCII"),
			multi("mixed", "", "Content-Type: text/plain; name=\"caf\xe9\"\n\nASCII"), false},
		{"before and after the parts", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\ncafé\n--b\n\nASCII\n--b--\ncaf\xe9\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\ncaf??\n--b\n\nASCII\n--b--\ncaf?\n", false},
		{"no last delimiter", "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n" + mime8[18:] + "\ncafé\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n" + mime8[18:] + "Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n", false},
		{"multipart without MIME-Version", "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\n\ncafé\n--b--\n",
			"Content-Type: multipart/mixed; boundary=b\nMIME-Version: 1.0\n\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n--b--\n", false},
		{"boundary with =", "MIME-Version: 1.0\nContent-Type: multipart/mixed; charset=x;\n boundary=----=_Part(1)_2\n\n------=_Part_2\n" + mime8[18:] + "\ncafé\n------=_Part_2--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; charset=x;\n boundary=----=_Part(1)_2\n\n------=_Part_2\n" + mime8[18:] +
				"Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n------=_Part_2--\n", false},
		{"boundary in quotes", "MIME-Version: 1.0\nContent-Type: multipart/mixed; x=\"boundary=c;\"; BOUNDARY=\"a; b\\\"(c)\"\n\n--a; b\"(c) \t\n" + mime8[18:] + "\ncafé\n--a; b\"(c)--\n",
			"MIME-Version: 1.0\nContent-Type: multipart/mixed; x=\"boundary=c;\"; BOUNDARY=\"a; b\\\"(c)\"\n\n--a; b\"(c) \t\n" + mime8[18:] +
				"Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n--a; b\"(c)--\n", false},
		{"outer delimiter ends the inner multipart", multi("mixed", "", "Content-Type: multipart/alternative; boundary=i\n\n--i\n"+mime8[18:]+"\ncafé", mime8[18:]+"\nfaçade"),
			multi("mixed", "", "Content-Type: multipart/alternative; boundary=i\n\n--i\n"+mime8[18:]+"Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9",
				mime8[18:]+"Content-Transfer-Encoding: quoted-printable\n\nfa=C3=A7ade"), false},
		{"message in a part", multi("mixed", "8bit", "Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\nDKIM-Signature: of old\nA: b\n\ncafé"),
			multi("mixed", "7bit", "Content-Type: message/rfc822\nContent-Transfer-Encoding: 7bit\n\nDKIM-Signature: of old\nA: b\n"+mime8+
				"Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9"), false},
		{"digest", multi("digest", "", "\nA: b\n\ncafé"), multi("digest", "", "\nA: b\n"+mime8+"Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9"), false},
		{"delivery-status", multi("report", "", "Content-Type: message/delivery-status\n\nAction: failed\nX: caf\xe9"),
			multi("report", "", "Content-Type: message/delivery-status\nContent-Transfer-Encoding: quoted-printable\n\nAction: failed\nX: caf=E9"), false},
		{"8-bit part beside a multipart/signed", multi("mixed", "", "Content-Type: multipart/signed; boundary=s\n\n--s\n\nASCII\n--s--", mime8[18:]+"\ncafé"),
			multi("mixed", "", "Content-Type: multipart/signed; boundary=s\n\n--s\n\nASCII\n--s--", mime8[18:]+"Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9"), false},
		{"8-bit part in a multipart/signed", multi("mixed", "", "Content-Type: multipart/signed; boundary=s\n\n--s\n"+mime8[18:]+"\ncafé\n--s--"),
			multi("mixed", "", "Content-Type: multipart/signed; boundary=s\n\n--s\n"+mime8[18:]+"Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9\n--s--"), true},
		{"soft line break before a dash", mime8 + "\n" + strings.Repeat("x", 74) + "é--b\n",
			mime8 + "Content-Transfer-Encoding: quoted-printable\n\n" + strings.Repeat("x", 74) + "=\n=C3=A9--b\n", false},
		{"soft line break at a dash", mime8 + "\n--é" + strings.Repeat("x", 67) + "--b\n",
			mime8 + "Content-Transfer-Encoding: quoted-printable\n\n--=C3=A9" + strings.Repeat("x", 67) + "=\n=2D-b\n", false},
		{"no line end at the end", mime8 + "\ncafé ", mime8 + "Content-Transfer-Encoding: quoted-printable\n\ncaf=C3=A9=20", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, signed, err := smtp.SevenBit(strings.NewReader(crlf(tt.in)))
			if err != nil {
				t.Fatal(err)
			}
			if got := contentString(t, c); got != crlf(tt.want) || signed != tt.signed {
				t.Errorf("got signed %v and\n%q, want %v and\n%q", signed, got, tt.signed, crlf(tt.want))
			}
			again(t, c)
		})
	}
}

// again: what was converted has nothing left to convert.
func again(t *testing.T, c smtp.Content) {
	t.Helper()
	if twice, _, err := smtp.SevenBit(c); err != nil || twice != c {
		t.Errorf("converted twice: got %q, error %v, want no change", contentString(t, twice), err)
	}
}

// qpLines breaks a line of plain characters.
func qpLines(s string) string {
	var b strings.Builder
	for ; len(s) > 75; s = s[75:] {
		b.WriteString(s[:75] + "=\n")
	}
	return b.String() + s
}

// multi is a multipart of parts.
func multi(subtype, encoding string, parts ...string) string {
	var b strings.Builder
	b.WriteString("MIME-Version: 1.0\nContent-Type: multipart/" + subtype + "; boundary=\"bound\"\n")
	if encoding != "" {
		b.WriteString("Content-Transfer-Encoding: " + encoding + "\n")
	}
	for _, p := range parts {
		b.WriteString("\n--bound\n" + p)
	}
	return b.String() + "\n--bound--\n"
}

// TestSevenBitFolding: the work for a field is in proportion to its lines. A field of the longest value, folded at each
// octet, is in each of thousands of parts.
func TestSevenBitFolding(t *testing.T) {
	for _, name := range []string{"Content-Type", "Content-Transfer-Encoding"} {
		t.Run(name, func(t *testing.T) {
			c := strings.NewReader(name + ":" + strings.Repeat("\r\n\t", 16_000) + "\r\n\r\nabc\r\n")
			allocs := testing.AllocsPerRun(1, func() {
				if _, _, err := smtp.SevenBit(c); err != nil {
					t.Fatalf("got error %v, want none", err)
				}
			})
			if allocs > 1000 {
				t.Errorf("got %.0f allocations for 16,000 lines, want 1000 at most", allocs)
			}
		})
	}
}

func TestSevenBitFails(t *testing.T) {
	deep := "\ncafé"
	for i := range 60 {
		deep = fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d_\n\n--b%d_\n%s\n--b%d_--", i, i, deep, i)
	}
	many := "Content-Type: multipart/mixed; boundary=b\n" + strings.Repeat("\n--b\n\n\xff", 10_001)
	tests := []struct{ name, in, want string }{
		{"no boundary", "Content-Type: multipart/mixed\n\ncafé\n", "5.6.3"},
		{"no delimiter", "Content-Type: multipart/mixed; boundary=b\n\ncafé\n", "5.6.3"},
		{"a boundary in UTF-8", "Content-Type: multipart/mixed; boundary=\"é\"\n\n--é\n\na\n--é--\n", "5.6.3"},
		{"message/partial", "Content-Type: message/partial; id=1; number=1\n\nA: b\n\ncafé\n", "5.6.3"},
		{"message/external-body", "Content-Type: message/external-body; access-type=x\n\nA: caf\xe9\n", "5.6.3"},
		{"encoding of another standard", "Content-Transfer-Encoding: x-yencode\n\n\xff\n", "5.6.3"},
		{"uuencode", "Content-Transfer-Encoding: uuencode\n\n\xff\n", "5.6.3"},
		{"depth", deep, "5.6.3"},
		{"number of parts", many, "5.6.3"},
		{"long field", "Content-Type: text/plain;" + strings.Repeat("\n x=y;", 4000) + "\n\ncafé\n", "5.6.3"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, _, err := smtp.SevenBit(strings.NewReader(crlf(tt.in)))
			r, ok := errors.AsType[*smtp.Reply](err)
			if _, own := errors.AsType[*smtp.ContentError](err); !ok || !own || r.Code != 554 || r.Enhanced.String() != tt.want {
				t.Errorf("got %v, %v, want a ContentError with 554 %s", c, err, tt.want)
			}
		})
	}
	t.Run("the text of the reply is short and printable", func(t *testing.T) {
		odd := "\x01\x1b\xff\u0085é" + strings.Repeat("y", 3000)
		for _, in := range []string{"Content-Type: multipart/" + odd + "\n\ncafé\n", "Content-Transfer-Encoding: x-" + odd + "\n\ncafé\n"} {
			_, _, err := smtp.SevenBit(strings.NewReader(crlf(in)))
			r, ok := errors.AsType[*smtp.Reply](err)
			if bad := func(c rune) bool { return c < ' ' || c > '~' }; !ok || len(r.Text) > 512 || strings.ContainsFunc(r.Text, bad) {
				t.Errorf("got error %.600q, want one in printable ASCII of 512 octets at most", err)
			}
		}
	})
	t.Run("broken ASCII isn't looked at", func(t *testing.T) {
		for _, in := range []string{"Content-Type: multipart/mixed\n\na\n", "Content-Transfer-Encoding: x-y\n\na\n"} {
			c := strings.NewReader(crlf(in))
			if got, _, err := smtp.SevenBit(c); got != c || err != nil {
				t.Errorf("%q: got %v, %v, want no change", in, got, err)
			}
		}
	})
}

// TestSevenBitReadError: an error of the content comes through, at the conversion and afterwards.
func TestSevenBitReadError(t *testing.T) {
	text := crlf(mime8 + "\n" + strings.Repeat("café\n", 4000))
	broken := errors.New("disk on fire")
	for reads := range 8 {
		c := &failing{Content: strings.NewReader(text), left: reads, err: broken}
		converted, _, err := smtp.SevenBit(c)
		if err == nil {
			_, err = io.ReadAll(smtp.NewReader(converted))
		}
		if !errors.Is(err, broken) {
			t.Errorf("after %d reads: got %v, want %v", reads, err, broken)
		}
	}
	short := io.NewSectionReader(strings.NewReader(text), 0, int64(len(text))+10)
	if _, _, err := smtp.SevenBit(short); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("shorter than its Size: got %v, want %v", err, io.ErrUnexpectedEOF)
	}
}

// failing is a Content of which only some reads succeed.
type failing struct {
	smtp.Content
	left int
	err  error
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, f.err
	}
	return f.Content.ReadAt(p, off)
}

func TestHasEightBitPartHeader(t *testing.T) {
	tests := []struct {
		name, in string
		want     bool
	}{
		{"ASCII", "A: b\n\nc\n", false},
		{"header", "A: é\n\nc\n", false},
		{"body", "A: b\n\né\n", false},
		{"part", multi("mixed", "", "A: b\n\nc", "A: b\n é\n\nc"), true},
		{"body of a part", multi("mixed", "", "A: b\n\né"), false},
		{"message in a part", multi("mixed", "", "Content-Type: message/rfc822\n\nSubject: é\n\nc"), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := smtp.HasEightBitPartHeader(strings.NewReader(crlf(tt.in))); got != tt.want || err != nil {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

// leaf is a part without parts, as the standard library reads it.
type leaf struct{ contentType, body string }

// leaves reads a message by net/mail and mime/multipart. ok is false if they can't.
func leaves(message string) (list []leaf, ok bool) {
	m, err := mail.ReadMessage(strings.NewReader(message))
	if err != nil {
		return nil, false
	}
	return leavesOf(m.Header.Get, m.Body, "text/plain", 0)
}

func leavesOf(field func(string) string, body io.Reader, byDefault string, depth int) (list []leaf, ok bool) {
	contentType := field("Content-Type")
	kind, params, err := mime.ParseMediaType(contentType)
	if contentType == "" {
		kind = byDefault
	} else if err != nil {
		return nil, false
	}
	encoding := strings.ToLower(strings.TrimSpace(field("Content-Transfer-Encoding")))
	switch {
	case depth > 60:
		return nil, false
	case strings.HasPrefix(kind, "multipart/"):
		r := multipart.NewReader(body, params["boundary"])
		byDefault = "text/plain"
		if kind == "multipart/digest" {
			byDefault = "message/rfc822"
		}
		for {
			p, err := r.NextRawPart()
			if err == io.EOF {
				return list, true
			}
			if err != nil {
				return nil, false
			}
			inner, ok := leavesOf(p.Header.Get, p, byDefault, depth+1)
			if !ok {
				return nil, false
			}
			list = append(list, inner...)
		}
	case kind == "message/rfc822":
		m, err := mail.ReadMessage(body)
		if err != nil {
			return nil, false
		}
		return leavesOf(m.Header.Get, m.Body, "text/plain", depth+1)
	case encoding == "quoted-printable":
		body = quotedprintable.NewReader(body)
	case encoding == "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	}
	b, err := io.ReadAll(body)
	return []leaf{{kind, string(b)}}, err == nil
}

// randomMessage makes a message, or a part at a depth, with lines in CRLF.
func randomMessage(r *rand.Rand, depth int) string {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	header := pick("", "Subject: caf\xe9\r\n", "X-Long: a\r\n b\r\n\tc\r\n")
	if depth == 0 {
		header += pick("A: b\r\n", "MIME-Version: 1.0\r\n")
	}
	if depth < 5 && r.IntN(3) > 0 {
		boundary := fmt.Sprintf("b%d-%d", depth, r.IntN(100))
		label := pick("", "Content-Transfer-Encoding: 8bit\r\n", "Content-Transfer-Encoding: 7bit\r\n")
		if r.IntN(4) == 0 {
			header += "Content-Type: message/rfc822\r\n" + label
			return header + "\r\n" + "A: b\r\n" + randomMessage(r, depth+1)
		}
		var b strings.Builder
		b.WriteString(header + "Content-Type: multipart/" + pick("mixed", "signed", "alternative") + `; boundary="` + boundary + "\"\r\n" + label)
		b.WriteString("\r\n" + pick("", "before\r\n", "caf\xe9\r\n") + "--" + boundary)
		for range r.IntN(4) {
			b.WriteString("\r\n" + randomMessage(r, depth+1) + "\r\n--" + boundary)
		}
		return b.String() + "\r\n\r\nlast\r\n--" + boundary + pick("--", "--\r\n", "--\r\nafter caf\xe9")
	}
	if r.IntN(4) > 0 {
		header += "Content-Type: " + pick("text/plain; charset=utf-8", "text/html", "application/x", "image/png", "message/delivery-status") + "\r\n"
		header += pick("", "Content-Transfer-Encoding: 8bit\r\n", "Content-Transfer-Encoding: binary\r\n", "Content-Transfer-Encoding: 7bit\r\n")
	}
	var b strings.Builder
	if r.IntN(5) == 0 {
		header += "Content-Transfer-Encoding: Quoted-Printable\r\n"
		for range r.IntN(50) {
			b.WriteString(pick("a", "é", "\xff", "=C3", "=\r\n", "=3D", "\r\n", " ", strings.Repeat("ü", r.IntN(100))))
		}
		return header + "\r\n" + b.String()
	}
	for range r.IntN(12) {
		piece := pick("a", "é", "\xff", " ", "\t", "=", ".", "-", "--b0-1", "\r\n", " \r\n", "From x", "\x7f", "\x1b", strings.Repeat("word ", r.IntN(900)), strings.Repeat("ü", r.IntN(4000)))
		b.WriteString(piece)
	}
	return header + "\r\n" + b.String()
}

// TestSevenBitKeepsParts: the standard library reads the same parts before and after, and nothing else changed.
func TestSevenBitKeepsParts(t *testing.T) {
	changed := 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		in := randomMessage(r, 0)
		want, ok := leaves(in)
		if !ok {
			t.Fatalf("seed %d: the test made a message that can't be read: %q", seed, in)
		}
		c, _, err := smtp.SevenBit(strings.NewReader(in))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		out := contentString(t, c)
		if out != in {
			changed++
		}
		got, ok := leaves(out)
		if !ok || len(got) != len(want) {
			t.Fatalf("seed %d: got %d parts, %v, want %d, of\n%q\n%q", seed, len(got), ok, len(want), in, out)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("seed %d: part %d: got %q, want %q", seed, i, got[i], want[i])
			}
		}
		checkSevenBit(t, c, out)
	}
	if changed < 200 {
		t.Errorf("got %d of 400 messages changed, want 200 at least", changed)
	}
}

// checkSevenBit: no octet above 127 outside of headers, the same octets by every way of reading, and nothing left to do.
func checkSevenBit(t *testing.T, c smtp.Content, out string) {
	t.Helper()
	for line := range strings.SplitSeq(out, "\r\n") {
		if smtp.NeedsUTF8(line) && !strings.HasPrefix(line, "Subject: ") {
			t.Fatalf("got the line %q in %q, want ASCII", line, out)
		}
	}
	again(t, c)
	if len(out) < 1000 {
		if err := iotest.TestReader(smtp.NewReader(c), []byte(out)); err != nil {
			t.Fatal(err)
		}
	}
	for off := 0; off < len(out); off += 1 + len(out)/50 {
		p := make([]byte, min(9, len(out)-off))
		if n, err := c.ReadAt(p, int64(off)); n != len(p) || err != nil || string(p) != out[off:off+n] {
			t.Fatalf("at %d: got %q, %d, %v, want %q", off, p, n, err, out[off:off+len(p)])
		}
	}
}

// FuzzSevenBit: no input panics, and what comes out is whole, stable, and read by the standard library as before.
func FuzzSevenBit(f *testing.F) {
	for seed := range uint64(20) {
		f.Add([]byte(randomMessage(rand.New(rand.NewPCG(seed, 2)), 0)))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		c, _, err := smtp.SevenBit(bytes.NewReader(in))
		if err != nil {
			if r, ok := errors.AsType[*smtp.Reply](err); !ok || r.Enhanced.String() != "5.6.3" {
				t.Fatalf("got %v, want 5.6.3", err)
			}
			return
		}
		out := contentString(t, c)
		if twice, _, err := smtp.SevenBit(c); err != nil || contentString(t, twice) != out {
			t.Errorf("converted twice: got %q, error %v, want %q", contentString(t, twice), err, out)
		}
	})
}
