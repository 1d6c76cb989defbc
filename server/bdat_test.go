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

// binaryMail is mail with BODY=BINARYMIME.
const binaryMail = "MAIL FROM:<ann@example.com> BODY=BINARYMIME\r\n"

// bdat returns a chunk with its command.
func bdat(content string, last ...string) string {
	return fmt.Sprintf("BDAT %d%s\r\n%s", len(content), strings.Join(last, ""), content)
}

// chunkVector is what a client sends, whose outcome must be safe: no octet of a chunk is ever a command, and no message
// is accepted in part.
type chunkVector struct {
	name   string
	in     string // after talked
	codes  string // of the replies to in
	mails  []string
	closed bool // the connection, after that; else NOOP is answered 250
	srv    Server
}

const inject = "x\r\nRSET\r\nMAIL FROM:<mallory@example.com>\r\nRCPT TO:<victim@example.net>\r\nBDAT 1 LAST\r\n!"

var chunkVectors = []chunkVector{
	{name: "one chunk", in: bdat("a\r\n", " LAST"), codes: "250", mails: []string{"a\r\n"}},
	{name: "RFC 3030 §4.1", in: "RSET\r\nMAIL FROM:<Sam@Random.com>\r\nRCPT TO:<Susan@Random.com>\r\n" +
		"BDAT 86 LAST\r\nTo: Susan@random.com\r\nFrom: Sam@random.com\r\nSubject: This is a bodyless test message\r\n",
		codes: "250 250 250 250",
		mails: []string{"To: Susan@random.com\r\nFrom: Sam@random.com\r\nSubject: This is a bodyless test message\r\n"}},
	{name: "RFC 3030 §4.2", in: "RSET\r\nMAIL FROM:<ned@ymir.claremont.edu> BODY=BINARYMIME\r\n" +
		"RCPT TO:<gvaudre@cnri.reston.va.us>\r\nRCPT TO:<jstewart@cnri.reston.va.us>\r\n" +
		bdat(strings.Repeat("\x00", 100000)) + bdat(strings.Repeat("\n", 324)) + "BDAT 0 LAST\r\n",
		codes: "250 250 250 250 250 250 250", srv: Server{BinaryMIME: true},
		mails: []string{strings.Repeat("\x00", 100000) + strings.Repeat("\n", 324)}},
	{name: "lower case", in: "bdat 1\r\nabDaT 2 lAsT\r\nbc", codes: "250 250", mails: []string{"abc"}},
	{name: "empty last chunk", in: bdat("a\r\n") + "BDAT 0 LAST\r\n", codes: "250 250", mails: []string{"a\r\n"}},
	{name: "empty message", in: "BDAT 0 LAST\r\n", codes: "250", mails: []string{""}},
	{name: "empty chunk", in: "BDAT 0\r\nBDAT 0\r\n" + bdat("a", " LAST"), codes: "250 250 250", mails: []string{"a"}},
	{name: "leading zeros", in: "BDAT 0003 LAST\r\nabc", codes: "250", mails: []string{"abc"}},
	{name: "space at the end", in: "BDAT 3 LAST \t\r\nabc", codes: "250", mails: []string{"abc"}},
	{name: "dots aren't stuffed", in: bdat("..a\r\n.\r\n", " LAST"), codes: "250", mails: []string{"..a\r\n.\r\n"}},
	{name: "commands in a chunk", in: bdat(inject, " LAST"), codes: "250", mails: []string{inject}},
	{name: "CR and LF apart", in: bdat("a\r") + bdat("\nb", " LAST"), codes: "250 250", mails: []string{"a\r\nb"}},
	{name: "two messages", in: bdat("a", " LAST") + mail + rcpt + bdat("b", " LAST"), codes: "250 250 250 250",
		mails: []string{"a", "b"}},
	{name: "DATA after it", in: bdat("a", " LAST") + mail + rcpt + data + "b\r\n.\r\n", codes: "250 250 250 354 250",
		mails: []string{"a", "b\r\n"}},

	{name: "NOOP between", in: bdat("a") + "NOOP\r\nXYZZY\r\nVRFY a\r\n" + bdat("b", " LAST"),
		codes: "250 250 500 252 250", mails: []string{"ab"}},
	{name: "MAIL, RCPT, DATA, AUTH and STARTTLS between",
		in:    bdat("a") + mail + rcpt + data + "AUTH PLAIN\r\nSTARTTLS\r\n" + bdat("b", " LAST"),
		codes: "250 503 503 503 502 502 250", mails: []string{"ab"}},
	{name: "RSET between", in: bdat("a") + "RSET\r\n" + bdat(inject, " LAST"), codes: "250 250 503"},
	{name: "RSET, then a message", in: bdat("a") + "RSET\r\n" + mail + rcpt + bdat("b", " LAST"),
		codes: "250 250 250 250 250", mails: []string{"b"}},
	{name: "EHLO between", in: bdat("a") + "EHLO again\r\n" + bdat(inject, " LAST"), codes: "250 250 503"},
	{name: "QUIT between", in: bdat("a") + "QUIT\r\n", codes: "250 221", closed: true},
	{name: "a bare LF between", in: bdat("a") + "NOOP\nRSET\r\n" + bdat("b", " LAST"), codes: "250 500 250",
		mails: []string{"ab"}},
	{name: "a long line between", in: bdat("a") + strings.Repeat("x", 700) + "\r\n" + bdat("b", " LAST"),
		codes: "250 500 250", mails: []string{"ab"}},

	{name: "after the last chunk", in: bdat("a", " LAST") + bdat(inject, " LAST"), codes: "250 503", mails: []string{"a"}},
	{name: "without a transaction", in: "RSET\r\n" + bdat(inject, " LAST") + mail, codes: "250 503 250"},
	{name: "without a recipient", in: "RSET\r\n" + mail + bdat(inject) + rcpt + bdat(inject, " LAST"),
		codes: "250 250 503 503 503"}, // the message would lack its first chunk
	{name: "all recipients refused", in: "RSET\r\n" + mail + "RCPT TO:<>\r\n" + bdat(inject) + rcpt + bdat(inject, " LAST"),
		codes: "250 250 501 554 503 503"},
	{name: "MAIL refused", in: "RSET\r\nMAIL FROM:<x\r\n" + rcpt + bdat(inject) + bdat(inject, " LAST"),
		codes: "250 501 503 503 503"},

	{name: "a message after a refusal", in: "RSET\r\n" + bdat("a") + mail + rcpt + bdat("b", " LAST"),
		codes: "250 503 250 250 250", mails: []string{"b"}},

	{name: "no size", in: "BDAT\r\n" + inject, codes: "501", closed: true},
	{name: "no size but LAST", in: "BDAT LAST\r\n" + inject, codes: "501", closed: true},
	{name: "plus", in: "BDAT +5\r\n" + inject, codes: "501", closed: true},
	{name: "minus", in: "BDAT -1\r\n" + inject, codes: "501", closed: true},
	{name: "hexadecimal", in: "BDAT 0x10 LAST\r\n" + inject, codes: "501", closed: true},
	{name: "over int64", in: "BDAT 9223372036854775808 LAST\r\n" + inject, codes: "501", closed: true},
	{name: "over uint64", in: "BDAT 18446744073709551617 LAST\r\n" + inject, codes: "501", closed: true},
	{name: "LASTX", in: "BDAT 10 LASTX\r\n" + inject, codes: "501", closed: true},
	{name: "long s", in: "BDAT 10 LA\u017fT\r\n" + inject, codes: "501", closed: true},
	{name: "two spaces", in: "BDAT  10 LAST\r\n" + inject, codes: "501", closed: true},
	{name: "tab", in: "BDAT\t10 LAST\r\n" + inject, codes: "501", closed: true},
	{name: "a word before", in: " BDAT 10 LAST\r\n" + inject, codes: "501", closed: true},
	{name: "no space", in: "BDAT10 LAST\r\n" + inject, codes: "501", closed: true},
	{name: "NUL", in: "BDAT 10\x00 LAST\r\n" + inject, codes: "501", closed: true},
	{name: "LF ends it", in: "BDAT 90 LAST\n" + inject, codes: "501", closed: true},
	{name: "CR ends it", in: "BDAT 90 LAST\r" + inject, codes: "501", closed: true},
	{name: "CR within", in: "BDAT 9\r0\r\n" + inject, codes: "501", closed: true},
	{name: "a long line", in: "BDAT " + strings.Repeat("0", 600) + "5 LAST\r\n" + inject, codes: "501", closed: true},
	{name: "malformed between", in: bdat("a") + "BDAT x\r\n" + inject, codes: "250 501", closed: true},
	{name: "malformed after a refusal", in: "RSET\r\n" + bdat("a") + "BDAT x\r\n" + inject, codes: "250 503 501",
		closed: true},

	{name: "bare LF", in: bdat("a\nb", " LAST") + inject, codes: "521", closed: true},
	{name: "bare CR at the end", in: bdat("a\r", " LAST") + inject, codes: "521", closed: true},
	{name: "bare CR at a chunk's end", in: bdat("a\r") + bdat("b", " LAST") + inject, codes: "250 521", closed: true},
	{name: "NUL in a chunk", in: bdat("a") + bdat("\x00") + bdat("b", " LAST"), codes: "250 521", closed: true},
	{name: "8 bit undeclared", in: bdat("\xff", " LAST"), codes: "250", mails: []string{"\xff"}},

	{name: "BINARYMIME isn't offered", in: "RSET\r\n" + binaryMail + rcpt + bdat("a\x00", " LAST"),
		codes: "250 555 503 503"},
	{name: "BINARYMIME", in: "RSET\r\n" + binaryMail + rcpt + bdat("a\x00\n") + bdat("\r", " LAST"),
		codes: "250 250 250 250 250", mails: []string{"a\x00\n\r"}, srv: Server{BinaryMIME: true}},
	{name: "BINARYMIME by DATA", in: "RSET\r\n" + binaryMail + rcpt + data + bdat("\x00", " LAST"),
		codes: "250 250 250 503 250", mails: []string{"\x00"}, srv: Server{BinaryMIME: true}},
	{name: "no BINARYMIME where it is offered", in: bdat("\x00", " LAST"), codes: "521", closed: true,
		srv: Server{BinaryMIME: true}},

	{name: "too big", in: bdat("abcdef", " LAST"), codes: "552", srv: Server{MaxSize: 5, MaxDrain: 10}},
	{name: "too big together", in: bdat("abc") + bdat("def") + bdat("g", " LAST"), codes: "250 552 503",
		srv: Server{MaxSize: 5, MaxDrain: 10}},
	{name: "as big as allowed", in: bdat("abc") + bdat("de", " LAST"), codes: "250 250", mails: []string{"abcde"},
		srv: Server{MaxSize: 5, MaxDrain: 10}},
	{name: "far too big", in: bdat(inject, " LAST"), codes: "552", closed: true, srv: Server{MaxSize: 5, MaxDrain: 10}},
	{name: "far too big together", in: bdat("abc") + bdat(inject, " LAST"), codes: "250 552", closed: true,
		srv: Server{MaxSize: 5, MaxDrain: 10}},
	{name: "a huge size", in: "BDAT 9223372036854775807\r\n" + inject, codes: "552", closed: true},
	{name: "a huge size behind another", in: bdat("abc") + "BDAT 9223372036854775807\r\n" + inject, codes: "250 552",
		closed: true},
	{name: "a huge size without a transaction", in: "RSET\r\nBDAT 9223372036854775807\r\n" + inject, codes: "250 503",
		closed: true},
	{name: "much to discard", in: "RSET\r\n" + bdat("abcdef") + bdat("abcdef"), codes: "250 503 503", closed: true,
		srv: Server{MaxSize: 5, MaxDrain: 10}},
	{name: "a long line in a chunk", in: bdat("abcdef\r\n", " LAST"), codes: "554", srv: Server{MaxLine: 7}},
	{name: "a line over two chunks", in: bdat("abcd") + bdat("ef\r\n", " LAST"), codes: "250 554", srv: Server{MaxLine: 7}},
	{name: "a session that was refused", in: bdat(inject, " LAST"), codes: "503",
		srv: Server{Handler: &desk{connect: func(*Peer) error { return smtp.NewReply(554, "", "") }}}},
}

