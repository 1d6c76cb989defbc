package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// Conn is one session with one host. Set its fields, call Open with a connection, then Send for each message, and Quit.
// Only one goroutine may use it at a time. A Conn can't be opened twice.
type Conn struct {
	// Hostname is the name of this machine in EHLO: a domain name or an address literal. If empty, the name that the
	// system has, or "localhost" if that is not a domain name.
	Hostname string

	// Host is the name of the host. Its certificate is verified for that name, and results and errors contain it.
	Host string

	// Addr is the host's address with its port, for results. AUTH without TLS is allowed only if Addr is a loopback
	// address or the path of a Unix socket. If empty, the address of the connection.
	Addr string

	// LMTP makes the session LMTP (RFC 2033) instead of SMTP.
	LMTP bool

	// TLS is how strictly the session demands TLS. If zero, mx.TLSOpportunistic. A handshake that fails ends the
	// session in any case: going on in cleartext takes a new connection.
	TLS mx.TLSLevel

	// TLSStart is how TLS begins. If zero, mx.TLSByPort, with the port of Addr.
	TLSStart mx.TLSStart

	// TLSConfig is a template. An empty ServerName is set to Host. If nil, the defaults of crypto/tls: TLS 1.2 at
	// least, and the root certificates of the system.
	TLSConfig *tls.Config

	// Auth authenticates after EHLO and TLS. If nil, the session doesn't authenticate.
	Auth smtp.Auth

	// Timeouts bound each step. If zero, see [Timeouts].
	Timeouts Timeouts

	// ChunkSize is the number of octets of a message in one BDAT. A larger message goes by BDAT if the host offers
	// CHUNKING (RFC 3030), so that the host can refuse it before the end; a smaller one goes by DATA. If zero, 1 MiB.
	// If negative, only binary messages, which DATA can't carry, go by BDAT, in one chunk.
	ChunkSize int64

	// Trace is called with the commands and replies of the session. If nil, nothing is traced.
	Trace *Trace

	nc      net.Conn // the connection given to Open
	conn    net.Conn // nc, or TLS over it
	br      *bufio.Reader
	out     []byte // commands being composed
	ext     extensions
	version string          // of TLS; empty in cleartext
	spoiled bool            // the session can't be used further
	mails   int             // MAIL commands that were sent
	noBDAT  bool            // the host failed at BDAT
	domains map[string]bool // the domains of recipients so far, if the host limits them
	secret  bool            // AUTH is under way
	closed  bool
	id      uint64       // in a SessionInfo
	logger  *slog.Logger // gets panics of Trace; may be nil

	responses []string // the responses of AUTH, in base64

	open     bool   // MAIL was accepted and the transaction hasn't ended: RSET comes before the next MAIL
	answered bool   // DATA was answered in the last transaction
	onEnd    func() // abort
	onClose  func() // called once, after the connection is closed; may be nil

	rcpts, accepted []int // buffers for the next transaction

	source netip.Addr // the local address; the zero Addr if the system chose it
}

// Open reads the greeting, says EHLO (or HELO, or LHLO), and goes on to STARTTLS and AUTH as the fields demand. It owns
// nc from the call on, and has closed nc if it returns an error. The error holds a *[smtp.Reply], for errors.As.
func (c *Conn) Open(ctx context.Context, nc net.Conn) error { return c.start(ctx, nc).asError() }

// Send sends one message. It returns exactly one Result for each recipient, in the order of the envelope. The error is
// nil if all recipients are Delivered; otherwise it holds the Reply of the first one that isn't. Recipients beyond the
// LIMITS of the session are Deferred: a Transport sends to them in another one. If ctx ends, the I/O in flight is
// aborted and the session is over.
func (c *Conn) Send(ctx context.Context, env *smtp.Envelope, content smtp.Content) ([]smtp.Result, error) {
	m := newMessage(env, content)
	f := m.check()
	if f == nil && (c.nc == nil || c.spoiled) {
		f = c.local(smtp.StageMail, net.ErrClosed, smtp.NewReply(451, "4.4.2", "the session is over"))
	}
	if f != nil {
		m.fail(m.rcpts, f)
		return m.results, f
	}
	if left := c.transact(ctx, m); len(left) > 0 {
		m.fail(left, c.local(smtp.StageMail, nil, smtp.NewReply(452, "4.5.3", "the session takes no more recipients")))
	}
	return m.results, m.err()
}

