package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// guesser counts the passwords that the server checks. Every account has the password "secret".
type guesser struct{ checked atomic.Int64 }

func (g *guesser) authenticate(_ context.Context, _ *Peer, username, password string) error {
	g.checked.Add(1)
	switch password {
	case "secret":
		return nil
	case "busy":
		return errors.New("the directory is down")
	case "panic":
		panic("no directory")
	case "disabled":
		return smtp.NewReply(535, "5.7.13", "account disabled")
	}
	return ErrAuthFailed
}

// tries lets a new client from ip log in n times, and returns the codes of the replies.
func (w *world) tries(n int, ip, username, password string) string {
	w.t.Helper()
	c := w.dialFrom(ip)
	defer c.pipe.Close()
	c.ask(ehlo)
	for range n {
		c.send("AUTH PLAIN " + b64("\x00"+username+"\x00"+password) + "\r\n")
	}
	time.Sleep(time.Duration(n) * w.srv.AuthDelay)
	return strings.Join(replyCodes(c.take()), " ")
}

func times(n int, code string) string {
	return strings.TrimSpace(strings.Repeat(code+" ", n))
}

// TestGuesses: what a network, and an account in it, may do after failures.
func TestGuesses(t *testing.T) {
	type step struct {
		wait           time.Duration
		n              int
		ip, user, pass string
		want           string
	}
	const home, next, far = "192.0.2.7", "192.0.2.8", "198.51.100.7"
	wrong, stop := times(20, "535"), times(20, "454")
	tests := []struct {
		name  string
		steps []step
	}{
		{"a network is stopped, the right password too", []step{
			{0, 20, home, "ann", "x", wrong}, {0, 1, home, "ann", "secret", "454"}, {0, 1, next, "bob", "secret", "454"},
			{0, 1, far, "ann", "secret", "235"},
			{15*time.Minute - 20*time.Second, 1, home, "ann", "secret", "454"}, {20 * time.Second, 1, home, "ann", "secret", "235"},
		}},
		{"19 failures are no reason", []step{{0, 19, home, "ann", "x", times(19, "535")}, {0, 1, home, "ann", "secret", "235"}}},
		{"over many accounts and addresses", []step{
			{0, 7, home, "ann", "x", times(7, "535")}, {0, 7, next, "bob", "x", times(7, "535")},
			{0, 7, "192.0.2.200", "carol", "x", times(6, "535") + " 454"}, {0, 1, home, "ann", "secret", "454"},
		}},
		{"over an IPv6 /48", []step{
			{0, 10, "2001:db8:1::1", "ann", "x", times(10, "535")}, {0, 10, "2001:db8:1:ff::1", "ann", "x", times(10, "535")},
			{0, 1, "2001:db8:1:abc::1", "ann", "secret", "454"}, {0, 1, "2001:db8:2::1", "ann", "secret", "235"},
		}},
		{"failures decay", []step{
			{0, 19, home, "ann", "x", times(19, "535")}, {30 * time.Minute, 10, home, "ann", "x", times(10, "535")},
			{time.Hour, 19, home, "ann", "x", times(19, "535")},
		}},
		{"stopped for longer by the next 5", []step{
			{0, 20, home, "ann", "x", wrong}, {15 * time.Minute, 20, home, "ann", "x", times(5, "535") + " " + times(15, "454")},
		}},
		{"a network of the account is exempt", []step{
			{0, 1, home, "ann", "secret", "235"}, {0, 20, next, "bob", "x", wrong}, {0, 20, next, "carol", "x", stop},
			{0, 1, home, "Ann", "secret", "235"}, {0, 1, next, "ann", "secret", "235"}, {0, 1, next, "bob", "secret", "454"},
		}},
		{"strangers can't lock out, near or far", []step{
			{0, 1, home, "ann", "secret", "235"}, {0, 20, next, "ann", "x", wrong}, {0, 20, far, "ann", "x", wrong},
			{0, 1, home, "ann", "secret", "235"}, {0, 1, next, "ann", "secret", "454"}, {0, 1, next, "bob", "secret", "235"},
		}},
		{"an old password stops its device alone", []step{
			{0, 1, home, "ann", "secret", "235"}, {0, 21, home, "ann", "old", wrong + " 454"},
			{0, 1, home, "ann", "secret", "454"}, {0, 1, home, "bob", "secret", "235"}, {0, 1, next, "ann", "secret", "235"},
		}},
		{"the addresses of a known /48 have 20 together", []step{
			{0, 1, "2001:db8:1::1", "ann", "secret", "235"}, {0, 15, "2001:db8:1:1::1", "ann", "x", times(15, "535")},
			{0, 15, "2001:db8:1:2::1", "ann", "x", times(5, "535") + " " + times(10, "454")},
			{0, 1, "2001:db8:1:3::1", "ann", "secret", "454"}, {0, 1, "2001:db8:1::2", "ann", "secret", "235"},
		}},
		{"the exemption ends", []step{
			{0, 1, home, "ann", "secret", "235"}, {7 * 24 * time.Hour, 20, next, "bob", "x", wrong},
			{0, 1, home, "ann", "secret", "454"},
		}},
		{"what wasn't checked doesn't count", []step{
			{0, 20, home, "ann", "busy", stop}, {0, 1, home, "ann", "panic", "451"}, {0, 1, home, "ann", "secret", "235"},
		}},
		{"a refusal of 5xx counts", []step{{0, 20, home, "ann", "disabled", wrong}, {0, 1, home, "bob", "secret", "454"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &guesser{}
				w := newWorld(t, &Server{Authenticate: g.authenticate, AllowInsecureAuth: true, MaxErrors: 100})
				for i, s := range tt.steps {
					time.Sleep(s.wait)
					if got := w.tries(s.n, s.ip, s.user, s.pass); got != s.want {
						t.Errorf("step %d: got %s, want %s", i+1, got, s.want)
					}
				}
			})
		})
	}
}