// TestChunkVectors plays each vector whole and, if it is short, cut in two at each octet.
func TestChunkVectors(t *testing.T) {
	for i := range chunkVectors {
		v := &chunkVectors[i]
		t.Run(v.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, ok := v.srv.Handler.(*desk)
				srv := v.srv.Clone()
				if !ok {
					d = &desk{}
					srv.Handler = d
				}
				w := newWorld(t, srv)
				for at := range len(v.in) {
					if at == 0 || len(v.in) < 2048 {
						v.play(t, w, d, at)
					}
				}
			})
		})
	}
}

// play plays the vector on a new connection, cut at an octet.
func (v *chunkVector) play(t *testing.T, w *world, d *desk, at int) {
	c := w.dial()
	defer func() {
		c.pipe.Close()
		synctest.Wait()
	}()
	c.ask(talked)
	got := c.ask(v.in[:at]) + c.ask(v.in[at:])
	if codes := strings.Join(replyCodes(got), " "); codes != v.codes {
		t.Errorf("cut at %d: got replies %q, want %s", at, got, v.codes)
	}
	mails := d.all()
	same := len(mails) == len(v.mails)
	for i := range mails {
		same = same && mails[i].body == v.mails[i]
	}
	if !same {
		t.Errorf("cut at %d: got mails %v, want %q", at, mails, v.mails)
	}
	if v.closed {
		if !c.closed() {
			t.Errorf("cut at %d: got the connection open, want it closed", at)
		}
	} else if got := c.ask("RSET\r\n"); c.closed() || strings.HasPrefix(got, "5") != (d.connect != nil) {
		t.Errorf("cut at %d: got %q for RSET, want an answer", at, got)
	}
}

