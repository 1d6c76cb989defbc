package smtptest

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
)

// backlog is the number of connections that wait for Accept. Further dials block.
const backlog = 128

// Listen listens at "name:port" or "address:port", or at the path of a Unix socket, which begins with "/". The name
// gets an address in the DNS. Port 0 is any free port. Listen takes over a port at which a [Host] listens, so that the
// relay under test can be the MX of a domain. After the listener is closed, dials to the port are refused. The end of
// the test closes it.
func (n *Network) Listen(address string) (net.Listener, error) {
	network := "tcp"
	failed := func(err error) (net.Listener, error) {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	if err := n.beHere(); err != nil {
		return failed(err)
	}
	name, port := address, uint16(0)
	if isPath(address) {
		network = "unix"
	} else {
		host, portName, err := net.SplitHostPort(address)
		if err != nil {
			return failed(err)
		}
		if port, err = parsePort(portName); err != nil {
			return failed(err)
		}
		name = host
	}
	key, err := hostKey(name)
	if err != nil {
		return failed(err)
	}
	if network == "tcp" && port == 0 {
		port = n.newPort()
	}

	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return failed(net.ErrClosed)
	}
	h := n.mention(key)
	if old := h.listeners[int(port)]; old != nil && !old.isClosed() {
		return failed(os.NewSyscallError("bind", syscall.EADDRINUSE))
	}
	l := &listener{net: n, queue: make(chan *conn, backlog), done: make(chan struct{})}
	switch {
	case network == "unix":
		l.addr = &net.UnixAddr{Name: key, Net: network}
	case len(h.addrs) == 0:
		return failed(&net.AddrError{Err: "the host has no address", Addr: name})
	default:
		l.addr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(h.addrs[0], port))
	}
	h.listeners[int(port)] = l
	return l, nil
}

// listener accepts the connections to one port of a host.
type listener struct {
	net   *Network
	addr  net.Addr
	queue chan *conn
	done  chan struct{} // closed by Close
	once  sync.Once
}

func (l *listener) Accept() (net.Conn, error) {
	if err := l.net.beHere(); err != nil {
		return nil, l.failed("accept", err)
	}
	if l.isClosed() {
		return nil, l.failed("accept", net.ErrClosed)
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, l.failed("accept", net.ErrClosed)
	}
}

func (l *listener) Close() error {
	if err := l.net.beHere(); err != nil {
		return l.failed("close", err)
	}
	err := l.failed("close", net.ErrClosed)
	l.once.Do(func() {
		close(l.done)
		l.drain()
		err = nil
	})
	return err
}

func (l *listener) Addr() net.Addr { return l.addr }

// deliver passes c to Accept.
func (l *listener) deliver(ctx context.Context, c *conn) error {
	if l.isClosed() {
		return errRefused
	}
	select {
	case l.queue <- c:
	case <-l.done:
		return errRefused
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.isClosed() { // Close ran meanwhile and may have missed c
		l.drain()
	}
	return nil
}

// drain resets the connections that weren't accepted, as a kernel does.
func (l *listener) drain() {
	for {
		select {
		case c := <-l.queue:
			c.SetLinger(0)
			c.Close()
		default:
			return
		}
	}
}

func (l *listener) isClosed() bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

func (l *listener) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: l.addr.Network(), Addr: l.addr, Err: err}
}
