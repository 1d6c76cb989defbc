// Package queue is the contract between a store of mail and the program that delivers it. A host that answers 250 is
// responsible for the message from then on (RFC 5321 §6.1). A [Queue] holds the messages that the host is responsible
// for.
//
// The unit of work is a [Task]: one message × one destination, with the recipients that aren't settled. A Runner
// claims a task under a [Lease], sends it, and settles it with a [Settlement]: recipients leave the queue, or the task
// is due again later. Reports to the sender are new messages, stored in the same commit.
//
// A program that sends mail doesn't use this package: it opens a store, and a delivery.Runner or a postrider.Relay
// delivers the mail in it.
//
//	queue/spool     stores mail in a directory: spool.Open
//	queue/mem       stores mail in memory, for tests: mem.New
//	queue/delivery  delivers the mail of a Queue: delivery.Runner
//	queue/queuetest tests any other Queue for the rules of this package: queuetest.Run
//
// # How to write a store
//
// Implement the six methods of [Queue]. Its doc has the rules, and queuetest.Run tests each of them. Then implement the
// abilities that the store can offer: [Waker] makes delivery start without polling, [Lister], [Holder], [Flusher],
// [Remover] and [Stater] are for operators. A program finds out by a type assertion. [Export] needs a Lister.
//
// The contract sets no limits: messages, recipients and bodies may be as many and as large as the store can hold. A
// body of 50 MB must not be in memory as a whole. A store that is full returns an error from Enqueue that wraps
// syscall.ENOSPC: a Relay then answers 452. Any other error is answered 451.
//
// # After a crash
//
// A message that Enqueue has accepted is not lost, unless the disk loses data after a successful sync. It may be
// delivered twice in two cases. A task that was sent and not settled is sent again when its lease expires, or after a
// restart. And a crash may undo a settlement without reports that is not yet durable: see [Queue].
//
// # Files
//
//	queue.go      Queue, Message, Task, Lease, Settlement, and the sentinel errors
//	abilities.go  the optional interfaces, Filter and Stats
//	export.go     Export
package queue
