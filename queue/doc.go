// Package queue is the contract between what stores mail and what delivers it. RFC 5321 §6.1 makes the host that says
// 250 responsible for a message; a [Queue] is where that responsibility is kept.
//
// The unit of work is a [Task]: one message × one destination, with the recipients that aren't settled. A task is
// claimed under a [Lease], sent, and settled: its recipients leave the queue, or the task comes up again at the time
// that the [Settlement] names. Reports to the sender are new messages that become durable in the same commit. A Queue
// chooses nothing; it only returns what is due.
//
// A store shows further abilities by optional interfaces: a [Waker] announces work, a [Lister] lists, a [Holder] holds
// and releases, a [Flusher] brings retries forward, a [Remover] removes and a [Stater] counts. [Export] writes a
// message with its envelope, for use elsewhere.
//
// Three packages implement or use the contract, and one tests it:
//
//   - queue/spool keeps mail in a directory: spool.Open.
//   - queue/mem keeps mail in memory, for tests: mem.New.
//   - queue/delivery works a queue off: delivery.Runner.
//   - queue/queuetest holds any other implementation to the rules: queuetest.Run.
//
// # Where to find what
//
//	queue.go      Queue, Message, Task, Lease, Settlement, and the sentinel errors
//	abilities.go  the optional interfaces, Filter and Stats
//	export.go     Export
//
// # When a message may be delivered twice
//
// A task that was sent and not settled is sent again when its lease expires, or when the store is opened after a crash.
// A store may lose a settlement that is younger than a second when the machine loses power, unless the settlement had a
// report. There is no third case. No message is lost, unless the disk loses data after a successful sync.
package queue
