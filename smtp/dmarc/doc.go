// Package dmarc evaluates DMARC policies (RFC 9989): whether SPF or DKIM has authenticated the domain in the From field
// of a message, and what the owner of that domain asks for if neither has.
//
// # Getting started
//
// The zero *dns.Resolver of mx/dns is a resolver. SPF and DKIM are evaluated before:
//
//	evaluator := &dmarc.Evaluator{Resolver: &dns.Resolver{}}
//	result := evaluator.Evaluate(ctx, dmarc.Message{
//		From: []string{"example.net"}, // the domains of the addresses in the From field
//		SPF:  dmarc.Identifier{Domain: "bounces.example.net", Pass: true},
//		DKIM: []dmarc.Identifier{{Domain: "example.org", Pass: true}},
//	})
//	if result.Code == dmarc.Fail && result.Policy == dmarc.Reject {
//		log.Print(result) // fail: example.net: reject
//	}
//
// [Parse] reads a record, and says what is wrong with it.
//
// # The domains
//
// No list of public suffixes is needed. The organizational domain is found by the tree walk of RFC 9989 §4.10: the
// records of a domain and of its parents are looked up, up to the top-level domain. Two domains are in relaxed
// alignment if they have the same organizational domain.
//
// # Bounds
//
// They hold for one Evaluate:
//   - 8 lookups for each tree walk, and one for the policy of names that don't exist.
//   - 10 identifiers for which a walk is needed. Those that are equal to the domain in From, and those that aren't
//     below its organizational domain, need none.
//   - 4 domains in From. With more, the result is PermError.
//   - 20 seconds, unless Timeout is set, and ctx.
//
// A name is looked up once. So a message with one domain in From causes 89 lookups at most, and 2 to 4 as a rule.
//
// # Errors
//
// Evaluate returns no error: the RFC has a result for each case. [Result.Err] says why the result is none, temperror or
// permerror. No record and no answer causes a panic.
//
// # Files
//
//   - evaluator.go: Evaluator, Message. result.go: Result. evaluate.go: the evaluation of one domain.
//   - walk.go: the tree walk. resolver.go: Resolver. record.go, tags.go: Record and Parse.
//
// # RFCs
//
// RFC 9989. It is implemented with these decisions where the RFC leaves room:
//   - A message with several domains in From is evaluated for each of them. The strictest result counts (§11.5).
//   - A failed lookup that might have led to a pass makes the result TempError. That is also so if SPF or DKIM couldn't
//     be evaluated for an aligned domain (§5.3.6).
//   - A record with an error in p, sp or np, and without an address for reports, makes the result PermError. RFC 9989
//     §4.10.1 has no DMARC processing then.
//   - If a tag appears twice, the first one counts.
//   - Reports are not sent.
package dmarc
