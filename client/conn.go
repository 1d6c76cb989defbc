package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/postrider/postrider/mx"
	"github.com/postrider/postrider/smtp"
)

// Conn is one session with one host. Set its fields, call Open with a connection, then Send for each message, and Quit.
// Only one goroutine may use it at a time. A Conn can't be opened twice.
type Conn struct {
	// Hostname is the name of this machine in EHLO: a domain name or an address literal. If empty, the first of these:
	//
	//   - the name that the system has, if the public DNS can have that name: "mx1.example.com", but not "mx1",
	//     "mx1.local" or "localhost.localdomain"
	//   - the literal of the local address of the connection, "[192.0.2.1]" or "[IPv6:2001:db8::1]" (RFC 5321 §4.1.4)
	//   - "localhost", if the connection has no IP address: one to a Unix socket, for example
	Hostname string

	// Host is the name of the host. Its certificate is verified for that name, and results and errors contain it.
	Host string

	// Addr is the host's address with its port, for results. If empty, the address of the connection. AUTH without TLS
	// is allowed only if Addr is the path of a Unix socket, or if it is a loopback address and Host is one too, or
	// "localhost" or a name below it. Any other name counts as another machine, whatever address the DNS has for it.
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

	// ConvertSigned is whether an 8-bit message with a signature over its body is converted for a host without
	// 8BITMIME: see Transport.ConvertSigned.
	ConvertSigned bool

	// Without are extensions that the session doesn't use even if the host offers them: see mx.Route.Without. With a
	// keyword that isn't one of those, Open fails.
	Without []string

	// Trace is called with the commands and replies of the session. If nil, nothing is traced.
	Trace *Trace

	nc      net.Conn // the connection given to Open
	conn    net.Conn // nc, or TLS over it
	br      *bufio.Reader
	out     []byte // commands being composed
	ext     extensions
	until   time.Time       // the end of the step under way, in whose waits each has its own time-out; zero: none
	body    pace            // of the message under way
	spoiled bool            // the session can't be used further
	mails   int             // MAIL commands that were sent
	grouped bool            // the host has answered several commands that came at once
	retired bool            // the host wants no further message in the session
	renew   bool            // recipients in worn are offered the message in a new session
	taken   bool            // the host has taken a message
	worn    []int           // recipients refused in the last Send because of the session, as it seems
	most    int             // the most MAIL commands of the session, by what is remembered of the host; zero: no bound
	allowed int             // likewise, by Transport.MaxMessages
	broken  keywords        // extensions that the host offers and fails at
	unused  keywords        // Without
	learned habits          // what the session has shown
	domains map[string]bool // the domains of recipients so far, if the host limits them
	secret  bool            // AUTH is under way
	closed  bool
	id      uint64       // in a SessionInfo
	logger  *slog.Logger // gets panics of Trace; may be nil

	responses []string // the responses of AUTH, in base64

	irregular bool // a reply of the transaction was read in spite of a line without a code, or of codes that change

	open     bool   // MAIL was accepted and the transaction hasn't ended: RSET comes before the next MAIL
	answered bool   // DATA was answered in the last transaction
	onEnd    func() // abort
	onClose  func() // called once, after the connection is closed; may be nil

	unfit *failure // why recipients of the last transaction couldn't be offered to the host; nil if all could

	rcpts, accepted []int // buffers for the next transaction

	source netip.Addr // the local address; the zero Addr if the system chose it
	via    *Source    // of source; nil if the system chose it
	from   string     // the name of via

	required mx.Requirement // of a policy
	strict   bool           // the requirement is that of REQUIRETLS
	security Security       // what was reached so far
	opened   bool           // Open has succeeded: security doesn't change any more
	shared   *smtp.Security // of Results; nil until one needs it
	fellBack bool           // TLS failed in the connection before this one
	small    bool           // the ClientHello has to fit into one segment
	again    bool           // a handshake that fails may be repeated with a smaller ClientHello

	shortfall *failure // why the session has no TLS or a wrong certificate; nil if it has TLS, or if TLS wasn't tried
	greeting  string   // the host's name in its reply to EHLO
}

// Open reads the greeting, says EHLO (or HELO, or LHLO), and goes on to STARTTLS and AUTH as the fields demand. It owns
// nc from the call on, and has closed nc if it returns an error. The error holds a *[smtp.Reply], for errors.As. A nil
// nc is an error, and so is a second Open, which changes nothing about the session.
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
	if len(m.rcpts) == 0 {
		return m.results, m.err()
	}
	m.breakSigned = c.ConvertSigned || env.From == ""
	if left := c.transacted(ctx, m); len(left) > 0 {
		m.fail(left, c.local(smtp.StageMail, nil, smtp.NewReply(452, "4.5.3", "the session takes no more recipients")))
	}
	return m.results, m.err()
}

