package server

import (
	"crypto/rand"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
)

// Peer is the client of a session.
type Peer struct {
	// ID identifies the session in each log line: 12 random ASCII letters and digits.
	ID string

	// Tx is the number of the transaction in the session. The first has 1; before it, Tx is 0.
	Tx int

	// RemoteAddr is the address of the client, LocalAddr that of the server.
	RemoteAddr, LocalAddr net.Addr

	// Name is the client's name in the DNS, without a trailing dot: one that a PTR record of its address has, and that
	// leads back to the address. It is empty if there is none, or without [Server.Names].
	Name string

	// Hello is the name in the client's EHLO or HELO. It is empty before either, and again after STARTTLS. It has at
	// most 506 octets, and may be anything that can be printed: names aren't verified (RFC 5321 §4.1.4), and devices
	// send all kinds, with spaces for example. Characters that can't be printed, and octets that aren't UTF-8, are
	// replaced by "?".
	Hello string

	// ESMTP reports whether the client sent EHLO or LHLO, not HELO.
	ESMTP bool

	// LMTP reports whether the session speaks LMTP: see [Server.LMTP].
	LMTP bool

	// TLS is the state of the TLS connection. If nil, the connection has no TLS.
	TLS *tls.ConnectionState

	// Username is the user that authenticated. If empty, nobody did.
	Username string

	// Allowed reports whether the client may relay: it authenticated, or Allow returned true (see [Allower]). In
	// CheckRcpt, it is about that recipient. In Handle, it is true if each accepted recipient was allowed. Everywhere
	// else, it is true only if the client authenticated. A check that is meant for strangers can skip an allowed
	// client.
	Allowed bool

	attrs *[]slog.Attr // of the session: see Log
}

// Log adds attributes to the line "mail" in the log, which the server writes about each message: the ID under which it
// was stored, for example. Only a Handler may call it, before it returns. A Peer of no session ignores it.
func (p *Peer) Log(attrs ...slog.Attr) {
	if p.attrs != nil {
		*p.attrs = append(*p.attrs, attrs...)
	}
}

// Transaction returns a unique identifier of the current transaction: ID, "-", Tx. It is the id of a Received field.
func (p *Peer) Transaction() string {
	return p.ID + "-" + strconv.Itoa(p.Tx)
}

// IP returns the client's address: an IPv4 address as such, never in the form of IPv6, and without a zone. It isn't
// valid if RemoteAddr has no IP, as that of a Unix socket.
func (p *Peer) IP() netip.Addr { return ipOf(p.RemoteAddr) }

// ipOf returns the address in addr, by the rules of [Peer.IP].
func ipOf(addr net.Addr) (ip netip.Addr) {
	if tcp, ok := addr.(*net.TCPAddr); ok {
		ip, _ = netip.AddrFromSlice(tcp.IP)
	} else if addr != nil {
		ap, _ := netip.ParseAddrPort(addr.String())
		ip = ap.Addr()
	}
	return ip.Unmap().WithZone("")
}

// newID returns 60 random bits: unique among the sessions in a log.
func newID() string {
	return rand.Text()[:12]
}
