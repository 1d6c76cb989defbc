// Package proxy is a listener for a server behind a proxy: HAProxy, nginx, or the load balancer of a cloud. The proxy
// begins each connection with a PROXY header, version 1 or 2, that has the address of its client. The server then sees
// that address as the RemoteAddr of the connection.
//
//	l, err := net.Listen("tcp", ":25")
//	…
//	err = relay.Serve(ctx, &proxy.Listener{Listener: l, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
//
// A host that may send the header can pretend to be any client, for example one that may relay. So the header is read
// only on connections from the networks in From. Connections from other addresses are passed on as they are. On a
// connection from From, a missing header closes the connection: a health check of the load balancer needs one, too.
//
// The header comes before TLS. So for implicit TLS, a Listener is inside the listener of server.NewTLSListener: see the
// example.
//
// For a proxy that uses XCLIENT, set server.Server.XClient: this package isn't needed.
package proxy

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/pires/go-proxyproto"
)

// Listener is a listener for a server behind proxies. Listener must be set, and no bound may be negative: Accept
// returns an error otherwise, with which Serve ends. The fields must not change after the first Accept. Its methods may
// be called concurrently.
type Listener struct {
	// Listener accepts the connections.
	net.Listener

	// From are the networks of the proxies. A connection from them that doesn't begin with a PROXY header is closed. If
	// empty, no header is read.
	From []netip.Prefix

	// Timeout bounds the wait for a header. If zero, 5 seconds.
	Timeout time.Duration

	// MaxWaiting bounds the connections whose header hasn't come yet. Further ones are closed. If zero, 1000.
	MaxWaiting int

	// Logger gets a line for each connection that is closed. A panic of its Handler is ignored. If nil, nothing is
	// logged.
	Logger *slog.Logger

	once     sync.Once
	fault    error // the first mistake in the fields; nil if there is none
	accepted chan accepted
	closed   chan struct{} // by Close
	wg       sync.WaitGroup

	mu      sync.Mutex
	waiting map[net.Conn]struct{}
	done    bool // Close was called
}

// accepted is a result of Accept.
type accepted struct {
	conn net.Conn
	err  error
}

const (
	defaultTimeout    = 5 * time.Second
	defaultMaxWaiting = 1000
)

