package postrider

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/mem"
	"github.com/postrider/postrider/queue/spool"
	"github.com/postrider/postrider/server"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/smtp/smtptest"
)

// talk sends raw, which ends with QUIT, to relay.test:25, and returns the codes of the replies.
func talk(t *testing.T, inet *smtptest.Network, raw string) string {
	t.Helper()
	conn, err := inet.DialContext(t.Context(), "tcp", "relay.test:25")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	replies, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	for line := range strings.Lines(string(replies)) {
		if line[3] == ' ' {
			codes = append(codes, line[:3])
		}
	}
	return strings.Join(codes, " ")
}

// TestLongAddresses: addresses beyond the least bounds of RFC 5321 §4.5.3.1 go in by SMTP and from code, through an
// alias, out to their host, and back to their sender in a report.
func TestLongAddresses(t *testing.T) {
	long := strings.Repeat("x", 400)
	tests := []struct{ name, from, to, orcpt string }{
		{"SRS", "SRS1=" + strings.Repeat("h", 60) + "=HHH==TT=org.test=ann@source.test", "bob@here.test", "rfc822;bob@here.test"},
		{"long alias", "ann@source.test", long + "@here.test", "rfc822;" + long + "@here.test"},
		{"both", long + "@source.test", long + "@here.test", "rfc822;" + long + "@here.test"},
		{"no room in ORCPT", "ann@source.test", strings.Repeat("+", 400) + "@here.test", ""},
		{"as long as a command", strings.Repeat("x", 498-len("@source.test")) + "@source.test",
			strings.Repeat("x", 500-len("@here.test")) + "@here.test", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				far, back := inet.MX("far.test", "mx.far.test"), inet.MX("source.test", "mx.source.test")
				member := long + "@far.test"
				far.Reject("eve@far.test", smtp.NewReply(550, "5.1.1", "no such user"))
				r := newRelay(inet)
				r.Domains = []string{"here.test"}
				r.Expand = aliases{tt.to: {member, "eve@far.test"}}.expand
				serve(t, inet, r)

				byCode := smtp.NewEnvelope(tt.from, tt.to)
				if _, err := r.Send(t.Context(), byCode, strings.NewReader(text)); err != nil {
					t.Fatal(err)
				}
				got := talk(t, inet, "EHLO there.test\r\nMAIL FROM:<"+tt.from+">\r\nRCPT TO:<"+tt.to+">\r\n"+
					"DATA\r\nSubject: hello\r\n\r\nHello.\r\n.\r\nQUIT\r\n")
				if want := "220 250 250 250 354 250 221"; got != want {
					t.Fatalf("got replies %s, want %s", got, want)
				}
				for _, got := range far.Wait(2) {
					want := smtp.Recipient{Address: member, ORCPT: tt.orcpt, Notify: got.Envelope.Recipients[0].Notify}
					if got.Envelope.From != tt.from || got.Envelope.Recipients[0] != want {
						t.Errorf("got from %s to %+v, want from %s to %+v", got.Envelope.From, got.Envelope.Recipients[0], tt.from, want)
					}
				}
				for _, report := range back.Wait(2) {
					if to := report.Envelope.Recipients[0].Address; to != tt.from {
						t.Errorf("got a report to %s, want %s", to, tt.from)
					}
				}
			})
		})
	}
}

// TestDevice: a device with an odd name, whose commands only Lenient accepts, sends through a relay.
func TestDevice(t *testing.T) {
	const dialogue = "HELO Printer (2nd floor) \xfc\r\nMAIL FROM: scan@here.test\r\nRCPT  TO:bob@here.test\r\nDATA\r\nx\r\n.\r\nQUIT\r\n"
	for _, tt := range []struct {
		name    string
		lenient bool
		want    string
	}{
		{"strict", false, "220 250 501 503 503 500 500 221"}, // the text of the mail is read as commands
		{"lenient", true, "220 250 250 250 354 250 221"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				inet := smtptest.NewNetwork(t)
				host := inet.MX("here.test", "mx.here.test")
				r := newRelay(inet)
				r.Domains = []string{"here.test"}
				r.Server = &server.Server{Lenient: tt.lenient}
				serve(t, inet, r)
				if got := talk(t, inet, dialogue); got != tt.want {
					t.Fatalf("got replies %s, want %s", got, tt.want)
				}
				if !tt.lenient {
					return
				}
				const begin = "Received: from Printer??2nd?floor??? ([192.0.2."
				if mail := host.Wait(1)[0]; !strings.HasPrefix(string(mail.Data), begin) {
					t.Errorf("got %.80q, want it to begin with %q", mail.Data, begin)
				}
			})
		})
	}
}

