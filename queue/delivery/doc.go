// Package delivery works a [queue.Queue] off: a [Runner] chooses destinations so that none starves another and no site
// gets more than it takes, claims their tasks, hands them to a Sender, and settles the results, with the times of RFC
// 5321 §4.5.4.1. A Runner is operated while it runs, and explains what a message waits for. It knows no protocol:
// client.Transport is the Sender of postrider.Relay, and package bounce composes its reports.
//
// # Where to find what
//
//	runner.go                  Runner and its settings
//	limits.go, rate.go         limits of sites, sources and tenants
//	schedule.go, reason.go     when a task is tried again, and why it was deferred
//	events.go                  what a program can watch
//	operate.go, explain.go     Flush, Suspend, Hold, Cancel, Purge; Status and Explain
//	machine.go, site.go        the state machine: which destination is claimed next, and how many tasks a site gets
//	machine_turn.go            one turn of it
//	loop.go, inbox.go          the goroutine that drives the machine, and its news
//	delivery.go, conclude.go   one task: the attempt, and what follows from its results
//	settle.go, lease.go        the commit, and the lease until then
package delivery
