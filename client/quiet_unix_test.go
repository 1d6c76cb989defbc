//go:build unix

package client

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"
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
	if !quiet(client) {
		t.Errorf("open and silent: got not quiet")
	}
	// It says something: heard by a reader with time, then not taken from it.
	server.Write([]byte("421 bye\r\n"))
	wait(t, client)
	if quiet(client) {
		t.Errorf("with something to read: got quiet")
	}
	b := make([]byte, 100)
	if n, err := client.Read(b); err != nil || string(b[:n]) != "421 bye\r\n" {
		t.Errorf("got %q, %v, want all of what was said", b[:n], err)
	}
	if !quiet(client) {
		t.Errorf("silent again: got not quiet")
	}
	server.Close()
	wait(t, client)
	if quiet(client) {
		t.Errorf("closed: got quiet")
	}
	client, _ = pair()
	client.Close()
	if quiet(client) {
		t.Errorf("closed by us: got quiet")
	}
	a, _ := pipe("x")
	if !quiet(a) {
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
	err = raw.Read(func(uintptr) bool { tries++; return tries > 1 || !quiet(c) })
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("nothing came")
	}
}