// TestChunkHandler: what a Handler does with a body in chunks, and which reply that gives to each chunk.
func TestChunkHandler(t *testing.T) {
	refusal := smtp.NewReply(550, "5.7.1", "not like this")
	type handle = func(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error)
	three := bdat("abc") + bdat("def") + bdat("ghi", " LAST")
	tests := []struct {
		name   string
		in     string
		handle handle
		codes  string
	}{
		{"reads nothing, accepts", three, func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) {
			return nil, nil
		}, "250 250 250"},
		{"reads nothing, refuses", three, func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) {
			return nil, refusal
		}, "550 503 503"},
		{"reads the first chunk, refuses", three, func(_ context.Context, _ *Peer, _ *smtp.Envelope, r io.Reader) (*smtp.Reply, error) {
			io.ReadFull(r, make([]byte, 3))
			return refusal, nil
		}, "550 503 503"},
		{"reads an octet of the second, refuses", three, func(_ context.Context, _ *Peer, _ *smtp.Envelope, r io.Reader) (*smtp.Reply, error) {
			io.ReadFull(r, make([]byte, 4))
			return refusal, nil
		}, "250 550 503"},
		{"reads all, refuses", three, func(_ context.Context, _ *Peer, _ *smtp.Envelope, r io.Reader) (*smtp.Reply, error) {
			io.Copy(io.Discard, r)
			return nil, refusal
		}, "250 250 550"},
		{"reads nothing, accepts what is bad", bdat("abc") + bdat("\n") + bdat("ghi", " LAST"),
			func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) { return nil, nil }, "250 521"},
		{"accepts in spite of an error", bdat("abc") + "RSET\r\n",
			func(_ context.Context, _ *Peer, _ *smtp.Envelope, r io.Reader) (*smtp.Reply, error) {
				io.Copy(io.Discard, r)
				return nil, nil
			}, "250 250"},
		{"reads nothing, accepts what is given up", bdat("abc") + "RSET\r\nNOOP\r\n",
			func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) { return nil, nil }, "250 250 250"},
		{"refuses, and many chunks follow", bdat("abc") + strings.Repeat(bdat("x"), 200),
			func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) { return nil, refusal },
			"550" + strings.Repeat(" 503", 200)},
		{"closes", three, func(context.Context, *Peer, *smtp.Envelope, io.Reader) (*smtp.Reply, error) {
			return nil, smtp.NewReply(421, "4.3.2", "go away")
		}, "421"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newWorld(t, &Server{Handler: &desk{handle: tt.handle}}).dial()
				c.ask(talked)
				got := c.want(tt.in, strings.Fields(tt.codes)...)
				if strings.Contains(got, "send MAIL") {
					t.Errorf("got %q, want another reason for a chunk behind a refusal", got)
				}
			})
		})
	}
}

