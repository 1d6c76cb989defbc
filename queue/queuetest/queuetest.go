// Package queuetest tests an implementation of [queue.Queue] for the rules of package queue. The author of a store
// writes one test:
//
//	func TestQueue(t *testing.T) {
//		queuetest.Run(t, queuetest.Harness{
//			Open:   func(t *testing.T) queue.Queue { … },
//			Reopen: func(t *testing.T, q queue.Queue) queue.Queue { … },
//		})
//	}
//
// Each subtest is about one rule and has a Queue of its own. It runs in a synctest bubble, where days pass at once,
// unless the [Harness] sets Advance. A test that fails logs the rule, and the command that repeats it.
//
// The optional abilities are tested if the Queue has them: [queue.Keyer], [queue.Importer], [queue.Sharer],
// [queue.Waker], [queue.Lister], [queue.Holder], [queue.ReasonHolder], [queue.Flusher], [queue.Hastener],
// [queue.Remover], [queue.Stater]. Restarts, crashes, failures of the store, and stores that several Queues share are
// tested if the Harness has a func for them. A test that needs something else skips and logs what is missing.
//
// The tests allow what the contract allows: times that are rounded to the microsecond, Stats of a minute ago, and
// Claims that return fewer tasks than are due. They repeat such a Claim while a Waker announces the lane as due or,
// without a Waker, while Lanes yields it as due, up to 20 times in a row without a task.
//
// The whole suite takes seconds and a few MB of memory. One test stores a body of 50 MB, unless Harness.InMemory is
// set.
//
// # Files
//
//	queuetest.go                    Run, Harness, and the list of rules
//	env.go, compare.go              helpers of the tests
//	bodies.go, times.go, leases.go  Enqueue and Open; Lanes and Claim; leases and Settle
//	lanes.go, context.go            owners and priorities; calls whose context has ended
//	clock.go                        NotBefore, and steps of the clock
//	reports.go                      reports with a settlement
//	keys.go, imports.go, share.go, watch.go, list.go, hold.go, reasons.go, flush.go, remove.go,
//	stats.go
//	                                the optional abilities
//	reopen.go, kill.go              restarts; crashes and failures of the store
//	deaths.go                       attempts that end with the process
//	handles.go, handleswatch.go     several Queues on one store
//	random.go, randomabilities.go, model.go, looks.go
//	                                random operations, compared with a model
package queuetest

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
)

// Harness opens the Queue under test.
type Harness struct {
	// Open returns an empty Queue. If it needs to be closed, Open registers that with t.Cleanup.
	Open func(t *testing.T) queue.Queue

	// Reopen closes q and opens its data again, as the same process after a restart. If nil, restarts are not tested.
	Reopen func(t *testing.T, q queue.Queue) queue.Queue

	// Kill opens the data of q again without closing q, as the same process after a crash: from a copy of its files, or
	// by a new connection to its database. t.Cleanup closes q. No call of q is in progress. If nil, crashes are not
	// tested.
	Kill func(t *testing.T, q queue.Queue) queue.Queue

	// LeasesSurvive reports whether a lease continues after Reopen and Kill, until it expires. If false, Reopen and
	// Kill end every lease.
	LeasesSurvive bool

	// Handle opens a second Queue on the data of q, as another process that uses the same store. q remains open. If the
	// Queue has a method Close() error, the tests may call it, and t.Cleanup may call it again. If nil, a store that
	// several Queues share is not tested.
	Handle func(t *testing.T, q queue.Queue) queue.Queue

	// Lag is the longest time from a call at one Queue to its effect at another Queue on the same store: announcements,
	// and which of them can claim a task. If zero, 1 second.
	Lag time.Duration

	// Fail makes every write to the store of q fail until heal is called, as when the disk is full or the connection is
	// lost. heal returns the Queue to continue with: q, or a new one on the same data if q returns queue.ErrBroken from
	// then on. If nil, failures of the store are not tested.
	Fail func(t *testing.T, q queue.Queue) (heal func() queue.Queue)

	// Advance moves the clock of the Queue forward by d. Set it for a Queue that can't run in a synctest bubble,
	// because it has a network connection for example. If nil, every test runs in a bubble.
	Advance func(d time.Duration)

	// Step moves the wall clock of q by d, forward or back, but not its monotonic clock. If nil, steps of the clock are
	// not tested.
	Step func(q queue.Queue, d time.Duration)

	// InMemory reports whether bodies are in memory as a whole. If true, the memory that a body takes is not tested.
	InMemory bool

	// NoDeaths reports whether the Queue counts no Deaths of a Task. If true, these are not tested, nor are attempts
	// that aren't settled before a crash.
	NoDeaths bool

	// KeyTime is how long the Queue remembers the Key of a message at least: see [queue.Keyer]. If zero, 24 hours.
	KeyTime time.Duration

	// MaxKeys is the largest number of Keys that the Queue remembers. The tests store as many, and one of them more. If
	// zero, it is not tested.
	MaxKeys int

	// Seed repeats the random operations of an earlier run, which logged its seed. If zero, each run has a new seed.
	Seed uint64
}

