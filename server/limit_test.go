package server

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestMaxConns(t *testing.T) {
	tests := []struct {
		name      string
		all, byIP int
		ips       []string // of the clients, who stay
		taken     []bool
	}{
		{"in all", 2, 0,
			[]string{"198.51.100.1", "198.51.100.2", "198.51.100.3"}, []bool{true, true, false}},
		{"by IPv4 address", 0, 1,
			[]string{"198.51.100.1", "198.51.100.2", "198.51.100.1"}, []bool{true, true, false}},
		{"by IPv6 /64", 0, 1,
			[]string{"2001:db8::1", "2001:db8:0:1::1", "2001:db8::ffff:2"}, []bool{true, true, false}},
		{"mapped", 0, 1,
			[]string{"198.51.100.1", "::ffff:198.51.100.1", "::ffff:198.51.100.2"}, []bool{true, false, true}},
		{"defaults", 0, 0, []string{"198.51.100.1", "198.51.100.1"}, []bool{true, true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, &Server{MaxConns: tt.all, MaxConnsPerIP: tt.byIP})
				for range 2 { // the second round shows that the first one released everything
					var clients []*client
					for i, ip := range tt.ips {
						c := w.dialFrom(ip)
						clients = append(clients, c)
						got := c.take()
						if tt.taken[i] && !strings.HasPrefix(got, "220 ") {
							t.Errorf("%s: got %q, want 220", ip, got)
						}
						if !tt.taken[i] && (!strings.HasPrefix(got, "421 4.7.0 ") || !c.closed()) {
							t.Errorf("%s: got %q, closed %t, want 421 4.7.0, closed", ip, got, c.closed())
						}
					}
					for _, c := range clients {
						c.pipe.Close()
					}
					synctest.Wait()
				}
				if n, m := w.books(); n != 0 || m != 0 {
					t.Errorf("got %d sessions and %d sources in the books, want none", n, m)
				}
			})
		})
	}
}

// TestTurnedAwayBound: connections that wait for a refusal have a bound and a time-out.
func TestTurnedAwayBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{MaxConns: 1})
		w.dial().take()
		var crowd []*pipe
		for range maxTurned + 10 {
			client, server := newPipe("198.51.100.9")
			server.out.room = 0 // the client receives nothing
			w.net.queue <- server
			crowd = append(crowd, client)
		}
		synctest.Wait()
		if got, _ := w.books(); got != 1+maxTurned {
			t.Errorf("got %d sessions, want %d", got, 1+maxTurned)
		}
		time.Sleep(defaultCloseTimeout)
		synctest.Wait()
		if got, _ := w.books(); got != 1 {
			t.Errorf("got %d sessions, want 1", got)
		}
		for _, c := range crowd {
			c.Close()
		}
	})
}

func TestSource(t *testing.T) {
	tests := []struct {
		addr net.Addr
		want string
	}{
		{&net.TCPAddr{IP: net.ParseIP("192.0.2.7"), Port: 1}, "192.0.2.7/32"},
		{&net.TCPAddr{IP: net.ParseIP("2001:db8:1:2:3:4:5:6"), Port: 1}, "2001:db8:1:2::/64"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 1}, "fe80::/64"},
		{textAddr("[2001:db8::1%eth0]:25"), "2001:db8::/64"},
		{textAddr("192.0.2.7:25"), "192.0.2.7/32"},
		{&net.UnixAddr{Name: "/run/x"}, "invalid Prefix"},
		{&net.TCPAddr{}, "invalid Prefix"},
		{nil, "invalid Prefix"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.addr), func(t *testing.T) {
			if got := source(tt.addr).String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

type textAddr string

func (a textAddr) Network() string { return "test" }
func (a textAddr) String() string  { return string(a) }

// TestLineLengths: each command may be as long as its extensions make it, and no octet longer.
func TestLineLengths(t *testing.T) {
	tests := []struct {
		name, before, line string
		max                int
		code               string // of a line of max octets
	}{
		{"NOOP", "", "NOOP", 512, "250"},
		{"EHLO", "", "EHLO client.example", 512, "250"},
		{"MAIL", ehlo, "MAIL FROM:<ann@example.com>", mailMax, "250"},
		{"RCPT", ehlo + mail, "RCPT TO:<bob@example.net>", rcptMax, "250"},
		{"VRFY", ehlo, "VRFY bob", 522, "252"},
		{"AUTH", ehlo, "AUTH PLAIN !", 12288, "501"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, &Server{Authenticate: authenticate, AllowInsecureAuth: true})
				c := w.dial()
				c.ask(tt.before)
				line := func(n int) string { // with white space at its end, which is allowed
					return tt.line + strings.Repeat(" ", n-len(tt.line)-2) + "\r\n"
				}
				got := c.want(line(tt.max+1)+"NOOP\r\n", "500", "250")
				if !strings.HasPrefix(got, "500 5.5.2 line too long\r\n") {
					t.Errorf("got %q, want line too long", got)
				}
				c.want(line(tt.max)+"NOOP\r\n", tt.code, "250")
			})
		})
	}
}