// Ready reports whether the session can take another message. It can't after an error, or after as many messages as the
// host's LIMITS allow (RFC 9422 §4.1).
func (c *Conn) Ready() bool { return c.quiescent() && !c.spent() }

func (c *Conn) spent() bool { return c.ext.maxMails > 0 && c.mails >= c.ext.maxMails }

// quiescent reports whether every reply was read and the host has sent nothing after them.
func (c *Conn) quiescent() bool { return c.nc != nil && !c.spoiled && c.br.Buffered() == 0 }

// Quit sends QUIT, waits for the reply for Timeouts.Quit at most, and closes the connection (RFC 5321 §4.1.1.10). If
// the session has failed, Quit only closes the connection.
func (c *Conn) Quit(ctx context.Context) error {
	if !c.quiescent() {
		return c.Close()
	}
	stop := c.watch(ctx)
	if err := c.write(ctx, c.Timeouts.quit(), []byte("QUIT\r\n")); err == nil {
		c.read(ctx, c.Timeouts.quit())
	}
	c.unwatch(stop)
	return c.Close()
}

// Close closes the connection without QUIT.
func (c *Conn) Close() error {
	c.spoiled = true
	if c.nc == nil {
		return nil
	}
	first := !c.closed
	c.closed = true
	if first && c.Trace != nil && c.Trace.Closed != nil {
		c.look(func() { c.Trace.Closed(c.session()) })
	}
	err := c.nc.Close() // not the TLS over it, whose Close would write
	if first && c.onClose != nil {
		c.onClose()
	}
	return err
}

// start is Open, with a failure for an error.
func (c *Conn) start(ctx context.Context, nc net.Conn) *failure {
	c.nc, c.conn = nc, nc
	c.br = bufio.NewReader(nc)
	if c.Addr == "" && nc.RemoteAddr() != nil {
		c.Addr = nc.RemoteAddr().String()
	}
	if c.Trace != nil && c.Trace.Opened != nil {
		c.look(func() { c.Trace.Opened(c.session()) })
	}
	stop := c.watch(ctx)
	f := c.begin(ctx)
	c.unwatch(stop)
	if f == nil && c.spoiled {
		f = c.failed(ctx, smtp.StageHello, context.Cause(ctx))
	}
	if f != nil {
		if !c.spoiled {
			// RFC 5321 §3.1: a refused client sends QUIT. Nobody needs the reply.
			c.write(ctx, c.Timeouts.quit(), []byte("QUIT\r\n"))
		}
		c.Close()
	}
	return f
}

// begin goes through the steps before MAIL.
func (c *Conn) begin(ctx context.Context) *failure {
	name, f := c.helloName()
	if f != nil {
		c.spoiled = true // without a name, and before the greeting, nothing is sent
		return f
	}
	if f := c.checkTLS(); f != nil {
		return f
	}
	if c.implicitTLS() {
		if f := c.handshake(ctx); f != nil {
			return f
		}
	}
	r, err := c.read(ctx, c.Timeouts.greeting())
	if err != nil {
		return c.failed(ctx, smtp.StageGreeting, err)
	}
	if r.Code != 220 {
		return c.refused(smtp.StageGreeting, r)
	}
	if f := c.hello(ctx, name); f != nil {
		return f
	}
	if !c.implicitTLS() {
		if f := c.startTLS(ctx, name); f != nil {
			return f
		}
	}
	c.secret = true
	f = c.authenticate(ctx)
	c.secret = false
	return f
}

// loopback reports whether the connection stays on this machine.
func (c *Conn) loopback() bool {
	if strings.HasPrefix(c.Addr, "/") {
		return true
	}
	ap, err := netip.ParseAddrPort(c.Addr)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}
