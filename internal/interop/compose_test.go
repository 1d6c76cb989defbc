package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	netmail "net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/client/compose"
	"github.com/postrider/postrider/smtp"
)

// readMail is a mail as a program reads it.
type readMail struct {
	Name, Subject string
	Addresses     map[string][][2]string
	Leaves        []readLeaf
}

type readLeaf struct {
	Kind, Name, ID, Method string
	Body                   string // the SHA-256 in hexadecimal; that of a text is with "\n"
	Defects                string
}

// words are names and subjects.
var words = []string{
	"Ann", `Ann "the" Cole`, "Cole, Ann; (x) <y> @z", "Zoë", "日本語の名前", "Имя Фамилия", "🙂 smile", "مرحبا", "100 % =20 it's_under_score?",
	"two  spaces", strings.Repeat("long ", 30) + "end", strings.Repeat("é", 120), strings.Repeat("長い", 40),
	strings.Repeat("many words ", 15) + "and one ü", strings.Repeat("ü many words ", 15) + "end", `back\slash`,
}

// composed are mails over words, texts, sizes and structures, and what is to be read.
func composed() (mails []*compose.Message, want []readMail) {
	texts := []string{
		"Hello.\n", ".\n..\nFrom me\nends in spaces  \n", "Grüße\n", "日本語\n本文\n", strings.Repeat("word ", 400) + "\n", strings.Repeat("ü", 1000) + "\n",
		strings.Repeat("=", 200) + "\n", "--\n-- \nAnn\n", strings.Repeat("line\n", 3000), strings.Repeat("é From . ", 40) + "\n",
	}
	for i, word := range words {
		for structure := range 8 {
			text := texts[(i+structure)%len(texts)]
			m := &compose.Message{
				From: netmail.Address{Name: word, Address: "shop@example.com"}, Subject: word,
				To: []netmail.Address{{Name: word, Address: "ann@example.net"}, {Address: "bob@example.net"}, {Name: words[(i+1)%len(words)], Address: "cy@example.net"}},
			}
			m.Text, m.Date = text, time.Date(2026, 12, 1, 9, 8, 7, 0, time.UTC)
			w := readMail{Name: fmt.Sprintf("%03d-%d", i, structure), Subject: word, Addresses: map[string][][2]string{
				"From": {{word, "shop@example.com"}}, "Cc": {}, "Reply-To": {},
				"To": {{word, "ann@example.net"}, {"", "bob@example.net"}, {words[(i+1)%len(words)], "cy@example.net"}},
			}}
			leaf := func(kind, name, id, method, body string) {
				sum := sha256.Sum256([]byte(body))
				w.Leaves = append(w.Leaves, readLeaf{kind, name, id, method, hex.EncodeToString(sum[:]), ""})
			}
			file := func(kind, id string, size int) compose.File {
				name := strings.NewReplacer("/", "-", `\`, "-").Replace(word)
				body := strings.Repeat("\x00\xff\r\n\x1a", size)[:size]
				leaf(kind, name, id, "", body)
				return compose.File{Name: name, ContentType: kind, ContentID: id, Reader: strings.NewReader(body)}
			}
			leaf("text/plain", "", "", "", text)
			if structure&1 != 0 {
				m.HTML = "<p>" + text + "</p>\n"
				leaf("text/html", "", "", "", m.HTML)
				m.Inline = []compose.File{file("image/png", "pic", 57*i)}
			}
			if structure&4 != 0 {
				m.Calendar = &compose.Calendar{Method: "REQUEST", Data: "BEGIN:VCALENDAR\nMETHOD:REQUEST\nX:" + word + "\nEND:VCALENDAR\n"}
				leaf("text/calendar", "", "", "REQUEST", m.Calendar.Data)
			}
			if structure&2 != 0 {
				m.Attachments = []compose.File{file("application/pdf", "", 1000*i+structure)}
				m.Cc = []netmail.Address{{Name: word, Address: "cc@example.net"}}
				m.ReplyTo = m.Cc
				w.Addresses["Cc"], w.Addresses["Reply-To"] = [][2]string{{word, "cc@example.net"}}, [][2]string{{word, "cc@example.net"}}
			}
			mails, want = append(mails, m), append(want, w)
		}
	}
	return mails, want
}

// TestComposed: Python's email and Perl's MIME::Parser read what a program has composed.
func TestComposed(t *testing.T) {
	mails, want := composed()
	dir := t.TempDir()
	for i, m := range mails {
		_, content, err := m.Compose()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(smtp.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, want[i].Name), string(b))
	}
	for _, reader := range []struct{ program, script string }{{python, "read_mails.py"}, {"perl", "read_mails.pl"}} {
		t.Run(reader.program, func(t *testing.T) {
			need(t, reader.program)
			if reader.program == "perl" && exec.Command("perl", "-MMIME::Parser", "-e", "").Run() != nil {
				missing(t, "Perl's MIME::Parser isn't installed")
			}
			cmd := exec.Command(reader.program, "testdata/"+reader.script, dir)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			_, want := composed()
			lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
			if len(lines) != len(want) {
				t.Fatalf("got %d mails, want %d", len(lines), len(want))
			}
			for i, line := range lines {
				var got readMail
				if err := json.Unmarshal(line, &got); err != nil {
					t.Fatal(err)
				}
				if reader.program == python {
					pythonNames(got.Addresses, want[i].Addresses)
				}
				if !reflect.DeepEqual(got, want[i]) {
					t.Errorf("got  %+v\nwant %+v", got, want[i])
				}
			}
		})
	}
}

// pythonNames takes the spaces out of names of several encoded-words: Python 3.11 reads one between two of them.
func pythonNames(lists ...map[string][][2]string) {
	for _, list := range lists {
		for _, addresses := range list {
			for i, a := range addresses {
				if len(a[0]) > 45 {
					addresses[i][0] = strings.ReplaceAll(a[0], " ", "")
				}
			}
		}
	}
}
