package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestHarden: STARTTLS needs TLS 1.2 and has no tickets, for each template and each config that it chooses.
func TestHarden(t *testing.T) {
	tests := []struct {
		name   string
		change func(*tls.Config)
	}{
		{"plain", func(c *tls.Config) {}},
		{"old", func(c *tls.Config) { c.MinVersion = tls.VersionTLS10 }},
		{"chosen", func(c *tls.Config) {
			inner := c.Clone()
			inner.MinVersion = tls.VersionTLS10
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }
		}},
		{"chosen none", func(c *tls.Config) {
			c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				config := testTLS(t)
				tt.change(config)
				version := config.MinVersion
				w := newWorld(t, &Server{TLSConfig: config})
				cache := tls.NewLRUClientSessionCache(1)
				for _, v := range []uint16{tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13, tls.VersionTLS13} {
					c := w.dial()
					c.want(ehlo+"STARTTLS\r\n", "220", "250", "220")
					c.pipe.SetReadDeadline(time.Now())
					<-c.reading
					c.pipe.SetReadDeadline(time.Time{})
					up := tls.Client(c.pipe, &tls.Config{
						InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: v,
						ServerName: "mx.test", ClientSessionCache: cache,
					})
					err := up.Handshake()
					if ok := v >= tls.VersionTLS12; ok != (err == nil) {
						t.Errorf("%s: got error %v, want one: %t", tls.VersionName(v), err, !ok)
					}
					c.conn = up
					c.read()
					if err == nil {
						c.want(ehlo, "250")
					}
					if up.ConnectionState().DidResume {
						t.Errorf("%s: got a resumed session, want none", tls.VersionName(v))
					}
					c.pipe.Close()
					synctest.Wait()
				}
				if config.SessionTicketsDisabled || config.MinVersion != version {
					t.Error("got the template changed, want it as it was")
				}
			})
		})
	}
}

// implicitTLS starts a server with a TLS listener and connects.
func implicitTLS(t *testing.T, srv *Server) (c *client, stopped chan error) {
	t.Helper()
	l := newNetwork()
	stopped = make(chan error, 1)
	go func() {
		stopped <- srv.Serve(context.Background(), tls.NewListener(l, testTLS(t)))
		close(stopped)
	}()
	p, ok := l.dial("198.51.100.7")
	if !ok {
		t.Fatal("got no listener, want one")
	}
	c = newClient(t, p)
	c.startTLS()
	t.Cleanup(func() {
		srv.Close()
		<-stopped
	})
	return c, stopped
}

func TestImplicitTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		srv := &Server{Hostname: "mx.test", Handler: d, TLSConfig: testTLS(t), Authenticate: authenticate}
		c, _ := implicitTLS(t, srv)
		got := c.want(ehlo, "220", "250")
		if strings.Contains(got, "STARTTLS") || !strings.Contains(got, "250-AUTH PLAIN LOGIN\r\n") {
			t.Errorf("got %q, want AUTH and no STARTTLS", got)
		}
		c.want("STARTTLS\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n", "503", "235")
		c.want(mail+rcpt+data, "250", "250", "354")
		c.want(body+"QUIT\r\n", "250", "221")
		if mails := d.all(); len(mails) != 1 || mails[0].peer.TLS == nil || mails[0].peer.Username != "ann" {
			t.Errorf("got %d mails, want one, with TLS and ann", len(mails))
		}
		if !c.closed() {
			t.Error("got an open connection, want it closed")
		}
	})
}

// TestSubmissions: a server for port 465 requires AUTH, and offers it at once, without a TLSConfig.
func TestSubmissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		c, _ := implicitTLS(t, &Server{Hostname: "mx.test", Handler: d, Authenticate: authenticate, RequireAuth: true})
		if got := c.want(ehlo, "220", "250"); !strings.Contains(got, "250-AUTH PLAIN LOGIN\r\n") {
			t.Errorf("got %q, want AUTH", got)
		}
		if got, want := c.ask(mail), "530 5.7.0 AUTH is required first\r\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		c.want("AUTH PLAIN AGFubgBzZWNyZXQ=\r\n"+mail+rcpt+data, "235", "250", "250", "354")
		c.want(body, "250")
		if n := len(d.all()); n != 1 {
			t.Errorf("got %d mails, want 1", n)
		}
	})
}

