// Package mx finds the hosts that take the mail of a domain: by an explicit route, or by the MX and address records of
// the DNS. It connects to no mail host.
//
// # Getting started
//
// The zero [Router] delivers by MX records. A [Router] that sends all mail to a smarthost has one explicit route:
//
//	relay, err := mx.Smarthost("smtp.example.com:587")
//	router := &mx.Router{Routes: map[string]mx.Route{"*": relay}}
//	transport := &client.Transport{Router: router}
//
// A route leads to hosts ([Smarthost], [LMTP]) or to a func ([Func], [Discard]), or it refuses the mail ([Refuse]).
// [ParseRoute] reads a route from a setting:
//
//	router := &mx.Router{Routes: map[string]mx.Route{
//		"example.com":       mailboxes, // mx.LMTP("/run/lmtp")
//		"lists.example.com": mx.Func("lists", lists.Deliver),
//		"old.example.com":   gone, // mx.ParseRoute("error:550 5.1.6 we have moved")
//	}}
//
// A program that starts calls [Router.Check] for the mistakes in its settings. For each domain, three methods lead from
// the domain to addresses, and each can be called alone:
//
//  1. [Router.Destination] returns the name under which a queue keeps the mail. It doesn't ask the DNS.
//  2. [Router.Route] returns the hosts in the order to try.
//  3. [Router.Addrs] returns the addresses of one host.
//
// A server at the port of the hosts calls [Router.ListensAt] with its address, so that mail whose MX is this server
// under another name doesn't loop. The public address of a NAT in front of the server belongs in Router.SelfAddrs.
//
// # Files
//
//   - router.go: [Router], its settings, Check, Destination, Route. hosts.go: MX records. addrs.go: Addrs.
//   - route.go: [Route] and [Host]. tls.go: [TLSLevel] and [TLSStart]. explicit.go: [Smarthost], [LMTP], [Func],
//     [Discard], [Refuse], [ParseRoute]. redirect.go: [Router.Redirect]. site.go: [Router.SiteAddrs].
//   - loop.go: [ErrLoop] and [Router.ListensAt], the protection against loops. guard.go: addresses that hosts from the
//     DNS may not have.
//   - resolver.go: [Resolver], [TTLResolver], [SecureResolver], [NameServer]. cache.go: the cache of answers.
//     family.go: whether this machine has IPv6.
//   - policy.go: [Policy] and [Requirement]. tlsresult.go: [TLSResult], what reports to a domain are made of.
//   - fail.go: how an error gets its reply.
//
// # Bounds
//
//   - A route has at most [MaxHosts] hosts, a host at most [MaxAddrs] addresses. Further ones are ignored, also in the
//     search for own addresses.
//   - A question to the DNS takes Router.Timeout at most, and ends with the ctx of the last caller who waits for it. If
//     the addresses of one family are there, those of the other have 1 more second.
//   - An answer is kept for its TTL, 1 second to 24 hours, if the Resolver is a [TTLResolver], and for Router.CacheTime
//     otherwise. A negative answer is kept for 5 minutes at most. A failure isn't kept, except for 30 seconds in two
//     cases, in which each mail to a host would wait for it: a lookup of the addresses of a host fails, or one of a
//     [Policy]. Callers that ask the same question at the same time share one answer.
//   - The cache takes 16 MiB at most.
//
// # Errors
//
// An error of Destination, Route and Addrs holds an *smtp.Reply, found by [errors.As], as if a host had sent it. There
// are no other replies than these, so no other cause is permanent:
//
//   - 550 5.1.2, 5.1.3: the domain is not valid, doesn't exist, or has neither MX nor address records.
//   - 556 5.1.10: the domain has a null MX.
//   - 554 5.4.6: the best host is one of our own. The error also holds [ErrLoop], here and at 4.4.6.
//   - 550 5.4.4: a host has only addresses of private or reserved networks.
//   - 451 4.4.3: the DNS failed or contradicted itself.
//   - 451 4.4.4: MX records exist, but none names a valid host, or the host has no address. RFC 5321 §5.1 leaves open
//     whether this is permanent. It is transient here, because zones with a mistake are repaired.
//   - 451 4.4.6: a host that is not the best has an address of our own, so this host and all after it are skipped.
//   - 451 4.3.5: the settings of the Router are wrong: see [Router.Check].
//   - The reply of a [Refuse] route.
//
// A reply has no text of a Resolver's error. A report shows the reply to strangers, and the error may have addresses of
// this machine and its name servers. The error of Route and Addrs holds the Resolver's error as well.
//
// # The hosts file
//
// RFC 5321 §5.1 finds the hosts of a domain in the DNS. So the system's hosts file doesn't apply to them: Debian, for
// example, writes the machine's own name into it, with 127.0.1.1. The names in explicit routes are the operator's, and
// the file applies to them.
//
// This holds for a nil Resolver and a *dns.Resolver. A *net.Resolver answers from the file for all hosts, and so does a
// dns.Resolver on a system without /etc/resolv.conf (see dns.Resolver.ResolvConf).
//
// # Interfaces to implement
//
// A [Policy], for what sessions need: packages mx/dane and mx/mtasts have one each. Package mx/tlsrpt reports to
// domains how it went.
//
// A [Resolver], for another DNS client, or as a wrapper of a *dns.Resolver that logs or overrides answers. A
// [TTLResolver], if it knows TTLs. An smtp.Sender, as the Sender of a [Route]. An smtp.Auth, as its Auth.
//
// A Router may be used by several goroutines. Its fields and routes must not change after the first use, except by
// [Router.Redirect] and [Router.ListensAt].
//
// # RFCs
//
// The package implements RFC 5321 §5 (the search for the host, and the rule of §5.1 against loops), RFC 7505 (null
// MX) and RFC 8305 §4 (addresses of both families in turn). Domains are compared as A-labels (RFC 5890).
//
// It differs from RFC 5321 as follows:
//   - Hosts from the DNS are not tried at private and reserved addresses, unless Router.AllowPrivate is set.
//   - An MX record whose host is an IP address is ignored.
//   - A TTL of zero counts as one second.
package mx
