// Package ratelimit bounds the messages and recipients that a network, an account or a sender may send in a period of
// time, as a [server.Check].
//
// # Getting started
//
//	limits := &ratelimit.Limiter{
//		Network: ratelimit.Rate{Messages: 200, Recipients: 1000},                       // an hour
//		Account: ratelimit.Rate{Messages: 500, Recipients: 2000, Period: 24 * time.Hour}, // a day
//	}
//	srv := &server.Server{Handler: handler, Checks: []server.Check{limits.Check()}}
//
// For two periods, an hour and a day for example, add the checks of two Limiters.
//
// # How it works
//
//   - Accepted messages and their recipients count. Those of an open transaction count, too, until it ends without an
//     accepted message. So a client gains nothing by many connections at a time.
//   - Counts decay evenly: of a Rate of 60 messages an hour, one becomes free each minute. A client that was silent can
//     send 60 at once, and then one each minute. So in any one period, at most twice the Rate is accepted.
//   - Clients that authenticated are counted by account, others by network. Senders are counted for both.
//
// # The reply
//
// A recipient beyond a limit is refused with 450 4.7.1, and the text says when to try again. 450 is a reply to RCPT
// that stands for a mailbox that is blocked for reasons of policy, for now (RFC 5321 §4.2.3), and X.7.1 for a refusal
// by policy (RFC 3463 §3.8). 452 would be wrong: after it a client sends the other recipients at once, in another
// transaction (RFC 5321 §4.5.3.1.10). 421 would end a session in which other mail may come. No reply of 5xx is sent, so
// no mail is lost.
//
// # Bounds
//
// [Limiter.MaxKeys] bounds the entries that are kept. Beyond it, the oldest entries are forgotten, those that have
// decayed first. Only accepted messages make entries that last, so an attacker can't make the Limiter forget without
// sending mail from as many networks.
//
// All counts are in memory, and begin anew with the program.
package ratelimit
