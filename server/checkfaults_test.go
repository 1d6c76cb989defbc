package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// TestContentPanics: a Content func that panics leaves no file and no memory behind.
func TestContentPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		w := newWorld(t, &Server{TempDir: dir, Checks: []Check{{
			Name:    "c",
			Content: func(context.Context, *Session, *Message) error { panic("secret") },
		}}})
		c := w.dial()
		c.ask(ehlo + envelope + "DATA\r\n")
		c.want("Subject: x\r\n\r\n"+strings.Repeat("0123456789\r\n", 10000)+".\r\n", "451")
		c.pipe.Close()
		synctest.Wait()
		files, err := os.ReadDir(dir)
		if err != nil || len(files) > 0 {
			t.Errorf("got files %v, %v, want none", files, err)
		}
		if n := w.srv.memory.Load(); n != 0 {
			t.Errorf("got %d octets that are still counted, want 0", n)
		}
	})
}

// TestAddRecipientSkipsNoCheck: if a client may relay to a recipient that a check adds, the checks behind it are asked
// about the message all the same.
func TestAddRecipientSkipsNoCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := false
		w := newWorld(t, &Server{Handler: newGate(), Checks: []Check{
			{Name: "adds", Content: func(ctx context.Context, s *Session, _ *Message) error {
				return s.AddRecipient(ctx, smtp.Recipient{Address: "ok@y.test"})
			}},
			{Name: "refuses", Content: func(context.Context, *Session, *Message) error {
				asked = true
				return errors.New("refused")
			}},
		}})
		w.dial().want(ehlo+"MAIL FROM:<a@x.test>\r\nRCPT TO:<no@y.test>\r\n"+hiMail, "220", "250", "250", "250", "354", "451")
		if !asked {
			t.Error("the check behind AddRecipient wasn't asked")
		}
	})
}

// TestHelloLeaves: what checks leave at EHLO is that of the last EHLO, and STARTTLS forgets it, with the user.
func TestHelloLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type host string
		type user string
		var seen string
		look := Check{Name: "look", Trusted: true, Mail: func(_ context.Context, s *Session) error {
			h, _ := Value[host](s)
			u, _ := Value[user](s)
			seen = fmt.Sprintf("%s %q %q %q %d values, %v", h, u, s.Held(), s.marks.discard, len(s.marks.values), s.marks.fields)
			return nil
		}}
		leave := Check{
			Name: "leave", Trusted: true,
			Connect: func(_ context.Context, s *Session) error { s.SetValue(7); return nil },
			Hello: func(_ context.Context, s *Session) error {
				s.SetValue(host(s.Peer.Hello))
				s.AddField(Field{"X-Hello", " " + s.Peer.Hello})
				if s.Peer.Hello == "bad" {
					s.Hold("bad")
					s.Discard("bad")
				}
				return nil
			},
			Auth: func(_ context.Context, s *Session) error { s.SetValue(user(s.Peer.Username)); return nil },
		}
		w := newWorld(t, &Server{
			TLSConfig: testTLS(t), Authenticate: authenticate, AllowInsecureAuth: true, Checks: []Check{leave, look},
		})
		c := w.dial()
		c.ask("EHLO bad\r\nEHLO one\r\nMAIL FROM:<>\r\nRSET\r\n")
		if want := `one "" "" "" 2 values, [X-Hello: one` + "\r\n]"; seen != want {
			t.Errorf("after a second EHLO: got %s, want %s", seen, want)
		}
		c.ask("AUTH PLAIN AGFubgBzZWNyZXQ=\r\nEHLO two\r\nMAIL FROM:<>\r\nRSET\r\n")
		if want := `two "ann" "" "" 3 values, [X-Hello: two` + "\r\n]"; seen != want {
			t.Errorf("after AUTH and EHLO: got %s, want %s", seen, want)
		}
		c.want("STARTTLS\r\n", "220")
		c.startTLS()
		c.ask("EHLO three\r\nMAIL FROM:<>\r\n")
		if want := `three "" "" "" 2 values, [X-Hello: three` + "\r\n]"; seen != want {
			t.Errorf("after STARTTLS: got %s, want %s", seen, want)
		}
	})
}