// TestPreamble: a line of a mail file before the header is dropped, so that the header stays one. Nothing else is.
func TestPreamble(t *testing.T) {
	const mail, mbox = "From: ann@source.test\r\nSubject: x\r\n\r\nFrom here on\r\n>From there\r\n", "From ann@source.test Sun Nov 22 10:00:00 2026\r\n"
	const bom = "\ufeff"
	tests := []struct{ name, content, want string }{
		{"a header", mail, mail},
		{"From with a space before the colon", "From : ann@source.test\r\n\r\nx\r\n", "From : ann@source.test\r\n\r\nx\r\n"},
		{"a field that begins as UUCP's does", ">From : x\r\n\r\nx\r\n", ">From : x\r\n\r\nx\r\n"},
		{"mbox", mbox + mail, mail},
		{"mbox, null sender", "From MAILER-DAEMON Sun Nov 22 10:00:00 2026\r\n" + mail, mail},
		{"mbox, no sender", "From - Sun Nov 22 10:00:00 2026\r\n" + mail, mail},
		{"mbox, From and a space alone", "From \r\n" + mail, mail},
		{"mbox, a line as long as its time has colons", "From ann 10:00:00\r\n" + mail, mail},
		{"quoted mbox", ">" + mbox + mail, mail},
		{"UUCP", "From ann Sun Nov 22 10:00 2026 remote from far\r\n>From ann Sun Nov 22 09:00 2026 remote from farther\r\n" + mail, mail},
		{"quoted twice", ">>" + mbox + mail, mail},
		{"byte order mark", bom + mail, mail},
		{"byte order mark before mbox", bom + mbox + mail, mail},
		{"byte order mark after mbox", mbox + bom + mail, mail},
		{"byte order marks around mbox", bom + mbox + bom + mbox + mail, mail},
		{"mbox before a folded field", mbox + "Subject:\r\n x\r\n\r\nx\r\n", "Subject:\r\n x\r\n\r\nx\r\n"},
		{"mbox before a header alone", mbox + "Subject: x\r\n", "Subject: x\r\n"},
		{"many", strings.Repeat(mbox, 1000) + mail, mail},

		{"mbox in the header", "Subject: x\r\n" + mbox + mail, "Subject: x\r\n" + mbox + mail},
		{"mbox at the beginning of the body", "Subject: x\r\n\r\n" + mbox + mail, "Subject: x\r\n\r\n" + mbox + mail},
		{"mbox after an empty line", "\r\n" + mbox + mail, "\r\n" + mbox + mail},
		{"byte order mark in the header", "Subject: x\r\n" + bom + "To: x\r\n\r\n", "Subject: x\r\n" + bom + "To: x\r\n\r\n"},

		{"text", "From here on\r\nall is text.\r\n", "\r\nFrom here on\r\nall is text.\r\n"},
		{"text in paragraphs", "From here on\r\n\r\nSubject: no\r\n", "\r\nFrom here on\r\n\r\nSubject: no\r\n"},
		{"text of one line", "From here on\r\n", "\r\nFrom here on\r\n"},
		{"text after a byte order mark", bom + "Hello.\r\n", "\r\n" + bom + "Hello.\r\n"},
		{"byte order mark alone", bom + "\r\n", "\r\n" + bom + "\r\n"},
		{"two byte order marks", bom + bom + mail, "\r\n" + bom + bom + mail},
		{"other case", strings.ToUpper(mbox) + mail, "\r\n" + strings.ToUpper(mbox) + mail},
		{"tab", "From\tann\r\n" + mail, "\r\nFrom\tann\r\n" + mail},
		{"space first", " " + mbox + mail, "\r\n " + mbox + mail},
		{"mbox before a folded line", mbox + " x\r\n" + mail, "\r\n" + mbox + " x\r\n" + mail},
		{"a folded line first", " x\r\n" + mail, "\r\n x\r\n" + mail},
		{"a line without a colon first", "x\r\n" + mail, "\r\nx\r\n" + mail},
		{"an empty line first", "\r\n" + mail, "\r\n" + mail},
		{"empty", "", ""},
	}
	for _, tt := range tests {
		for how, reader := range map[string]func(string) io.Reader{
			"whole":      func(s string) io.Reader { return strings.NewReader(s) },
			"one by one": func(s string) io.Reader { return iotest.OneByteReader(strings.NewReader(s)) },
		} {
			t.Run(tt.name+"/"+how, func(t *testing.T) {
				r := &Relay{Hostname: "relay.test", Queue: mem.New()}
				m, err := r.Prepare(t.Context(), smtp.NewEnvelope("", "bob@next.test"), reader(tt.content))
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(m.Body)
				if err != nil {
					t.Fatal(err)
				}
				if _, rest, _ := strings.Cut(string(got), " +0000\r\n"); rest != tt.want {
					t.Errorf("got %.200q after our field, want %.200q", rest, tt.want)
				}
			})
		}
	}
}

