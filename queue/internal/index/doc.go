// Package index is the part that the stores mem and spool share: which tasks there are, when each is due, which are
// leased and held. An [Index] does no I/O and has no lock: a store calls it with its own mutex held. For calls that
// look at all tasks, the funcs Search, Lanes, Flush and Oldest take that mutex, and release it after every thousand
// tasks or so.
//
// A store adds a [Message] with what it keeps of it: mem the body, spool the place in the log. It gets a [Task] from
// Claim or List, and makes a queue.Task of it by [Task.Fill]. A [Progress] is what a task has stored besides its
// times.
//
// # Where to find what
//
//	index.go            Index: adding, waiting, leaving
//	lease.go            Claim, Extend, and a settlement from Begin to Done, Retry or Abort
//	report.go           report tasks and their parts
//	hold.go             Hold, Remove, Stats
//	walk.go, flush.go   Search, Lanes, Oldest and Flush, which look at all tasks in steps
//	lane.go, order.go   lanes, owners, and which task comes first
//	filter.go           queue.Filter
//	marks.go            hashes, by which a search passes over messages and chunks of messages
//	message.go          Message and Progress; IDs and times
//	imports.go          messages that come from another Queue
//	keys.go             the Keys of messages
//	watchers.go         queue.Waker
//	slab.go, idtable.go memory: many small values; messages by ID
package index
