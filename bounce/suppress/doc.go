// Package suppress keeps the addresses that a program doesn't write to any more: those whose hosts say that there is no
// such mailbox, and those of people who complained.
//
// # Getting started
//
//	list, err := suppress.Open("/var/lib/app/suppressed")
//	if err != nil { … }
//	defer list.Close()
//	policy := &suppress.Policy{List: list}
//	verp := &bounce.VERP{Domain: "bounces.example.com", Keys: keys}
//	handler := &bounce.Handler{VERP: verp, Handle: policy.Handle} // mounted as its doc says
//	relay := &postrider.Relay{ …, Wrap: verp.Wrap, Suppress: policy }
//
// # How it works
//
//   - A [Policy] learns from the Result of each attempt, by the Sender of [Policy.Wrap], and from later bounces and
//     complaints, by [Policy.Handle]. It believes a bounce only if it came to a signed address of the recipient.
//   - A [Rule] for each smtp.Reason decides how many messages must fail before the address is suppressed. By default an
//     unknown user is suppressed at once, a full mailbox after four weeks. A refusal because of spam or policy never
//     suppresses. A complaint suppresses at once. Automatic replies never do.
//   - The Sender asks the List before each attempt. A suppressed recipient is Rejected, and no host is asked. A Relay
//     asks it before it stores a message from code, and at RCPT of clients that may relay.
//   - A [List] is the store: a [Memory], a [File], or one of your own. Addresses are compared exactly in their local
//     part, and by the A-labels of their domain.
//
// # Errors and bounds
//
//   - If the List fails, messages are deferred: nobody who complained is written to because a database is down.
//   - A full List refuses to add more ([ErrFull]) and forgets none. A mail that would have added an entry stays in the
//     queue of its Handler.
//   - [File] survives a crash at any time: an entry is on the disk when Add returns.
//
// # Files
//
//	list.go    List, Key, Entry, Source: the store's contract
//	rule.go    Rule and the default rules
//	policy.go  Policy: what is learnt from results and bounces
//	sender.go  the Sender that asks and learns
//	memory.go  Memory
//	file.go    File: a log that is compacted
//	format.go  its lines
package suppress
