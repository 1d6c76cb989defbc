package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/postrider/postrider/smtp"
)

// asked is an Auth that keeps the AuthHost of each Begin, and authenticates by the first mechanism.
type asked struct{ hosts []smtp.AuthHost }

func (a *asked) Begin(_ context.Context, host smtp.AuthHost) (smtp.AuthExchange, error) {
	a.hosts = append(a.hosts, host)
	if len(host.Mechanisms) == 0 {
		return nil, errors.New("none left")
	}
	return firstOf(host.Mechanisms), nil
}

type firstOf []string

func (f firstOf) Start() (string, []byte, error) { return f[0], nil, nil }
func (f firstOf) Next([]byte) ([]byte, error)    { return nil, nil }

// TestBegin: Begin gets the name, the mechanisms and the TLS of the host. After a 504 it is called again, without that
// mechanism.
func TestBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cert, roots := testTLS(t, "a.test")
		client, server := pipe("192.0.2.1:465")
		go play(server, steps("tls\nS: 220 hi\nC: EHLO\nS: 250-host\nS: 250 AUTH one TWO\n"+
			"C: AUTH ONE\nS: 504 what?\nC: AUTH TWO\nS: 504 what is that?\nC: QUIT\neof"), cert, nil)
		auth := new(asked)
		c := &Conn{Hostname: "client.test", Host: "a.test", Auth: auth, TLSConfig: &tls.Config{RootCAs: roots}}
		err := c.Open(t.Context(), client)
		if err == nil || err.Error() != "client: a.test: auth: 504 what is that?" {
			t.Errorf("got %v, want the last 504", err)
		}
		var got []string
		for _, h := range auth.hosts {
			got = append(got, fmt.Sprint(h.Name, h.Mechanisms, h.TLS != nil && h.TLS.HandshakeComplete))
		}
		if want := "a.test[ONE TWO] true, a.test[TWO] true, a.test[] true"; strings.Join(got, ", ") != want {
			t.Errorf("got %q, want %s", got, want)
		}
	})
}

// TestNoExchange: without an exchange, the session ends before AUTH.
func TestNoExchange(t *testing.T) {
	for _, tt := range []struct {
		name string
		auth smtp.Auth
		want string
	}{
		{"AuthMechanism", once(nil), "smtp: the func of AuthMechanism returned nil: return an exchange"},
		{"Auth", nothing{}, "Auth.Begin returned neither an exchange nor an error"},
	} {
		synctest.Test(t, func(t *testing.T) {
			client, server := pipe("127.0.0.1:25")
			script := steps("S: 220 hi\nC: EHLO client.test\nS: 250-host\nS: 250 AUTH PLAIN\nC: QUIT\neof")
			heard := make(chan []string, 1)
			go func() { heard <- play(server, script, nil, nil) }()
			c := &Conn{Hostname: "client.test", Host: "a.localhost", Auth: tt.auth}
			err := c.Open(t.Context(), client)
			if err == nil || err.Error() != "client: a.localhost: auth: 451 4.7.0 AUTH could not begin: "+tt.want {
				t.Errorf("%s: got %v, want %s", tt.name, err, tt.want)
			}
			if got := <-heard; !slices.Equal(got, script) {
				t.Errorf("%s: got %q, want %q", tt.name, got, script)
			}
		})
	}
}

type nothing struct{}

func (nothing) Begin(context.Context, smtp.AuthHost) (smtp.AuthExchange, error) { return nil, nil }
