// Package dnsbl asks blocklists and allowlists in the DNS about a client and its mail (RFC 5782), as a [server.Check].
//
// # Getting started
//
// Name the zones, and add the check to a server:
//
//	list := &dnsbl.List{Zones: []dnsbl.Zone{{Name: "bl.example.org"}}}
//	if err := list.Test(ctx); err != nil { … } // does each zone answer this machine?
//	srv := &server.Server{Handler: handler, Checks: []server.Check{list.Check()}}
//
// A name server that many people share, of a provider for example, gets no answers from most lists. Run a recursive
// name server, and pass a resolver that asks it.
//
// # How it works
//
//   - At connect, all zones are asked about the client's address at the same time. At EHLO, HELO and MAIL, the
//     zones that list domains are asked: see [Zone.Of].
//   - Each listing has a weight. Allowlists have negative ones. The sum is the Score of a [Result], which is kept in
//     the Session: server.Value[dnsbl.Result](s) finds it.
//   - At RCPT, if the Score has reached [List.Threshold], the recipient is refused, or treated by another
//     [List.Action]. A client that authenticated or may relay is accepted.
//
// # When a zone doesn't answer
//
// Mail is never refused because a list fails. A zone that doesn't answer in time, or with an error, counts as one that
// doesn't list. So does an answer that isn't a listing: an address outside of 127.0.0.0/8, which the next owner of an
// abandoned zone returns for any name, and the codes by which lists refuse to answer:
//
//   - 127.255.255.0/24: those of Spamhaus. 252 is a wrong name of the zone, 254 a public resolver, 255 too many
//     queries.
//   - 127.0.0.1: SURBL and URIBL. No list uses it otherwise. 127.0.0.255: DNSWL. 127.0.1.255: Spamhaus DBL, asked about
//     an address.
//
// Each of these is reported as a finding when it is seen. An answer that [Zone.Answers] names is always a listing.
//
// # Bounds
//
//   - Lookups for one moment take at most [List.Timeout].
//   - [List.MaxCache] answers are kept, each for [List.CacheTime], and failures for at most a minute. TTLs don't apply.
//   - The text of a listing is cut at 200 octets. Each character other than printable ASCII becomes "?".
//
// # Differences from RFC 5782
//
// Domains are looked up as they are, not with their parents: lists have wildcards. An IPv6 address is looked up in each
// zone for addresses: one without IPv6 has no such names.
package dnsbl
