package bounce

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// someMails returns the samples, the golden reports, and the mails of the corpus if there is one.
func someMails(tb testing.TB) map[string][]byte {
	tb.Helper()
	paths := samples(tb)
	more, _ := filepath.Glob(filepath.Join("testdata", "*.eml"))
	paths = append(paths, more...)
	dir := os.Getenv("POSTRIDER_BOUNCES")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "corpora", "bounces")
	}
	corpus, _ := filepath.Glob(filepath.Join(dir, "mail", "*.eml"))
	paths = append(paths, corpus...)
	mails := make(map[string][]byte)
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		mails[path] = b
	}
	return mails
}

// TestLineEnds: a mail reads alike with CRLF, LF and CR, and however few octets come at once.
func TestLineEnds(t *testing.T) {
	for path, mail := range someMails(t) {
		lf := bytes.ReplaceAll(bytes.ReplaceAll(mail, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
		want := show(parseBytes(t, lf))
		for name, end := range map[string]string{"CRLF": "\r\n", "CR": "\r"} {
			if got := show(parseBytes(t, bytes.ReplaceAll(lf, []byte("\n"), []byte(end)))); got != want {
				t.Errorf("%s: got with %s\n%s\nwant as with LF\n%s", path, name, got, want)
			}
		}
		if len(mail) > 4<<10 {
			continue
		}
		n, err := Parse(iotest.OneByteReader(bytes.NewReader(mail)))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := show(n), show(parseBytes(t, mail)); got != want {
			t.Errorf("%s: got by single octets\n%s\nwant\n%s", path, got, want)
		}
	}
}

// hostile are mails that grow with n. Each once was, or may become, slow.
var hostile = map[string]func(n int) string{
	"folded field": func(n int) string { return "Subject: a\n" + strings.Repeat(" x\n", n) + "\nbody\n" },
	"fields":       func(n int) string { return strings.Repeat("X-Failed-Recipients: a@b.test\n", n) + "\nbody\n" },
	"one line":     func(n int) string { return "Subject: a\n\n" + strings.Repeat("a@b.test ", n) },
	"ats":          func(n int) string { return mailer + strings.Repeat("@", 10*n) },
	"local part":   func(n int) string { return mailer + strings.Repeat("a", 10*n) + "@b.test\n" },
	"lines":        func(n int) string { return mailer + strings.Repeat("<a@b.test>:\n550 user unknown\n", n) },
	"recipients": func(n int) string {
		b := []byte(mailer)
		for i := range n {
			b = fmt.Appendf(b, "<a%d@b.test>:\n550 user unknown\n", i)
		}
		return string(b)
	},
	"addresses":     func(n int) string { return mailer + strings.Repeat("to a@b.test\n", n) },
	"transcript":    func(n int) string { return mailer + strings.Repeat(">>> RCPT TO:<a@b.test>\n<<< 550 no\n", n) },
	"empty lines":   func(n int) string { return mailer + strings.Repeat("\n", 10*n) },
	"carriage ends": func(n int) string { return mailer + strings.Repeat("a\r", 10*n) },
	"codes":         func(n int) string { return mailer + "<a@b.test>: " + strings.Repeat("550 ", n) },
	"multiparts": func(n int) string {
		return strings.Repeat("Content-Type: multipart/mixed; boundary=a\n\n--a\n", n)
	},
	"parts":      func(n int) string { return reportTo + strings.Repeat("\n--a\n\nx\n", n) },
	"boundaries": func(n int) string { return reportTo + strings.Repeat("--b\n", n) },
	"groups": func(n int) string {
		return reportTo + "--a\nContent-Type: message/delivery-status\n\n" + strings.Repeat("Final-Recipient: rfc822; a@b.test\nAction: failed\n\n", n)
	},
	"group without end": func(n int) string {
		return reportTo + "--a\nContent-Type: message/delivery-status\n\nFinal-Recipient: x@y.test\n" + strings.Repeat("X: y\n\n", n)
	},
	"html":          func(n int) string { return mailerHTML + strings.Repeat("<p>a@b.test<script>", n) },
	"html comments": func(n int) string { return mailerHTML + strings.Repeat("<!--<", n) },
	"base64":        func(n int) string { return "Content-Transfer-Encoding: base64\n" + mailer + strings.Repeat("YQ==", n) },
	"unitext": func(n int) string {
		return reportTo + "--a\nContent-Type: message/delivery-status\n\nFinal-Recipient: utf-8; a" + strings.Repeat(`\x{`, n) + "@b\n"
	},
	"encoded words": func(n int) string { return "Subject: " + strings.Repeat("=?utf-8?Q?a?= ", n) + "\n\nx\n" },
	"parameters":    func(n int) string { return "Content-Type: multipart/mixed; " + strings.Repeat("a=\";", n) + "\n\nx\n" },
	"original": func(n int) string {
		return reportTo + "--a\nContent-Type: message/rfc822\n\nSubject: x\n\n" + strings.Repeat("line\n", 10*n)
	},
	"json": func(n int) string { return "Subject: a\n\n{\"notificationType\":" + strings.Repeat("[", n) },
}

const (
	mailer     = "From: MAILER-DAEMON@a.test\nReturn-Path: <>\nSubject: failure notice\n\nDelivery failed.\n"
	mailerHTML = "From: MAILER-DAEMON@a.test\nReturn-Path: <>\nContent-Type: text/html\n\nDelivery failed.\n"
	reportTo   = "From: MAILER-DAEMON@a.test\nContent-Type: multipart/report; boundary=a\n\n"
)

// steps returns the work that a mail makes.
func steps(tb testing.TB, mail string) int {
	tb.Helper()
	d, err := readDocument(strings.NewReader(mail))
	if err != nil {
		tb.Fatal(err)
	}
	d.notification()
	return d.work
}

// TestWork: a mail ten times as long costs at most twelve times as much.
func TestWork(t *testing.T) {
	for name, mail := range hostile {
		t.Run(name, func(t *testing.T) {
			for _, n := range []int{100, 1000} {
				one, ten := steps(t, mail(n)), steps(t, mail(10*n))
				if ten > 12*one {
					t.Errorf("got %d steps for n = %d, and %d for ten times that", one, n, ten)
				}
			}
		})
	}
}

// TestMemory: an original of 50 MB isn't held, and no mail makes Parse allocate more than a fixed amount.
func TestMemory(t *testing.T) {
	const limit = 24 << 20 // all that is allocated, garbage included
	check := func(name string, r io.Reader) {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			if _, err := Parse(r); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if got := after.TotalAlloc - before.TotalAlloc; got > limit {
				t.Errorf("got %d octets allocated, want at most %d", got, limit)
			}
		})
	}
	const whole, some = 50 << 20, 4 << 20
	for name, mail := range hostile {
		r := io.MultiReader(strings.NewReader(mail(20_000)), io.LimitReader(newRepeat("line of a long mail\r\n"), 1<<20))
		check(name, r)
	}
	for name, line := range map[string]string{
		"lines": strings.Repeat("line ", 14) + "\r\n", "one line": "x", "base64": "YWFh\n", "CR": "x\r",
	} {
		size := int64(some)
		if name == "lines" || name == "one line" {
			size = whole
		}
		start := reportTo + "--a\nContent-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b.test\nAction: failed\n\n" +
			"--a\nContent-Type: message/rfc822\n\nMessage-ID: <a@b>\n\n"
		check("original of "+name, io.MultiReader(strings.NewReader(start), io.LimitReader(newRepeat(line), size)))
	}
}

