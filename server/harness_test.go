package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/smtp"
)

// world is a server in a synctest bubble.
type world struct {
	t       *testing.T
	srv     *Server
	net     *network
	stop    context.CancelFunc // ends the context of Serve
	stopped chan error         // the result of Serve
	secure  bool               // the only session has TLS
}

// newWorld starts srv, which ends with the test.
func newWorld(t *testing.T, srv *Server) *world {
	t.Helper()
	if srv.Hostname == "" {
		srv.Hostname = "mx.test"
	}
	if srv.Handler == nil {
		srv.Handler = &desk{}
	}
	if srv.AuthDelay == 0 {
		srv.AuthDelay = 1 // see client.slow
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &world{t: t, srv: srv, net: newNetwork(), stop: cancel, stopped: make(chan error, 1)}
	go func() {
		w.stopped <- srv.Serve(ctx, w.net)
		close(w.stopped)
	}()
	synctest.Wait()
	t.Cleanup(func() {
		cancel()
		srv.Close()
		<-w.stopped
	})
	return w
}

// dial connects, and fails the test without a listener.
func (w *world) dial() *client { return w.dialFrom("198.51.100.7") }

func (w *world) dialFrom(ip string) *client {
	w.t.Helper()
	conn, ok := w.net.dial(ip)
	if !ok {
		w.t.Fatal("got no listener, want one")
	}
	c := newClient(w.t, conn)
	c.slow = w.srv.authenticates()
	return c
}

// books returns the numbers of sessions and sources that the server counts.
func (w *world) books() (sessions, sources int) {
	w.srv.mu.Lock()
	defer w.srv.mu.Unlock()
	return len(w.srv.sessions), len(w.srv.sources)
}

// client sends octets and collects what comes back. A goroutine reads, so that TLS works too.
type client struct {
	t    *testing.T
	pipe *pipe
	conn net.Conn // pipe, or TLS on it
	slow bool     // take waits a microsecond, for the replies to failed logins

	mu  sync.Mutex
	got []byte
	end error // the error that ended reading

	reading chan struct{} // closed when the reader has ended
}

func newClient(t *testing.T, p *pipe) *client {
	c := &client{t: t, pipe: p, conn: p}
	c.read()
	t.Cleanup(func() {
		p.Close()
		<-c.reading
	})
	return c
}

func (c *client) read() {
	c.reading = make(chan struct{})
	go func() {
		defer close(c.reading)
		b := make([]byte, 4096)
		for {
			n, err := c.conn.Read(b)
			c.mu.Lock()
			c.got = append(c.got, b[:n]...)
			c.end = err
			c.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
}

// send writes in one piece.
func (c *client) send(raw string) {
	c.t.Helper()
	_, err := io.WriteString(c.conn, raw)
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, io.ErrClosedPipe) {
		c.t.Logf("sending: %v", err)
	}
}

// take waits until the server waits, and returns the octets received since its last call.
func (c *client) take() string {
	synctest.Wait()
	if c.slow {
		time.Sleep(time.Microsecond)
		synctest.Wait()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	got := string(c.got)
	c.got = nil
	return got
}

// ask sends and takes.
func (c *client) ask(raw string) string {
	c.t.Helper()
	c.send(raw)
	return c.take()
}

// want fails the test unless the replies to raw have these codes, one for each reply.
func (c *client) want(raw string, codes ...string) string {
	c.t.Helper()
	got := c.ask(raw)
	if g := replyCodes(got); strings.Join(g, " ") != strings.Join(codes, " ") {
		c.t.Fatalf("got replies %q to %.80q, want %q", got, raw, codes)
	}
	return got
}

// closed reports whether the server has closed.
func (c *client) closed() bool {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.end != nil
}

// startTLS does a TLS handshake on the same connection.
func (c *client) startTLS() { c.startTLSAs("") }

// startTLSAs is startTLS with a name for SNI.
func (c *client) startTLSAs(name string) {
	c.t.Helper()
	c.pipe.SetReadDeadline(time.Now()) // ends the reader
	<-c.reading
	c.pipe.SetReadDeadline(time.Time{})
	t := tls.Client(c.pipe, &tls.Config{InsecureSkipVerify: true, ServerName: name})
	if err := t.Handshake(); err != nil {
		c.t.Fatalf("got handshake error %v, want none", err)
	}
	c.conn, c.end = t, nil
	c.read()
}

// replyCodes returns the code of each complete reply in s.
func replyCodes(s string) []string {
	var codes []string
	for line := range strings.Lines(s) {
		if len(line) < 4 || line[3] != '-' {
			codes = append(codes, line[:min(3, len(line))])
		}
	}
	return codes
}

// desk is a Handler made of funcs. A nil func accepts.
type desk struct {
	connect func(p *Peer) error
	mail    func(ctx context.Context, p *Peer, env *smtp.Envelope) error
	rcpt    func(p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) error
	handle  func(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error)

	mu    sync.Mutex
	mails []taken
}

// taken is a message that was read to its end.
type taken struct {
	env  *smtp.Envelope
	body string
	peer Peer
}

func (d *desk) CheckConnect(ctx context.Context, p *Peer) error {
	if d.connect == nil {
		return nil
	}
	return d.connect(p)
}

func (d *desk) CheckMail(ctx context.Context, p *Peer, env *smtp.Envelope) error {
	if d.mail == nil {
		return nil
	}
	return d.mail(ctx, p, env)
}

func (d *desk) CheckRcpt(ctx context.Context, p *Peer, env *smtp.Envelope, rcpt smtp.Recipient) error {
	if d.rcpt == nil {
		return nil
	}
	return d.rcpt(p, env, rcpt)
}

func (d *desk) Handle(ctx context.Context, p *Peer, env *smtp.Envelope, body io.Reader) (*smtp.Reply, error) {
	if d.handle != nil {
		return d.handle(ctx, p, env, body)
	}
	return nil, d.file(p, env, body)
}

// file reads a message to its end and keeps it.
func (d *desk) file(p *Peer, env *smtp.Envelope, body io.Reader) error {
	b, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("reading the body: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mails = append(d.mails, taken{env, string(b), *p})
	return nil
}

// all returns and removes the messages received so far.
func (d *desk) all() []taken {
	d.mu.Lock()
	defer d.mu.Unlock()
	mails := d.mails
	d.mails = nil
	return mails
}

// testTLS makes a certificate that is valid now; in a bubble, call it inside.
func testTLS(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"mx.test"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(100 * 24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}