// Ready reports whether the session can take another message. It can't after an error, or after as many messages as the
// host's LIMITS allow (RFC 9422 §4.1). A host without LIMITS may refuse a message because it wants no more in the
// session: a Transport then sends the message in a new one.
func (c *Conn) Ready() bool { return c.quiescent() && !c.spent() }

func (c *Conn) spent() bool {
	for _, most := range [...]int{c.ext.maxMails, c.most, c.allowed} {
		if most > 0 && c.mails >= most {
			return true
		}
	}
	return c.retired
}

// quiescent reports whether every reply was read and the host has sent no other after them.
func (c *Conn) quiescent() bool { return c.nc != nil && !c.spoiled && !c.unread() }

// Quit sends QUIT, waits for the reply for Timeouts.Quit at most, and closes the connection (RFC 5321 §4.1.1.10). If
// the session has failed, Quit only closes the connection.
func (c *Conn) Quit(ctx context.Context) error {
	if !c.quiescent() {
		return c.Close()
	}
	c.until = time.Time{} // of a message by BDAT that was refused
	stop := c.watch(ctx)
	if err := c.write(ctx, c.Timeouts.quit(), []byte("QUIT\r\n")); err == nil {
		c.read(ctx, c.Timeouts.quit())
	}
	c.unwatch(stop)
	return c.Close()
}

// Close closes the connection without QUIT.
func (c *Conn) Close() (err error) {
	c.spoiled = true
	if c.nc == nil {
		return nil
	}
	first := !c.closed
	c.closed = true
	defer func() { // also if Closed ends the goroutine
		err = c.nc.Close() // not the TLS over it, whose Close would write
		if first && c.onClose != nil {
			c.onClose()
		}
	}()
	if first && c.Trace != nil && c.Trace.Closed != nil {
		c.look(func() { c.Trace.Closed(c.session()) })
	}
	return nil
}

// start is Open, with a failure for an error.
func (c *Conn) start(ctx context.Context, nc net.Conn) *failure {
	switch {
	case nc == nil:
		c.spoiled = c.nc == nil
		err := errors.New("the connection is nil")
		return c.local(smtp.StageConnect, err, smtp.NewReply(451, "4.4.1", "no connection"))
	case c.nc != nil || c.spoiled:
		nc.Close()
		const text = "a Conn can't be opened twice: use a new one"
		return c.local(smtp.StageConnect, nil, smtp.NewReply(451, "4.3.5", text))
	}
	if f := c.Timeouts.check(); f != nil {
		nc.Close()
		return f
	}
	c.nc, c.conn = nc, nc
	c.br = bufio.NewReader(nc)
	if c.Addr == "" && nc.RemoteAddr() != nil {
		c.Addr = nc.RemoteAddr().String()
	}
	stop := c.watch(ctx)
	f := c.begun(ctx)
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
	c.opened = f == nil
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
	if f := c.checkWithout(); f != nil {
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
	if !positive(r.Code) {
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
	if !c.required.Testing && c.security.Reached < c.required.Level {
		r := smtp.NewReply(451, "4.7.10", "TLS is required by the policy "+clip(c.required.Name))
		return c.short(noSTARTTLS, c.local(smtp.StageTLS, nil, r))
	}
	c.secret = true
	f = c.authenticate(ctx)
	c.secret = false
	return f
}

// loopback reports whether the connection stays on this machine. The address alone doesn't show it: the DNS, or an
// attacker in its place, can have a loopback address for the name of another machine.
func (c *Conn) loopback() bool {
	if strings.HasPrefix(c.Addr, "/") {
		return true
	}
	ap, err := netip.ParseAddrPort(c.Addr)
	if err != nil || !ap.Addr().Unmap().IsLoopback() {
		return false
	}
	return isLocal(c.Host)
}

// isLocal reports whether the name of a host, or its IP address, can be none of another machine.
func isLocal(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Unmap().IsLoopback()
	}
	name, err := smtp.ASCIIDomain(host)
	// RFC 6761 §6.3: "localhost" and the names below it are this machine everywhere.
	return err == nil && (name == "localhost" || strings.HasSuffix(name, ".localhost"))
}
