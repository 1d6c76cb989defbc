// Package early looks at how a client begins a session, as a [server.Check]: whether it waits for the greeting, and
// which name it has in EHLO. It asks nobody else. Programs that only send spam often get both wrong.
//
// # Getting started
//
//	rules := &early.Rules{}
//	srv := &server.Server{Handler: handler, Checks: []server.Check{rules.Check()}}
//
// # What it finds
//
//   - [Talk]: the client sends before it has the greeting (RFC 5321 §3.1). The greeting comes after [Rules.Wait].
//   - [OwnName]: the name in EHLO or HELO is this server's own one, or its address, and the client is outside.
//   - [BareAddress]: it is an address without brackets, which RFC 5321 §4.1.3 doesn't allow.
//   - [NoDot]: it is a name without a dot, so no fully qualified one (RFC 5321 §2.3.5). It isn't looked for by default:
//     many devices and some mail servers have such a name.
//
// Each has a weight, a field of [Rules]. If the sum reaches [Rules.Threshold], recipients are refused, or treated by
// another [Rules.Action]. The [Result] is kept in the Session, for checks that weigh: server.Value[early.Result](s). A
// client that authenticated or may relay is accepted, but waits for the greeting, too: so use this on port 25 only.
//
// # Behind a proxy
//
// A proxy that uses XCLIENT talks itself, so whether it waits says nothing about its client: set [Rules.Wait] to -1.
// With a PROXY header, the wait is for the client.
//
// # Bounds
//
// A connection takes a slot of [server.Server.MaxConns] while it waits. Above 80 % of them, the wait is a tenth. A
// shutdown ends the wait.
//
// # Differences from RFC 5321
//
// §4.1.4 forbids to refuse mail because a name in EHLO can't be verified. Nothing is looked up here: these are names
// that can't be right whatever the DNS says.
package early
