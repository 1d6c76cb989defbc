package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/smtp"
)

// TestHostileMemory holds a session to what it may read and what it may allocate, whatever a host says.
func TestHostileMemory(t *testing.T) {
	line := func(n int) string { return strings.Repeat("x", n) }
	const extensions = "250-host\r\n250 AUTH PLAIN\r\n"
	tests := []struct {
		name     string
		parts    []string // what the host says, one part for each time that the client reads anew
		endless  string   // what follows them, for ever
		auth     bool
		lmtp     bool
		kibibyte int // that may be allocated, over what a good session takes
	}{
		{name: "a greeting without line end", endless: line(4096), kibibyte: 64},
		{name: "greeting lines without end", endless: "220-" + line(100) + "\r\n", kibibyte: 300},
		{name: "empty greeting lines without end", endless: "220-\r\n", kibibyte: 32},
		{name: "longest greeting lines without end", endless: "220-" + line(4090) + "\r\n", kibibyte: 400},
		{name: "extensions without end", parts: []string{"220 hi\r\n"}, endless: "250-X-EXTENSION\r\n", kibibyte: 32},
		{name: "mechanisms without end", parts: []string{"220 hi\r\n"}, endless: "250-AUTH" + strings.Repeat(" X", 2000) + "\r\n", kibibyte: 400},
		{name: "a challenge without end", parts: []string{"220 hi\r\n", extensions, "334 "}, endless: strings.Repeat("QUFB", 1024), auth: true, kibibyte: 64},
		{name: "a reply to RCPT without end", parts: []string{"220 hi\r\n", extensions, "250 ok\r\n"}, endless: "550-" + line(1000) + "\r\n", kibibyte: 400},
		{name: "a final reply without end", parts: []string{"220 hi\r\n", extensions, "250 ok\r\n", "250 ok\r\n", "354 go\r\n"}, endless: "250-" + line(1000) + "\r\n", kibibyte: 400},
		{name: "LMTP: a final reply without end", parts: []string{"220 hi\r\n", extensions, "250 ok\r\n", "250 ok\r\n", "354 go\r\n"}, endless: "250-" + line(1000) + "\r\n", lmtp: true, kibibyte: 400},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			env, content := smtp.NewEnvelope("ann@client.test", "bob@example.net"), smtp.Text("Hello.\n")
			session := func(nc *torrent) {
				c := &Conn{Hostname: "client.test", Host: "a.test", LMTP: test.lmtp}
				if test.auth {
					plain(c)
				}
				if c.Open(context.Background(), nc) == nil {
					c.Send(context.Background(), env, content)
				}
				if c.Ready() {
					t.Error("the session is ready")
				}
			}
			session(&torrent{}) // what is made once
			nc := &torrent{parts: test.parts, endless: test.endless}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			session(nc)
			runtime.ReadMemStats(&after)
			if got := int(after.TotalAlloc-before.TotalAlloc) >> 10; got > test.kibibyte {
				t.Errorf("allocated %d KiB, want %d at most", got, test.kibibyte)
			}
			if most := 64<<10 + 2*4096; nc.taken > most {
				t.Errorf("read %d octets of it, want %d at most", nc.taken, most)
			}
		})
	}
}

// TestHostileReplies: what is kept of the replies to thousands of recipients is bounded for each.
func TestHostileReplies(t *testing.T) {
	const most = maxReplyText + len("...")
	reply := "550-" + strings.Repeat("x", 4000) + "\r\n"
	reply = strings.Repeat(reply, 15) + "550 no\r\n"
	nc := &spoken{parts: []string{"220 hi\r\n", "250 host\r\n", "250 ok\r\n"}}
	env := smtp.NewEnvelope("ann@client.test")
	for n := range 100 {
		env.Recipients = append(env.Recipients, smtp.Recipient{Address: fmt.Sprintf("%d@example.net", n)})
		for rest := reply; rest != ""; {
			part := rest[:min(4096, len(rest))]
			nc.parts, rest = append(nc.parts, part), rest[len(part):]
		}
	}
	c := &Conn{Hostname: "client.test"}
	if err := c.Open(t.Context(), nc); err != nil {
		t.Fatal(err)
	}
	results, _ := c.Send(t.Context(), env, smtp.Text("Hello.\n"))
	for _, r := range results {
		if r.Outcome != smtp.Rejected || len(r.Reply.Text) > most {
			t.Fatalf("got %s with a text of %d octets, want rejected and %d at most", r.Outcome, len(r.Reply.Text), most)
		}
	}
}

// torrent is a connection on which a host says its parts, and then something for ever, or nearly.
type torrent struct {
	net.Conn
	parts   []string
	endless string
	rest    string // of endless
	taken   int    // of endless
}

func (c *torrent) Read(b []byte) (int, error) {
	if len(c.parts) > 0 {
		n := copy(b, c.parts[0])
		c.parts = c.parts[1:]
		return n, nil
	}
	if c.endless == "" || c.taken > floodMost {
		return 0, io.EOF
	}
	if c.rest == "" {
		c.rest = c.endless
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	c.taken += n
	return n, nil
}
func (c *torrent) Write(b []byte) (int, error) { return len(b), nil }
func (c *torrent) Close() error                { return nil }
func (c *torrent) RemoteAddr() net.Addr        { return pipeAddr("127.0.0.1:25") }
func (c *torrent) SetDeadline(time.Time) error { return nil }
