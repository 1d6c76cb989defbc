package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Proxy is a proxy that the sessions of a [Source] go through, so that they come from an address of another machine.
//
// Names are resolved here, and the proxy is told an IP address. So DANE, MTA-STS and the rule against private addresses
// of MX hosts hold as without a proxy, and TLS is between this program and the host. The proxy is reached by
// Transport.DialContext, from an address that the system chooses. The dial and the proxy's answers together have
// Timeouts.Connect.
//
// A failure of the proxy doesn't count against the host: the message goes out from the next Source, or is Deferred and
// Local with the Reason smtp.NoSource. See [SourceHealth] for what becomes of the Source. A SOCKS5 proxy that answers
// that it can't reach the host counts as the host's failure, and so does one that doesn't answer CONNECT in time. A
// proxy with a PROXY header can't answer: it closes the connection before the greeting, which counts as the host's
// failure, too.
type Proxy struct {
	// Protocol is how the proxy learns the host to connect to. If zero, SOCKS5.
	Protocol ProxyProtocol

	// Addr is the address of the proxy, with its port.
	Addr netip.AddrPort

	// Username and Password are for a SOCKS5 proxy that wants them (RFC 1929): 1 to 255 octets each. They go to the
	// proxy in cleartext. If both are empty, the proxy has to do without. They are in no error, log or Trace.
	Username, Password string
}

// ProxyProtocol is a protocol in which a [Proxy] learns the host to connect to.
type ProxyProtocol uint8

// The protocols of a Proxy.
const (
	// SOCKS5 is CONNECT of RFC 1928, with an IP address. The protocol has no field for the source address: set the
	// proxy up so that it connects from the Source's Addrs.
	SOCKS5 ProxyProtocol = iota

	// PROXYv1 and PROXYv2 begin the connection with a PROXY header, in text or in binary, as HAProxy defined it. The
	// source in it is the address of Source.Addrs to connect from, with port 0, and the destination is the host. A
	// HAProxy takes it so, if it may bind to any address:
	//
	//	listen outbound
	//		mode tcp
	//		bind 10.0.0.9:2525 accept-proxy
	//		source 0.0.0.0 usesrc clientip
	//		server host 0.0.0.0
	PROXYv1
	PROXYv2
)

var protocolNames = [...]string{SOCKS5: "SOCKS5", PROXYv1: "PROXY v1", PROXYv2: "PROXY v2"}

// String returns "SOCKS5", "PROXY v1" or "PROXY v2".
func (p ProxyProtocol) String() string {
	if int(p) < len(protocolNames) {
		return protocolNames[p]
	}
	return "protocol " + strconv.Itoa(int(p))
}

// String returns the protocol and the address: "SOCKS5 10.0.0.9:1080". Package fmt and log/slog print nothing more.
func (p Proxy) String() string { return p.Protocol.String() + " " + p.Addr.String() }

// GoString returns the same as String.
func (p Proxy) GoString() string { return p.String() }

// Check returns an error if a field can't be used. Source.Check calls it.
func (p *Proxy) Check() error {
	switch {
	case int(p.Protocol) >= len(protocolNames):
		return fmt.Errorf("client: Proxy.Protocol is %d: use SOCKS5, PROXYv1 or PROXYv2", p.Protocol)
	case p.Addr == netip.AddrPort{}:
		return errors.New("client: Proxy.Addr is empty: set it to the address and the port of the proxy")
	case !p.Addr.IsValid() || p.Addr.Addr().IsUnspecified() || p.Addr.Port() == 0:
		return fmt.Errorf("client: Proxy.Addr %v is not the address and the port of a proxy: set both", p.Addr)
	case p.Protocol != SOCKS5 && p.Username+p.Password != "":
		return fmt.Errorf("client: Proxy %v has a Username or a Password: only SOCKS5 can use them", p)
	case (p.Username == "") != (p.Password == ""):
		return fmt.Errorf("client: Proxy %v has a Username or a Password alone: set both, or neither", p)
	case len(p.Username) > 255 || len(p.Password) > 255: // RFC 1929 §2
		return fmt.Errorf("client: Proxy %v has a Username or a Password of more than 255 octets", p)
	}
	return nil
}

// sourceError is a failure to go out from a source address, which isn't the host's.
type sourceError struct {
	fault  SourceFault // of the source; SourceFine if the failure isn't the source's either
	single bool        // it shows the fault by itself; otherwise it takes several sites: see SourceHealth.Sites
	proxy  *Proxy      // nil if there is none
	err    error
}