// TestLongLines: a line that is far too long is read to its end, within a bound, however it fills the buffer.
func TestLongLines(t *testing.T) {
	for _, n := range []int{
		maxLine - 1, maxLine, maxLine + 1, inSize - 1, inSize, inSize + 1,
		2*inSize - 1, 2 * inSize, 2*inSize + 1, maxJunk - 2,
	} {
		for _, fill := range []string{"x", "\r", "\n"} {
			synctest.Test(t, func(t *testing.T) {
				c := newWorld(t, &Server{}).dial()
				c.take()
				c.want("NOOP "+strings.Repeat(fill, n-7)+"x\r\nNOOP\r\n", "500", "250")
			})
		}
	}
	for _, fill := range []string{"x", "\r", "\n"} {
		synctest.Test(t, func(t *testing.T) {
			c := newWorld(t, &Server{}).dial()
			c.take()
			c.want("NOOP "+strings.Repeat(fill, maxJunk+inSize), "421")
			// The client may still be sending; after a reset it could lose the reply.
			if _, err := c.pipe.Write([]byte("x")); err != nil || !c.closed() {
				t.Errorf("got error %v, end %t, want a half-closed connection", err, c.closed())
			}
			time.Sleep(linger)
			synctest.Wait()
			if _, err := c.pipe.Write([]byte("x")); err == nil {
				t.Error("got an open connection, want it closed")
			}
		})
	}
}

// TestAuthLineLength: a response has at most 12288 octets, CRLF included.
func TestAuthLineLength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWorld(t, &Server{Authenticate: authenticate, AllowInsecureAuth: true}).dial()
		c.want(ehlo, "220", "250")
		for n, want := range map[int]string{
			maxLine:     "501 5.5.2 not base64\r\n",
			maxLine + 1: "500 5.5.6 response too long\r\n",
			100_000:     "500 5.5.6 response too long\r\n",
		} {
			c.want("AUTH PLAIN\r\n", "334")
			if got := c.ask(strings.Repeat("A", n-2) + "\r\n"); got != want {
				t.Errorf("%d octets: got %q, want %q", n, got, want)
			}
		}
	})
}

// TestDefaultRate: a client that was fast has no more than DataTimeout left.
func TestDefaultRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWorld(t, &Server{}).dial()
		c.ask(talked + data)
		c.ask(strings.Repeat(strings.Repeat("x", 76)+"\r\n", 40_000)) // worth 50 minutes
		time.Sleep(5*time.Minute - time.Nanosecond)
		if c.closed() {
			t.Fatal("got a closed connection, want it open")
		}
		time.Sleep(time.Nanosecond)
		if got, want := c.take(), "421 4.4.2 timed out\r\n"; got != want || !c.closed() {
			t.Errorf("got %q, closed %t, want %q, closed", got, c.closed(), want)
		}
	})
}

// TestHandlerTime: the time of the Handler doesn't count for DataTimeout.
func TestHandlerTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		w := newWorld(t, &Server{
			Handler: d, MinDataRate: 1 << 20, DataTimeout: time.Second, SessionTimeout: 24 * time.Hour,
		})
		d.handle = slowly(d, time.Hour)
		c := w.dial()
		c.ask(talked + data)
		c.ask("one\r\n")
		c.ask("two\r\n.\r\n")
		time.Sleep(3 * time.Hour)
		if got := c.take(); got != "250 2.0.0 ok\r\n" {
			t.Errorf("got %q, want 250", got)
		}
	})
}

// TestSessionTimeoutWithin: if SessionTimeout passes while the Handler runs, the client still gets the reply to its
// message.
func TestSessionTimeoutWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		w := newWorld(t, &Server{Handler: d, SessionTimeout: time.Minute})
		d.handle = slowly(d, time.Hour)
		c := w.dial()
		c.ask(talked + data)
		c.ask(body)
		time.Sleep(3 * time.Hour)
		if got, want := c.take(), "250 2.0.0 ok\r\n421 4.4.2 timed out\r\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestUntakenReplies: a client that doesn't receive its replies is closed, and gets no reply after a lost one.
func TestUntakenReplies(t *testing.T) {
	for _, n := range []int{10, 1000} { // replies that wait for the next read, and too many for that
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, &Server{MaxCommands: 1 << 20})
			client, server := newPipe("198.51.100.7")
			server.out.room = 20 // for the greeting
			w.net.queue <- server
			synctest.Wait()
			client.Write([]byte(strings.Repeat("NOOP\r\n", n)))
			time.Sleep(5 * time.Minute)
			synctest.Wait()
			server.out.setRoom(1 << 20)
			synctest.Wait()
			if got, _ := w.books(); got != 0 {
				t.Errorf("got %d sessions, want none", got)
			}
			if got, _ := io.ReadAll(client); string(got) != "220 mx.test ESMTP\r\n" {
				t.Errorf("got %.80q, want the greeting alone", got)
			}
			client.Close()
		})
	}
}
