package bounce

import (
	"fmt"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/smtp"
)

// evil has values from outside that try to start a line, a field or a part. parse fails if one succeeds.
var evil = []string{
	"a\r\nX-Evil: 1",
	"a\nX-Evil: 1",
	"a\rX-Evil: 1",
	"a\r\n\r\nX-Evil: 1\r\n",
	"a\n\nFinal-Recipient: rfc822; x@y\nAction: delivered\nStatus: 2.0.0\n",
	"a\r\n\r\nFinal-Recipient: rfc822; x@y\r\nAction: delivered\r\nStatus: 2.0.0\r\n\r\n",
	"\r\nX-Evil: 1",
	"\r\n X-Evil: 1\r\n",
	"a\x00\v\f\x1c\x1d\x1e\x7fb",
	"a\u0085X-Evil: 1\u2028X-Evil: 1\u2029X-Evil: 1",
	"a\u560d\u560aX-Evil: 1",
	"a" + strings.Repeat(" ", 300) + "X-Evil: 1",
	strings.Repeat(" ", 300),
	strings.Repeat("a", 5000) + "\r\nX-Evil: 1",
	strings.Repeat("ø", 5000),
	strings.Repeat("a b\n", 5000),
	"a\xff\xfe\r\nX-Evil: 1",
	"a\r\n.\r\nMAIL FROM:<x@y>",
	"a\r\n--%s\r\nContent-Type: text/html\r\n\r\n<b>",
	"a\r\n--%s--\r\n",
}

func TestInjection(t *testing.T) {
	values := map[string]func(*Report, string){
		"EnvID":       func(r *Report, s string) { r.Envelope.EnvID = s },
		"ORCPT":       func(r *Report, s string) { r.Recipients[0].ORCPT = "rfc822;" + s },
		"ORCPT utf-8": func(r *Report, s string) { r.Recipients[0].ORCPT = "utf-8;" + s },
		"ORCPT type":  func(r *Report, s string) { r.Recipients[0].ORCPT = s + ";x" },
		"address":     func(r *Report, s string) { r.Recipients[0].Address = s },
		"reply text":  func(r *Report, s string) { r.Recipients[0].Result.Reply.Text = s },
		"our own text": func(r *Report, s string) {
			r.Recipients[0].Result.Local, r.Recipients[0].Result.Reply.Text = true, s
		},
		"host":         func(r *Report, s string) { r.Recipients[0].Result.Host = s },
		"host address": func(r *Report, s string) { r.Recipients[0].Result.Addr = s },
		"Message-ID": func(r *Report, s string) {
			r.Original = strings.NewReader("Message-ID: <" + s + "@b>\r\n\r\n")
		},
		"field name": func(r *Report, s string) { r.Original = strings.NewReader(s + ": x\r\n\r\n") },
		"header":     func(r *Report, s string) { r.Original = strings.NewReader("Subject: " + s + "\r\n\r\n") },
		"body":       func(r *Report, s string) { r.Original = strings.NewReader(original + s + "\r\n") },
	}
	for name, set := range values {
		for i, s := range evil {
			for _, allowUTF8 := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%d/%v", name, i, allowUTF8), func(t *testing.T) {
					inject(t, set, s, allowUTF8)
				})
			}
		}
	}
}

// inject composes a report with the value s. Each "%s" in s becomes the boundary of the same report without s, which is
// the best guess of an attacker.
func inject(t *testing.T, set func(*Report, string), s string, allowUTF8 bool) {
	t.Helper()
	build := func() *Report {
		r := report(unknownUser("bob@example.net"), unknownUser("cas@example.net"))
		r.Envelope.UTF8, r.Envelope.Ret = allowUTF8, smtp.RetFull
		return r
	}
	plain := readReport(t, build())
	_, after, _ := strings.Cut(plain, `boundary="`)
	guess, _, _ := strings.Cut(after, `"`)

	r := build()
	set(r, strings.ReplaceAll(s, "%s", guess))
	p := compose(t, r)
	if len(p.groups) != 2 {
		t.Errorf("got %d recipients, want 2", len(p.groups))
	}
	// Values from outside are indented in the text.
	for line := range strings.Lines(p.text) {
		if line[0] == 'X' || strings.HasPrefix(line, "--") || strings.HasPrefix(line, "Final") {
			t.Errorf("got a line %q in the text", line)
		}
	}
	if got := textproto.MIMEHeader(p.header).Get("To"); got != "<billing@example.com>" {
		t.Errorf("got To %q", got)
	}
	// Some readers take a line of spaces as the end of the header.
	head, _, _ := strings.Cut(readReport(t, r), "\r\n\r\n")
	for line := range strings.Lines(head) {
		if strings.TrimSpace(line) == "" {
			t.Errorf("got an empty line in the header")
		}
	}
}

func readReport(t *testing.T, r *Report) string {
	t.Helper()
	_, content, err := r.Compose()
	if err != nil {
		t.Fatal(err)
	}
	return string(readAll(t, content))
}

func FuzzCompose(f *testing.F) {
	f.Add("a@example.com", "id", "rfc822;b@example.net", "b@example.net", "no such user", "mx.example.net", original,
		550, 0x1511, 3)
	f.Add("ä@example.com", "", "utf-8;ø@example.net", "ø@example.net", "no\nsuch\nuser", "", "X: ç\r\n\r\nç",
		451, 0x0447, 1)
	f.Add("a@b", "", "", "", "", "", "", 0, 0, 0)
	for i, s := range evil {
		f.Add("a@example.com", s, s, s, s, s, s+"\r\n\r\n"+s, 550+i, i*0x111, i)
	}
	f.Fuzz(func(t *testing.T, from, envID, orcpt, address, text, host, message string, code, bits, n int) {
		r := report()
		r.Envelope = &smtp.Envelope{From: from, EnvID: envID, UTF8: bits&0x1000 != 0, Ret: smtp.Ret(bits & 3)}
		r.Original = strings.NewReader(message)
		for i := range 1 + n&3 {
			rcpt := Recipient{Action: Failed + Action(uint(bits+i)%5), LastAttempt: later, WillRetryUntil: expiry}
			rcpt.Address, rcpt.ORCPT = address, orcpt
			rcpt.Notify = smtp.NotifySuccess | smtp.NotifyFailure | smtp.NotifyDelay
			rcpt.Result = smtp.Result{Host: host, Addr: host, Outcome: smtp.Outcome(bits >> 4 & 3)}
			rcpt.Result.Local = bits&0x2000 != 0
			enhanced := smtp.EnhancedCode{bits >> 8 & 7, bits, code}
			rcpt.Result.Reply = &smtp.Reply{Code: code, Enhanced: enhanced, Text: text}
			r.Recipients = append(r.Recipients, rcpt)
		}
		env, content, err := r.Compose()
		if err != nil {
			if from != "" && smtp.CheckAddress(from) == nil {
				t.Fatal(err)
			}
			return
		}
		p := parse(t, env, content)
		if len(p.groups) != len(r.Recipients) {
			t.Fatalf("got %d recipients, want %d", len(p.groups), len(r.Recipients))
		}
		for i, group := range p.groups {
			if got, want := group.Get("Action"), r.Recipients[i].Action.String(); got != want {
				t.Errorf("got action %q, want %q", got, want)
			}
			if smtp.CheckAddress(address) == nil && !smtp.NeedsUTF8(address) {
				got, want := strings.Fields(group.Get("Final-Recipient")), strings.Fields("rfc822; "+address)
				if !slices.Equal(got, want) {
					t.Errorf("got Final-Recipient %q, want %q", got, want)
				}
			}
		}
	})
}