// tests are the subtests of Run, each with the rule that it tests.
var tests = []struct {
	name string
	run  func(*env)
	rule string
}{
	{"Keeps", testKeeps, "a Task has every field of the Message"},
	{"ManyRecipients", testManyRecipients, "a task has the recipients of its destination, however many there are"},
	{"DueTimes", testDueTimes, "a task is listed and claimed when it is due, and not before"},
	{"Precision", testPrecision, "times are kept to the microsecond"},
	{"Order", testOrder, "Claim returns the earliest due first, and at most Max for each Want"},
	{"Priority", testPriority, "lanes divide tasks by priorities above zero, zero, and below, and keep their order"},
	{"Owners", testOwners, "messages of one Tenant or, without one, of one reverse-path have one Owner"},
	{"Classes", testClasses, "Fresh and Retried divide tasks by their counted attempts"},
	{"ExclusiveClaims", testExclusiveClaims, "a task has one lease at a time"},
	{"LeaseExpires", testLeaseExpires, "a task whose lease expires can be claimed again, and the attempt counts"},
	{"StaleLease", testStaleLease, "a lease that has ended changes nothing"},
	{"ForeignLease", testForeignLease, "only a lease that Claim granted is valid"},
	{"Extend", testExtend, "a lease lasts until d after Extend"},
	{"ExtendWhileSettling", testExtendWhileSettling, "a lease can be extended while a Settle is in progress"},
	{"SettleDone", testSettleDone, "Settle without Next removes all recipients, whatever their outcomes"},
	{"SettlePartly", testSettlePartly, "Settle with Next removes recipients with a final outcome and keeps the others"},
	{"SettleWithoutResults", testSettleWithoutResults, "Settle without Results keeps the last results"},
	{"SettleWrongResults", testSettleWrongResults, "an invalid Settlement changes nothing"},
	{"SettleUncounted", testSettleUncounted, "Uncounted takes back one attempt"},
	{"SettleOnce", testSettleOnce, "of several Settles under one lease, one succeeds, the others return ErrSettled"},
	{"SettleAgain", testSettleAgain, "a Settle under a lease that was settled returns ErrSettled, and changes nothing"},
	{"SettleSlowly", testSettleSlowly, "either a Settle that outlasts its lease succeeds, or another Claim"},
	{"NoticesAndDeadlines", testNoticesAndDeadlines, "a task can be claimed when its notice or its deadline is due"},
	{"Reports", testReports, "reports are new messages, stored with the settlement"},
	{"ReportSlow", testReportSlow, "the Bodies of reports are read before anything changes"},
	{"NotBefore", testNotBefore, "a task isn't due before its NotBefore, whatever NoticeAt and Deadline say"},
	{"NotBeforeDeadline", testNotBeforeDeadline, "a NotBefore that isn't before the Deadline is an error"},
	{"OverdueFrom", testOverdueFrom, "OverdueFrom puts off the notice and the deadline, until the next Settle"},
	{"AtOnce", testAtOnce, "tasks that are due at once come first, in the order of their arrival"},
	{"ClockBack", testClockBack, "what is due at once stays due when the clock is set back"},
	{"ReportFails", testReportFails, "if a report can't be stored, nothing is settled"},
	{"Owed", testOwed, "what several settlements owe is in one report task, which is a task like any other"},
	{"OwedLeased", testOwedLeased, "a Settle of a report task ends it for the recipients that its Claim returned"},
	{"OwedLast", testOwedLast, "a report task that is left alone is due at once"},
	{"OwedRefused", testOwedRefused, "an invalid settlement owes nothing, and the destination of reports is reserved"},
	{"OwedKept", testOwedKept, "a report task survives a restart"},
	{"BodyFails", testBodyFails, "if a body can't be read to its end, nothing is stored"},
	{"ContextEnded", testContextEnded, "a call whose context has ended changes nothing"},
	{"ConcurrentEnqueues", testConcurrentEnqueues, "concurrent Enqueues lose nothing and mix nothing up"},
	{"Bodies", testBodies, "a body is returned unchanged, at any offset, any number of times"},
	{"BodyUntilSettled", testBodyUntilSettled, "a body can be opened until the last task is settled"},
	{"BodyAfterwards", testBodyAfterwards, "an open Body whose message has left returns its octets or ErrNotFound"},
	{"LargeBody", testLargeBody, "a large body is never in memory as a whole"},
	{"CallersOwn", testCallersOwn, "the Queue shares no memory with its caller"},
	{"Key", testKey, "a message with a known Key isn't stored again: the ID of the first one is returned"},
	{"KeyRefused", testKeyRefused, "a Key is that of one reverse-path and recipients, and of a message that is stored"},
	{"KeyTime", testKeyTime, "a Key is remembered for its time, and forgotten after that"},
	{"KeyTogether", testKeyTogether, "of concurrent Enqueues of a Key, one stores its message"},
	{"KeyKept", testKeyKept, "a Key survives a restart and a crash, with its message or without"},
	{"KeysFull", testKeysFull, "the number of Keys is bounded, and new ones beyond it are refused"},
	{"Import", testImport, "Import stores a message of another Queue with the state of its tasks, once"},
	{"Share", testShare, "Share reads and stores records, all that one call changes or nothing"},
	{"ShareTime", testShareTime, "Share passes the time of the store"},
	{"ShareKept", testShareKept, "the records of Share survive a restart and a crash"},
	{"ShareFails", testShareFails, "a Share that fails stores nothing"},
	{"Watch", testWatch, "a Waker announces every time at which a task may be due"},
	{"List", testList, "List yields every task once, in the order of arrival, with its State"},
	{"ListFilters", testListFilters, "List yields the tasks that its Filter selects, and no others"},
	{"ListPages", testListPages, "the pages of List together yield every task once"},
	{"Hold", testHold, "no task of a held message can be claimed"},
	{"HoldLeased", testHoldLeased, "a task held while it is leased can be settled, and is held after its lease"},
	{"Release", testRelease, "a released task is unchanged, and due if it became due meanwhile"},
	{"HeldFromStart", testHeldFromStart, "a message that is stored as Held is held until Release"},
	{"HoldKept", testHoldKept, "Hold and Release survive a restart"},
	{"HoldReason", testHoldReason, "a ReasonHolder keeps why a message is held, until Release"},
	{"Flush", testFlush, "Flush makes waiting retries due now"},
	{"FlushLeaves", testFlushLeaves, "Flush doesn't change tasks that were never attempted, are held or are leased"},
	{"Hasten", testHasten, "Hasten makes the waiting retries of some messages due now"},
	{"Remove", testRemove, "Remove removes the messages that it names, whatever their State, and no others"},
	{"RemoveLeased", testRemoveLeased, "Remove ends the leases on its tasks"},
	{"RemoveWhileSettling", testRemoveWhileSettling, "of a Remove and a Settle in progress, one succeeds"},
	{"RemoveReports", testRemoveReports, "reports are new messages, stored with Remove"},
	{"RemoveReportFails", testRemoveReportFails, "if a report can't be stored, nothing is removed"},
	{"RemoveKept", testRemoveKept, "removals and their reports survive a restart"},
	{"Stats", testStats, "Stats counts the contents"},
	{"Reopen", testReopen, "messages and settlements survive a restart"},
	{"ReopenLeases", testReopenLeases, "a restart ends every lease, or none, and no ID is used again"},
	{"ReopenMany", testReopenMany, "many messages survive a restart unchanged"},
	{"Kill", testKill, "messages and durable changes survive a crash of the process"},
	{"Deaths", testDeaths, "a claim that ends with the process counts as a death, and such tasks are claimed apart"},
	{"StoreFails", testStoreFails, "if the store fails, calls return an error and store nothing"},
	{"Handles", testHandles, "the Queues of a store have the same messages"},
	{"HandlesClaims", testHandlesClaims, "a task has one lease at a time, at whichever Queue of its store"},
	{"HandlesLeases", testHandlesLeases, "a lease lasts until its end at every Queue, and a later one makes it void"},
	{"HandlesSettleSlowly", testHandlesSettleSlowly,
		"either a Settle that outlasts its lease succeeds, or a Claim at another Queue"},
	{"HandlesWatch", testHandlesWatch, "a Waker announces what another Queue of its store has changed"},
	{"HandlesOperate", testHandlesOperate,
		"Hold, Release, Flush, Hasten and Remove change the tasks of all Queues of a store"},
	{"HandlesClose", testHandlesClose, "after a Close of one Queue, another one can claim all tasks of the store"},
	{"HandlesKeys", testHandlesKeys, "a Key is known at all Queues of a store"},
	{"HandlesShare", testHandlesShare, "calls of Share at all Queues of a store come one after another"},
	{"Random", testRandom, "the Queue behaves like a model of it"},
	{"HandlesRandom", testHandlesRandom, "two Queues on one store behave like one"},
}

// Run runs one subtest for each rule.
func Run(t *testing.T, h Harness) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the rule is: %s. To repeat it: go test -run '^%s$'",
						tt.rule, strings.ReplaceAll(t.Name(), "/", "$/^"))
				}
			})
			if h.Advance != nil {
				tt.run(&env{TB: t, t: t, h: h, q: h.Open(t), ctx: t.Context(), clock: new(clock)})
				return
			}
			var lacks string
			synctest.Test(t, func(t *testing.T) {
				tt.run(&env{TB: t, t: t, h: h, q: h.Open(t), ctx: t.Context(), clock: new(clock), lacks: &lacks})
			})
			if lacks != "" {
				t.Skip(lacks) // a skip inside the bubble has no effect outside
			}
		})
	}
}