// TestChunkErrors: the error of a body that ends before its last chunk.
func TestChunkErrors(t *testing.T) {
	tests := []struct {
		name string
		end  func(w *world, c *client)
		want string
	}{
		{"RSET", func(_ *world, c *client) { c.ask("RSET\r\n") },
			"smtp: reading a chunk: the client gave the message up: unexpected EOF"},
		{"malformed", func(_ *world, c *client) { c.ask("BDAT\r\n") },
			"smtp: reading a chunk: the session ended within the message: unexpected EOF"},
		{"the client leaves between chunks", func(_ *world, c *client) { c.pipe.Close() }, "unexpected EOF"},
		{"the client leaves within a chunk", func(_ *world, c *client) { c.ask("BDAT 9\r\nx"); c.pipe.Close() },
			"unexpected EOF"},
		{"silence", func(*world, *client) { time.Sleep(time.Hour) }, "smtp: reading a chunk: i/o timeout"},
		{"too many commands", func(_ *world, c *client) { c.ask(strings.Repeat("BDAT 0\r\n", 100)) },
			"smtp: reading a chunk: the session ended within the message: unexpected EOF"},
		{"Close", func(w *world, _ *client) { w.srv.Close() }, "smtp: reading a chunk: use of closed network connection"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got error
				d := &desk{handle: func(_ context.Context, _ *Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
					_, got = io.Copy(io.Discard, body)
					return nil, nil
				}}
				w := newWorld(t, &Server{Handler: d})
				c := w.dial()
				c.want(talked+bdat("abc"), "220", "250", "250", "250", "250")
				tt.end(w, c)
				synctest.Wait()
				if got == nil || got.Error() != tt.want {
					t.Errorf("got %v, want %s", got, tt.want)
				}
			})
		})
	}
}

