package server

import (
	"crypto/rand"
	"crypto/tls"
	"net"
	"strconv"
)

// Peer is the other end of a session.
type Peer struct {
	// ID names the session in every log line: a few ASCII letters and digits, unique.
	ID string

	// Tx counts the transactions of the session, from 1; 0 is before the first MAIL.
	Tx int

	RemoteAddr, LocalAddr net.Addr

	// Hello is the name given with EHLO or HELO. If empty, neither came (since STARTTLS, if there was one).
	Hello string

	// ESMTP says that Hello came with EHLO.
	ESMTP bool

	// TLS is the state of the connection's TLS. If nil, it is in the clear.
	TLS *tls.ConnectionState

	// Username is the user that authenticated. If empty, nobody did.
	Username string

	// Allowed reports whether the client may relay: it authenticated, or Allow returned true (see [Allower]). In
	// CheckRcpt, it is about that recipient; in Handle, about all recipients of the transaction: true if each one that
	// was accepted was allowed. Elsewhere it is true only for a client that authenticated. A check meant for strangers
	// can return at once when it is true.
	Allowed bool
}

// Transaction names the present transaction, uniquely: ID, "-", Tx. It is the id of a Received field.
func (p *Peer) Transaction() string {
	return p.ID + "-" + strconv.Itoa(p.Tx)
}

// newID gives 60 random bits, which are unique among all sessions that a log may hold.
func newID() string {
	return rand.Text()[:12]
}
