package server

import (
	"crypto/rand"
	"crypto/tls"
	"net"
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

	// Hello is the name in the client's EHLO or HELO. It is empty before either, and again after STARTTLS.
	Hello string

	// ESMTP reports whether the client sent EHLO, not HELO.
	ESMTP bool

	// TLS is the state of the TLS connection. If nil, the connection has no TLS.
	TLS *tls.ConnectionState

	// Username is the user that authenticated. If empty, nobody did.
	Username string

	// Allowed reports whether the client may relay: it authenticated, or Allow returned true (see [Allower]). In
	// CheckRcpt, it is about that recipient. In Handle, it is true if each accepted recipient was allowed. Everywhere
	// else, it is true only if the client authenticated. A check that is meant for strangers can skip an allowed
	// client.
	Allowed bool
}

// Transaction returns a unique identifier of the current transaction: ID, "-", Tx. It is the id of a Received field.
func (p *Peer) Transaction() string {
	return p.ID + "-" + strconv.Itoa(p.Tx)
}

// newID returns 60 random bits: unique among the sessions in a log.
func newID() string {
	return rand.Text()[:12]
}
