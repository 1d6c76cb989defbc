package dns

import (
	"context"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Proof is what is known about an answer besides its records.
type Proof struct {
	// Authentic means that DNSSEC secures the answer, and all aliases that led to it. A negative answer may be
	// authentic as well: then DNSSEC secures that there are no such records.
	Authentic bool

	// Name is the name that has the records, in lower case and with a trailing dot: the name in question, or the one
	// that its aliases (CNAME) lead to. It is empty if no server has answered.
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

// typeTLSA is not in dnsmessage.
const typeTLSA dnsmessage.Type = 52

// LookupTLSA returns the TLSA records of a name, which begins with the port and the protocol:
// "_25._tcp.mx.example.net". Records that aren't authentic prove nothing. A negative answer has a Proof as well.
func (r *Resolver) LookupTLSA(ctx context.Context, name string) ([]TLSA, Proof, error) {
	a, err := r.lookup(ctx, name, typeTLSA)
	return a.tlsa, a.proof(), withoutStandard(name, err)
}

// LookupAlias returns the name that the CNAME record of a name has, in lower case and with a trailing dot. A further
// alias isn't followed, so that the Proof is about this record alone.
func (r *Resolver) LookupAlias(ctx context.Context, name string) (target string, proof Proof, err error) {
	a, err := r.lookup(ctx, name, dnsmessage.TypeCNAME)
	return a.cname, a.proof(), withoutStandard(name, err)
}

// withoutStandard returns the error of a lookup that the standard resolver doesn't have.
func withoutStandard(name string, err error) error {
	if err == errStandard {
		return (&fault{says: errStandardFailed}).failed(name)
	}
	return err
}

func (a *answer) proof() Proof { return Proof{Authentic: a.authentic, Name: a.name, TTL: a.ttl} }
