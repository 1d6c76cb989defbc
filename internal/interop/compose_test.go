package interop

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
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

const rspamdRulesConf = `
.include "$CONFDIR/common.conf"
options {
  pidfile = "%[1]s/pid";
  disable_hyperscan = true;
  tempdir = "%[1]s";
  dns { nameserver = ["127.0.0.1:1"]; timeout = 0.1; retransmits = 1; }
}
logging { type = "file"; filename = "%[1]s/log"; level = "info"; }
worker "normal" { bind_socket = "127.0.0.1:%[2]s"; count = 1; }
`

// rspamdRules starts an rspamd with all its rules, without DNS, and returns where it checks mails.
func rspamdRules(t *testing.T) (url string) {
	t.Helper()
	needRoot(t)
	need(t, "rspamd")
	uid, gid := account(t, "_rspamd")
	dir, port := t.TempDir(), freePort(t)
	mkdirs(t, uid, gid, dir, filepath.Join(dir, "db"))
	open(t, dir)
	write(t, filepath.Join(dir, "conf"), fmt.Sprintf(rspamdRulesConf, dir, port))
	startServer(t, filepath.Join(dir, "log"), "rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd",
		"-c", filepath.Join(dir, "conf"), "--var", "DBDIR="+filepath.Join(dir, "db"), "--var", "RUNDIR="+dir)
	waitPort(t, port)
	return "http://127.0.0.1:" + port + "/checkv2"
}

// TestComposedScore: no rule of rspamd holds anything against mails of each kind. It does against a mail without a form.
func TestComposedScore(t *testing.T) {
	url := rspamdRules(t)
	const greeting = "Hello Ann,\n\nyour order is on its way. It will arrive on Thursday.\n\nGrüße\n"
	plain := func() *compose.Message {
		return &compose.Message{
			From: netmail.Address{Name: "Müller’s Shop", Address: "shop@example.com"}, To: []netmail.Address{{Name: "Ann Cole", Address: "ann@example.net"}},
			Subject: "Your order 17 is on its way", Text: greeting,
		}
	}
	html := plain()
	html.Text, html.HTML = "", `<html><body><p>Hello Ann, your order is on its way. Grüße! <img src="cid:logo.png" alt="The Shop"></p></body></html>`
	html.Inline = []compose.File{{Name: "logo.png", Reader: strings.NewReader(pixel)}}
	html.Attachments = []compose.File{{Name: "Prüfung 17.pdf", Reader: strings.NewReader("%PDF-1.4\n")}}
	news := plain()
	news.Text, news.HTML = "", `<p>Hello Ann, here is <a href="https://news.example.com/">the news</a>.</p>`
	news.Subject = "Grüße: die Neuigkeiten aus unserem Laden in der Woche vor Weihnachten"
	news.ListID, news.FeedbackID = "weekly.example.com", "a:b:c:shop"
	news.Unsubscribe = &compose.Unsubscribe{URL: "https://news.example.com/leave", Keys: [][]byte{make([]byte, 32)}}
	meeting := plain()
	meeting.HTML = "<p>" + greeting + "</p>"
	meeting.Calendar = &compose.Calendar{Method: "REQUEST", Data: "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//x//x//EN\nMETHOD:REQUEST\nBEGIN:VEVENT\n" +
		"UID:1@example.com\nDTSTAMP:20261201T080000Z\nDTSTART:20261203T080000Z\nSUMMARY:Tea\nEND:VEVENT\nEND:VCALENDAR\n"}
	asian := plain()
	asian.Subject, asian.Text = "ご注文17について", strings.Repeat("ご注文の商品を発送しました。", 20)+"\n"
	for name, m := range map[string]*compose.Message{"plain": plain(), "html": html, "news": news, "meeting": meeting, "asian": asian} {
		t.Run(name, func(t *testing.T) {
			_, content, err := m.Compose()
			if err != nil {
				t.Fatal(err)
			}
			if got := heldAgainst(t, url, smtp.NewReader(content)); len(got) > 0 {
				t.Errorf("got %v, want nothing", got)
			}
		})
	}
	if got := heldAgainst(t, url, strings.NewReader("Subject: x\r\n\r\nGrüße\r\n")); got["MISSING_FROM"] == 0 || got["MISSING_DATE"] == 0 {
		t.Errorf("without fields: got %v, want MISSING_FROM and MISSING_DATE", got)
	}
}

// heldAgainst returns the rules that add to the score of a mail.
func heldAgainst(t *testing.T, url string, mail io.Reader) map[string]float64 {
	t.Helper()
	resp, err := http.Post(url, "message/rfc822", mail)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Symbols map[string]struct{ Score float64 }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || len(answer.Symbols) == 0 {
		t.Fatalf("got %v, %v", answer, err)
	}
	rules := make(map[string]float64)
	for name, symbol := range answer.Symbols {
		if symbol.Score > 0 && !strings.HasPrefix(name, "HFILTER_") { // those are about the client's name in the DNS
			rules[name] = symbol.Score
		}
	}
	return rules
}

// pixel is a picture.
const pixel = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89\x00\x00\x00\rIDATx\x9cc\xf8" +
	"\xcf\xc0\xf0\x1f\x00\x05\x00\x01\xff\x89\x99=\x1d\x00\x00\x00\x00IEND\xaeB`\x82"
