package dns

import "time"

// Proof is what is known about an answer besides its records.
type Proof struct {
	// Authentic means that DNSSEC secures the answer, and all aliases that led to it. A negative answer may be
	// authentic as well: then DNSSEC secures that there are no such records.
	Authentic bool

	// Name is the name that has the records, in lower case and with a trailing dot: the name in question, or the one
	// that its aliases (CNAME) lead to.
	Name string

	// TTL is the time for which the answer is valid: see [Resolver.LookupMXTTL]. Below zero, it isn't known.
	TTL time.Duration
}

// TLSA is a TLSA record (RFC 6698 §2.1). It binds the TLS of a server to a certificate or a key.
type TLSA struct {
	Usage        uint8  // 3 is DANE-EE, 2 DANE-TA; mail uses no other (RFC 7672 §3.1)
	Selector     uint8  // 0 for the certificate, 1 for its public key
	MatchingType uint8  // 0 for Data as it is, 1 for its SHA-256, 2 for its SHA-512
	Data         []byte // the association data
}
