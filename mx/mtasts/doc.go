// Package mtasts finds, keeps and applies the MTA-STS policies of domains (RFC 8461): a domain tells by HTTPS which MX
// hosts it has, and that they have TLS with a valid certificate. So an attacker in the network can neither remove
// STARTTLS nor lead mail to hosts of his own.
//
// # Getting started
//
// A [Client] is an mx.Policy:
//
//	sts := &mtasts.Client{Store: &mtasts.Dir{Path: "/var/lib/app/mta-sts"}}
//	if err := sts.Check(); err != nil { … }
//
// # How it works
//
//  1. The TXT record of "_mta-sts." and the domain has an id. Without exactly one valid record, the domain has no
//     policy, unless one is kept that hasn't expired.
//  2. If the id is new, the policy is fetched from https://mta-sts.DOMAIN/.well-known/mta-sts.txt. The host must have a
//     certificate for its name. No redirect is followed, the status must be 200 and the type text/plain.
//  3. The policy is kept, in memory and in the [Store], for its max_age. If it can't be renewed, it applies until then.
//     If it can't be fetched and none is kept, mail is sent as if there were no policy: MTA-STS trusts the first use.
//  4. [Client.Require] is asked for each MX host of a domain. With the mode enforce, a host must match a pattern of the
//     policy and present a certificate for its name. With testing, the same is found out, and only told.
//
// [Client.Lookup] returns a policy without an MX host.
//
// # When it asks
//
//   - All happens in calls of Lookup and Require. There is no goroutine that outlives them.
//   - The TXT record is looked up again after 1 minute. If there is none, or if it isn't valid, after 5 minutes.
//   - A policy is fetched if the id is new, and for the same id after 1 day or half of max_age. After a failure, the
//     same id isn't tried for 5, 10, 20 and 40 minutes, and then 1 hour each.
//   - Callers that ask about one domain at the same time share one attempt. While it lasts, they use the policy that is
//     kept, and without one they wait.
//
// # Bounds
//
//   - A policy has at most 64 KiB, and the header of its response 16 KiB. [Client].Timeout bounds the fetch.
//   - [Client].MaxFetches bounds the fetches at one time.
//   - The memory takes 16 MiB at most. If it is full, domains without a policy are forgotten first. A policy that was
//     forgotten is read from the Store, or fetched again.
//   - Policy hosts aren't asked at private and reserved addresses, unless [Client].AllowPrivate is set.
//
// # Differences from RFC 8461
//
//   - A policy with a max_age below 1 minute is used for 1 minute, so that not each mail fetches it.
//   - A max_age above 31,557,600 seconds counts as that (§3.2 calls it the maximum).
//   - Empty lines in a policy are ignored. Patterns may be U-labels.
//   - A policy isn't renewed while the TXT record is missing.
//   - Certificates aren't checked for revocation (§4.2 and §3.3 say MAY).
//
// # Files
//
//	client.go   Client, its settings, Lookup
//	require.go  Client.Require: a policy as mx.Requirement
//	cache.go    what is known about a domain, and when it is asked for again
//	record.go   the TXT record
//	fetch.go    the request by HTTPS
//	policy.go   Policy and its parser, Match
//	store.go    Store, Entry
//	dir.go      Dir, a Store in a directory
//	errors.go   Error, with the result types of RFC 8460
package mtasts
