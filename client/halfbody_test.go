package client

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// strict is a host that keeps record of what reached it, by DATA or by BDAT, and commits a message only where
// the protocol says so: at the final dot, or with the last octet of a chunk that is marked LAST.
type strict struct {
	extensions string // a line each
	lmtp       bool

	sessions  int
	bdats     int      // commands
	committed []string // messages
	half      []byte   // what came of a message that had no end
	behind    []string // commands that came between its chunks
}

func (h *strict) serve(c *pipeConn) {
	defer c.Close()
	h.sessions++
	in := bufio.NewReader(c)
	say := func(format string, args ...any) { fmt.Fprintf(c, format+"\r\n", args...) }
	say("220 strict")
	var message []byte // of chunks
	rcpts := 0
	commit := func(b []byte) {
		h.committed = append(h.committed, string(b))
		message = nil
		for n := range rcpts {
			if n == 0 || h.lmtp {
				say("250 2.0.0 taken")
			}
		}
		rcpts = 0
	}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			h.half = append(h.half, message...)
			return
		}
		verb, arg, _ := strings.Cut(strings.TrimSuffix(line, "\r\n"), " ")
		if message != nil && verb != "BDAT" {
			h.behind = append(h.behind, line)
		}
		switch verb {
		case "EHLO", "LHLO":
			say("250-strict")
			for ext := range strings.SplitSeq(h.extensions, "\n") {
				say("250-%s", ext)
			}
			say("250 HELP")
		case "RCPT":
			rcpts++
			say("250 2.1.5 ok")
		case "DATA":
			say("354 go")
			b, err := h.body(in)
			if err != nil {
				h.half = b
				return
			}
			commit(b)
		case "BDAT":
			h.bdats++
			size, last, _ := strings.Cut(arg, " ")
			n, err := strconv.Atoi(size)
			if err != nil {
				say("501 5.5.4 size")
				continue
			}
			chunk, err := io.ReadAll(io.LimitReader(in, int64(n)))
			message = append(message, chunk...)
			if err != nil || len(chunk) < n {
				h.half = message
				return
			}
			if last == "LAST" {
				commit(message)
				continue
			}
			say("250 2.0.0 %d octets", n)
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 2.0.0 ok")
		}
	}
}

// body reads to CRLF.CRLF, and takes the dots out again.
func (h *strict) body(in *bufio.Reader) ([]byte, error) {
	var b []byte
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return append(b, line...), err
		}
		if string(line) == ".\r\n" {
			return b, nil
		}
		b = append(b, bytes.TrimPrefix(line, []byte("."))...)
	}
}

// changing is a content that is well while it is scanned, and not the same when it is sent.
type changing struct {
	smtp.Content
	sent   func(b []byte, off int64) (int, error) // ReadAt once it is sent
	size   int64                                  // then
	passes int
}

func (c *changing) Size() int64 {
	if c.size > 0 && c.passes > 0 {
		return c.size // once the scan has begun, which asks before
	}
	return c.Content.Size()
}

func (c *changing) ReadAt(b []byte, off int64) (int, error) {
	if off == 0 {
		c.passes++
	}
	if c.passes > 1 && c.sent != nil {
		return c.sent(b, off)
	}
	return c.Content.ReadAt(b, off)
}

// halfLine is what their messages consist of.
const halfLine = "0123456789abcd\r\n"