// TestShutdownTLS: a wake-up in the middle of a TLS record damages neither the record nor the transaction.
func TestShutdownTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &desk{}
		srv := &Server{Hostname: "mx.test", Handler: d}
		c, stopped := implicitTLS(t, srv)
		c.want(talked+data, "220", "250", "250", "250", "354")

		c.pipe.hold = true
		c.send(body)
		record := c.pipe.held
		c.pipe.out.write(record[:10])
		synctest.Wait()
		go srv.Shutdown(context.Background())
		synctest.Wait()
		c.pipe.out.write(record[10:])
		if got, want := c.take(), "250 2.0.0 ok\r\n421 4.3.2 shutting down\r\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		<-stopped
		if n := len(d.all()); n != 1 {
			t.Errorf("got %d mails, want 1", n)
		}
	})
}

// TestALPN: a client that offers other protocols in ALPN is no client of mail (RFC 7301 §3.2), by STARTTLS and by
// implicit TLS. A client that offers none is.
func TestALPN(t *testing.T) {
	tests := []struct {
		name          string
		ours, theirs  []string
		chosen        bool // the config is chosen by GetConfigForClient
		wantErr, want string
	}{
		{name: "none"},
		{name: "smtp", theirs: []string{"smtp"}, want: "smtp"},
		{name: "smtp among others", theirs: []string{"http/1.1", "smtp"}, want: "smtp"},
		{name: "esmtp", theirs: []string{"esmtp"}, want: "esmtp"},
		{name: "a browser", theirs: []string{"h2", "http/1.1"}, wantErr: "no application protocol"},
		{name: "an old browser", theirs: []string{"http/1.1"}, wantErr: "no application protocol"},
		{name: "an FTP client", theirs: []string{"ftp"}, wantErr: "no application protocol"},
		{name: "a browser, chosen", theirs: []string{"h2"}, chosen: true, wantErr: "no application protocol"},
		{name: "one's own", ours: []string{"x-mail"}, theirs: []string{"x-mail"}, want: "x-mail"},
		{name: "one's own, a client with smtp", ours: []string{"x-mail"}, theirs: []string{"smtp"}, wantErr: "no application protocol"},
		{name: "one's own, none", ours: []string{"x-mail"}},
	}
	for _, tt := range tests {
		for _, implicit := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				config := testTLS(t)
				config.NextProtos = tt.ours
				if tt.chosen {
					inner := config.Clone()
					config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }
				}
				d := &desk{}
				srv := &Server{Hostname: "mx.test", Handler: d, TLSConfig: config}
				l := newNetwork()
				var serving net.Listener = l
				if implicit {
					serving = NewTLSListener(l, config)
				}
				stopped := make(chan error, 1)
				go func() { stopped <- srv.Serve(context.Background(), serving) }()
				p, _ := l.dial("198.51.100.7")
				defer func() {
					p.Close()
					srv.Close()
					<-stopped
				}()
				if !implicit {
					io.WriteString(p, ehlo+"STARTTLS\r\n")
					for got := ""; !strings.HasSuffix(got, "220 2.0.0 go ahead\r\n"); {
						b := make([]byte, 1)
						p.Read(b)
						got += string(b)
					}
				}
				c := tls.Client(p, &tls.Config{InsecureSkipVerify: true, NextProtos: tt.theirs})
				err := c.Handshake()
				if got := fmt.Sprint(err); tt.wantErr != "" && !strings.Contains(got, tt.wantErr) || tt.wantErr == "" && err != nil {
					t.Errorf("%s, implicit %t: got %s, want %q", tt.name, implicit, got, tt.wantErr)
				}
				if got := c.ConnectionState().NegotiatedProtocol; got != tt.want {
					t.Errorf("%s, implicit %t: got protocol %q, want %q", tt.name, implicit, got, tt.want)
				}
				if config.NextProtos != nil && tt.ours == nil {
					t.Error("got the template changed")
				}
			})
		}
	}
}
