package smtptest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	netsmtp "net/smtp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// post sends one message with the standard library's client.
func post(n *Network, address, from string, to ...string) error {
	nc, err := n.DialContext(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	defer nc.Close()
	name, _, _ := net.SplitHostPort(address)
	c, err := netsmtp.NewClient(nc, name)
	if err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		if err := c.StartTLS(&tls.Config{ServerName: name, RootCAs: n.RootCAs()}); err != nil {
			return err
		}
	}
	if err := c.Mail(from); err != nil {
		return err
	}
	for _, address := range to {
		if err := c.Rcpt(address); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, "Subject: hello\r\n\r\n.dot\r\n"); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// retry calls post at intervals until it succeeds.
func retry(t *testing.T, n *Network, every time.Duration, address, from string, to ...string) (attempts int) {
	for {
		attempts++
		if post(n, address, from, to...) == nil {
			return attempts
		}
		if attempts == 1000 {
			t.Fatal("no success in 1000 attempts")
		}
		time.Sleep(every)
	}
}

func TestMessage(t *testing.T) {
	tests := []struct {
		name  string
		setup func(*Host)
		want  Message
	}{
		{"TLS", func(*Host) {}, Message{TLS: true, Hello: "localhost"}},
		{"clear", (*Host).NoTLS, Message{Hello: "localhost"}},
		{"v6", func(h *Host) { h.IPv6() }, Message{TLS: true, Hello: "localhost"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				h := n.MX("example.net", "mx.example.net")
				test.setup(h)
				time.Sleep(300 * 24 * time.Hour) // the certificate is made on demand
				now := time.Now()
				if err := post(n, "mx.example.net:25", "ann@example.com", "bob@example.net", "cy@example.net"); err != nil {
					t.Fatal(err)
				}
				got := h.Wait(1)[0]
				if got.TLS != test.want.TLS || got.Hello != test.want.Hello || !got.Time.Equal(now) {
					t.Errorf("got %+v, want %+v at %v", got, test.want, now)
				}
				env := got.Envelope
				if env.From != "ann@example.com" || len(env.Recipients) != 2 || env.Recipients[1].Address != "cy@example.net" {
					t.Errorf("got %+v, want ann@example.com to bob@ and cy@example.net", env)
				}
				if want := "Subject: hello\r\n\r\n.dot\r\n"; string(got.Data) != want {
					t.Errorf("got %q, want %q", got.Data, want)
				}
			})
		})
	}
}

// TestCertificates: a certificate is valid for its host only, and only with the network's authority.
func TestCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		n.Host("mx.example.net")
		n.Host("/run/lmtp.sock")
		stranger := x509.NewCertPool()
		tests := []struct {
			name    string
			config  *tls.Config
			failing bool
		}{
			{"good", &tls.Config{ServerName: "mx.example.net", RootCAs: n.RootCAs()}, false},
			{"other name", &tls.Config{ServerName: "mx2.example.net", RootCAs: n.RootCAs()}, true},
			{"other authority", &tls.Config{ServerName: "mx.example.net", RootCAs: stranger}, true},
		}
		for _, test := range tests {
			nc, err := n.DialContext(t.Context(), "tcp", "mx.example.net:465")
			if err != nil {
				t.Fatal(err)
			}
			tc := tls.Client(nc, test.config)
			if err := tc.Handshake(); (err != nil) != test.failing {
				t.Errorf("%s: got %v, want failure: %v", test.name, err, test.failing)
			}
			tc.Close()
		}
		cert := n.Certificate("MX1.test")
		if err := cert.Leaf.VerifyHostname("mx1.test"); err != nil {
			t.Error(err)
		}
		_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: n.RootCAs()})
		if err != nil {
			t.Error(err)
		}
		if err := n.Certificate("203.0.113.9").Leaf.VerifyHostname("203.0.113.9"); err != nil {
			t.Error(err)
		}
		n.Certificate("/run/lmtp.sock")
	})
}

// TestTLSForgets: STARTTLS discards the state of the session (RFC 3207 §4.2).
func TestTLSForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		n.Host("mx.example.net")
		c, err := n.DialContext(t.Context(), "tcp", "mx.example.net:25")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		say := func(w io.ReadWriter, command, want string) {
			t.Helper()
			io.WriteString(w, command)
			if got, err := readCode(w); got != want || err != nil {
				t.Errorf("%q: got %q and %v, want %q", command, got, err, want)
			}
		}
		say(c, "", "220")
		say(c, "EHLO client.test\r\n", "250")
		say(c, "MAIL FROM:<ann@example.com>\r\n", "250")
		say(c, "STARTTLS\r\n", "220")
		tc := tls.Client(c, &tls.Config{ServerName: "mx.example.net", RootCAs: n.RootCAs()})
		say(tc, "RCPT TO:<bob@example.net>\r\n", "503")
		say(tc, "MAIL FROM:<ann@example.com>\r\n", "503")
		say(tc, "EHLO client.test\r\n", "250")
		say(tc, "STARTTLS\r\n", "503")
		say(tc, "MAIL FROM:<ann@example.com>\r\n", "250")
		tc.Close()
	})
}