// halfContents are contents of so many octets that fail while they are sent, made anew for each row. Octets that
// DATA can't carry aren't looked for in what goes by BDAT.
func halfContents(total int64, bdat bool) map[string]func() smtp.Content {
	contents := make(map[string]func() smtp.Content)
	text := strings.Repeat(halfLine, int(total)/len(halfLine))
	for _, after := range []int64{0, 1, 20000, 32 << 10, 32<<10 + 1, 64 << 10, total / 2, total/2 + 1, total - 2, total - 1} {
		contents[fmt.Sprintf("fails at %d", after)] = func() smtp.Content {
			return &failingContent{Content: strings.NewReader(text), after: after, err: errDisk, scans: 1}
		}
	}
	for _, short := range []int64{0, 1, 32 << 10, 70000, total - 1} {
		contents[fmt.Sprintf("ends at %d", short)] = func() smtp.Content {
			c := &changing{Content: strings.NewReader(text)}
			c.sent = io.NewSectionReader(c.Content, 0, short).ReadAt
			return c
		}
	}
	if bdat {
		return contents
	}
	for _, at := range []int64{0, 32 << 10, 70000, total - 3} {
		for octet, what := range map[byte]string{'\r': "a bare CR", '\n': "a bare LF", 0: "a NUL"} {
			contents[fmt.Sprintf("has %s at %d", what, at)] = func() smtp.Content {
				c := &changing{Content: strings.NewReader(text)}
				c.sent = func(b []byte, off int64) (int, error) {
					n, err := c.Content.ReadAt(b, off)
					if i := at - off; i >= 0 && i < int64(n) {
						b[i] = octet
					}
					return n, err
				}
				return c
			}
		}
	}
	return contents
}

var errDisk = errors.New("disk on fire")

// TestHalfBody holds that a message which can't be read to its end is never committed, and that nothing follows it on
// its connection.
func TestHalfBody(t *testing.T) {
	for _, host := range []struct {
		name       string
		extensions string
		lmtp       bool
		size       int64 // if zero, 100 KiB
	}{
		{name: "DATA", extensions: "8BITMIME"},
		{name: "DATA pipelined", extensions: "PIPELINING"},
		{name: "LMTP", extensions: "PIPELINING", lmtp: true},
		{name: "BDAT", extensions: "PIPELINING\nCHUNKING", size: 3 << 20},
		{name: "BDAT in turn", extensions: "CHUNKING\nBINARYMIME", size: 2 << 20},
		{name: "BDAT by LMTP", extensions: "PIPELINING\nCHUNKING", lmtp: true, size: 2 << 20},
	} {
		bdats := 0
		for name, content := range halfContents(cmp.Or(host.size, 100<<10), host.size > 0) {
			t.Run(host.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					h := &strict{extensions: host.extensions, lmtp: host.lmtp}
					halfByConn(t, h, content())
					bdats += h.bdats
				})
				synctest.Test(t, func(t *testing.T) {
					h := &strict{extensions: host.extensions, lmtp: host.lmtp}
					halfByTransport(t, h, content())
				})
			})
		}
		if chunking := strings.Contains(host.extensions, "CHUNKING"); bdats > 0 != chunking {
			t.Errorf("%s: got %d chunks", host.name, bdats)
		}
	}
}

// halfByConn: the results, and the next Send.
func halfByConn(t *testing.T, h *strict, content smtp.Content) {
	client, server := pipe("192.0.2.1:25")
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.serve(server)
	}()
	c := &Conn{Hostname: "client.test", Host: "a.test", LMTP: h.lmtp}
	if err := c.Open(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	env := smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.net")
	begun := time.Now()
	results, err := c.Send(t.Context(), env, content)
	checkHalf(t, results, err)
	if took := time.Since(begun); took > 0 {
		t.Errorf("took %v", took)
	}
	if c.Ready() {
		t.Error("the session is ready")
	}
	writes := len(client.writes)
	results, err = c.Send(t.Context(), env, smtp.Text("Hello.\n"))
	for _, r := range results {
		if r.Outcome != smtp.Deferred || !r.Local || err == nil {
			t.Errorf("again: got %s, %v", show(results), err)
		}
	}
	if err := c.Quit(t.Context()); err != nil {
		t.Errorf("Quit: %v", err)
	}
	if len(client.writes) != writes {
		t.Error("something was written to a connection that is over")
	}
	<-done
	if len(h.committed) > 0 {
		t.Errorf("the host committed %d messages", len(h.committed))
	}
	h.checkHalf(t)
}

