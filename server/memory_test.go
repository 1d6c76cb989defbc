package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/header"
	"github.com/postrider/postrider/smtp"
)

func TestMaxHeader(t *testing.T) {
	const long, many = "552 5.3.4 the header is too long\r\n", "552 5.3.4 the header has too many fields\r\n"
	field := func(n int) string { return "A: " + strings.Repeat("x", n-5) + "\r\n" }
	tests := []struct {
		name    string
		content string
		want    string // if empty, 250
	}{
		{"at the bound", field(998) + "\r\n" + strings.Repeat("text\r\n", 1000), ""},
		{"over it", field(999) + "\r\n", long},
		{"over it, folded", "A: b\r\n" + strings.Repeat(" c\r\n", 250) + "\r\n", long},
		{"over it without a body", field(500) + field(500) + field(500), long},
		{"a body alone", "\r\n" + strings.Repeat("A: b\r\n", 1000), ""},
		{"text alone", "Hello.\r\n" + strings.Repeat("A: b\r\n", 1000), ""},
		{"text of one long line", strings.Repeat("x", 2000) + "\r\n", long},
		{"a long name", strings.Repeat("x", 997) + ":\r\n" + field(300) + field(300) + "\r\n", long},
		{"a preamble", "From a@b today\r\n>From c\r\n" + field(500) + field(500), long},
		{"a preamble before text", "From a@b today\r\nHello.\r\n" + strings.Repeat("A: b\r\n", 1000), ""},
		{"a mark", "\ufeff" + field(998) + "\r\n", long},
		{"as many fields", strings.Repeat("A: b\r\n c\r\n", 10) + "\r\nA: b\r\n", ""},
		{"one more", strings.Repeat("A: b\r\n c\r\n", 11) + "\r\n", many},
		{"lines that aren't fields", strings.Repeat("A:\r\n", 5) + strings.Repeat("x\r\n", 6) + "\r\n", many},
	}
	for _, tt := range tests {
		for _, piece := range []int{1, 3, 1 << 20} {
			t.Run(fmt.Sprintf("%s, pieces of %d", tt.name, piece), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d := &desk{}
					srv := &Server{Handler: d, MaxHeader: 1000, MaxHeaderFields: 10}
					d.handle = func(_ context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
						return nil, d.file(p, env, inPieces{body, piece})
					}
					w := newWorld(t, srv)
					c := w.dial()
					c.ask(talked + data)
					want := tt.want
					if want == "" {
						want = "250 2.0.0 ok\r\n"
					}
					if got := c.ask(tt.content + ".\r\n"); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
					if n := len(d.all()); (n == 1) != (tt.want == "") {
						t.Errorf("got %d mails", n)
					}
					if c.ask("RSET\r\n") != "250 2.0.0 reset\r\n" {
						t.Error("the session doesn't go on")
					}
					c.pipe.Close()
					synctest.Wait()
					if n := srv.memory.Load(); n != 0 {
						t.Errorf("got %d octets in the books, want none", n)
					}
				})
			})
		}
	}
}

// inPieces reads at most n octets at a time.
type inPieces struct {
	r io.Reader
	n int
}

func (p inPieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

// TestMaxEnvelope: recipients with much text are fewer, and the message goes to those.
func TestMaxEnvelope(t *testing.T) {
	long := "ORCPT=rfc822;" + strings.Repeat("x", 480)
	tests := []struct {
		name string
		most int
		line string // a format for the number
		took int
	}{
		{"plain", 0, "RCPT TO:<somebody%d@mail.example.net>", 1000},
		{"ORCPT", 0, "RCPT TO:<somebody%d@example.net> ORCPT=rfc822;somebody%[1]d@example.net", 1000},
		{"long", 0, "RCPT TO:<" + strings.Repeat("a", 440) + "%d@example.net> " + long, 131},
		{"spaces", 0, "RCPT TO:<somebody%d@example.net>" + strings.Repeat(" ", 900), 1000},
		{"routes", 0, "RCPT TO:<" + strings.Repeat("@a.example,", 40) + "@b.example:somebody%d@example.net>", 1000},
		{"a small bound", 200, "RCPT TO:<somebody%d@example.net>", 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &desk{}
				w := newWorld(t, &Server{Handler: d, MaxEnvelope: tt.most})
				c := w.dial()
				c.ask(ehlo + mail)
				for range 2 {
					var lines strings.Builder
					for i := range 1000 {
						fmt.Fprintf(&lines, tt.line+"\r\n", i)
					}
					got := c.ask(lines.String())
					if n := strings.Count(got, "250 2.1.5"); n < tt.took*9/10 || n > tt.took*11/10 ||
						n+strings.Count(got, "452 4.5.3 too many recipients\r\n") != 1000 {
						t.Errorf("got %d recipients, want about %d, and 452", n, tt.took)
					}
					if n := w.srv.memory.Load(); n > defaultMaxEnvelope+sessionMemory+bufferMemory {
						t.Errorf("got %d octets in the books", n)
					}
					c.want(data, "354")
					c.want(body+mail, "250", "250")
				}
				c.want("QUIT\r\n", "221")
				if n := w.srv.memory.Load(); n != 0 {
					t.Errorf("got %d octets in the books, want none", n)
				}
			})
		})
	}
}

