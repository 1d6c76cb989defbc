// Package dns is a stub resolver: it asks recursive name servers for MX, address, TXT, PTR and TLSA records. It returns
// them with their TTLs, and with whether DNSSEC secures them.
//
// # Getting started
//
// The zero [Resolver] asks the name servers of /etc/resolv.conf. It is the default of mx.Router. A Resolver of other
// name servers is a literal:
//
//	router := &mx.Router{Resolver: &dns.Resolver{Servers: []string{"192.0.2.53", "[2001:db8::53]:5353"}}}
//
// # Differences from net.Resolver
//
//   - Only the DNS answers. The hosts file and the search list don't apply: RFC 5321 §5.1 finds the hosts of a domain
//     in the DNS. [Resolver.System] returns a resolver to which both apply.
//   - Methods with TTL in their name return the time for which the answer is valid, also for a negative answer.
//   - A name that doesn't exist is told from a name without records of the type: see [NXDomain].
//   - Host names in answers are in lower case.
//   - Methods with Proof in their name, [Resolver.LookupTLSA] and [Resolver.LookupAlias] return whether DNSSEC secures
//     the answer.
//
// # DNSSEC
//
// A Resolver validates nothing itself. The name servers do, and set the AD bit in answers that DNSSEC secures. The bit
// counts only if Resolver.TrustAD is set or resolv.conf has the option trust-ad, because anyone on the way to the
// server can set it. An answer whose signatures are wrong is a SERVFAIL.
//
// Queries then have the AD bit (RFC 6840 §5.7) rather than the DO bit: signatures would be of no use here.
//
// # How it asks
//
// A query goes to the servers in turn, in as many rounds as Resolver.Attempts says, until one of them answers. The
// next server is asked if a server doesn't answer within Resolver.Timeout, can't be reached, reports an error such as
// SERVFAIL or REFUSED, or neither knows the answer nor looks for it.
//
// Queries go by UDP. A query is repeated by TCP at the same server if the answer is truncated or malformed, if it
// repeats the name in another case, or if 100 datagrams weren't the answer. In the first round, queries by UDP have
// EDNS0 with 1,232 octets, and the name in random case. A server that reports FORMERR, NOTIMP or BADVERS is asked again
// without both, and later rounds are without both.
//
// Against forged answers (RFC 5452), each query has a random ID and a socket of its own, and thus a port of its own.
// Only an answer from the server that was asked, with the ID and the question of the query, counts. Others are ignored.
//
// # Bounds
//
//   - A query takes Timeout for each way to ask each server in each round, and ends with ctx.
//   - At most 11 aliases (CNAME) are followed.
//   - An answer has at most 65,535 octets, and so at most 4,096 records.
//   - /etc/resolv.conf is read up to 64 KiB and three name servers. A look whether it has changed is taken every 5
//     seconds at most.
//
// # Errors
//
// An error is a *[net.DNSError]. Its Err is one of a few fixed phrases, which name neither this machine nor a name
// server, so it may be shown to others. Its Server is for the log.
//
//   - IsNotFound is set if the name doesn't exist, has no records of the type, or isn't a valid name. In the first case
//     the error is also NXDomain.
//   - IsTemporary is set in all other cases, and IsTimeout if no server answered in time.
//   - An error code of a server is found by [errors.As], as an [RCode], and the end of ctx by [errors.Is].
//
// # Files
//
//   - dns.go, ptr.go, proof.go: [Resolver] and its lookups. system.go: [Resolver.System]. ask.go: servers and rounds.
//   - exchange.go: a query and its answer by UDP or TCP. query.go, parse.go: the messages.
//   - config.go: resolv.conf. errors.go: [RCode] and the phrases.
//
// # RFCs
//
// RFC 1034 and 1035, RFC 2181 §8 (TTLs), RFC 2308 (negative answers), RFC 4343 (case), RFC 5452 (forged answers),
// RFC 6604 (the RCODE belongs to the last alias), RFC 6698 (TLSA), RFC 6761 §6.3 (localhost), RFC 6840 §5.7 (AD),
// RFC 6891 (EDNS0), RFC 7766 (TCP).
//
// It differs from them as follows:
//   - Each query by TCP has a connection of its own: a Router asks seldom, and caches.
//   - A record that can't be read is ignored. If no record of the answer can be read, the lookup fails.
package dns