func TestAuth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("smtp.example.com")
		h.Auth("ann", "secret")
		login := func(password string) error {
			nc, err := n.DialContext(t.Context(), "tcp", "smtp.example.com:465")
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			c, err := netsmtp.NewClient(tls.Client(nc, &tls.Config{ServerName: h.Name(), RootCAs: n.RootCAs()}), h.Name())
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Auth(netsmtp.PlainAuth("", "ann", password, h.Name())); err != nil {
				return err
			}
			c.Mail("ann@example.com")
			c.Rcpt("bob@example.net")
			w, err := c.Data()
			if err != nil {
				t.Fatal(err)
			}
			w.Close()
			return c.Quit()
		}
		if err := login("wrong"); err == nil || !strings.Contains(err.Error(), "535") {
			t.Errorf("wrong password: got %v, want 535", err)
		}
		if err := login("secret"); err != nil {
			t.Errorf("got %v", err)
		}
		if got := h.Wait(1)[0]; got.Identity != "ann" || !got.TLS {
			t.Errorf("got %+v, want identity ann under TLS", got)
		}
		if text := h.Transcript(); strings.Contains(text, "AGFubg") || strings.Contains(text, "secret") {
			t.Errorf("credentials in the transcript:\n%s", text)
		}
	})
}

func TestGreylist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		h.Greylist(10 * time.Minute)
		start := time.Now()
		// At 0, 4 and 8 minutes it is too early, at 12 it isn't.
		if got := retry(t, n, 4*time.Minute, "mx.example.net:25", "ann@example.com", "bob@example.net"); got != 4 {
			t.Errorf("got %d attempts, want 4", got)
		}
		if got := h.Wait(1)[0].Time.Sub(start); got != 12*time.Minute {
			t.Errorf("got the mail after %v, want 12m", got)
		}
		if err := post(n, "mx.example.net:25", "ann@example.com", "bob@EXAMPLE.net"); err != nil {
			t.Errorf("known by now: got %v", err)
		}
		err := post(n, "mx.example.net:25", "ann@example.com", "cy@example.net")
		if err == nil || !strings.HasPrefix(err.Error(), `451 "4.7.1`) {
			t.Errorf("another recipient: got %v, want 451 4.7.1", err)
		}
	})
}

func TestDefer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.Host("mx.example.net")
		h.Defer(26*time.Hour, smtp.NewReply(451, "4.3.0", "disk"))
		if got := retry(t, n, time.Hour, "mx.example.net:25", "ann@example.com", "bob@example.net"); got != 27 {
			t.Errorf("got %d attempts, want 27", got)
		}
	})
}

// TestOutage: a host is down for two days, and a client tries once an hour.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		h := n.MX("example.net", "mx.example.net")
		h.Down()
		n.Go(func(context.Context) error {
			retry(t, n, time.Hour, "mx.example.net:25", "ann@example.com", "bob@example.net")
			return nil
		})
		time.Sleep(48*time.Hour - time.Minute)
		if got := h.Messages(); len(got) != 0 {
			t.Errorf("got %d messages while down", len(got))
		}
		h.Up()
		start := time.Now()
		h.Wait(1)
		if got := time.Since(start); got != time.Minute {
			t.Errorf("got the mail %v after the outage, want 1m", got)
		}
	})
}

// TestDownResets: an outage resets open connections.
func TestDownResets(t *testing.T) {
	for name, outage := range map[string]func(*Host){"down": (*Host).Down, "hang": (*Host).Hang} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := NewNetwork(t)
				h := n.Host("mx.example.net")
				c, err := n.DialContext(t.Context(), "tcp", "mx.example.net:25")
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				time.AfterFunc(time.Minute, func() { outage(h) })
				if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
					t.Errorf("got %v, want %v", err, syscall.ECONNRESET)
				}
			})
		})
	}
}

// TestIdle: a host closes the connection of a silent client after 5 minutes, and not earlier.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewNetwork(t)
		n.Host("mx.example.net")
		c, err := n.DialContext(t.Context(), "tcp", "mx.example.net:25")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		start := time.Now()
		got, err := io.ReadAll(c)
		if !strings.HasSuffix(string(got), "\r\n421 4.4.2 idle for too long\r\n") || err != nil || time.Since(start) != 5*time.Minute {
			t.Errorf("got %q and %v after %v, want a 421 after 5m", got, err, time.Since(start))
		}
	})
}

// TestReal runs outside a bubble, with several clients at once.
func TestReal(t *testing.T) {
	n := NewNetwork(t)
	h := n.Host("mx.example.net")
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := post(n, "mx.example.net:25", "ann@example.com", "bob@example.net"); err != nil {
				t.Error(err)
			}
		})
	}
	h.Wait(10)
	wg.Wait()
	if got := h.Messages(); len(got) != 10 || slices.ContainsFunc(got, func(m Message) bool { return !m.TLS }) {
		t.Errorf("got %d messages, want 10 under TLS", len(got))
	}
}