// TestManyChunks: 100,000 chunks of one octet are one message, and chunks without octets are bounded as commands.
func TestManyChunks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		w := newWorld(t, &Server{Handler: d})
		near, far := newPipe("198.51.100.7")
		w.net.queue <- far
		c := newClient(t, near)
		c.ask(talked)
		const n = 100_000
		got := c.ask(strings.Repeat("BDAT 1\r\nx", n) + "BDAT 0 LAST\r\n")
		if want := strings.Repeat("250 2.0.0 chunk received\r\n", n) + "250 2.0.0 ok\r\n"; got != want {
			t.Errorf("got %d octets of replies, want %d", len(got), len(want))
		}
		if mails := d.all(); len(mails) != 1 || mails[0].body != strings.Repeat("x", n) {
			t.Errorf("got %d mails, want one with all chunks", len(mails))
		}
		if far.largest > maxPending+lineMax {
			t.Errorf("got a write of %d octets, want %d at most", far.largest, maxPending+lineMax)
		}
		codes := replyCodes(c.ask(mail + rcpt + strings.Repeat("BDAT 0\r\n", n)))
		if last := codes[len(codes)-1]; len(codes) > defaultMaxCommands+4 || last != "421" {
			t.Errorf("got %d replies, the last one %s, want 421 after about %d", len(codes), last, defaultMaxCommands)
		}
	})
}

// TestSlowChunks: a client that sends its chunks, or their commands, below the lowest rate is closed. One that is fast
// enough in the mean isn't, however long it takes. The time of a Handler doesn't count.
func TestSlowChunks(t *testing.T) {
	tests := []struct {
		name  string
		size  int // of a chunk
		pause time.Duration
		slow  time.Duration // of each Read of the Handler
		want  string
	}{
		{"fast enough", 4096, 3 * time.Second, 0, "250 2.0.0 ok\r\n"},
		{"too slow", 4096, 5 * time.Minute, 0, "421 4.4.2 timed out\r\n"},
		{"small chunks", 1, time.Second, 0, "421 4.4.2 timed out\r\n"},
		{"a slow Handler", 4096, 3 * time.Second, time.Minute, "250 2.0.0 ok\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				d.handle = slowly(d, tt.slow)
				c := newWorld(t, &Server{Handler: d, SessionTimeout: 24 * time.Hour}).dial()
				got := c.ask(talked + bdat("\r\n"))
				for range 400 {
					got = c.ask(bdat(strings.Repeat("x", tt.size)))
					if c.closed() {
						break
					}
					time.Sleep(tt.pause)
				}
				if !c.closed() {
					got = c.ask("BDAT 0 LAST\r\n")
					time.Sleep(24 * time.Hour)
					got += c.take()
				}
				if !strings.Contains(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// TestSlowDiscard: DrainTimeout bounds the wait for a chunk that is refused.
func TestSlowDiscard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWorld(t, &Server{DrainTimeout: time.Minute}).dial()
		c.ask(ehlo + "BDAT 20\r\n0123456789")
		time.Sleep(59 * time.Second)
		c.want("0123456789NOOP\r\n", "503", "250")
		c.ask("BDAT 20\r\n0123456789")
		time.Sleep(61 * time.Second)
		if got := c.take(); !strings.HasPrefix(got, "503 ") || !c.closed() {
			t.Errorf("got %q after silence, want 503 and the connection closed", got)
		}
	})
}

// TestChunkShutdown: a shutdown lets a message in chunks finish.
func TestChunkShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		w := newWorld(t, &Server{Handler: d, Grace: time.Hour})
		c := w.dial()
		c.ask(talked + bdat("a"))
		w.stop()
		synctest.Wait()
		time.Sleep(3 * time.Minute)
		if got, want := c.ask(bdat("b", " LAST")), "250 2.0.0 ok\r\n421 4.3.2 shutting down\r\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		if mails := d.all(); len(mails) != 1 || mails[0].body != "ab" {
			t.Errorf("got mails %v, want one", mails)
		}
	})
}
