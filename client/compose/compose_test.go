package compose

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

// mustCompose composes m and reads the mail.
func mustCompose(t testing.TB, m *Message) (*smtp.Envelope, string) {
	t.Helper()
	env, c, err := m.Compose()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(smtp.NewReader(c))
	if err != nil || int64(len(b)) != c.Size() {
		t.Fatalf("got %d octets and %v, want %d", len(b), err, c.Size())
	}
	if err := env.Check(); err != nil {
		t.Fatal(err)
	}
	if facts, err := smtp.Scan(c); err != nil || facts != (smtp.Facts{EightBit: env.UTF8, HeaderUTF8: env.UTF8}) {
		t.Fatalf("got %+v, %v; want 7-bit and no long line", facts, err)
	}
	return env, string(b)
}

func simple() *Message {
	return &Message{
		From: mail.Address{Name: "Shop", Address: "shop@example.com"}, To: []mail.Address{{Address: "ann@example.net"}},
		Subject: "Your order", Text: "Thank you.\n",
	}
}

// names are display names, subjects and file names.
var names = []string{
	"Ann", "Ann B. Cole", `Ann "the" Cole`, `back\slash`, "Cole, Ann", "a@b.example", "<x>", "(comment)", "semi;colon",
	"O'Neil", "Zoë", "Ärger & Öl", "日本語の名前", "Имя Фамилия", "🙂 smile", "e\u0301 combined", "مرحبا", "a=?utf-8?q?b?=c",
	"=?utf-8?q?=0D=0ABcc:_x?=", "=?x", " led by a space", "ends in one ", "two  spaces", "100 %", "it's_under_score", "q?",
	strings.Repeat("long ", 30) + "end", strings.Repeat("x", 200), strings.Repeat("é", 120), strings.Repeat("長い", 30),
	strings.Repeat("many words ", 15) + "and one ü", "Résumé (final).pdf", "tab-less", "''quotes''", "%41.txt",
}

// texts are bodies.
var texts = []string{
	"", "Hello.\n", "Hello", "two\r\nlines\r\n", ".\n..\n.dot\n", "From me\nFrom you\n", "ends in spaces  \n\t\n", "Grüße\n",
	"日本語\n本文\n", "a\rb\n", "form\ffeed \x1b[1m\n", strings.Repeat("word ", 400) + "\n", strings.Repeat("x", 2000) + "\n",
	strings.Repeat("ü", 1000), strings.Repeat("=", 200) + "\n", "--\n--=_1\n-- \nAnn\n", "\n\n\n", strings.Repeat("line\n", 3000),
	strings.Repeat("0123456789", 8)[:78] + "\n", strings.Repeat("0123456789", 8)[:79] + "\n", "100 % = all\n",
	strings.Repeat("12345 ", 13) + "From here\n", strings.Repeat("1234567890 ", 7)[:75] + ".\n",
	strings.Repeat("é From . ", 40),
}