// TestRefusedAuthLeaves: what a check left at an AUTH that a check refused is forgotten.
func TestRefusedAuthLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		values := -1
		w := newWorld(t, &Server{Authenticate: authenticate, AllowInsecureAuth: true, Checks: []Check{{
			Name: "c",
			Auth: func(_ context.Context, s *Session) error { s.SetValue(s.Peer.Username); return ErrAuthFailed },
			Mail: func(_ context.Context, s *Session) error { values = len(s.marks.values); return nil },
		}}})
		w.dial().ask(ehlo + "AUTH PLAIN AGFubgBzZWNyZXQ=\r\nMAIL FROM:<>\r\n")
		if values != 0 {
			t.Errorf("got %d values at MAIL, want none", values)
		}
	})
}

// TestHeaderCounts: MaxMemory counts the header as often as the checks keep it, whoever the last recipient was.
func TestHeaderCounts(t *testing.T) {
	for name, send := range map[string]func(string) string{
		"DATA": func(text string) string { return "DATA\r\n" + text + ".\r\n" },
		"BDAT": func(text string) string { return fmt.Sprintf("BDAT %d LAST\r\n%s", len(text), text) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const octets = 100 << 10
				held := -1
				w := newWorld(t, &Server{Handler: newGate(), Checks: []Check{{
					Name:    "c",
					Content: func(_ context.Context, s *Session, _ *Message) error { held = s.s.held; return nil },
				}}})
				c := w.dial()
				c.ask(ehlo + "MAIL FROM:<a@x.test>\r\nRCPT TO:<no@y.test>\r\nRCPT TO:<ok@y.test>\r\n")
				c.ask(send("A: " + strings.Repeat("x", octets) + "\r\n\r\nhi\r\n"))
				if held < 3*octets {
					t.Errorf("got %d octets counted, want at least %d", held, 3*octets)
				}
			})
		})
	}
}

// TestMaxTemp: the files of all messages together are bounded. A message that would need more is refused with 452, and
// there is room again when another one has ended.
func TestMaxTemp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks := Check{Name: "looks", Content: func(context.Context, *Session, *Message) error { return nil }}
		release := make(chan struct{})
		d := &desk{}
		d.handle = func(_ context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
			if env.From == "slow@example.com" {
				<-release
			}
			return nil, d.file(p, env, body)
		}
		dir := t.TempDir()
		w := newWorld(t, &Server{TempDir: dir, MaxTemp: 150_000, Handler: d, Checks: []Check{looks}})
		large := "Subject: x\r\n\r\n" + strings.Repeat("0123456789\r\n", 8000) + ".\r\n" // 96 KB
		slow, fast := w.dial(), w.dial()
		slow.want("EHLO x\r\nMAIL FROM:<slow@example.com>\r\n"+rcpt+data, "220", "250", "250", "250", "354")
		if got := slow.ask(large); got != "" {
			t.Fatalf("got %q, want no reply yet", got)
		}
		fast.want(talked+data, "220", "250", "250", "250", "354")
		fast.want(large, "452")
		fast.want(mail+rcpt+data, "250", "250", "354") // a small one needs no file
		fast.want("Subject: x\r\n\r\nhi\r\n.\r\n", "250")
		close(release)
		if got := slow.take(); !strings.HasPrefix(got, "250 ") {
			t.Errorf("got %q for the first message, want 250", got)
		}
		fast.want(mail+rcpt+data, "250", "250", "354")
		fast.want(large, "250")
		fast.want(mail+rcpt+data, "250", "250", "354")
		fast.want(strings.ReplaceAll(large, "\r\n.\r\n", "\r\n"+strings.Repeat("0123456789\r\n", 8000)+".\r\n"), "452")
		if n := w.srv.temp.Load(); n != 0 {
			t.Errorf("got %d octets that are still counted, want 0", n)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Errorf("got the files %v and %v, want none", files, err)
		}
	})
}
