package compose

import (
	"io"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// planted are the values of all fields of a header, one at a time.
var planted = []struct {
	field string
	set   func(m *Message, v string)
	// read returns what a strict reader finds in its place. If nil, the field is an ID or the like, and whole is the
	// line or a part of one that must be in the mail.
	read func(p *strictPart, v string) (string, error)
}{
	{"From.Name", func(m *Message, v string) { m.From.Name = v }, nameIn("From")},
	{"Sender.Name", func(m *Message, v string) { m.Sender = mail.Address{Name: v, Address: "s@example.com"} }, nameIn("Sender")},
	{"ReplyTo[0].Name", func(m *Message, v string) { m.ReplyTo = []mail.Address{{Name: v, Address: "s@example.com"}} }, nameIn("Reply-To")},
	{"To[0].Name", func(m *Message, v string) { m.To[0].Name = v }, nameIn("To")},
	{"Cc[0].Name", func(m *Message, v string) { m.Cc = []mail.Address{{Name: v, Address: "s@example.com"}} }, nameIn("Cc")},
	{"To[0].Address", func(m *Message, v string) { m.To[0].Address = v }, addressIn("To")},
	{"From.Address", func(m *Message, v string) { m.From.Address = v }, addressIn("From")},
	{"Subject", func(m *Message, v string) { m.Subject = v }, func(p *strictPart, _ string) (string, error) { return readWords(p.get("Subject")) }},
	{"MessageID", func(m *Message, v string) { m.MessageID = v }, idIn("Message-ID")},
	{"InReplyTo", func(m *Message, v string) { m.InReplyTo = v }, idIn("In-Reply-To")},
	{"References[0]", func(m *Message, v string) { m.References = []string{v} }, idIn("References")},
	{"ListID", func(m *Message, v string) { m.ListID = v }, idIn("List-Id")},
	{"FeedbackID", func(m *Message, v string) { m.FeedbackID = v }, func(p *strictPart, _ string) (string, error) { return p.get("Feedback-ID"), nil }},
	{"Header[0].Value", func(m *Message, v string) { m.Header = []Field{{"X-Value", v}} },
		func(p *strictPart, _ string) (string, error) { return readWords(p.get("X-Value")) }},
	{"Header[0].Name", func(m *Message, v string) { m.Header = []Field{{v, "x"}} }, func(p *strictPart, v string) (string, error) {
		i := slices.IndexFunc(p.fields, func(f Field) bool { return f.Name == v && f.Value == "x" })
		return p.fields[max(i, 0)].Name, nil
	}},
	{"Attachments[0].Name", func(m *Message, v string) { m.Attachments = files(File{Name: v}) }, func(p *strictPart, _ string) (string, error) {
		_, params, err := readParams(p.parts[1].get("Content-Disposition"))
		return params["filename"], err
	}},
	{"Attachments[0].ContentType", func(m *Message, v string) { m.Attachments = files(File{Name: "a", ContentType: `a/b; x="` + v + `"`}) }, nil},
	{"Attachments[0].ContentType", func(m *Message, v string) { m.Attachments = files(File{Name: "a", ContentType: v}) }, nil},
	{"Inline[0].ContentID", func(m *Message, v string) {
		m.HTML, m.Inline = "x", files(File{Name: "a", ContentID: v})
	}, func(p *strictPart, v string) (string, error) {
		id := strings.Trim(p.parts[1].parts[1].get("Content-ID"), "<>")
		if v == "" {
			return "", nil // it is the name
		}
		return id[:min(len(id), len(v))], nil
	}},
	{"Inline[0].Name", func(m *Message, v string) {
		m.HTML, m.Inline = "x", files(File{Name: v, ContentID: "a"})
	}, func(p *strictPart, _ string) (string, error) {
		_, params, err := readParams(p.parts[1].parts[1].get("Content-Disposition"))
		return params["filename"], err
	}},
	{"Calendar.", func(m *Message, v string) {
		m.Calendar = &Calendar{v, "BEGIN:VCALENDAR\nMETHOD:" + v + "\nEND:VCALENDAR\n"}
	},
		func(p *strictPart, _ string) (string, error) { return p.parts[1].params["method"], nil }},
	{"Unsubscribe.Mailto", func(m *Message, v string) {
		m.Unsubscribe = unsubscriber()
		m.Unsubscribe.Mailto = v
	}, func(p *strictPart, v string) (string, error) {
		_, after, _ := strings.Cut(p.get("List-Unsubscribe"), ", <mailto:")
		address, _, _ := strings.Cut(after, "?")
		return address, nil
	}},
	{"Unsubscribe.URL", func(m *Message, v string) {
		m.Unsubscribe = &Unsubscribe{URL: "https://a.example/" + v, Keys: testKeys}
	}, nil},
}

func files(f File) []File {
	f.Reader = strings.NewReader("x")
	return []File{f}
}

func nameIn(field string) func(*strictPart, string) (string, error) {
	return func(p *strictPart, _ string) (string, error) {
		all, err := readAddresses(p.get(field))
		if err != nil || len(all) != 1 {
			return "", err
		}
		return all[0][0], nil
	}
}

func addressIn(field string) func(*strictPart, string) (string, error) {
	return func(p *strictPart, v string) (string, error) {
		all, err := readAddresses(p.get(field))
		if err != nil || len(all) != 1 {
			return "", err
		}
		if ascii, _ := smtp.ASCIIAddress(v); all[0][1] == ascii {
			return v, nil
		}
		return all[0][1], nil
	}
}

func idIn(field string) func(*strictPart, string) (string, error) {
	return func(p *strictPart, v string) (string, error) {
		if id := p.get(field); v == "" || id == "<"+bare(v)+">" {
			return v, nil
		}
		return p.get(field), nil
	}
}

// plant puts v into each field in turn. It is an error that names the field, or a strict reader reads v there, and
// finds the fields, parts and recipients that the mail has without it.
func plant(t *testing.T, v string) {
	for _, at := range planted {
		m := simple()
		at.set(m, v)
		env, c, err := m.Compose()
		if err != nil {
			field, _, _ := strings.Cut(at.field, ".")
			if !strings.HasPrefix(err.Error(), "compose: Message.") || !strings.Contains(err.Error(), strings.TrimSuffix(field, "[0]")) {
				t.Errorf("%s = %q: got %v, which doesn't name the field", at.field, v, err)
			}
			continue
		}
		b, err := io.ReadAll(smtp.NewReader(c))
		if err != nil {
			t.Fatal(err)
		}
		if env.UTF8 { // for an address only, which the strict reader doesn't take
			if !strings.HasSuffix(at.field, ".Address") || !strings.Contains(string(b), v[:strings.LastIndex(v, "@")]) {
				t.Errorf("%s = %q: got SMTPUTF8", at.field, v)
			}
			continue
		}
		p, err := readStrict(string(b))
		if err != nil {
			t.Errorf("%s = %q: %v\n%s", at.field, v, err, b)
			continue
		}
		for _, f := range p.fields {
			if name := strings.ToLower(f.Name); !strings.Contains(known, " "+name+" ") && !(at.field == "Header[0].Name" && f.Name == v) {
				t.Errorf("%s = %q: got a field %s\n%s", at.field, v, f.Name, b)
			}
		}
		if len(p.parts) > 2 || len(env.Recipients) > 2 {
			t.Errorf("%s = %q: got %d parts and %d recipients\n%s", at.field, v, len(p.parts), len(env.Recipients), b)
		}
		if at.read == nil {
			continue
		}
		if got, err := at.read(p, v); got != v || err != nil {
			t.Errorf("%s: got %q, %v; want %q\n%s", at.field, got, err, v, b)
		}
	}
}

const known = " date from sender reply-to to cc subject message-id in-reply-to references list-id list-unsubscribe " +
	"list-unsubscribe-post feedback-id x-value mime-version content-type content-transfer-encoding content-disposition content-id "

// TestInjection: what is meant to begin a field, a part or a recipient.
func TestInjection(t *testing.T) {
	for _, v := range slices.Concat(names, []string{
		"", "a\r\nBcc: evil@example.org", "a\nBcc: evil@example.org", "a\rBcc: x", "a\r\n\r\nbody", "a\x00b", "\n", "a\x0bb", "a\x85b",
		"a\u2028Bcc: x", "a\x7f", "a@b.example>, <c@d.example", "a@b.example\r\nX: y", `"@b.example`, `"a\"@b.example`, "a@b.example",
		`"a b"@b.example`, "jürgen@bücher.example", "x@b", "a/b", "text/html", "text/plain; charset=utf-8", `a/b; c="d"`, "a/b; boundary=x",
		"a:b:c:d", "<a@b>", "X-Own", "X-Own:", "Bcc", "REQUEST", "REQUEST;x=y", "u@example.com?bcc=x", "?bcc=x&u=y", "#x", "%0d%0aBcc:x",
		"weekly.news.example", "a; filename=b", `a"; filename="b`, `a"; x="y`, "''x", "utf-8''x", strings.Repeat(" ", 1000) + "x", "x" + strings.Repeat(" ", 1000),
		"x" + strings.Repeat(" ", 1000) + "y", strings.Repeat("=?", 300), strings.Repeat("\u0300", 500), strings.Repeat("é ", 300),
	}) {
		plant(t, v)
	}
}

func FuzzInjection(f *testing.F) {
	for _, v := range append(names, "a\r\nBcc: b", "a@b.example", "a/b; c=d", "X-Own", "a\x00", "=?utf-8?b?DQo=?=") {
		f.Add(v)
	}
	f.Fuzz(plant)
}
