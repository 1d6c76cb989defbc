package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// Conn is one session with one host. Set its fields, Open it over a connection, Send as many messages as
// it takes, and Quit. It isn't safe for concurrent use.
type Conn struct {
	// Hostname is our name in EHLO, a domain name or an address literal. If empty, that of the
	// machine, or "localhost" where that is no domain name.
	Hostname string

	// Host is the host's name: its certificate must be good for it, and results and errors bear it.
	Host string

	// Addr is the host's address with its port, as results have it. AUTH without TLS is allowed only
	// where it is a loopback address, or the path of a Unix socket. If empty, the connection's.
	Addr string

	// LMTP says that the host speaks LMTP (RFC 2033).
	LMTP bool

	// TLS is how strictly the session demands TLS. If zero, mx.TLSOpportunistic. A handshake that fails ends the session
	// in any case: going on in cleartext takes a new connection.
	TLS mx.TLSLevel

	// TLSStart is how TLS begins. If zero, mx.TLSByPort, with the port of Addr.
	TLSStart mx.TLSStart

	// TLSConfig is a template; ServerName is set to Host where it is empty. If nil, the defaults of
	// crypto/tls: TLS 1.2 at least.
	TLSConfig *tls.Config

	// Auth authenticates after EHLO and TLS. If nil, the session doesn't authenticate.
	Auth smtp.Auth

	// Timeouts bound each step.
	Timeouts Timeouts

	// ChunkSize is how many octets of a message go out in one BDAT. A message that is larger goes by BDAT where the host
	// offers CHUNKING (RFC 3030), which lets the host refuse it before it has all of it; a smaller one goes by DATA. If zero, 1 MiB; if
	// negative, only what DATA can't carry goes by BDAT, in one piece.
	ChunkSize int64

	// Trace is told what goes over the wire. If nil, nobody is.
	Trace *Trace

	nc      net.Conn // as given
	conn    net.Conn // nc, or TLS over it
	br      *bufio.Reader
	out     []byte // commands being composed
	ext     extensions
	version string          // of TLS; empty in the clear
	spoiled bool            // of no more use
	mails   int             // MAIL commands that were said
	noBDAT  bool            // the host broke it
	domains map[string]bool // of recipients, where the host limits them
	secret  bool            // AUTH is under way
	closed  bool
	id      uint64 // in a Trace

	responses []string // what AUTH has said, in base64

	open     bool   // MAIL was accepted, and nothing has ended the transaction: it takes an RSET
	answered bool   // DATA was answered in the last transaction
	onEnd    func() // abort
	onClose  func() // called once, after the connection is closed; may be nil

	rcpts, accepted []int // kept for the next transaction's use

	source netip.Addr // of ours
}

// Open reads the greeting, says EHLO (or HELO, or LHLO), and goes on to STARTTLS and AUTH as the fields
// have it. It owns nc from here on, and has closed it if it returns an error.
func (c *Conn) Open(ctx context.Context, nc net.Conn) error { return c.start(ctx, nc).asError() }

// Send sends one message, and returns a Result for each recipient in the order of the envelope. The
// error is nil if all are delivered; otherwise it holds the first reply that says why not. What one host
// says is passed on as it is: which other one to ask is for Transport.
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
		m.fail(left, c.local(smtp.StageMail, nil, smtp.NewReply(452, "4.5.3", "the session takes no more of them")))
	}
	return m.results, m.err()
}

// Ready reports whether the session can take another message. A host may have set a limit to them (RFC 9422 §4.1).
func (c *Conn) Ready() bool { return c.quiescent() && !c.spent() }

func (c *Conn) spent() bool { return c.ext.maxMails > 0 && c.mails >= c.ext.maxMails }

// quiescent reports whether every reply was read, and the host has gone on with nothing else.
func (c *Conn) quiescent() bool { return c.nc != nil && !c.spoiled && c.br.Buffered() == 0 }

// Quit says QUIT, waits shortly for the answer, and closes (RFC 5321 §4.1.1.10). A session that broke
// is just closed.
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

// Close closes the connection without a word.
func (c *Conn) Close() error {
	c.spoiled = true
	if c.nc == nil {
		return nil
	}
	first := !c.closed
	c.closed = true
	if first && c.Trace != nil && c.Trace.Closed != nil {
		c.Trace.Closed(c.session())
	}
	err := c.nc.Close() // not the TLS over it, whose Close would write
	if first && c.onClose != nil {
		c.onClose()
	}
	return err
}

func (c *Conn) start(ctx context.Context, nc net.Conn) *failure {
	c.nc, c.conn = nc, nc
	c.br = bufio.NewReader(nc)
	if c.Addr == "" && nc.RemoteAddr() != nil {
		c.Addr = nc.RemoteAddr().String()
	}
	if c.Trace != nil && c.Trace.Opened != nil {
		c.Trace.Opened(c.session())
	}
	stop := c.watch(ctx)
	f := c.begin(ctx)
	c.unwatch(stop)
	if f == nil && c.spoiled {
		f = c.failed(ctx, smtp.StageHello, context.Cause(ctx))
	}
	if f != nil {
		if !c.spoiled {
			// RFC 5321 §3.1: a refused client says QUIT. Its answer is of no use.
			c.write(ctx, c.Timeouts.quit(), []byte("QUIT\r\n"))
		}
		c.Close()
	}
	return f
}

// begin is the steps up to where MAIL may be said.
func (c *Conn) begin(ctx context.Context) *failure {
	name, f := c.helloName()
	if f != nil {
		c.spoiled = true // nothing is said under no name, nor before the greeting
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

// loopback reports whether what is sent stays on this machine.
func (c *Conn) loopback() bool {
	if strings.HasPrefix(c.Addr, "/") {
		return true
	}
	ap, err := netip.ParseAddrPort(c.Addr)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}
