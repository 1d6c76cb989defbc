//go:build unix

package client

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/postrider/postrider/mx"
)

// TestQuiet looks at real sockets.
func TestQuiet(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pair := func() (client, server net.Conn) {
		client, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err = l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { client.Close(); server.Close() })
		return client, server
	}
	client, server := pair()
	if !new(probe).quiet(client) {
		t.Errorf("open and silent: got not quiet")
	}
	// It says something: heard by a reader with time, then not taken from it.
	server.Write([]byte("421 bye\r\n"))
	wait(t, client)
	if new(probe).quiet(client) {
		t.Errorf("with something to read: got quiet")
	}
	b := make([]byte, 100)
	if n, err := client.Read(b); err != nil || string(b[:n]) != "421 bye\r\n" {
		t.Errorf("got %q, %v, want all of what was said", b[:n], err)
	}
	if !new(probe).quiet(client) {
		t.Errorf("silent again: got not quiet")
	}
	server.Close()
	wait(t, client)
	if new(probe).quiet(client) {
		t.Errorf("closed: got quiet")
	}
	client, _ = pair()
	client.Close()
	if new(probe).quiet(client) {
		t.Errorf("closed by us: got quiet")
	}
	a, _ := pipe("x")
	if !new(probe).quiet(a) {
		t.Errorf("what has no socket: got not quiet")
	}
}

// wait returns when there is something to be read, or the end, without reading it.
func wait(t *testing.T, c net.Conn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(5 * time.Second))
	defer c.SetReadDeadline(time.Time{})
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	tries := 0
	err = raw.Read(func(uintptr) bool { tries++; return tries > 1 || !new(probe).quiet(c) })
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("nothing came")
	}
}

// TestLateReply: a session whose host says something while it is idle isn't used again, however soon.
func TestLateReply(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	host, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	greeted := make(chan bool)
	go func() {
		defer close(greeted)
		io.WriteString(host, "220 hello\r\n")
		bufio.NewReader(host).ReadString('\n')
		io.WriteString(host, "250 hello\r\n")
	}()
	s := &session{Conn: &Conn{Hostname: "client.test", TLS: mx.TLSNone}, opened: time.Now()}
	if err := s.Open(t.Context(), nc); err != nil {
		t.Fatal(err)
	}
	<-greeted
	io.WriteString(host, "500 what?\r\n")
	for new(probe).quiet(nc) {
		runtime.Gosched()
	}
	tr := &Transport{Timeouts: Timeouts{Quit: time.Millisecond}}
	defer tr.Close()
	tr.pool.keep(s, tr.limits())
	if got := tr.pool.take(key{}, tr.limits(), func(*session) bool { return true }); got != nil {
		t.Error("got the session, want none")
	}
}