func (e *sourceError) Error() string {
	if e.proxy == nil {
		return withoutAddrs(e.err)
	}
	return "proxy " + e.proxy.String() + ": " + withoutAddrs(e.err)
}

// text describes the failure without addresses, which strangers would read in a report.
func (e *sourceError) text() string {
	if e.proxy == nil {
		return "the source address isn't on this machine"
	}
	return "the proxy of the source address failed: " + withoutAddrs(e.err)
}

func (e *sourceError) Unwrap() error { return e.err }

// dial connects to c.Addr, from the source of c.
func (t *Transport) dial(ctx context.Context, c *Conn) (net.Conn, error) {
	if c.via != nil && c.via.Proxy != nil {
		return t.dialProxy(ctx, c)
	}
	network := "tcp"
	if strings.HasPrefix(c.Addr, "/") {
		network = "unix"
	}
	nc, err := t.dialFrom(ctx, c.source, network, c.Addr)
	if err != nil && isMissing(err) {
		err = &sourceError{fault: AddrMissing, single: true, err: err}
	}
	return nc, err
}

// dialFrom connects from source; the zero Addr leaves it to the system.
func (t *Transport) dialFrom(ctx context.Context, source netip.Addr, network, addr string) (net.Conn, error) {
	if t.DialContext != nil {
		return t.DialContext(context.WithValue(ctx, sourceKey{}, source), network, addr)
	}
	dialer := new(net.Dialer)
	if source.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return dialer.DialContext(ctx, network, addr)
}

// dialProxy connects to c.Addr through the proxy of the source of c.
func (t *Transport) dialProxy(ctx context.Context, c *Conn) (net.Conn, error) {
	p := c.via.Proxy
	to, err := netip.ParseAddrPort(c.Addr)
	if err != nil {
		return nil, &sourceError{proxy: p, err: err}
	}
	nc, err := t.dialFrom(ctx, netip.Addr{}, "tcp", p.Addr.String())
	if nc == nil && err == nil {
		return nil, nil // the caller knows what that is
	}
	if err != nil {
		fault := ProxyDown
		if sys, ok := errors.AsType[*os.SyscallError](err); ok && sys.Syscall == "socket" {
			fault = SourceFine // no file descriptors here, for example
		}
		return nil, &sourceError{fault: fault, single: true, proxy: p, err: err}
	}
	stop := context.AfterFunc(ctx, func() { nc.SetDeadline(time.Unix(1, 0)) })
	if p.Protocol == SOCKS5 {
		err = p.socks(nc, to)
	} else if _, err = nc.Write(p.header(c.source, to)); err != nil {
		err = &sourceError{fault: ProxyDown, single: true, proxy: p, err: err}
	}
	if !stop() && err == nil { // the deadline is in the past, or will be
		err = &net.OpError{Op: "connect", Net: "tcp", Err: context.Cause(ctx)}
	}
	if err != nil {
		nc.Close()
		return nil, err
	}
	ends := net.TCPAddrFromAddrPort
	return &proxiedConn{Conn: nc, local: ends(netip.AddrPortFrom(c.source, 0)), remote: ends(to)}, nil
}

// proxiedConn is a connection through a proxy. Its addresses are those that the host sees: the name in EHLO and reports
// to strangers must not have the proxy's.
type proxiedConn struct {
	net.Conn
	local, remote net.Addr
}

func (c *proxiedConn) LocalAddr() net.Addr  { return c.local }
func (c *proxiedConn) RemoteAddr() net.Addr { return c.remote }

// SyscallConn is for the probe of an idle session.
func (c *proxiedConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// header returns the PROXY header for a connection from an address to one of the same family.
func (p *Proxy) header(from netip.Addr, to netip.AddrPort) []byte {
	from, ip := from.WithZone(""), to.Addr().Unmap().WithZone("")
	if p.Protocol == PROXYv1 {
		family := "TCP6"
		if ip.Is4() {
			family = "TCP4"
		}
		return fmt.Appendf(nil, "PROXY %s %s %s 0 %d\r\n", family, from, ip, to.Port())
	}
	const command, tcp4, tcp6 = 0x21, 0x11, 0x21 // version 2, PROXY
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command)
	if ip.Is4() {
		b = append(b, tcp4, 0, 4+4+2+2)
	} else {
		b = append(b, tcp6, 0, 16+16+2+2)
	}
	b = append(append(b, from.AsSlice()...), ip.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, 0)
	return binary.BigEndian.AppendUint16(b, to.Port())
}
