package server

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestMaxConnsPerNetwork: connections are counted by the networks that one customer has.
func TestMaxConnsPerNetwork(t *testing.T) {
	tests := []struct {
		name         string
		byIP, byNet  int
		from         string // a format for the number of the client
		taken        int
		other        string // an address that isn't in that network
		wantTheOther bool
	}{
		{"IPv4 /24", 0, 5, "198.51.100.%d", 5, "198.51.101.1", true},
		{"IPv6 /64s in one /56", 0, 5, "2001:db8:0:%d::1", 5, "2001:db8:1::1", true},
		{"IPv6 /56s in one /48", 0, 5, "2001:db8:0:%d00::1", 5, "2001:db8:1::1", true},
		{"another /56 of a full /48", 0, 5, "2001:db8:0:%d::1", 5, "2001:db8:0:ff00::1", false},
		{"default", 3, 0, "198.51.100.%d", 6, "198.51.101.1", true},
		{"mapped", 0, 5, "::ffff:198.51.100.%d", 5, "198.51.100.200", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, &Server{MaxConnsPerIP: tt.byIP, MaxConnsPerNetwork: tt.byNet})
				for range 2 { // the second round shows that the first one released everything
					var clients []*client
					for i := range tt.taken + 1 {
						c := w.dialFrom(fmt.Sprintf(tt.from, i+1))
						got := c.take()
						if ok := strings.HasPrefix(got, "220 "); ok != (i < tt.taken) {
							t.Errorf("client %d: got %q", i+1, got)
						} else if !ok && got != "421 4.7.0 too many connections from your network\r\n" {
							t.Errorf("got %q", got)
						}
						clients = append(clients, c)
					}
					c := w.dialFrom(tt.other)
					if got := c.take(); strings.HasPrefix(got, "220 ") != tt.wantTheOther {
						t.Errorf("the other: got %q", got)
					}
					for _, c := range append(clients, c) {
						c.pipe.Close()
					}
					synctest.Wait()
				}
				if n, m := w.books(); n != 0 || m != 0 {
					t.Errorf("got %d sessions and %d networks in the books, want none", n, m)
				}
			})
		})
	}
}

// TestFull: attackers hold all slots of a server with the defaults, in some way. A client from elsewhere still gets in
// and sends its mail, and who has sent mail or has authenticated stays.
func TestFull(t *testing.T) {
	slow := strings.Repeat("x", 76) + "\r\n"
	tests := []struct {
		name  string
		begin string // what each attacker sends
		tls   bool
		each  time.Duration // the time between
		then  string        // what each sends then, again and again
		rest  time.Duration // until a client comes
	}{
		{name: "silent", rest: 2 * time.Second},
		{name: "NOOP", begin: ehlo, each: 20 * time.Second, then: "NOOP\r\n", rest: 2 * time.Minute},
		{name: "in a transaction", begin: ehlo + mail, each: 20 * time.Second, then: "NOOP\r\n", rest: 2 * time.Minute},
		{name: "DATA", begin: talked + data, each: 70 * time.Millisecond, then: slow, rest: 2 * time.Minute},
		{name: "in a handshake", tls: true, rest: 2 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const slots = 40
				srv := authServer(t)
				srv.MaxConns, srv.MaxConnsPerIP, srv.MaxCommands, srv.MaxErrors = slots, slots/10, 0, 0
				w := newWorld(t, srv)
				known := w.dialFrom("203.0.113.1") // has sent a mail
				known.want(talked+data, "220", "250", "250", "250", "354")
				known.want(body, "250")
				user := w.dialFrom("203.0.114.1")
				user.want(ehlo+"AUTH PLAIN "+b64("\x00ann\x00secret")+"\r\n", "220", "250", "235")
				for i := range slots - 2 {
					p, _ := w.net.dial(fmt.Sprintf("192.0.%d.7", i%10))
					go func() {
						io.Copy(io.Discard, p)
					}()
					t.Cleanup(func() { p.Close() })
					io.WriteString(p, tt.begin)
					if tt.tls {
						io.WriteString(p, ehlo+"STARTTLS\r\n")
					}
					go func() {
						for tt.each > 0 {
							time.Sleep(tt.each)
							if _, err := io.WriteString(p, tt.then); err != nil {
								return
							}
						}
					}()
				}
				for end := time.Now().Add(tt.rest); time.Now().Before(end); time.Sleep(2 * time.Second) {
					known.want("NOOP\r\n", "250")
					user.want("NOOP\r\n", "250")
				}
				for i := range 20 {
					c := w.dialFrom(fmt.Sprintf("198.51.%d.1", i))
					c.slow = false
					c.want(talked+data, "220", "250", "250", "250", "354")
					c.want(body, "250")
				}
				if n, _ := w.books(); n > slots+maxTurned {
					t.Errorf("got %d sessions, want %d at most", n, slots+maxTurned)
				}
				if known.closed() || user.closed() {
					t.Errorf("got the sender closed: %t, the user: %t, want neither", known.closed(), user.closed())
				}
				srv.Close()
				time.Sleep(time.Minute) // the attackers notice
			})
		})
	}
}

// TestFullOfSenders: if each client has sent a message, none is closed for another one within a minute. Later the one
// goes that has sent none for the longest time, though it talks.
func TestFullOfSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{MaxConns: 3})
		var clients []*client
		for range 3 {
			c := w.dial()
			c.ask(talked + data)
			c.want(body, "250")
			clients = append(clients, c)
			time.Sleep(10 * time.Second)
		}
		clients[0].want(mail+rcpt+data, "250", "250", "354")
		clients[0].want(body, "250")
		if got := w.dial().take(); got != "421 4.7.0 too many connections\r\n" {
			t.Errorf("got %q, want a refusal", got)
		}
		time.Sleep(mailAge - 20*time.Second)
		clients[1].want("NOOP\r\n", "250")
		w.dial().want("", "220")
		for i, c := range clients {
			if c.closed() != (i == 1) {
				t.Errorf("client %d: got it closed: %t", i, c.closed())
			}
		}
	})
}

