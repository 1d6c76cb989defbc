package mx

import (
	"context"
	"crypto/tls"

	"github.com/postrider/postrider/mx/dns"
)

// Policy returns what the sessions with a host of a domain need beyond opportunistic TLS. DANE is a Policy (package
// mx/dane).
//
//   - Require is called for each host of a [Route] from the DNS, before a session with the host is opened or taken from
//     a pool. It is called for each message, so a Policy caches what it looks up.
//   - A Policy of the domain, MTA-STS for example, depends on Target.Domain first and on Target.Host second. So two
//     domains with the same hosts may have different requirements.
//   - A Policy that demands nothing returns the zero Requirement, or one with Found or Trouble alone.
//   - An error means that the requirement isn't known. The host isn't used, and the next host is tried. The error holds
//     a transient *smtp.Reply, as that of [Router.Addrs] does. If the domain is at fault, the error has the result type
//     of a report to the domain: see [TLSFailureOf].
//   - Methods are called concurrently, and return soon after ctx has ended.
type Policy interface {
	Require(ctx context.Context, to Target) (Requirement, error)
}

// Target is the host of a domain that a [Policy] is asked about. [Router.Target] returns it.
type Target struct {
	// Domain is the domain of the recipients, as an A-label without a trailing dot.
	Domain string

	// Host is one of the hosts of the domain. It is the domain itself if the domain has no MX records.
	Host Host

	// MX is about the answer that has the MX records of Domain, or says that there are none. Addr is about the
	// addresses of Host: Addr.Authentic is set if the addresses of each family that has some are authentic.
	MX, Addr dns.Proof

	// Resolver looks up further records, through the cache of the Router. If nil, the Resolver of the Router isn't a
	// SecureResolver, and no answer is authentic.
	Resolver SecureResolver
}

// Target returns what a [Policy] is asked about a host of a route. Call it after [Router.Addrs] for the host: then it
// doesn't ask the DNS. No answer is authentic for the hosts of an explicit route and for an IP address. The error is
// that of Addrs for a host without addresses.
func (r *Router) Target(ctx context.Context, route Route, host Host) (Target, error) {
	r.once.Do(r.prepare)
	to := Target{Domain: route.Name, Host: host}
	if _, ok := r.resolver.resolver.(SecureResolver); !ok || !route.MX {
		return to, nil
	}
	ips, proof, err := r.lookupIP(ctx, route, host.Name)
	if len(ips) == 0 {
		return to, err // and not "insecure", if the answer in the cache has just expired
	}
	to.MX, to.Addr, to.Resolver = route.proof, proof, r.resolver
	return to, nil
}

// Requirement is what a [Policy] demands of the sessions with a host. The zero value demands nothing.
type Requirement struct {
	// Name identifies the requirement, in the key of a pool and in logs: "dane:" or "sts:" with a digest or an ID. Two
	// requirements with one Name demand the same. It is empty if nothing is demanded.
	Name string

	// Level is how much is demanded. With DemandVerified, and without Excluded, the policy also states that the host is
	// one of the domain's, by DNSSEC or by a list of the domain: mail with REQUIRETLS relies on that (RFC 8689 §2).
	Level Demand

	// Testing means that a session that doesn't meet Level, or a host that is Excluded, is reported and used. If false,
	// it isn't used.
	Testing bool

	// Excluded is the reason why no session with the host meets the policy, if the policy doesn't list the host for
	// example. If nil, the host may be used.
	Excluded error

	// Found is the policy, for reports to the domain. If nil, no policy was found.
	Found *FoundPolicy

	// Trouble is the reason why the policy couldn't be found out, renewed or used as it is, or nil. It is reported to
	// the domain, and changes nothing about the demands. [TLSFailureOf] finds its result type.
	Trouble error

	// ServerName is the name to send in the TLS handshake (SNI). If empty, the name of the host.
	ServerName string

	// Verify decides whether a session after the TLS handshake is with the right host. It returns by what it has
	// verified the certificate, for logs. It takes the place of the checks of crypto/tls, so the handshake is made with
	// InsecureSkipVerify. It is set if and only if Level is DemandVerified. It may be called concurrently.
	Verify func(tls.ConnectionState) (by string, err error)
}

// Demand is how much TLS a [Requirement] demands.
type Demand uint8

const (
	DemandNothing   Demand = iota // what the Route demands is enough
	DemandEncrypted               // TLS with any certificate, and no cleartext
	DemandVerified                // TLS with a certificate that Requirement.Verify accepts
)

var demands = [...]string{"nothing", "encrypted", "verified"}

// String returns "nothing", "encrypted" or "verified".
func (d Demand) String() string { return nameOf(demands[:], uint8(d)) }
