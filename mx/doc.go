// Package mx finds where the mail of a domain goes: by an explicit route, or by the MX and address
// records of the DNS.
//
// [Router] answers in three steps, each of which may be asked alone: Destination names the place
// without the DNS, Route lists its hosts in the order to try, and Addrs the addresses of one host. The zero
// Router delivers by MX; a relay host for all mail is
//
//	relay, err := mx.Smarthost("smtp.example.com:587")
//	router := &mx.Router{Routes: map[string]mx.Route{"*": relay}}
//
// An explicit route leads to hosts ([Smarthost], [LMTP]) or to a function ([Func], [Discard]), or says why the mail isn't taken
// ([Refuse]); [ParseRoute] reads one from a setting:
//
//	router := &mx.Router{Routes: map[string]mx.Route{
//		"example.com":       mailboxes, // mx.LMTP("/run/lmtp")
//		"lists.example.com": mx.Func("lists", lists.Deliver),
//		"old.example.com":   gone, // mx.ParseRoute("error:550 5.1.6 we have moved")
//	}}
//
// A server that listens at the port of the hosts tells its address by Router.ListensAt, so that mail whose MX is the server
// itself by another name doesn't go in circles; what a translator before it is known as stands in Router.SelfAddrs.
//
// Answers are cached, by their TTL where the [Resolver] is a [TTLResolver], and those who ask the same at once wait for
// one answer.
//
// It implements RFC 5321 §5 (locating the target host, and §5.1's rule against loops), RFC 7505 (null MX)
// and RFC 8305 §4 (addresses of both families in turn); domains are compared as A-labels (RFC 5890).
//
// An error holds an *smtp.Reply, found by [errors.As], that says what a host would have: permanent where
// the mail can't be delivered for a reason that stands in this list, temporary otherwise.
//
//   - 550 5.1.2, 5.1.3: the domain is impossible, or has neither MX nor address records.
//   - 556 5.1.10: the domain has a null MX.
//   - 554 5.4.6: the best host is one of our own. Here and at 4.4.6, [ErrLoop] is in the error too.
//   - 550 5.4.4: a host has addresses, and mail may go to none of them.
//   - 451 4.4.3: the DNS failed or contradicted itself.
//   - 451 4.4.4: MX records exist, and none of them, or none of their hosts' addresses, can be used. RFC
//     5321 §5.1 leaves open whether this is permanent. It isn't here: a zone with a slip in it is mended.
//   - 451 4.4.6: a host, not the best, is one of our own by its address, so that it and the rest are out.
//   - 451 4.3.5: the routes of the Router are at fault.
//   - That of a [Refuse] route.
//
// It differs from RFC 5321 in that hosts which the DNS names are refused where their address lies within our
// own network (see [Router.AllowPrivate]), in that an MX record whose host is an IP address is passed
// over, and in that no more than [MaxHosts] hosts of a domain are tried, or looked at for an address of our own. A TTL of zero counts as
// a second.
package mx
