package server

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// slowly returns a handle that waits d before each read.
func slowly(k *desk, d time.Duration) func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) {
	return func(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
		return nil, k.file(p, env, slowReader{body, d})
	}
}

type slowReader struct {
	r io.Reader
	d time.Duration
}

func (s slowReader) Read(p []byte) (int, error) {
	time.Sleep(s.d)
	return s.r.Read(p)
}

// TestSmuggling: only CRLF.CRLF ends a message. A text that a less strict server would read as a second message never
// becomes one, however the octets arrive.
func TestSmuggling(t *testing.T) {
	const second = "MAIL FROM:<mallory@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nsmuggled\r\n"
	for _, end := range []string{
		"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\n", "\r.\r\n", "\r\n.\r", "\r\n.\r\r\n",
		"\n.\r", "\r\n\x00.\r\n", "\r\n.\x00\r\n", "\r\n.\r\x00\n",
		"\r\n.\u0085", "\u2028.\u2028", "\r\n. \r\n", "\r\n..\r\n", "\r\n.\t\r\n", "\v.\v", "\f.\f",
	} {
		message := "Subject: one\r\n\r\nfirst" + end + second + ".\r\n"
		for at := range len(message) {
			if at > 0 && (at < 15 || at > 40) {
				continue // split near the end of the message, and once nowhere
			}
			name := fmt.Sprintf("%q at %d", end, at)
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				c := newWorld(t, &Server{Handler: d}).dial()
				c.want(talked+data, "220", "250", "250", "250", "354")
				if at > 0 {
					if got := c.ask(message[:at]); got != "" {
						t.Fatalf("%s: got %q within the message, want nothing", name, got)
					}
				}
				got := c.ask(message[at:])
				mails := d.all()
				codes := replyCodes(got)
				switch {
				case len(codes) != 1 || codes[0] != "250" && codes[0] != "521":
					t.Errorf("%s: got replies %q, want one, 250 or 521", name, got)
				case codes[0] == "521" && len(mails) != 0, codes[0] == "250" && len(mails) != 1:
					t.Errorf("%s: got %d mails and reply %q", name, len(mails), got)
				case c.closed() != (codes[0] == "521"):
					t.Errorf("%s: got closed %t after reply %q", name, c.closed(), got)
				case len(mails) == 1 && !strings.Contains(mails[0].body, "smuggled"):
					t.Errorf("%s: got mail %q, want all that came", name, mails[0].body)
				}
				if after := c.ask("NOOP\r\n"); (after == "") != (codes[0] == "521") {
					t.Errorf("%s: got %q for NOOP after reply %q", name, after, got)
				}
			})
		}
	}
}

// TestSystemCalls: a message costs one read and one write for its envelope, and one read and one write for its body.
func TestSystemCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{})
		near, far := newPipe("198.51.100.7")
		w.net.queue <- far
		c := newClient(t, near)
		c.want(ehlo, "220", "250")
		content := strings.Repeat(strings.Repeat("x", 78)+"\r\n", 128) + ".\r\n" // 10 KiB
		for range 3 {
			r0, w0, d0 := far.counts()
			c.want(mail+rcpt+data, "250", "250", "354")
			c.want(content, "250")
			r1, w1, d1 := far.counts()
			if reads, writes := r1-r0, w1-w0; reads != 2 || writes != 2 {
				t.Errorf("got %d reads and %d writes, want 2 and 2", reads, writes)
			}
			if n := d1 - d0; n > 0 { // those of EHLO will do
				t.Errorf("got %d settings of a deadline, want none", n)
			}
		}
		// The next envelope arrives together with the end of a message.
		r0, w0, _ := far.counts()
		c.want(mail+rcpt+data, "250", "250", "354")
		c.want(content+mail+rcpt+data, "250", "250", "250", "354")
		c.want(content, "250")
		r1, w1, _ := far.counts()
		if reads, writes := r1-r0, w1-w0; reads != 3 || writes != 3 {
			t.Errorf("got %d reads and %d writes for two mails, want 3 and 3", reads, writes)
		}
	})
}