// checkHalf: the host has a beginning of the message, and nothing else behind it: no command, and no junk that
// fills up a chunk.
func (h *strict) checkHalf(t *testing.T) {
	t.Helper()
	if len(h.behind) > 0 {
		t.Errorf("the host heard %q between chunks", h.behind)
	}
	rest := h.half
	for bytes.HasPrefix(rest, []byte(halfLine)) {
		rest = rest[len(halfLine):]
	}
	if !strings.HasPrefix(halfLine, string(rest)) {
		t.Errorf("the host heard %.40q after %d octets of the message", rest, len(h.half)-len(rest))
	}
}

// halfByTransport: nobody else is asked, and the next mail takes a connection of its own.
func halfByTransport(t *testing.T, h *strict, content smtp.Content) {
	tr, inet := newTransport(t)
	if h.lmtp {
		r := mustRoute(mx.Smarthost("192.0.2.1:25", "192.0.2.2:25"))
		r.LMTP = true
		tr.Router.Routes = map[string]mx.Route{"*": r}
	}
	inet.serve("192.0.2.1:25", h.serve)
	inet.serve("192.0.2.2:25", h.serve)
	env := smtp.NewEnvelope("ann@client.test", "bob@example.net", "eve@example.net")
	const good = "Hello.\r\n"
	for n, content := range []smtp.Content{smtp.Text(good), content, smtp.Text(good)} { // the second in a session that was kept
		results, err := tr.Send(t.Context(), env, content)
		if n == 1 {
			checkHalf(t, results, err)
		} else if err != nil {
			t.Errorf("message %d: %v", n+1, err)
		}
	}
	tr.Close()
	inet.wg.Wait()
	if h.sessions != 2 {
		t.Errorf("got %d sessions, want 2", h.sessions)
	}
	if len(h.committed) != 2 || h.committed[0] != good || h.committed[1] != good {
		t.Errorf("the host committed %d messages, want 2 good ones", len(h.committed))
	}
	h.checkHalf(t)
}

func checkHalf(t *testing.T, results []smtp.Result, err error) {
	t.Helper()
	checkError(t, results, err)
	ce, ok := errors.AsType[*smtp.ContentError](err)
	if !ok {
		t.Errorf("got %v, want a ContentError", err)
		return
	}
	// A content that turned out to hold what can't be sent is rejected for that, by ourselves.
	_, unfit := errors.AsType[*smtp.Reply](ce.Err)
	for _, r := range results {
		want := smtp.Deferred
		if unfit {
			want = smtp.Rejected
		}
		if r.Outcome != want || r.Stage != smtp.StageBody || !r.Local || r.Host == "" || r.Security == nil {
			t.Errorf("got %s, want %s at %s", show(results), want, smtp.StageBody)
		}
	}
}

// TestContentChanges: a content isn't what it was when it was scanned.
func TestContentChanges(t *testing.T) {
	const text = "Hello.\r\nThis is the end.\r\n"
	for _, test := range []struct {
		name string
		size int64  // when it is sent; if zero, as it was
		sent string // then
		bdat bool
		want string
	}{
		{name: "shrinks", size: 8, sent: text, want: text},
		{name: "grows", size: 2 * int64(len(text)), sent: text + text, want: text},
		{name: "shrinks, by BDAT", size: 8, sent: text, bdat: true, want: text},
		{name: "gets a bare LF", sent: strings.Replace(text, "\r", " ", 1)},
		{name: "gets a bare LF, by BDAT", sent: strings.Replace(text, "\r", " ", 1), bdat: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &strict{extensions: "PIPELINING"}
				c := &Conn{Hostname: "client.test"}
				if test.bdat {
					h.extensions, c.ChunkSize = "CHUNKING", 5
				}
				client, server := pipe("192.0.2.1:25")
				done := make(chan struct{})
				go func() {
					defer close(done)
					h.serve(server)
				}()
				if err := c.Open(t.Context(), client); err != nil {
					t.Fatal(err)
				}
				content := &changing{Content: strings.NewReader(text), sent: strings.NewReader(test.sent).ReadAt, size: test.size}
				c.Send(t.Context(), smtp.NewEnvelope("ann@client.test", "bob@example.net"), content)
				c.Close()
				<-done
				if got := strings.Join(h.committed, "|"); got != test.want {
					t.Errorf("the host committed %q, want %q", got, test.want)
				}
			})
		})
	}
}
