package beside

import (
	"bytes"
	"io"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/postrider/postrider/client/compose"
)

// job is a mail to compose.
type job struct {
	name, text string
	file       string // an attachment; if empty, there is none
}

// jobs are a text of 10 KiB, in ASCII and in German, and a short one with an attachment of 10 MB.
func jobs(tb testing.TB) []job {
	file := filepath.Join(tb.TempDir(), "large.bin")
	data := make([]byte, 10_000_000)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	const line = "The quick brown fox jumps over the lazy dog, and nobody has ever seen it.\n"
	const german = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich, jeden Tag.\n"
	return []job{
		{"ascii", strings.Repeat(line, 10<<10/len(line)), ""},
		{"german", strings.Repeat(german, 10<<10/len(german)), ""},
		{"attachment", "It is attached.\n", file},
	}
}

// composers are ours, then go-mail. Each composes a mail anew and writes it to w, as to a connection.
var composers = []struct {
	name    string
	compose func(j job, w io.Writer) error
}{
	{"postrider", composePostrider},
	{"go-mail", composeGoMail},
}

func composePostrider(j job, w io.Writer) error {
	m := &compose.Message{
		From: netmail.Address{Name: "Shop", Address: "shop@example.com"}, To: []netmail.Address{{Name: "Ann", Address: "ann@example.net"}},
		Subject: "Grüße", Text: j.text,
	}
	if j.file != "" {
		m.Attachments = []compose.File{{FS: os.DirFS(filepath.Dir(j.file)), Path: filepath.Base(j.file)}}
	}
	_, content, err := m.Compose()
	if err != nil {
		return err
	}
	_, err = content.WriteTo(w)
	return err
}

func composeGoMail(j job, w io.Writer) error {
	m := gomail.NewMsg()
	if err := m.FromFormat("Shop", "shop@example.com"); err != nil {
		return err
	}
	if err := m.AddToFormat("Ann", "ann@example.net"); err != nil {
		return err
	}
	m.Subject("Grüße")
	m.SetBodyString(gomail.TypeTextPlain, j.text)
	if j.file != "" {
		m.AttachFile(j.file)
	}
	_, err := m.WriteTo(w)
	return err
}

// writer hides what else a Writer can do, as a connection in TLS does.
type writer struct{ io.Writer }

// TestComposers checks that both compose the same text and file.
func TestComposers(t *testing.T) {
	for _, j := range jobs(t) {
		for _, c := range composers {
			var b bytes.Buffer
			if err := c.compose(j, writer{&b}); err != nil {
				t.Fatal(err)
			}
			m, err := netmail.ReadMessage(&b)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(m.Body)
			least := len(j.text)
			if j.file != "" {
				least = 10_000_000 * 4 / 3
			}
			if err != nil || len(body) < least {
				t.Errorf("%s, %s: got %d octets, %v; want at least %d", j.name, c.name, len(body), err, least)
			}
		}
	}
}

func BenchmarkCompose(b *testing.B) {
	for _, j := range jobs(b) {
		for _, c := range composers {
			b.Run(j.name+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := c.compose(j, writer{io.Discard}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run(j.name+"/ratio", func(b *testing.B) {
			var took [2]time.Duration
			for b.Loop() { // in turns, so that what else the machine does slows down both
				for i, c := range composers {
					begin := time.Now()
					if err := c.compose(j, writer{io.Discard}); err != nil {
						b.Fatal(err)
					}
					took[i] += time.Since(begin)
				}
			}
			b.ReportMetric(float64(took[1])/float64(took[0]), "go-mail/postrider")
		})
	}
}
