package mx

// TLSLevel is how strictly a session demands TLS.
type TLSLevel uint8

const (
	// TLSOpportunistic uses TLS if the host offers it, with any certificate. If the host doesn't, or TLS fails, the
	// mail is sent in cleartext (RFC 7435). Implicit TLS makes it TLSRequired, and so does authentication, except to a
	// host on this machine: a Unix socket, a loopback address, or "localhost". Another name counts as another machine,
	// even if the DNS has a loopback address for it.
	TLSOpportunistic TLSLevel = iota

	// TLSRequired sends no mail without TLS and a certificate that is valid for the host's name.
	TLSRequired

	// TLSNone never uses TLS.
	TLSNone
)

var tlsLevels = [...]string{"opportunistic", "required", "none"}

// String returns "opportunistic", "required" or "none".
func (l TLSLevel) String() string { return nameOf(tlsLevels[:], uint8(l)) }

// TLSStart is how TLS begins in a session that uses it.
type TLSStart uint8

const (
	// TLSByPort is TLSImplicit at port 465, and TLSStartTLS at every other port and on a Unix socket.
	TLSByPort TLSStart = iota

	// TLSImplicit begins with the TLS handshake (RFC 8314 §3.3). No cleartext precedes the handshake, so none can
	// follow if the handshake fails: TLS and a valid certificate are required.
	TLSImplicit

	// TLSStartTLS begins in cleartext and goes on to TLS by the command STARTTLS (RFC 3207).
	TLSStartTLS
)

var tlsStarts = [...]string{"by port", "implicit", "STARTTLS"}

// String returns "by port", "implicit" or "STARTTLS".
func (s TLSStart) String() string { return nameOf(tlsStarts[:], uint8(s)) }

// Implicit reports whether TLS is implicit at a port.
func (s TLSStart) Implicit(port int) bool {
	return s == TLSImplicit || s == TLSByPort && port == portSubmissions
}

// portSubmissions has implicit TLS (RFC 8314 §7.3).
const portSubmissions = 465

func nameOf(names []string, n uint8) string {
	if int(n) < len(names) {
		return names[n]
	}
	return "unknown"
}
