package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestSilent: who talks before the greeting, and that the session goes on with the input.
func TestSilent(t *testing.T) {
	tests := []struct {
		name  string
		after time.Duration // when the client talks
		leave bool          // the client leaves in its place
		limit time.Duration // of the context of Silent
		want  bool
		took  time.Duration
	}{
		{"at once", time.Nanosecond, false, time.Hour, false, time.Nanosecond},
		{"a bit early", 4 * time.Second, false, time.Hour, false, 4 * time.Second},
		{"after the wait", 6 * time.Second, false, time.Hour, true, 5 * time.Second},
		{"leaves", time.Second, true, time.Hour, true, time.Second},
		{"a context that ends sooner", 4 * time.Second, false, 3 * time.Second, true, 3 * time.Second},
		{"a context that has ended", time.Second, false, -1, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got, again bool
				var took time.Duration
				w := newWorld(t, &Server{Checks: []Check{{
					Name: "c",
					Connect: func(ctx context.Context, s *Session) error {
						start := time.Now()
						ctx, cancel := context.WithTimeout(ctx, tt.limit)
						defer cancel()
						got, took = s.Silent(ctx, 5*time.Second), time.Since(start)
						return nil
					},
					Hello: func(ctx context.Context, s *Session) error {
						again = s.Silent(ctx, time.Hour)
						return nil
					},
				}}})
				c := w.dial()
				synctest.Wait()
				time.Sleep(tt.after)
				if tt.leave {
					c.pipe.Close()
					synctest.Wait()
				} else {
					c.send(ehlo + "MAIL FROM:<a@x.test>\r\n")
					time.Sleep(10 * time.Second)
					if codes := strings.Join(replyCodes(c.take()), " "); codes != "220 250 250" || !again {
						t.Errorf("got replies %s, Silent %t at EHLO; want 220 250 250, true", codes, again)
					}
				}
				if got != tt.want || took != tt.took {
					t.Errorf("got %t after %v, want %t after %v", got, took, tt.want, tt.took)
				}
			})
		})
	}
}

// TestSilentTLS: a client of implicit TLS is silent after its handshake, and can go on after the wait.
func TestSilentTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got bool
		w := newWorld(t, &Server{Checks: []Check{{Name: "c", Connect: func(ctx context.Context, s *Session) error {
			got = s.Silent(ctx, 5*time.Second)
			return nil
		}}}})
		near, far := newPipe("198.51.100.7")
		w.net.queue <- net.Conn(tls.Server(far, testTLS(t)))
		conn := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
		if err := conn.Handshake(); err != nil {
			t.Fatal(err)
		}
		c := &client{t: t, pipe: near, conn: conn}
		c.read()
		defer func() { near.Close(); <-c.reading }()
		time.Sleep(6 * time.Second)
		c.want(ehlo, "220", "250")
		if !got {
			t.Error("got a client that talks, want a silent one")
		}
	})
}

// TestSilentShutdown: a shutdown doesn't wait for a client to be silent.
func TestSilentShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{Checks: []Check{{Name: "c", Connect: func(ctx context.Context, s *Session) error {
			s.Silent(ctx, time.Minute)
			return nil
		}}}})
		w.dial().take()
		start := time.Now()
		if err := w.srv.Shutdown(t.Context()); err != nil || time.Since(start) > 0 {
			t.Errorf("got %v after %v, want nil at once", err, time.Since(start))
		}
	})
}

// TestSilentCrowd: in a crowd, clients wait a tenth of the time, also those that wait already.
func TestSilentCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &Server{MaxConns: 5, Checks: []Check{{Name: "c", Connect: func(ctx context.Context, s *Session) error {
			s.Silent(ctx, 5*time.Second)
			return nil
		}}}})
		var clients []*client
		for i := range 5 {
			clients = append(clients, w.dialFrom(fmt.Sprintf("198.51.%d.7", i)))
			if got := clients[i].take(); got != "" {
				t.Errorf("got %q at once, want a wait", got)
			}
		}
		time.Sleep(time.Second / 2)
		for _, c := range clients {
			c.want(ehlo, "220", "250")
		}
	})
}

// TestSilentProxy: a proxy that sends XCLIENT at once isn't taken for its client, before XCLIENT or behind it.
func TestSilentProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []bool
		w := newWorld(t, &Server{XClient: proxyNets, Checks: []Check{{Name: "c", Connect: func(ctx context.Context, s *Session) error {
			heard = append(heard, s.Silent(ctx, 5*time.Second))
			return nil
		}}}})
		c := w.dial()
		c.want(ehlo+"XCLIENT ADDR=192.0.2.1\r\n"+ehlo, "220", "250", "220", "250")
		if !slices.Equal(heard, []bool{true, true}) {
			t.Errorf("got %v, want a silent client twice", heard)
		}
	})
}
