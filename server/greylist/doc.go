// Package greylist defers mail of unknown clients, as a [server.Check]: the first attempt gets 451 4.7.1, and a retry
// after some minutes is accepted (RFC 6647). Mail servers retry. Many programs that only send spam don't, and others
// are on blocklists when they do.
//
// # Getting started
//
//	store, err := greylist.Open("/var/lib/app/greylist")
//	if err != nil { … }
//	defer store.Close()
//	policy := &greylist.Policy{Store: store}
//	srv := &server.Server{Handler: handler, Checks: []server.Check{policy.Check()}}
//
// # How it works
//
//   - An attempt is known by its triplet: the client's network, the reverse-path and the recipient.
//   - The first attempt is deferred at RCPT, after the Handler has accepted the recipient. So is each further one until
//     [Policy.Delay] has passed. An attempt later than [Policy.Window] after the first one counts as a first one.
//   - When a message is accepted after such a wait, the client's network is allowed for [Policy.AllowFor]. Each further
//     accepted message renews that. So only the first mail of a network waits.
//   - A client that authenticated or may relay never waits.
//
// # Mail that waits too long
//
// Some senders retry from another network each time, and some never. Let them pass with [Policy.Skip]: by a result of
// SPF, by an allowlist, or by their networks.
//
//	Skip: func(s *server.Session) bool {
//		r, _ := server.Value[dnsbl.Result](s) // of an allowlist with a negative weight
//		return r.Score < 0
//	},
//
// # Errors and bounds
//
//   - If the [Store] fails, mail is accepted, and the failure is a finding.
//   - [File] is bounded by [Options.MaxPending] and [Options.MaxAllowed]. Beyond them, the oldest entries are
//     forgotten: those senders wait once more.
//
// # Differences from RFC 6647
//
// Every recipient has its own triplet, not only the first one. An attempt with the null reverse-path is deferred at
// RCPT, too: a host that only verifies an address that way has to repeat it.
package greylist
