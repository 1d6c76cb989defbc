package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

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
		c.pipe.Close() // that message ends the session
		synctest.Wait()
		c = w.dial()
		c.ask(talked + data)
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
			"connected ", "disconnected ", "connection refused 421 4.7.0 too many connections from your address", "authenticated ",
			"refused 535 5.7.8 wrong username or password", "handler failed lookup failed",
			"mail 250 2.0.0 ok", "mail 521 5.6.0 bare LF at offset 18: lines end in CR LF", "mail aborted unexpected EOF",
		} {
			if seen[want] == "" {
				t.Errorf("got no line %q in\n%s", want, out.String())
			}
		}
	})
}

// TestLogOfHandler: the line about a message has the attributes of its Handler, and those of no other message.
func TestLogOfHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		d := &desk{handle: func(_ context.Context, p *Peer, env *smtp.Envelope, _ io.Reader) (*smtp.Reply, error) {
			if env.From != "" {
				p.Log(slog.String("id", "m-1"), slog.String("ref", "order 17"))
			}
			return nil, nil
		}}
		w := newWorld(t, &Server{Handler: d, Logger: slog.New(slog.NewTextHandler(&out, nil))})
		c := w.dial()
		for _, from := range []string{mail, "MAIL FROM:<>\r\n"} {
			c.ask(ehlo + from + rcpt + data)
			c.ask("Subject: hello\r\n.\r\n")
		}
		synctest.Wait()
		got := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(got) != 2 || !strings.HasSuffix(got[0], ` id=m-1 ref="order 17"`) || strings.Contains(got[1], "id=") {
			t.Errorf("got %q, want two lines about messages, the first with id and ref", got)
		}
	})
	new(Peer).Log(slog.String("id", "m-1")) // of no session
}