// TestGuessesUnchecked: while a network is stopped, no password is checked, by any mechanism.
func TestGuessesUnchecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := authServer(t)
		g, looked := &guesser{}, 0
		srv.Authenticate = g.authenticate
		srv.StoredCredentials = func(context.Context, *Peer, string) (*SCRAMCredentials, error) {
			looked++
			return annCredentials, nil
		}
		srv.CheckToken = func(context.Context, *Peer, string, string) (string, error) {
			looked++
			return "ann", nil
		}
		w := newWorld(t, srv)
		w.tries(20, "192.0.2.7", "ann", "x")
		c := w.dialFrom("192.0.2.7")
		c.ask(ehlo)
		c.want("AUTH SCRAM-SHA-256 "+b64("n,,n=ann,r=abc")+"\r\n", "454")
		c.want("AUTH XOAUTH2 "+b64("user=ann\x01auth=Bearer good\x01\x01")+"\r\n", "454")
		c.want("AUTH OAUTHBEARER "+b64("n,,\x01auth=Bearer good\x01\x01")+"\r\n", "454")
		c.want("AUTH LOGIN\r\n"+b64("ann")+"\r\n"+b64("secret")+"\r\n", "334", "334", "454")
		if n := g.checked.Load(); n != 20 || looked != 0 {
			t.Errorf("got %d passwords and %d others checked, want 20 and none", n, looked)
		}
	})
}

// TestGuessesSCRAM: only a proof counts, wrong or right.
func TestGuessesSCRAM(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, authServer(t))
		c := w.dialFrom("192.0.2.7")
		c.ask(ehlo)
		for range 30 {
			c.want("AUTH SCRAM-SHA-256 "+b64("n,,n=ann,r=abc")+"\r\n*\r\n", "334", "501")
		}
		proof := b64("c=" + b64("n,,") + ",r=abc,p=" + b64(strings.Repeat("x", 32)))
		for range 20 {
			c.want("AUTH SCRAM-SHA-256 "+b64("n,,n=ann,r=abc")+"\r\n"+proof+"\r\n", "334", "535")
		}
		c.want("AUTH SCRAM-SHA-256 "+b64("n,,n=ann,r=abc")+"\r\n", "454")
	})
}

// TestHundredThousandGuesses: an attacker with a network of 256 addresses guesses as fast as the server answers, first
// without a pause, then for a day.
func TestHundredThousandGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &guesser{}
		w := newWorld(t, &Server{Authenticate: g.authenticate, AllowInsecureAuth: true, AuthDelay: time.Second})
		guess := func(i, n int) {
			c := w.dialFrom(fmt.Sprintf("192.0.2.%d", i%256))
			defer c.pipe.Close()
			c.send(ehlo + strings.Repeat("AUTH PLAIN "+b64("\x00ann\x00guess")+"\r\n", n))
			for !c.closed() {
				time.Sleep(time.Second)
			}
		}
		start := time.Now()
		for i := range 100_000 / 21 { // MaxErrors, and one
			guess(i, 21)
		}
		if n := g.checked.Load(); n > 20+int64(time.Since(start).Hours()*20)+1 {
			t.Errorf("got %d of 100,000 guesses checked within %v", n, time.Since(start))
		} else {
			t.Logf("%d of 100,000 guesses were checked within %v", n, time.Since(start))
		}
		time.Sleep(time.Hour)
		g.checked.Store(0)
		for i := range 24 * 60 {
			guess(i, 21)
			time.Sleep(time.Minute)
		}
		if n := g.checked.Load(); n < 400 || n > 550 {
			t.Errorf("got %d guesses checked in a day, want about 20 an hour", n)
		} else {
			t.Logf("%d guesses were checked in a day", n)
		}
		if w.tries(1, "198.51.100.7", "ann", "secret") != "235" {
			t.Error("got the user refused from another network")
		}
	})
}