// TestManyReplies: the buffer of replies is bounded, and no reply is lost.
func TestManyReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{MaxCommands: 1 << 20})
		near, far := newPipe("198.51.100.7")
		w.net.queue <- far
		c := newClient(t, near)
		c.take()
		const n = 20_000
		got := c.ask(strings.Repeat("NOOP\r\n", n))
		if want := strings.Repeat("250 2.0.0 ok\r\n", n); got != want {
			t.Errorf("got %d octets of replies, want %d", len(got), len(want))
		}
		if far.largest > maxPending+lineMax {
			t.Errorf("got a write of %d octets, want %d at most", far.largest, maxPending+lineMax)
		}
	})
}

// TestBody: the Handler reads the octets that the client sent, dots unstuffed, for each size.
func TestBody(t *testing.T) {
	for _, n := range []int{1, 100, 4095, 4096, inSize - 1, inSize, 100_000, 1 << 20} {
		synctest.Test(t, func(t *testing.T) {
			d := &desk{}
			c := newWorld(t, &Server{Handler: d, MaxHeader: 2 << 20}).dial() // the line could be a field
			c.ask(talked + data)
			content := strings.Repeat(".", n) + "\r\n"
			c.want("."+content+".\r\n", "250") // each line begins with one dot more
			mails := d.all()
			if len(mails) != 1 || mails[0].body != content {
				t.Errorf("got %d mails, want one with the %d octets that were sent", len(mails), len(content))
			}
		})
	}
}

func TestPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		w := newWorld(t, &Server{Handler: d})
		ids := make(map[string]bool)
		for range 3 {
			c := w.dial()
			c.ask("HELO old.example\r\n" + mail + rcpt + data)
			c.ask(body)
			c.ask(talked + data)
			c.ask(body)
			for i, m := range d.all() {
				p := m.peer
				if want := fmt.Sprintf("%s-%d", p.ID, i+1); p.Transaction() != want || ids[want] {
					t.Errorf("got transaction %s, want %s, new", p.Transaction(), want)
				}
				ids[p.Transaction()] = true
				if p.RemoteAddr.String() != "198.51.100.7:50000" || p.LocalAddr.String() != "192.0.2.1:25" {
					t.Errorf("got addresses %v and %v", p.RemoteAddr, p.LocalAddr)
				}
				if p.ESMTP != (i == 1) || p.TLS != nil || p.Username != "" {
					t.Errorf("got %+v in transaction %d", p, i+1)
				}
			}
		}
		if len(ids) != 6 {
			t.Errorf("got %d names of transactions, want 6", len(ids))
		}
	})
}

// plain is a Handler without checks.
type plain struct{ n int }

func (h *plain) Handle(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	h.n++
	return nil, nil
}

func TestPlainHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &plain{}
		c := newWorld(t, &Server{Handler: h}).dial()
		c.want(talked+data, "220", "250", "250", "250", "354")
		c.want(body, "250")
		if h.n != 1 {
			t.Errorf("got %d calls, want 1", h.n)
		}
	})
}

// TestEnvelopeKept: the Handler may keep an envelope: the next transaction has another one.
func TestEnvelopeKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		c := newWorld(t, &Server{Handler: d}).dial()
		c.ask(talked + data)
		c.ask(body + "MAIL FROM:<carl@example.org>\r\nRCPT TO:<dora@example.net>\r\n" + data)
		c.ask(body)
		mails := d.all()
		if len(mails) != 2 {
			t.Fatalf("got %d mails, want 2", len(mails))
		}
		from, to := mails[0].env.From, mails[0].env.Recipients[0].Address
		if from != "ann@example.com" || to != "bob@example.net" {
			t.Errorf("got first envelope from %s to %s", from, to)
		}
	})
}
