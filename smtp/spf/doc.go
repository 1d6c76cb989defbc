// Package spf evaluates SPF records (RFC 7208): whether a client may send mail for a domain.
//
// # Getting started
//
// The zero *dns.Resolver of mx/dns and a *net.Resolver are both a [Resolver]:
//
//	checker := &spf.Checker{Resolver: &dns.Resolver{}, Hostname: "mx1.example.com"}
//	result := checker.Check(ctx, ip, helo, mailFrom)
//	if result.Code == spf.Fail {
//		log.Print(result) // fail: example.net: -all
//	}
//
// With an empty reverse-path, Check evaluates the HELO identity. A server checks both identities (RFC 7208 §2.3 and
// §2.4).
//
// # Bounds
//
// They hold for one Check, redirect and include included:
//   - 10 terms that cause lookups: include, a, mx, ptr, exists, redirect.
//   - 2 terms whose lookups find nothing.
//   - 10 hosts for one mx term. More are a permerror.
//   - 10 names of the client, for ptr and the macro p. More are ignored. The names are looked up once.
//   - 20 seconds, unless Timeout is set, and ctx.
//   - 500 octets of explanation. A longer one is ignored.
//
// So a record causes 123 lookups at most. The work for a record is linear in its length, which the resolver bounds.
//
// # Errors
//
// Check returns no error: RFC 7208 has a result for each case. [Result.Err] says why the result is none, temperror or
// permerror. It names the domain, the term and the rule, and wraps the error of the resolver. No record and no answer
// causes a panic.
//
// # Files
//
//   - checker.go: Checker. result.go: Result and Code. resolver.go: Resolver.
//   - evaluate.go: check_host and redirect. match.go: the mechanisms. names.go: the validated names of the client.
//   - record.go, term.go: the grammar of records. macro.go: macros.
//
// # RFCs
//
// RFC 7208. It is implemented with these decisions where the RFC leaves room:
//   - A term counts as one void lookup if none of its lookups finds a record: an mx term with ten hosts that have no
//     address of the client's family is one (RFC 7208 §4.6.4 limits the terms).
//   - The macro p doesn't count as a term.
//   - A name that isn't valid after its macros are expanded isn't looked up. The mechanism doesn't match.
//   - A reverse-path with a U-label is checked as its A-label.
//   - The SPF record type (99) and the field Received-SPF are absent: RFC 7208 §3.1 ended the former, and RFC 8601
//     has a field for all methods.
package spf