// TestFirstToGo: of the clients without a mail, one of the network with the most connections goes first, and of those
// the one that has waited longest.
func TestFirstToGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{MaxConns: 4})
		var clients []*client
		for _, ip := range []string{"198.51.100.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"} {
			clients = append(clients, w.dialFrom(ip))
			time.Sleep(2 * time.Second)
		}
		clients[1].want("NOOP\r\n", "220", "250")
		for _, c := range append(clients[2:], clients[0]) {
			c.take()
		}
		c := w.dialFrom("203.0.113.1")
		c.want("", "220")
		if got := clients[2].take(); got != "421 4.7.0 too many connections\r\n" {
			t.Errorf("got %q, want 421", got)
		}
		clients[0].want(talked, "250", "250", "250")
		// Nobody has waited long enough, or been there long enough, to go for the next one.
		clients[1].want(talked, "250", "250", "250")
		clients[3].want(talked, "250", "250", "250")
		c.want("NOOP\r\n", "250")
		if got := w.dialFrom("203.0.114.1").take(); got != "421 4.7.0 too many connections\r\n" {
			t.Errorf("got %q, want a refusal", got)
		}
	})
}

// TestCrowded: above 80 % of MaxConns, a client has a tenth of the time, whether it waits already or not.
func TestCrowded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{MaxConns: 10})
		early := w.dial()
		early.take()
		time.Sleep(10 * time.Second)
		transfer := w.dial()
		transfer.want(talked+data, "220", "250", "250", "250", "354")
		for range 6 {
			w.dial().take()
		}
		time.Sleep(10 * time.Second)
		if early.closed() {
			t.Fatal("got a client closed too soon")
		}
		last := w.dial() // the ninth
		last.take()
		time.Sleep(10*time.Second - 1)
		if early.closed() {
			t.Error("got the first client closed too soon")
		}
		time.Sleep(time.Nanosecond)
		if got := early.take(); got != "421 4.4.2 timed out\r\n" || !early.closed() {
			t.Errorf("got %q after 30 seconds, want 421", got)
		}
		time.Sleep(20*time.Second - 1)
		if last.closed() {
			t.Error("got the last client closed too soon")
		}
		time.Sleep(time.Nanosecond)
		if !last.closed() || transfer.closed() {
			t.Errorf("got the last client closed %t, a message ended %t, want the first alone", last.closed(), transfer.closed())
		}
		late := w.dial() // now there is room
		late.take()
		time.Sleep(time.Minute)
		if late.closed() {
			t.Error("got a client closed although there is room")
		}
	})
}

// TestSlowData: a client that sends a message just fast enough is closed at SessionTimeout.
func TestSlowData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		c := newWorld(t, &Server{Handler: d}).dial()
		c.ask(talked + data)
		c.send("\r\n")
		start := time.Now()
		for !c.closed() && time.Since(start) < 30*time.Hour {
			c.send(strings.Repeat("x", 1028) + "\r\n")
			time.Sleep(time.Second)
		}
		if got := time.Since(start); got != time.Hour {
			t.Errorf("got the client closed after %v, want 1h", got)
		}
		if got := c.take(); got != "421 4.4.2 timed out\r\n" || len(d.all()) != 0 {
			t.Errorf("got %q, want 421 and no mail", got)
		}
	})
}

// TestDrainTimeout: a client that goes on with a refused message is closed after DrainTimeout, with the refusal.
func TestDrainTimeout(t *testing.T) {
	for _, bad := range []string{"x\n\r\n", "\x00\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			c := newWorld(t, &Server{}).dial()
			c.ask(talked + data + bad)
			start := time.Now()
			for !c.closed() && time.Since(start) < time.Hour {
				c.send(strings.Repeat("x", 100_000) + "\r\n")
				time.Sleep(time.Second)
			}
			if got := time.Since(start); got != 30*time.Second {
				t.Errorf("got the client closed after %v, want 30s", got)
			}
			if got := c.take(); !strings.HasPrefix(got, "521 5.6.0 ") || len(replyCodes(got)) != 1 {
				t.Errorf("got %q, want 521", got)
			}
		})
	}
}

// TestSlowChecks: clients whose checks take long, for their names are slow to look up, don't hold all slots by commands
// that they sent ahead.
func TestSlowChecks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := Check{Name: "slow", Mail: func(_ context.Context, s *Session) error {
			if s.Envelope.From != "" {
				time.Sleep(20 * time.Second)
			}
			return nil
		}}
		w := newWorld(t, &Server{MaxConns: 100, MaxConnsPerNetwork: 20, Checks: []Check{slow}})
		for i := range 100 {
			c := w.dialFrom(fmt.Sprintf("203.0.%d.1", i/20))
			c.send(ehlo + strings.Repeat("MAIL FROM:<a@slow.test>\r\nRSET\r\n", 49))
		}
		refused := 0
		for range 60 {
			time.Sleep(10 * time.Second)
			c := w.dial()
			if strings.HasPrefix(c.ask(ehlo), "421") {
				refused++
			}
			c.pipe.Close()
		}
		if refused < 1 || refused > 9 { // in a minute, and the time of a check
			t.Errorf("got %d of 60 clients refused, want those of the first minute", refused)
		}
	})
}
