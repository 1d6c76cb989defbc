// Package receivers knows how much mail large receivers take: Google, Yahoo, Microsoft, Apple, GMX, Orange, Comcast,
// QQ, NetEase, Mimecast and Barracuda. Most of it is from KumoMTA's shaping files, the rest from postmasters' pages.
//
// A [Profile] has connections at a time, messages in a connection, a rate, and what to do after a refusal for rate. A
// [List] finds the Profile of a site, a set of MX hosts, by the ends of the hosts' names: a domain's mail may be at any
// receiver. A Relay uses [Default] unless its Receivers is set. A program without a Relay sets three funcs:
//
//	known := receivers.Default()
//	runner.SiteFor = known.SiteFor
//	transport.MaxSessions = known.MaxSessions
//	transport.MaxMessages = known.MaxMessages
//
// The rules are data, in receivers.txt in this directory. Each has its source and the date of that: see Profile.Rules.
// They are starting points. A Runner learns from the answers how many connections a site takes, and a Transport how
// many messages. A rule that turns out wrong costs speed, or a few deferred messages.
package receivers
