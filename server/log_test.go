package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// TestLog: each line has the session, each line about a message has the transaction, and no line has a secret.
func TestLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := &desk{rcpt: func(p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
			if rcpt.Address == "broken@example.net" {
				return errors.New("lookup failed")
			}
			return nil
		}}
		w := newWorld(t, &Server{
			Handler: d, Authenticate: authenticate, AllowInsecureAuth: true, MaxConnsPerIP: 1,
			Logger: slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		c := w.dial()
		c.ask(ehlo + "AUTH PLAIN AGFubgB3cm9uZ3NlY3JldA==\r\nAUTH PLAIN\r\n")
		c.ask("AGFubgBzZWNyZXQ=\r\n")
		w.dial().take()
		c.ask(mail + rcpt + "RCPT TO:<broken@example.net>\r\n" + data)
		c.ask("Subject: body-text\r\n.\r\n")
		c.ask(mail + rcpt + data)
		c.ask("Subject: body-text\n\r\n.\r\n")
		c.ask(mail + rcpt + data)
		c.ask("Subject: body-text")
		c.pipe.Close()
		synctest.Wait()

		for _, secret := range []string{"secret", "AGFub", "body-text"} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("got %q in the log, want it nowhere:\n%s", secret, out.String())
			}
		}
		seen := make(map[string]string) // message → the last line with it
		for line := range strings.Lines(out.String()) {
			var entry struct{ Msg, Session, Tx, Reply, Remote, Err string }
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatal(err)
			}
			if entry.Session == "" || entry.Remote == "" {
				t.Errorf("got %s, want the session and the address in it", line)
			}
			if strings.HasPrefix(entry.Msg, "mail") && !strings.HasPrefix(entry.Tx, entry.Session+"-") {
				t.Errorf("got %s, want the transaction in it", line)
			}
			seen[entry.Msg+" "+entry.Reply+entry.Err] = line
		}
		for _, want := range []string{
			"connected ", "disconnected ", "connection refused ", "authenticated ",
			"refused 535 5.7.8 wrong username or password", "handler failed lookup failed",
			"mail 250 2.0.0 ok", "mail 554 5.6.0 bare LF at offset 18", "mail aborted unexpected EOF",
		} {
			if seen[want] == "" {
				t.Errorf("got no line %q in\n%s", want, out.String())
			}
		}
	})
}