// TestMaxMemory: all sessions together stay within MaxMemory, and go on when there is room again.
func TestMaxMemory(t *testing.T) {
	const full = "452 4.3.1 too much mail at a time, try again later\r\n"
	tests := []struct {
		name         string
		begin, more  string // the clients send more until they are refused
		last         string // after it, if more was refused within a message
		refused      string
		checks       []Check
		roomForOther bool
	}{
		{name: "recipients", begin: talked, more: to(strings.Repeat("b", 400)), refused: full},
		{name: "headers", begin: talked + data, more: "A: " + strings.Repeat("b", 900) + "\r\n", last: "\r\n.\r\n", refused: full},
		{name: "checks", begin: talked + data, more: "\r\n.\r\n" + mail + rcpt + data, refused: full, checks: []Check{{
			Name: "slow", Content: func(context.Context, *Session, *Message) error { time.Sleep(time.Hour); return nil },
		}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const most = 600 << 10
				w := newWorld(t, &Server{MaxMemory: most, Checks: tt.checks, SessionTimeout: 24 * time.Hour, DataTimeout: 5 * time.Hour})
				var clients []*client
				refused := 0
				for range 10 {
					c := w.dial()
					c.ask(tt.begin)
					clients = append(clients, c)
				}
				for range 120 {
					for _, c := range clients {
						refused += strings.Count(c.ask(tt.more), tt.refused)
					}
				}
				for _, c := range clients {
					refused += strings.Count(c.ask(tt.last), tt.refused)
				}
				if refused == 0 || w.srv.memory.Load() > most+11*(sessionMemory+bufferMemory) {
					t.Errorf("got %d refusals, %d octets", refused, w.srv.memory.Load())
				}
				for _, c := range clients {
					c.pipe.Close()
				}
				time.Sleep(10 * time.Hour)
				if n := w.srv.memory.Load(); n != 0 {
					t.Errorf("got %d octets in the books, want none", n)
				}
				c := w.dial()
				c.want(talked+data, "220", "250", "250", "250", "354")
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{MaxMemory: 1})
		if got := w.dial().ask(ehlo + mail); !strings.HasSuffix(got, full) {
			t.Errorf("got %q, want MAIL refused", got)
		}
	})
}

// TestHostileMemory: clients that send as many and as long recipients as they may, and then a header that never ends,
// hold about 300 KiB each. The Handler reads the header as that of a Relay.
func TestHostileMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("sends 25 MB")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const conns = 25
	var reading, clients sync.WaitGroup
	reading.Add(conns)
	d := &desk{handle: func(_ context.Context, _ *Peer, _ *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
		_, _, err := header.Read(&signal{body, defaultMaxHeader - 10_000, reading.Done})
		return nil, err
	}}
	srv := &Server{Hostname: "mx.test", Handler: d}
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Serve(context.Background(), l) }()
	live := func() int64 { // the spans of HeapInuse also have the gaps that garbage left
		memoryInUse()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before := live()
	var recipients strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&recipients, "RCPT TO:<%s%d@example.net> ORCPT=rfc822;%s\r\n", strings.Repeat("a", 440), i, strings.Repeat("x", 480))
	}
	head := strings.Repeat("A: "+strings.Repeat("x", 995)+"\r\n", (defaultMaxHeader-8000)/1000)
	for range conns {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients.Go(func() {
			if err := talk(c, ehlo+mail+recipients.String()+data, "354"); err != nil {
				t.Error(err)
			}
			io.WriteString(c, head)
		})
	}
	clients.Wait()
	reading.Wait()
	got := (live() - before) / conns
	t.Logf("%d KiB for each connection", got>>10)
	if got > 350<<10 {
		t.Errorf("got %d KiB for each connection, want about 300", got>>10)
	}
	srv.Close()
	<-stopped
}

// signal calls done when n octets were read.
type signal struct {
	r    io.Reader
	n    int
	done func()
}

func (s *signal) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if s.n > 0 && s.n <= n {
		s.done()
	}
	s.n -= n
	return n, err
}

// memoryInUse returns the octets of heap and stacks in use after garbage is gone and stacks have shrunk.
func memoryInUse() int64 {
	for range 5 {
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

// talk sends, and reads replies up to a line with want.
func talk(c net.Conn, said, want string) error {
	if _, err := io.WriteString(c, said); err != nil {
		return err
	}
	got := make([]byte, 0, 1024)
	for !strings.Contains(string(got), want) || !strings.HasSuffix(string(got), "\r\n") {
		if len(got) > 512 {
			got = append(got[:0], got[len(got)-256:]...)
		}
		n, err := c.Read(got[len(got):cap(got)])
		if got = got[:len(got)+n]; err != nil {
			return err
		}
	}
	return nil
}

// TestLargeHeader: a header over 1 MiB is accepted with a check, too, if MaxHeader allows it.
func TestLargeHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		srv := &Server{Handler: d, MaxHeader: 3 << 20, Checks: []Check{{
			Name: "adds", Content: func(_ context.Context, s *Session, m *Message) error {
				s.AddField(Field{"X-Seen", fmt.Sprintf(" %d", len(m.Header))})
				m.Header = append(m.Header, Field{"X-Last", " 1"})
				return nil
			},
		}}}
		c := newWorld(t, srv).dial()
		fields := strings.Repeat("A: "+strings.Repeat("x", 50_000)+"\r\n", 50)
		c.want(talked+data, "220", "250", "250", "250", "354")
		c.want(fields+"\r\nhello\r\n.\r\n", "250")
		want := "X-Seen: 50\r\n" + fields + "X-Last: 1\r\n\r\nhello\r\n"
		if mails := d.all(); len(mails) != 1 || mails[0].body != want {
			t.Errorf("got %d mails, want one with all its fields", len(mails))
		}
		c.want(mail+rcpt+data, "250", "250", "354")
		c.send(fields)
		c.send(fields + "\r\n.\r\n")
		if got := c.take(); !strings.HasPrefix(got, "552 ") {
			t.Errorf("got %q to a header over MaxHeader, want 552", got)
		}
	})
}
