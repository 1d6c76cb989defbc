// Package dane demands TLS with the certificate that a mail host has in the DNS, secured by DNSSEC (RFC 7672).
//
// # Getting started
//
// A [Policy] is an mx.Policy. It needs a resolver that validates by DNSSEC, on this machine for example, and whose
// answers are trusted:
//
//	router := &mx.Router{Resolver: &dns.Resolver{Servers: []string{"127.0.0.1"}, TrustAD: true}}
//	to, err := router.Target(ctx, route, host) // route and host are from router.Route
//	need, err := dane.Policy{}.Require(ctx, to)
//
// [Verify] alone compares the TLSA records of a host with a TLS session. It asks no DNS.
//
// # What it decides
//
//   - If an answer on the way from the domain to the host isn't authentic, or the host has no TLSA records: nothing is
//     demanded.
//   - If the host has TLSA records, but none that is usable: TLS is demanded, with any certificate.
//   - If the host has usable TLSA records: TLS is demanded, with a certificate that one of them matches.
//   - If a lookup fails, because a signature is wrong or a server doesn't answer: Require returns an error. The mail
//     goes to the next host or waits. Nobody can switch DANE off by keeping the answer away. The Router keeps the
//     failure for 30 seconds, so that not each mail waits for the server.
//
// A record is usable if its usage is DANE-EE(3) or DANE-TA(2), and its selector, its matching type and its data are
// valid. The PKIX usages 0 and 1 aren't usable (RFC 7672 §3.1.3).
//
// # Bounds
//
// At most [MaxRecords] usable records of a host are compared, with at most [MaxChain] certificates of a session.
//
// # Files
//
//   - policy.go: [Policy], the lookups. verify.go: [Usable] and [Verify]. anchor.go: DANE-TA.
//
// # RFCs
//
// RFC 7672 for mail, RFC 7671 (digest agility, §9) and RFC 6698 (TLSA records).
//
// It differs from RFC 7672 as follows:
//   - DANE doesn't apply to hosts that were found by an insecure MX record, which §2.2.1 leaves open.
//   - A name in a certificate is one of its subjectAltNames. The Common Name doesn't count, as in crypto/x509 and by
//     RFC 9525 §2.
package dane
