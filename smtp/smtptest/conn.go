package smtptest

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	errBroken = syscall.EPIPE
	errReset  = syscall.ECONNRESET
)

// conn is one end of a connection. It behaves as a *net.TCPConn does: octets written before Close are read, followed by
// io.EOF. CloseWrite closes one direction. Close after SetLinger(0) resets the connection and discards buffered octets.
// The first write after the other end was closed succeeds, and its octets are lost; the next write fails.
type conn struct {
	in, out       *pipe
	local, remote net.Addr
	host          *Host       // the dialled host
	over          func()      // counts the end of the host's session, once; may be nil
	onClose       func(*conn) // may be nil
	abort         atomic.Bool // SetLinger(0)
	closed        atomic.Bool
}

// newPair returns both ends of a connection from a to b.
func newPair(a, b net.Addr) (client, server *conn) {
	forth, back := &pipe{forth: true}, &pipe{}
	return &conn{in: back, out: forth, local: a, remote: b},
		&conn{in: forth, out: back, local: b, remote: a}
}

func (c *conn) Read(b []byte) (int, error) {
	n, err := c.in.read(b)
	if err == io.EOF {
		return n, err
	}
	return n, c.wrap("read", err)
}

func (c *conn) Write(b []byte) (int, error) {
	n, err := c.out.write(b)
	return n, c.wrap("write", err)
}

func (c *conn) Close() error {
	if !c.closed.CompareAndSwap(false, true) {
		return c.wrap("close", net.ErrClosed)
	}
	if c.abort.Load() {
		c.reset()
	}
	c.out.finish(net.ErrClosed)
	c.in.abandon()
	c.leave()
	if c.onClose != nil {
		c.onClose(c)
	}
	return nil
}

// CloseWrite closes the direction to the other end, which then reads io.EOF. Reading is still possible.
func (c *conn) CloseWrite() error {
	if c.closed.Load() {
		return c.wrap("close", net.ErrClosed)
	}
	c.out.finish(errBroken)
	return nil
}

// SetLinger with 0 makes Close reset the connection. Other values have no effect.
func (c *conn) SetLinger(sec int) error {
	c.abort.Store(sec == 0)
	return nil
}

// reset breaks the connection for both ends. Each must still close it.
func (c *conn) reset() {
	cut(c.in, c.out)
	c.leave()
}

func (c *conn) leave() {
	if c.over != nil {
		c.over()
	}
}

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if c.closed.Load() {
		return c.wrap("set", net.ErrClosed)
	}
	c.in.set(func() { c.in.readBy = t })
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	if c.closed.Load() {
		return c.wrap("set", net.ErrClosed)
	}
	c.out.set(func() { c.out.writeBy = t })
	return nil
}

func (c *conn) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}