// TestPreambleBySMTP: the same for mail from clients, whose author SendAs then sees.
func TestPreambleBySMTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inet := smtptest.NewNetwork(t)
		host := inet.MX("here.test", "mx.here.test")
		r := newRelay(inet)
		r.Domains = []string{"here.test"}
		serve(t, inet, r)
		got := talk(t, inet, "EHLO there.test\r\nMAIL FROM:<ann@source.test>\r\nRCPT TO:<bob@here.test>\r\nDATA\r\n"+
			"From ann@source.test Sun Nov 22 10:00:00 2026\r\nFrom: <ann@source.test>\r\nSubject: x\r\n\r\n..\r\n.\r\nQUIT\r\n")
		if want := "220 250 250 250 354 250 221"; got != want {
			t.Fatalf("got replies %s, want %s", got, want)
		}
		_, rest, _ := strings.Cut(string(host.Wait(1)[0].Data), " +0000\r\n")
		if want := "From: <ann@source.test>\r\nSubject: x\r\n\r\n.\r\n"; rest != want {
			t.Errorf("got %q after our field, want %q", rest, want)
		}
	})
}

// TestAborted: a client that leaves during DATA is no failure of the relay or its queue, and stores nothing.
func TestAborted(t *testing.T) {
	queues := map[string]func(t *testing.T) queue.Queue{
		"mem": func(*testing.T) queue.Queue { return mem.New() },
		"spool": func(t *testing.T) queue.Queue {
			q, err := spool.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { q.Close() })
			return q
		},
	}
	for _, tt := range []struct{ name, said string }{
		{"within the header", "Subject: x\r\nTo: "},
		{"within the body", "Subject: x\r\n\r\nHello.\r\n"},
		{"within a large body", "Subject: x\r\n\r\n" + strings.Repeat("Hello.\r\n", 100_000)},
	} {
		for name, open := range queues {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					inet := smtptest.NewNetwork(t)
					inet.MX("here.test", "mx.here.test")
					r := newRelay(inet)
					r.Queue = open(t)
					r.Domains = []string{"here.test"}
					var log bytes.Buffer
					r.Logger = slog.New(slog.NewTextHandler(&log, nil))
					serve(t, inet, r)
					conn, err := inet.DialContext(t.Context(), "tcp", "relay.test:25")
					if err != nil {
						t.Fatal(err)
					}
					io.WriteString(conn, "EHLO there.test\r\nMAIL FROM:<ann@source.test>\r\nRCPT TO:<bob@here.test>\r\nDATA\r\n"+tt.said)
					synctest.Wait()
					conn.Close()
					synctest.Wait()
					if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, ` level=INFO msg="mail aborted" `) {
						t.Errorf("got %q, want one line, about a mail that was aborted", got)
					}
					if n := queued(t, r); n != 0 {
						t.Errorf("got %d mails in the queue, want none", n)
					}
				})
			})
		}
	}
}
