package smtptest

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/nettest"
)

func testPair() (a, b *conn) {
	return newPair(&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 49152}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 10), Port: 25})
}

// TestConn: connections fulfil the contract of net.Conn.
func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := testPair()
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

func TestConnClose(t *testing.T) {
	const said = "221 bye\r\n"
	tests := []struct {
		name            string
		end             func(c *conn)
		read            string // by the other end
		readErr         error
		firstErr        error // of its first write
		writeErr        error // of its second write
		ownRead         error // of a read at the end that was closed
		ownWrite        error
		stillReadsReply bool
	}{
		{
			name: "close", end: func(c *conn) { c.Close() },
			read: said, writeErr: syscall.EPIPE, ownRead: net.ErrClosed, ownWrite: net.ErrClosed,
		},
		{
			name: "half close", end: func(c *conn) { c.CloseWrite() },
			read: said, ownWrite: syscall.EPIPE, stillReadsReply: true,
		},
		{
			name: "reset", end: func(c *conn) { c.SetLinger(0); c.Close() },
			readErr: syscall.ECONNRESET, firstErr: syscall.ECONNRESET, writeErr: syscall.ECONNRESET, ownRead: net.ErrClosed, ownWrite: net.ErrClosed,
		},
		{
			name: "linger", end: func(c *conn) { c.SetLinger(5); c.Close() },
			read: said, writeErr: syscall.EPIPE, ownRead: net.ErrClosed, ownWrite: net.ErrClosed,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := testPair()
				a.Write([]byte(said))
				test.end(a)

				for _, want := range []error{test.firstErr, test.writeErr} {
					if _, err := b.Write([]byte("QUIT\r\n")); !errors.Is(err, want) {
						t.Errorf("write: got %v, want %v", err, want)
					}
				}
				got, err := io.ReadAll(b)
				if string(got) != test.read || !errors.Is(err, test.readErr) {
					t.Errorf("read: got %q and %v, want %q and %v", got, err, test.read, test.readErr)
				}
				if !test.stillReadsReply {
					if _, err := a.Read(make([]byte, 1)); !errors.Is(err, test.ownRead) {
						t.Errorf("own read: got %v, want %v", err, test.ownRead)
					}
				} else if n, err := a.Read(make([]byte, 100)); n != 2*len("QUIT\r\n") || err != nil {
					t.Errorf("own read: got %d octets and %v, want 12", n, err)
				}
				if _, err := a.Write([]byte("x")); !errors.Is(err, test.ownWrite) {
					t.Errorf("own write: got %v, want %v", err, test.ownWrite)
				}
				a.Close()
				if err := a.Close(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("second close: got %v, want %v", err, net.ErrClosed)
				}
			})
		})
	}
}

func TestConnDeadline(t *testing.T) {
	full := make([]byte, window+1)
	tests := []struct {
		name string
		set  func(c *conn, t time.Time) error
		do   func(c *conn) (int, error)
		n    int
	}{
		{"read", (*conn).SetReadDeadline, func(c *conn) (int, error) { return c.Read(full) }, 0},
		{"read, both set", (*conn).SetDeadline, func(c *conn) (int, error) { return c.Read(full) }, 0},
		{"write", (*conn).SetWriteDeadline, func(c *conn) (int, error) { return c.Write(full) }, window},
		{"write, both set", (*conn).SetDeadline, func(c *conn) (int, error) { return c.Write(full) }, window},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, _ := testPair()
				start := time.Now()
				test.set(a, start.Add(time.Hour))
				n, err := test.do(a)
				if took := time.Since(start); n != test.n || took != time.Hour {
					t.Errorf("got %d octets after %v, want %d after 1h", n, took, test.n)
				}
				var nerr net.Error
				if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &nerr) || !nerr.Timeout() {
					t.Errorf("got %v, want a time-out", err)
				}

				// A deadline that is moved during a wait.
				test.set(a, time.Time{})
				start = time.Now()
				go func() {
					time.Sleep(time.Minute)
					test.set(a, time.Now().Add(time.Minute))
				}()
				_, err = test.do(a)
				if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took != 2*time.Minute {
					t.Errorf("got %v after %v, want a time-out after 2m", err, took)
				}
			})
		})
	}
}

// TestConnBuffers: both ends can write before either reads, as a pipelining client and its server do.
func TestConnBuffers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := testPair()
		want := bytes.Repeat([]byte("x"), window)
		for _, c := range []*conn{a, b} {
			if n, err := c.Write(want); n != window || err != nil {
				t.Fatalf("write: got %d, %v", n, err)
			}
		}
		for _, c := range []*conn{a, b} {
			got := make([]byte, window)
			if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("read: got %v, or other octets", err)
			}
		}
	})
}

// TestConnWritesDontMix: the octets of two large writes don't mix.
func TestConnWritesDontMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := testPair()
		for _, letter := range []string{"x", "y"} {
			go func() { a.Write(bytes.Repeat([]byte(letter), 2*window)) }()
		}
		var got []byte
		for len(got) < 4*window {
			synctest.Wait() // both fill what room there is
			part := make([]byte, window/16)
			n, err := b.Read(part)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, part[:n]...)
		}
		if n := bytes.Count(got, []byte("xy")) + bytes.Count(got, []byte("yx")); n != 1 {
			t.Errorf("the writers took turns %d times, want once", n)
		}
	})
}

// TestConnCloseWhileWriting: a blocked write fails when the other end is closed.
func TestConnCloseWhileWriting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := testPair()
		time.AfterFunc(time.Second, func() { b.Close() })
		if n, err := a.Write(make([]byte, window+1)); n != window || !errors.Is(err, syscall.EPIPE) {
			t.Errorf("got %d octets and %v, want %d and %v", n, err, window, syscall.EPIPE)
		}
		if got, err := io.ReadAll(a); len(got) != 0 || err != nil {
			t.Errorf("read: got %q and %v, want the end", got, err)
		}
	})
}
