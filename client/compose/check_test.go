package compose

import (
	"net/mail"
	"os"
	"strings"
	"testing"
	"time"
)

// TestCheck: the error names the field, and what to do.
func TestCheck(t *testing.T) {
	file := func(f File) func(*Message) {
		if f.FS == nil && f.Reader == nil {
			f.Reader = strings.NewReader("x")
		}
		return func(m *Message) { m.Attachments = []File{f} }
	}
	inline := func(files ...File) func(*Message) {
		for i := range files {
			files[i].Reader = strings.NewReader("x")
		}
		return func(m *Message) { m.HTML, m.Inline = "x", files }
	}
	for _, tt := range []struct {
		name   string
		change func(*Message)
		want   string // in the error; if empty, there is none
	}{
		{"nothing wrong", func(*Message) {}, ""},
		{"no author", func(m *Message) { m.From = mail.Address{} }, "From is empty"},
		{"no recipient", func(m *Message) { m.To = nil }, "To, Cc and Bcc are empty"},
		{"no address", func(m *Message) { m.To[0].Address = "" }, "To[0].Address"},
		{"no domain", func(m *Message) { m.Bcc = []mail.Address{{Address: "postmaster"}} }, `Bcc[0].Address "postmaster": it has no "@"`},
		{"an address in brackets", func(m *Message) { m.Cc = []mail.Address{{Address: "<a@b.example>"}} }, "Cc[0].Address"},
		{"two addresses in one", func(m *Message) { m.To[0].Address = "a@b.example, c@d.example" }, "To[0].Address"},
		{"a sender without an address", func(m *Message) { m.Sender.Name = "x" }, "Sender.Address"},
		{"a line feed", func(m *Message) { m.Subject = "a\nBcc: b" }, `Subject "a\nBcc: b" has the control character U+000A at octet 1`},
		{"a NUL", func(m *Message) { m.From.Name = "a\x00" }, "From.Name"},
		{"a tab", func(m *Message) { m.Subject = "a\tb" }, "U+0009"},
		{"a line separator", func(m *Message) { m.Subject = "a\u2028b" }, "U+2028"},
		{"a control of Unicode", func(m *Message) { m.Subject = "a\u0085b" }, "U+0085"},
		{"no UTF-8", func(m *Message) { m.Subject = "a\xff" }, "isn't UTF-8"},
		{"a long subject", func(m *Message) { m.Subject = strings.Repeat("x", 16385) }, "Subject has 16385 octets: at most 16384"},
		{"text that isn't UTF-8", func(m *Message) { m.Text = "\xff" }, "Text isn't UTF-8"},
		{"HTML that isn't UTF-8", func(m *Message) { m.HTML = "\xff" }, "HTML isn't UTF-8"},
		{"an early date", func(m *Message) { m.Date = time.Unix(-1e11, 0) }, "Date has the year"},
		{"an ID without a domain", func(m *Message) { m.MessageID = "17" }, "MessageID"},
		{"an ID with a space", func(m *Message) { m.InReplyTo = "1 7@a.example" }, "InReplyTo"},
		{"an ID with brackets inside", func(m *Message) { m.References = []string{"a@b>,<c@d"} }, "References[0]"},
		{"no ID", func(m *Message) { m.References = []string{""} }, "References[0] is empty"},
		{"an ID at a literal", func(m *Message) { m.MessageID = "a@[192.0.2.1]" }, ""},
		{"a list without a dot", func(m *Message) { m.ListID = "news" }, "ListID"},
		{"a list in brackets", func(m *Message) { m.ListID = "<a.b>" }, "ListID"},
		{"five feedback IDs", func(m *Message) { m.FeedbackID = "a:b:c:d:e" }, "FeedbackID"},
		{"a negative bound", func(m *Message) { m.MaxSize = -1 }, "MaxSize is -1"},
		{"a small bound", func(m *Message) { m.MaxSize = 10 }, "MaxSize is 10 octets, and the mail has "},
		{"a field of its own", func(m *Message) { m.Header = []Field{{"bcc", "a@b.example"}} }, `Header[0].Name "bcc"`},
		{"a field of MIME", func(m *Message) { m.Header = []Field{{"Content-Type", "x"}} }, `Header[0].Name "Content-Type"`},
		{"a name with a colon", func(m *Message) { m.Header = []Field{{"A:", "x"}} }, "Header[0].Name"},
		{"no name", func(m *Message) { m.Header = []Field{{"", "x"}} }, "Header[0].Name"},
		{"no value", func(m *Message) { m.Header = []Field{{"A", ""}} }, "Header[0].Value is empty"},
		{"a value with a long word", func(m *Message) { m.Header = []Field{{"A", strings.Repeat("x", 901)}} }, "Header[0].Value (A) has a word of over 900"},
		{"an odd ID of others", func(m *Message) { m.InReplyTo = `<"a;b"[1]@c@d>` }, ""},
		{"a value of two lines", func(m *Message) { m.Header = []Field{{"A", "x\r\nB: y"}} }, "Header[0].Value (A)"},
		{"no file", func(m *Message) { m.Attachments = []File{{Name: "a"}} }, "Attachments[0].FS and Reader are nil"},
		{"two files", file(File{Name: "a", FS: os.DirFS("."), Reader: strings.NewReader("")}), "Attachments[0].FS and Reader are set"},
		{"a path without FS", file(File{Path: "a"}), "Attachments[0].Path"},
		{"an absolute path", file(File{FS: os.DirFS("/"), Path: "/etc/hosts"}), `Attachments[0].Path "/etc/hosts": want one within FS`},
		{"a path out of FS", file(File{FS: os.DirFS("."), Path: "../a"}), `Attachments[0].Path "../a": want one within FS`},
		{"a missing file", file(File{FS: os.DirFS("."), Path: "none"}), "Attachments[0]: open none"},
		{"a directory", file(File{FS: os.DirFS("."), Path: "testdata"}), "Attachments[0]: testdata isn't a regular file"},
		{"a file without a name", file(File{}), "Attachments[0].Name is empty"},
		{"a path as a name", file(File{Name: "../a"}), "Attachments[0].Name"},
		{"a backslash in a name", file(File{Name: `a\b`}), "Attachments[0].Name"},
		{"a long name", file(File{Name: strings.Repeat("x", 256)}), "has 256 octets"},
		{"a name of two lines", file(File{Name: "a\nb"}), "Attachments[0].Name"},
		{"no type", file(File{Name: "a", ContentType: "png"}), "Attachments[0].ContentType"},
		{"a multipart", file(File{Name: "a", ContentType: "multipart/mixed; boundary=x"}), "Attachments[0].ContentType"},
		{"a message", file(File{Name: "a", ContentType: "Message/RFC822"}), "Attachments[0].ContentType"},
		{"a type of two lines", file(File{Name: "a", ContentType: "a/b\r\nX: y"}), "Attachments[0].ContentType"},
		{"a mail by its extension", file(File{Name: "a.eml"}), ""},
		{"an attachment with an ID", file(File{Name: "a", ContentID: "a"}), "Attachments[0].ContentID is set"},
		{"a picture without HTML", func(m *Message) { m.Inline = []File{{Name: "a", Reader: strings.NewReader("")}} }, "Inline has files that nothing shows"},
		{"an ID with a space in a picture", inline(File{Name: "a b"}), "Inline[0].ContentID"},
		{"an ID with brackets in a picture", inline(File{Name: "a", ContentID: "<a>"}), "Inline[0].ContentID"},
		{"two pictures with one ID", inline(File{Name: "a"}, File{Name: "b", ContentID: "a"}), `Inline[1].ContentID "a"`},
		{"no such picture", func(m *Message) { m.HTML = `<img src="cid:logo">` }, "HTML shows cid:logo, and no file"},
		{"no method", func(m *Message) { m.Calendar = &Calendar{Data: "BEGIN:VCALENDAR\n"} }, "Calendar.Method"},
		{"a method of two lines", func(m *Message) { m.Calendar = &Calendar{Method: "REQUEST\r\nX: y"} }, "Calendar.Method"},
		{"no calendar", func(m *Message) { m.Calendar = &Calendar{Method: "REQUEST", Data: "x"} }, "Calendar.Data begins with"},
		{"another method", func(m *Message) {
			m.Calendar = &Calendar{Method: "REQUEST", Data: "BEGIN:VCALENDAR\nMETHOD:CANCEL\nEND:VCALENDAR\n"}
		}, `the METHOD in Data is "CANCEL"`},
		{"a link for two", func(m *Message) { m.Unsubscribe, m.To = unsubscriber(), append(m.To, m.To[0]) }, "Unsubscribe is set"},
		{"a link without keys", func(m *Message) { m.Unsubscribe = &Unsubscribe{URL: "https://a.example/"} }, "Unsubscribe.Keys is empty"},
		{"two links", func(m *Message) {
			m.Unsubscribe, m.Header = unsubscriber(), []Field{{"List-Unsubscribe", "<https://a.example>"}}
		}, "Header[0].Name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := simple()
			tt.change(m)
			env, c, err := m.Compose()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), "compose: Message.") || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && (env != nil || c != nil) {
				t.Error("got a mail with the error")
			}
		})
	}
}
