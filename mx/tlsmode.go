package mx

// TLSMode is how a session is secured.
type TLSMode uint8

const (
	// TLSOpportunistic uses TLS where it is offered, with any certificate, and goes on in the clear where it isn't or
	// fails (RFC 7435). Authentication makes it TLSRequired.
	TLSOpportunistic TLSMode = iota

	// TLSRequired sends nothing without TLS and a certificate that is good for the host's name.
	TLSRequired

	// TLSNone never uses TLS.
	TLSNone

	// TLSImplicit is TLSRequired, from the first octet on (RFC 8314 §3.3). At port 465 the two modes above
	// TLSNone begin so, too.
	TLSImplicit

	// TLSStartTLS is TLSRequired, by STARTTLS at any port.
	TLSStartTLS
)

// String gives "opportunistic", "required", "none", "implicit" or "starttls".
func (m TLSMode) String() string {
	names := [...]string{"opportunistic", "required", "none", "implicit", "starttls"}
	if int(m) < len(names) {
		return names[m]
	}
	return "unknown"
}