// TestLogAborted: a message that its client or the server breaks off is one line at Info, whatever the Handler makes of
// it. A failure of the Handler's own is an Error.
func TestLogAborted(t *testing.T) {
	type handle = func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error)
	read := func(result func(error) error) handle {
		return func(_ context.Context, _ *Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
			_, err := io.ReadAll(body)
			return nil, result(err)
		}
	}
	wrapping := read(func(err error) error { return fmt.Errorf("store: %w", err) })
	handlers := []struct {
		name   string
		handle handle
	}{
		{"as it is", read(func(err error) error { return err })},
		{"wrapped", wrapping},
		{"flattened", read(func(err error) error { return fmt.Errorf("store: %v", err) })},
		{"a reply", read(func(error) error { return smtp.NewReply(451, "4.3.0", "try later") })},
		{"none", read(func(error) error { return nil })},
		{"in pieces", func(_ context.Context, _ *Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
			_, err := io.Copy(io.Discard, iotest.OneByteReader(body))
			return nil, err
		}},
	}
	const lost, slow = "INFO mail aborted unexpected EOF", "INFO mail aborted smtp: reading data: i/o timeout"
	ends := []struct {
		name string
		end  func(w *world, c *client)
		want string
	}{
		{"the client leaves", func(w *world, c *client) { c.ask("Subject: x\r\n"); c.pipe.Close() }, lost},
		{"it leaves at once", func(w *world, c *client) { c.pipe.Close() }, "INFO mail aborted EOF"},
		{"it leaves within the end", func(w *world, c *client) { c.ask("x\r\n.\r"); c.pipe.Close() }, lost},
		{"it leaves after a bare LF", func(w *world, c *client) { c.ask("x\ny\r\n"); c.pipe.Close() }, lost},
		{"it says nothing more", func(w *world, c *client) { c.ask("Subject: x\r\n"); time.Sleep(time.Hour) }, slow},
		{"a bare LF", func(w *world, c *client) { c.ask("x\ny\r\n.\r\n") }, "INFO mail 521 5.6.0 bare LF at offset 1: lines end in CR LF"},
		{"too big", func(w *world, c *client) { c.ask(strings.Repeat("x", 1001) + "\r\n.\r\n") },
			"INFO mail 552 5.3.4 message exceeds 1000 octets"},
		{"far too big", func(w *world, c *client) { c.ask(strings.Repeat("x", 4000) + "\r\n.\r\n") },
			"INFO mail 552 5.3.4 message exceeds 1000 octets"},
		{"Close", func(w *world, c *client) { c.ask("Subject: x\r\n"); w.srv.Close() },
			"INFO mail aborted smtp: reading data: use of closed network connection"},
		{"a shutdown that it outlasts", func(w *world, c *client) { c.ask("Subject: x\r\n"); w.stop(); time.Sleep(time.Minute) },
			"INFO mail aborted smtp: reading data: use of closed network connection"},
	}
	for _, e := range ends {
		for _, h := range handlers {
			t.Run(e.name+"/"+h.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					got := logged(t, &desk{handle: h.handle}, e.end)
					if got != e.want {
						t.Errorf("got %q, want %q", got, e.want)
					}
				})
			})
		}
	}

	own := errors.New("no space left")
	unread := func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) { return nil, own }
	waits := func(ctx context.Context, _ *Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
		io.ReadAll(body)
		<-ctx.Done()
		return nil, fmt.Errorf("store: %w", ctx.Err())
	}
	late := func(ctx context.Context, _ *Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
		io.ReadAll(body)
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	whole := func(w *world, c *client) { c.ask(body); time.Sleep(time.Hour) }
	for _, tt := range []struct {
		name   string
		handle handle
		end    func(w *world, c *client)
		want   string
	}{
		{"its own failure", unread, whole, "ERROR handler failed no space left; INFO mail 451 4.3.0 internal error"},
		{"its own failure before the client leaves", unread, ends[0].end, "ERROR handler failed no space left; " + lost},
		{"its own time-out", late, whole,
			"ERROR handler failed context deadline exceeded; INFO mail 451 4.3.0 internal error"},
		{"the end of its context", waits, func(w *world, c *client) { c.ask(body); w.srv.Close() }, "INFO mail 421 4.3.2 shutting down"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if got := logged(t, &desk{handle: tt.handle}, tt.end); got != tt.want {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// logged returns the lines at Info and above of a session that end ends after the 354: level, message, reply and error.
func logged(t *testing.T, d *desk, end func(w *world, c *client)) string {
	var out bytes.Buffer
	w := newWorld(t, &Server{Handler: d, MaxSize: 1000, MaxDrain: 2000, Logger: slog.New(slog.NewJSONHandler(&out, nil))})
	c := w.dial()
	c.want(talked+data, "220", "250", "250", "250", "354")
	end(w, c)
	synctest.Wait()
	w.srv.Close()
	<-w.stopped
	var lines []string
	for line := range strings.Lines(out.String()) {
		var entry struct{ Level, Msg, Reply, Err string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, entry.Level+" "+entry.Msg+" "+entry.Reply+entry.Err)
	}
	return strings.Join(lines, "; ")
}

// badHandler is a slog.Handler that panics.
type badHandler struct{ with bool }

func (badHandler) Enabled(context.Context, slog.Level) bool  { return true }
func (badHandler) Handle(context.Context, slog.Record) error { panic("no log") }
func (badHandler) WithGroup(string) slog.Handler             { panic("no log") }
func (h badHandler) WithAttrs([]slog.Attr) slog.Handler {
	if h.with {
		panic("no log")
	}
	return h
}

// TestLoggerPanics: a Logger that panics at every line changes no reply, and no session counts for ever.
func TestLoggerPanics(t *testing.T) {
	for _, with := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := &desk{rcpt: func(p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
				if rcpt.Address == "broken@example.net" {
					return errors.New("lookup failed")
				}
				return nil
			}}
			w := newWorld(t, &Server{Handler: d, MaxConnsPerIP: 1, Logger: slog.New(badHandler{with})})
			c := w.dial()
			c.take()
			if got := w.dial().take(); !strings.HasPrefix(got, "421 ") {
				t.Errorf("a second session: got %q, want 421", got)
			}
			c.ask(ehlo)
			if got := c.ask(mail + "RCPT TO:<broken@example.net>\r\n" + rcpt + data); !strings.HasSuffix(got, "250 2.1.5 recipient ok\r\n354 end with <CRLF>.<CRLF>\r\n") {
				t.Errorf("got %q, want 250 and 354", got)
			}
			if got := c.ask("Subject: hello\r\n.\r\n"); !strings.HasPrefix(got, "250 ") {
				t.Errorf("the message: got %q, want 250", got)
			}
			c.pipe.Close()
			synctest.Wait()
			if sessions, sources := w.books(); sessions != 0 || sources != 0 {
				t.Errorf("got %d sessions and %d sources, want none", sessions, sources)
			}
		})
	}
}