// TestGuessesAtOnce: clients that guess at the same time get no more attempts.
func TestGuessesAtOnce(t *testing.T) {
	for _, password := range []string{"x", "secret", "busy"} {
		synctest.Test(t, func(t *testing.T) {
			g := &guesser{}
			var now, most atomic.Int64
			srv := &Server{AllowInsecureAuth: true, Authenticate: func(ctx context.Context, p *Peer, username, password string) error {
				most.Store(max(most.Load(), now.Add(1)))
				time.Sleep(time.Second)
				now.Add(-1)
				return g.authenticate(ctx, p, username, password)
			}}
			w := newWorld(t, srv)
			var clients []*client
			for range 50 {
				c := w.dialFrom("192.0.2.7")
				c.send(ehlo + "AUTH PLAIN " + b64("\x00ann\x00"+password) + "\r\n")
				clients = append(clients, c)
			}
			time.Sleep(time.Minute)
			replies := make(map[string]int)
			for _, c := range clients {
				codes := replyCodes(c.take())
				replies[codes[len(codes)-1]]++
			}
			want := map[string]map[string]int{
				"x": {"535": 20, "454": 30}, "secret": {"235": 50}, "busy": {"454": 50},
			}[password]
			if fmt.Sprint(replies) != fmt.Sprint(want) || password == "x" && most.Load() > 20 {
				t.Errorf("%s: got replies %v, %d at a time, want %v, at most 20", password, replies, most.Load(), want)
			}
		})
	}
}

// TestAuthDelay: the reply to a failed login comes after AuthDelay, or when the server shuts down.
func TestAuthDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{Authenticate: authenticate, AllowInsecureAuth: true, AuthDelay: 3 * time.Second})
		c := w.dial()
		c.slow = false
		c.want(ehlo, "220", "250")
		c.want("AUTH PLAIN " + b64("\x00ann\x00x") + "\r\n")
		time.Sleep(3*time.Second - 1)
		if got := c.take(); got != "" {
			t.Errorf("got %q too soon", got)
		}
		time.Sleep(time.Nanosecond)
		if got := c.take(); !strings.HasPrefix(got, "535") {
			t.Errorf("got %q, want 535", got)
		}
		c.want("AUTH PLAIN " + b64("\x00ann\x00x") + "\r\n")
		go w.srv.Shutdown(context.Background())
		if got := strings.Join(replyCodes(c.take()), " "); got != "535 421" {
			t.Errorf("got %q in a shutdown, want 535 and 421", got)
		}
	})
}

// TestGuessesBounded: the memory has a bound, whatever number of networks and accounts come.
func TestGuessesBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &Server{}
		for i := range maxSuccesses + 1000 {
			addr := netip.AddrFrom4([4]byte{byte(i >> 16), byte(i >> 8), byte(i), 1})
			for _, result := range []error{ErrAuthFailed, nil} {
				a, err := srv.attempt(t.Context(), "ann", netip.PrefixFrom(addr, 32))
				if err != nil {
					t.Fatal(err)
				}
				a.end(result)
			}
		}
		if n, m := len(srv.guesses.tallies), len(srv.guesses.successes); n != maxTallies || m != maxSuccesses {
			t.Errorf("got %d tallies and %d successes, want %d and %d", n, m, maxTallies, maxSuccesses)
		}
	})
}

// TestLoginsShared: servers with the same Logins stop a client together, and a login at one exempts it at the other.
func TestLoginsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, shared := &guesser{}, &Logins{}
		server := func(l *Logins) *world {
			return newWorld(t, &Server{Authenticate: g.authenticate, AllowInsecureAuth: true, MaxErrors: 100, Logins: l})
		}
		a, b, other := server(shared), server(shared), server(nil)
		if got := a.tries(1, "192.0.2.7", "ann", "secret") + " " + a.tries(20, "192.0.2.8", "bob", "x"); got != "235 "+times(20, "535") {
			t.Fatalf("got %s, want a login and 20 failures", got)
		}
		for _, tt := range []struct {
			w          *world
			user, want string
		}{{a, "bob", "454"}, {b, "bob", "454"}, {b, "ann", "235"}, {other, "bob", "235"}} {
			if got := tt.w.tries(1, "192.0.2.7", tt.user, "secret"); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.user, got, tt.want)
			}
		}
	})
}