// matrix returns mails over names, texts, sizes and structures.
func matrix() []*Message {
	random := rand.New(rand.NewPCG(1, 2))
	sizes := []int{0, 1, 2, 3, 56, 57, 58, 113, 114, 115, 1000, 70_000}
	octets := func(n int) *bytes.Reader {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return bytes.NewReader(b)
	}
	var all []*Message
	for i := range max(len(names), len(texts)) {
		name, text := names[i%len(names)], texts[i%len(texts)]
		// go-message decodes what looks encoded, also in a parameter, where nothing is.
		file := strings.NewReplacer("/", "-", `\`, "-", "=?", "=").Replace(name)
		file = strings.ToValidUTF8(file[:min(len(file), 200)], "")
		for structure := range 8 {
			m := &Message{
				From: mail.Address{Name: name, Address: "shop@example.com"}, Subject: name, MessageID: fmt.Sprintf("%d.%d@example.com", i, structure),
				To:   []mail.Address{{Name: name, Address: "ann@example.net"}, {Address: "bob@example.net"}, {Name: names[(i+1)%len(names)], Address: "cy@bücher.example"}},
				Text: text,
			}
			if structure&1 != 0 {
				m.HTML = "<p>" + text + "<img src=\"cid:pic\"></p>\n"
				m.Text += "."
				m.Inline = []File{{Name: file, ContentID: "pic", ContentType: "image/png", Reader: octets(sizes[i%len(sizes)])}}
				m.Cc = []mail.Address{{Name: names[(i+2)%len(names)], Address: "c+c@example.net"}}
			}
			if structure&2 != 0 {
				m.Attachments = []File{
					{Name: file, ContentType: "application/pdf", Reader: octets(sizes[(i+structure)%len(sizes)])},
					{Name: "b.bin", ContentType: "application/x-b; v=\"1 2\"", Reader: octets(sizes[(i+5)%len(sizes)])},
				}
				m.ReplyTo = []mail.Address{{Name: name, Address: "answers@example.com"}}
				m.Sender = mail.Address{Name: name, Address: "robot@example.com"}
				m.Text += "."
			}
			if structure&4 != 0 {
				m.Calendar = &Calendar{Method: "REQUEST", Data: "BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nX-T:" + strings.ReplaceAll(name, "\n", "") + "\r\nEND:VCALENDAR\r\n"}
				m.Text += "."
			}
			all = append(all, m)
		}
	}
	return all
}

// TestReadBack: three readers read what was given.
func TestReadBack(t *testing.T) {
	for i, m := range matrix() {
		want := wanted(m)
		if len(want.Leaves) == 0 {
			want.Leaves = []leaf{{Kind: "text/plain"}} // a mail without any text
		}
		_, s := mustCompose(t, m)
		for reader, read := range map[string]func(string) (view, error){
			"strict": byStrict, "go-message": byGoMessage, "net/mail": byStandard,
		} {
			got, err := read(s)
			compare(t, fmt.Sprintf("mail %d, %s", i, reader), got, want, err)
		}
		if t.Failed() {
			t.Fatalf("%.3000s", s)
		}
	}
}

// TestDefaults: Date, Message-ID, the reverse-path and the recipients.
func TestDefaults(t *testing.T) {
	m := simple()
	m.From.Address = "shop@bücher.example"
	m.Bcc = []mail.Address{{Name: "Secret", Address: "secret@example.org"}, {Address: "ann@example.net"}}
	env, s := mustCompose(t, m)
	if strings.Contains(strings.ToLower(s), "secret") || strings.Contains(strings.ToLower(s), "bcc") {
		t.Errorf("got the Bcc in the mail:\n%s", s)
	}
	if env.From != "shop@xn--bcher-kva.example" || len(env.Recipients) != 2 || env.Recipients[1].Address != "secret@example.org" || env.UTF8 {
		t.Errorf("got the envelope %+v", env)
	}
	got, err := mail.ReadMessage(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	if date, err := got.Header.Date(); err != nil || time.Since(date).Abs() > time.Minute {
		t.Errorf("got the date %v, %v", date, err)
	}
	if id := got.Header.Get("Message-Id"); !strings.HasSuffix(id, "@xn--bcher-kva.example>") || len(id) < 40 {
		t.Errorf("got the Message-ID %s", id)
	}
	_, second := mustCompose(t, m)
	if second == s {
		t.Error("got the same Message-ID twice")
	}

	m = simple()
	m.To, m.Bcc = nil, []mail.Address{{Address: "secret@example.org"}}
	m.Sender.Address = "robot@example.com"
	env, s = mustCompose(t, m)
	if env.From != "robot@example.com" || !strings.Contains(s, "To: undisclosed-recipients:;\r\n") {
		t.Errorf("got from %s:\n%s", env.From, s)
	}
}

// TestHeader: the fields of a conversation and of a list.
func TestHeader(t *testing.T) {
	m := simple()
	m.Date = time.Date(2026, 12, 1, 9, 8, 7, 0, time.FixedZone("", 2*3600))
	m.MessageID, m.InReplyTo = "<17@example.com>", "16@example.com"
	m.ListID, m.FeedbackID = "weekly.news.example", "issue7:weekly::news"
	m.Header = []Field{{"X-Order", "17"}, {"X-Note", "Grüße"}, {"Auto-Submitted", "auto-generated"}}
	_, s := mustCompose(t, m)
	const want = "Date: Tue, 1 Dec 2026 09:08:07 +0200\r\n" +
		"From: Shop <shop@example.com>\r\nTo: <ann@example.net>\r\nSubject: Your order\r\nMessage-ID: <17@example.com>\r\n" +
		"In-Reply-To: <16@example.com>\r\nReferences: <16@example.com>\r\nList-Id: <weekly.news.example>\r\n" +
		"Feedback-ID: issue7:weekly::news\r\nX-Order: 17\r\nX-Note: =?utf-8?b?R3LDvMOfZQ==?=\r\n" +
		"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\nThank you.\r\n"
	if s != want {
		t.Errorf("got %q, want %q", s, want)
	}
	m.References = nil
	for i := range 200 {
		m.References = append(m.References, fmt.Sprintf("%d.a.long.id@example.com", i))
	}
	_, s = mustCompose(t, m)
	p, err := readStrict(s)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(p.get("References")); len(got) != 200 || got[199] != "<199.a.long.id@example.com>" {
		t.Errorf("got the references %q", got)
	}
	for line := range strings.Lines(s) {
		if len(line) > 80 {
			t.Errorf("got a line of %d octets: %s", len(line), line)
		}
	}
}

// TestFileHeader: a name beyond ASCII has the form of RFC 2231 and, for old programs, that of RFC 2047.
func TestFileHeader(t *testing.T) {
	m := simple()
	m.Attachments = []File{{Name: "Prüfung.pdf", Reader: strings.NewReader("x")}}
	_, s := mustCompose(t, m)
	const want = "Content-Type: application/pdf;\r\n name=\"=?utf-8?b?UHLDvGZ1bmcucGRm?=\"\r\nContent-Transfer-Encoding: base64\r\n" +
		"Content-Disposition: attachment; filename*=utf-8''Pr%C3%BCfung.pdf\r\n\r\neA==\r\n"
	if !strings.Contains(s, want) {
		t.Errorf("got %s, want %s", s, want)
	}
}

// TestUTF8: SMTPUTF8 is declared for an address that needs it and is in the header, and for no other.
func TestUTF8(t *testing.T) {
	m := simple()
	m.Bcc = []mail.Address{{Address: "jürgen@example.net"}}
	if env, s := mustCompose(t, m); env.UTF8 || !isASCII(s) {
		t.Errorf("Bcc: got UTF8 %t", env.UTF8)
	}
	m.Cc = []mail.Address{{Name: "Jürgen", Address: "jürgen@bücher.example"}}
	if env, s := mustCompose(t, m); !env.UTF8 || !strings.Contains(s, "=?utf-8?q?J=C3=BCrgen?= <jürgen@xn--bcher-kva.example>\r\n") {
		t.Errorf("Cc: got UTF8 %t: %s", env.UTF8, s)
	}
}

// TestInline: the IDs of pictures are unique, in HTML, too.
func TestInline(t *testing.T) {
	m := simple()
	m.HTML = `<img src="cid:logo.png"><b style="background:url(cid:logo.png)">say cid:logo.png</b><img src='cid:own@example.com'>`
	m.Inline = []File{
		{Name: "logo.png", Reader: strings.NewReader("x")},
		{Name: "b.png", ContentID: "own@example.com", Reader: strings.NewReader("x")},
	}
	_, s := mustCompose(t, m)
	p, err := readStrict(s)
	if err != nil {
		t.Fatal(err)
	}
	related := p.parts[1]
	id := strings.Trim(related.parts[1].get("Content-ID"), "<>")
	want := strings.NewReplacer(`"cid:logo.png"`, `"cid:`+id+`"`, `(cid:logo.png)`, `(cid:`+id+`)`).Replace(m.HTML) + "\r\n"
	if got := related.parts[0].body; got != want || !strings.HasPrefix(id, "logo.png@") || related.parts[2].get("Content-ID") != "<own@example.com>" {
		t.Errorf("got ID %s and %q, want %q", id, got, want)
	}
	if related.kind != "multipart/related" || related.params["type"] != "text/html" || p.parts[0].body != "Thank you.\r\n" {
		t.Errorf("got the structure %s of %v", related.kind, related.params)
	}
}
