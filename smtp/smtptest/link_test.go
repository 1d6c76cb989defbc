package smtptest

import (
	"bytes"
	"context"
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

// TestLinkConn: connections over a slow link fulfil the contract of net.Conn.
func TestLinkConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		a, b := testPair()
		a.out.way.link, b.out.way.link = link{latency: 50 * time.Microsecond}, link{latency: 50 * time.Microsecond}
		return a, b, func() { a.Close(); b.Close() }, nil
	})
}

func TestLink(t *testing.T) {
	const ms = time.Millisecond
	tests := []struct {
		name      string
		latency   time.Duration
		bandwidth int64
		dial      time.Duration // the duration of a dial
		octets    int           // of an answer
		first     time.Duration // from the question to the first octets of the answer
		last      time.Duration // to the last ones, and the end
	}{
		{"none", 0, 0, 0, 100_000, 0, 0},
		{"latency", 50 * ms, 0, 100 * ms, 100_000, 100 * ms, 100 * ms},
		{"bandwidth", 0, 1000, 0, 2920, 1461 * ms, 2921 * ms},
		{"both", 50 * ms, 1000, 100 * ms, 2920, 1561 * ms, 3021 * ms},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				n.Host("mx1.test").Link(test.latency, test.bandwidth)
				l, err := n.Listen("mx1.test:25")
				if err != nil {
					t.Fatal(err)
				}
				answer := bytes.Repeat([]byte("x"), test.octets)
				n.Go(func(context.Context) error {
					c, err := l.Accept()
					if err != nil {
						return err
					}
					defer c.Close()
					if _, err := c.Read(make([]byte, 1)); err != nil {
						return err
					}
					_, err = c.Write(answer)
					return err
				})
				start := time.Now()
				c, err := n.DialContext(t.Context(), "tcp", "mx1.test:25")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if took := time.Since(start); took != test.dial {
					t.Errorf("the dial took %v, want %v", took, test.dial)
				}
				start = time.Now()
				c.Write([]byte("?"))
				got := make([]byte, 2*test.octets)
				k, err := c.Read(got)
				if took := time.Since(start); err != nil || took != test.first {
					t.Errorf("the first octets took %v and gave %v, want %v", took, err, test.first)
				}
				rest, err := io.ReadAll(c)
				if took := time.Since(start); err != nil || took != test.last {
					t.Errorf("the last octets took %v and gave %v, want %v", took, err, test.last)
				}
				if !bytes.Equal(append(got[:k], rest...), answer) {
					t.Errorf("got %d octets, or other ones, want %d", k+len(rest), test.octets)
				}
			})
		})
	}
}

// TestLinkWaits: deadlines, contexts and outages end a wait for a slow link.
func TestLinkWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		h.Link(time.Hour, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := n.DialContext(ctx, "tcp", "mx.example.net:25"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial: got %v, want %v", err, context.DeadlineExceeded)
		}
		h.Heal() // doesn't make it faster
		start := time.Now()
		c := dial(t, h)
		if took := time.Since(start); took != 2*time.Hour {
			t.Errorf("dial: took %v, want 2h", took)
		}
		start = time.Now()
		c.SetReadDeadline(start.Add(time.Minute))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("read: got %v after %v, want a time-out after 1m", err, time.Since(start))
		}
		c.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Minute, h.Down)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("read: got %v, want %v", err, syscall.ECONNRESET)
		}
		if _, err := n.DialContext(t.Context(), "tcp", "mx.example.net:25"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial: got %v, want %v", err, syscall.ECONNREFUSED)
		}
		h.Up()
		h.Link(0, 0)
		start = time.Now()
		talk(t, dial(t, h), ": 220")
		if took := time.Since(start); took != 0 {
			t.Errorf("after the end of it: took %v, want 0", took)
		}
	})
}

// TestLinkEnd: the end of file takes as long as the octets before it, and only the first one counts.
func TestLinkEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := testPair()
		a.out.way.link = link{latency: time.Minute}
		a.CloseWrite()
		time.AfterFunc(30*time.Second, func() { a.Close() })
		start := time.Now()
		got, err := io.ReadAll(b)
		if took := time.Since(start); len(got) != 0 || err != nil || took != time.Minute {
			t.Errorf("got %q and %v after %v, want the end after 1m", got, err, took)
		}
	})
}