// Accept returns the next connection. Its RemoteAddr is the client's, and its LocalAddr is the address that the client
// connected to. A connection that waits for its header holds up no other.
//
// A proxy that speaks for itself (the command LOCAL of version 2) has its own address. A client whose address the proxy
// doesn't know (UNKNOWN in version 1, AF_UNSPEC in version 2) or that has none (AF_UNIX) has the RemoteAddr 0.0.0.0:0.
// The specification says that such a connection should keep the proxy's address, but the proxy may have rights that its
// client hasn't.
func (l *Listener) Accept() (net.Conn, error) {
	l.start()
	if l.fault != nil {
		return nil, l.fault
	}
	select {
	case a := <-l.accepted:
		return a.conn, a.err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close closes the Listener and the connections that wait for their header, and waits for their goroutines.
func (l *Listener) Close() error {
	l.start()
	if l.none() {
		return l.fault
	}
	l.mu.Lock()
	if !l.done {
		l.done = true
		close(l.closed)
	}
	err := l.Listener.Close()
	for conn := range l.waiting {
		conn.Close()
	}
	l.mu.Unlock()
	l.wg.Wait()
	return err
}

// Addr returns the address of the Listener below, nil if there is none.
func (l *Listener) Addr() net.Addr {
	if l.none() {
		return nil
	}
	return l.Listener.Addr()
}

// none reports whether there is no listener below.
func (l *Listener) none() bool {
	tcp, ok := l.Listener.(*net.TCPListener)
	return l.Listener == nil || ok && tcp == nil
}

func (l *Listener) start() {
	l.once.Do(func() {
		l.fault = l.check()
		l.accepted, l.closed = make(chan accepted), make(chan struct{})
		l.waiting = make(map[net.Conn]struct{})
		if l.fault == nil {
			l.wg.Go(l.run)
		}
	})
}

// misuse is an error of Accept that ends Serve: another try can't succeed.
type misuse struct{ error }

func (misuse) Is(target error) bool { return target == net.ErrClosed }

// check returns the first mistake in the fields.
func (l *Listener) check() error {
	switch {
	case l.none():
		return misuse{errors.New("proxy: Listener is nil: set it to one of net.Listen")}
	case l.Timeout < 0:
		return misuse{fmt.Errorf("proxy: Timeout is %v: set it to more than 0, or to 0 for %v", l.Timeout,
			defaultTimeout)}
	case l.MaxWaiting < 0:
		return misuse{fmt.Errorf("proxy: MaxWaiting is %d: set it to more than 0, or to 0 for %d", l.MaxWaiting,
			defaultMaxWaiting)}
	}
	return nil
}

// run accepts until the Listener is closed.
func (l *Listener) run() {
	for {
		conn, err := l.Listener.Accept()
		switch {
		case err != nil:
			if !l.pass(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
		case !l.isProxy(conn.RemoteAddr()):
			l.pass(accepted{conn: conn})
		case !l.await(conn):
			l.refuse(conn, errors.New("too many connections wait for their header"))
		}
	}
}

// pass gives a result to Accept. It returns false, and closes the connection, if the Listener is closed.
func (l *Listener) pass(a accepted) bool {
	select {
	case l.accepted <- a:
		return true
	case <-l.closed:
		if a.conn != nil {
			a.conn.Close()
		}
		return false
	}
}

func (l *Listener) isProxy(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return false
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(l.From, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// await reads the header in a goroutine. It returns false if too many are being read.
func (l *Listener) await(conn net.Conn) bool {
	bound := l.MaxWaiting
	if bound == 0 {
		bound = defaultMaxWaiting
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done || len(l.waiting) >= bound {
		return false
	}
	l.waiting[conn] = struct{}{}
	l.wg.Go(func() {
		told, err := l.read(conn)
		l.mu.Lock()
		delete(l.waiting, conn)
		l.mu.Unlock()
		if err != nil {
			l.refuse(conn, err)
			return
		}
		l.pass(accepted{conn: told})
	})
	return true
}

// read reads the header.
func (l *Listener) read(conn net.Conn) (net.Conn, error) {
	timeout := l.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	conn.SetReadDeadline(time.Now().Add(timeout))
	r := bufio.NewReaderSize(conn, bufferSize)
	c := &proxied{Conn: conn, remote: conn.RemoteAddr(), local: conn.LocalAddr(), begun: r}
	unknown := &net.TCPAddr{IP: net.IPv4zero}
	if err := awaitLine(r); err != nil {
		return nil, explain(err, timeout)
	}
	if command, ok := skipAddressless(r); ok {
		if command == commandProxy {
			c.remote = unknown
		}
	} else if h, err := proxyproto.Read(r); err != nil {
		return nil, explain(err, timeout)
	} else if from, to, ok := h.TCPAddrs(); ok {
		c.remote, c.local = from, to
	} else {
		c.remote = unknown // in version 1, or of a socket that isn't TCP
	}
	conn.SetReadDeadline(time.Time{})
	return c, nil
}

// awaitLine waits until a header of version 1 is in the buffer, for proxyproto refuses one that comes in several
// segments. Of what is no such header, it waits for no more than it takes to see that. An error is that of a time-out.
func awaitLine(r *bufio.Reader) error {
	const begin = "PROXY "
	for n := 1; n <= maxLine; n++ {
		b, err := r.Peek(n)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		if err != nil || b[n-1] == '\n' || n <= len(begin) && b[n-1] != begin[n-1] {
			break // proxyproto finds what is wrong
		}
	}
	return nil
}

// Octets of a header of version 2: the version with the command.
const (
	commandLocal = 0x20
	commandProxy = 0x21
)

// skipAddressless skips a header of version 2 that has no address for us, and returns its command. That is one with the
// command LOCAL, whose family is to be ignored, or with PROXY and the family AF_UNSPEC. proxyproto refuses some of
// these. If ok is false, r is as before.
func skipAddressless(r *bufio.Reader) (command byte, ok bool) {
	if first, err := r.Peek(1); err != nil || first[0] != proxyproto.SIGV2[0] {
		return 0, false // a header of version 1 may be shorter than 16 octets
	}
	head, err := r.Peek(16)
	if err != nil || string(head[:12]) != string(proxyproto.SIGV2) {
		return 0, false
	}
	if command = head[12]; command != commandLocal && (command != commandProxy || head[13] != 0) {
		return 0, false
	}
	_, err = r.Discard(16 + int(binary.BigEndian.Uint16(head[14:])))
	return command, err == nil
}

// Unwrap returns the Listener's Listener.
func (l *Listener) Unwrap() net.Listener { return l.Listener }

// explain returns an error that says how to correct what is wrong.
func explain(err error, timeout time.Duration) error {
	const correct = "switch the header on at the proxy, or take its network out of From"
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("no PROXY header came within %v: %s", timeout, correct)
	case errors.Is(err, proxyproto.ErrNoProxyProtocol):
		return fmt.Errorf("the connection doesn't begin with a PROXY header: %s", correct)
	}
	return err
}

func (l *Listener) refuse(conn net.Conn, err error) {
	defer conn.Close()
	if l.Logger != nil {
		defer func() { _ = recover() }() // in a goroutine of its own, a panic would end the process
		l.Logger.LogAttrs(context.Background(), slog.LevelInfo, "connection of a proxy closed",
			slog.Any("proxy", conn.RemoteAddr()), slog.Any("err", err))
	}
}

const (
	maxLine    = 107 // octets of a header of version 1
	bufferSize = 256 // enough for it
)

// proxied is a connection of a client behind a proxy.
type proxied struct {
	net.Conn
	remote, local net.Addr
	begun         *bufio.Reader // what came with the header; nil when it was read
}

func (c *proxied) RemoteAddr() net.Addr { return c.remote }
func (c *proxied) LocalAddr() net.Addr  { return c.local }

func (c *proxied) Read(p []byte) (int, error) {
	if c.begun != nil {
		if c.begun.Buffered() > 0 {
			return c.begun.Read(p)
		}
		c.begun = nil
	}
	return c.Conn.Read(p)
}

// CloseWrite closes the writing side, if the connection below can.
func (c *proxied) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