// repeat is an endless reader of a string.
type repeat struct {
	block []byte
	at    int
}

func newRepeat(s string) *repeat { return &repeat{block: bytes.Repeat([]byte(s), 1+32<<10/len(s))} }

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.block[r.at:])
	r.at = (r.at + n) % len(r.block)
	return n, nil
}

// TestReadError: an error of the reader is that of Parse, and no notification is returned.
func TestReadError(t *testing.T) {
	r := io.MultiReader(strings.NewReader(mailer), iotest.ErrReader(iotest.ErrTimeout))
	if n, err := Parse(r); n != nil || !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("got %v, %v, want the error of the reader", n, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, path := range samples(f) {
		b, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, mail := range hostile {
		f.Add([]byte(mail(3)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		n := parseBytes(t, b)
		if n.Kind == Bounce && len(n.Recipients) == 0 || n.Kind == NotABounce && len(n.Recipients) > 0 {
			t.Errorf("got %v with %d recipients", n.Kind, len(n.Recipients))
		}
		if len(n.Recipients) > maxRecipients || len(n.OriginalHeader) > 2*maxOriginal {
			t.Errorf("got %d recipients, a header of %d octets", len(n.Recipients), len(n.OriginalHeader))
		}
		for _, r := range n.Recipients {
			if r.Address == "" || len(r.Address) > maxToken || len(r.Text) > 2*maxWords || strings.ContainsAny(r.Address, "\r\n\x00") {
				t.Errorf("got the recipient %q with %d octets of text", r.Address, len(r.Text))
			}
			if r.Hard && (r.Action != Failed || !r.Reason.Hard()) {
				t.Errorf("got %+v, hard", r)
			}
		}
		lf := bytes.ReplaceAll(bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
		if got, want := show(parseBytes(t, bytes.ReplaceAll(lf, []byte("\n"), []byte("\r\n")))), show(parseBytes(t, lf)); got != want {
			t.Errorf("got with CRLF\n%s\nwant\n%s", got, want)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, name := range []string{"rfc3464", "qmail", "exim", "vacation", "none-discussed"} {
		b.Run(name, func(b *testing.B) {
			mail, err := os.ReadFile(filepath.Join("testdata", "read", name+".eml"))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(mail)))
			for b.Loop() {
				if _, err := Parse(bytes.NewReader(mail)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
