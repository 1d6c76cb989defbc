// Package queue is the contract between a store of mail and the program that delivers it. A host that answers 250 is
// responsible for the message from then on (RFC 5321 §6.1). A [Queue] holds the messages that the host is responsible
// for.
//
// The unit of work is a [Task]: one message × one destination, with the recipients that aren't settled. A Runner
// claims a task under a [Lease], sends it, and settles it with a [Settlement]: recipients leave the queue, or the task
// is due again later. Reports to the sender are new messages, stored in the same commit. Or the commit adds the
// recipients to the report task of the message, see [ReportDestination], whose Settlement has one report about all.
// An alias whose expansion is reported is a recipient, too: see [ExpandedDestination].
//
// A program that sends mail doesn't use this package: it opens a store, and a delivery.Runner or a postrider.Relay
// delivers the mail in it.
//
//	queue/spool     stores mail in a directory: spool.Open
//	queue/mem       stores mail in memory, for tests: mem.New
//	queue/pgqueue   stores mail in PostgreSQL: pgqueue.Open
//	queue/delivery  delivers the mail of a Queue: delivery.Runner
//	queue/drain     moves the mail of a Queue to another one: drain.Drain
//	queue/queueweb  shows a queue on a web page: queueweb.Handler
//	queue/webhook   posts what happens to mail: webhook.Hooks
//	queue/queuetest tests any other Queue for the rules of this package: queuetest.Run
//
// # How to write a store
//
// Implement the six methods of [Queue]. Its doc has the rules, and queuetest.Run tests each of them. Then implement the
// abilities that the store can offer: [Keyer] stores a message once, however often a program sends it, [Waker] makes
// delivery start without polling, [Importer] takes over the messages of another store, [Sharer] lets several Runners
// share limits, [Lister], [Holder], [Flusher], [Hastener], [Remover] and [Stater] are for operators. A program finds
// out by a type assertion. [Export] needs a Lister.
//
// The contract sets no limits: messages, recipients and bodies may be as many and as large as the store can hold. A
// body of 50 MB must not be in memory as a whole. A store that is full returns an error from Enqueue that wraps
// syscall.ENOSPC: a Relay then answers 452. Any other error is answered 451.
//
// # Stores that several processes share
//
// Several Queues may be open on one store, in one process or in many. queuetest tests a store for this if its Harness
// has a Handle. The rules of [Queue] hold for the store as a whole: a task has one lease at a time, and a lease that
// ended at one Queue settles nothing. Besides:
//
//   - A store states its lag, for example 1 second. What a call has changed at one Queue, the others see and announce
//     within that time. Claims exclude each other at once, and so do Enqueues of one Key.
//   - A store either lets all of its Queues claim the tasks of each lane, or gives each Queue a part of the lanes. In
//     both cases, each task that is due can be claimed at one or more Queues, and has one lease at a time.
//   - If a Queue has a part of the lanes, its Lanes and its Claim leave out all other lanes. When a Queue is opened or
//     closed, or its process ends, the parts may change. Within the lag after that, each lane is in the part of a Queue
//     again, and a Queue announces the lanes that are new in its part, or the zero Lane.
//   - A lease is valid at the Queue that granted it. When that Queue is closed or its process ends, its leases may end,
//     or continue until they expire. A Queue announces the end of all leases, those of others too.
//
// # Limits that Runners share
//
// If such a store is a [Sharer], the Runners on it keep the limits of sites, tenants and sources together. Otherwise
// each Runner counts for itself: with N Runners, a site can get N times its delivery.SiteLimits.
//
// The store keeps records, which one transaction reads and writes, and knows nothing of limits. A Runner takes permits
// from them in blocks: tasks that may be in flight at a site, slots of its rate, which are moments at which one message
// may go, and shares of the rate of a tenant or a source. So nothing is asked for each message. A share moves with mail
// and, unlike a slot, isn't lost if a message comes late. Two other ways were not taken. If a site belonged to one
// Runner, it couldn't get the mail in the lanes of another one. If each Runner had its N-th of a limit, three couldn't
// share a single connection.
//
// A Runner that fails keeps others from sending, rather than a limit from being kept:
//
//   - If a Runner can't reach the store, it sends on for 20 seconds with what it has. Then it sends nothing to sites,
//     and cuts off what it is sending.
//   - If a Runner dies, its permits are free 30 seconds after another one has seen its last sign of life. So a site
//     with a Concurrency of 1 may get nothing for some 30 seconds.
//   - A Runner that comes or goes takes or returns permits within 2 seconds, and at the end of the tasks that use them.
//   - If the process of a Runner is stopped for longer than 30 seconds and goes on, a limit may be exceeded until it
//     has cut off what it was sending. Each Runner measures these times by its own monotonic clock.
//
// # Later versions
//
// Message, Task and Settlement may get fields, and stores may get abilities as new interfaces. So store each field
// under a name or a number, and skip those that aren't known, as package spool does.
//
// # After a crash
//
// A message that Enqueue has accepted is not lost, unless the disk loses data after a successful sync. It may be
// delivered twice in two cases. A task that was sent and not settled is sent again when its lease expires, or after a
// restart that ends the lease. And a crash may undo a settlement without Reports and Owed that is not yet durable: see
// [Queue].
//
// # Files
//
//	queue.go      Queue, Task, Lease, Settlement, and the sentinel errors
//	message.go    Message
//	abilities.go  the optional interfaces, Filter and Stats
//	export.go     Export
package queue
