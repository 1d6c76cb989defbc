// Package queuetest holds a queue.Queue to its rules. A store that implements the interface runs
//
//	func TestQueue(t *testing.T) {
//		queuetest.Run(t, queuetest.Harness{
//			Open:   func(t *testing.T) queue.Queue { … },
//			Reopen: func(t *testing.T, q queue.Queue) queue.Queue { … },
//		})
//	}
//
// Each test is named after the rule that it holds the Queue to and runs on a Queue of its own, in a synctest
// bubble, where days pass at once. One that fails says which rule that is, and how to see it again.
//
// What a Queue need not do is tested where it does: that it is a queue.Waker, Lister, Holder, Flusher, Remover
// or Stater is found out, and the [Harness] says how it is reopened, killed or made to fail. What the Queue or
// the Harness lacks is named, by a test that skips or, for a part of one, in its log.
package queuetest

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
)

// Harness says how to get at the Queue under test.
type Harness struct {
	// Open makes an empty Queue. What it needs to be closed, Open leaves to t.Cleanup.
	Open func(t *testing.T) queue.Queue

	// Reopen ends the use of q in good order and opens what it has kept, as after a restart of the
	// process. If nil, nothing is kept, and that isn't tested.
	Reopen func(t *testing.T, q queue.Queue) queue.Queue

	// Kill ends the use of q as the death of its process would, at once and in no order, and opens what
	// is kept: a copy of its files, say, or its database by a new connection, without a word to q, which is left
	// to t.Cleanup. No call of q is under way. If nil, what survives that isn't tested.
	Kill func(t *testing.T, q queue.Queue) queue.Queue

	// Fail has the store of q fail until heal is called: every write to it from here on, as when its disk is full
	// or its connection is lost. heal gives the Queue to go on with: q or, where q has closed itself to all
	// change, one that was opened on what is kept. If nil, that isn't tested.
	Fail func(t *testing.T, q queue.Queue) (heal func() queue.Queue)

	// Advance has the time of the Queue go on by d. If nil, every test runs in a synctest bubble; a Queue
	// that can't, since it needs a connection to the outside, sets it.
	Advance func(d time.Duration)

	// InMemory says that bodies sit in memory whole, so that what they take isn't bounded.
	InMemory bool

	// Seed repeats the random operations of an earlier run, which told its seed. If zero, each
	// run has one of its own.
	Seed uint64
}

// tests has each test with the rule that it is named after.
var tests = []struct {
	name string
	run  func(*env)
	rule string
}{
	{"Keeps", testKeeps, "what Enqueue takes, a Task gives, whole"},
	{"ManyRecipients", testManyRecipients, "each destination has its own recipients of a message"},
	{"DueTimes", testDueTimes, "nothing is listed or claimed before it is due, and all of it then"},
	{"Order", testOrder, "the earliest due come first, and each Want has its Max"},
	{"Priority", testPriority, "higher priority first: above zero, zero, below, and of each the earliest due"},
	{"Classes", testClasses, "Fresh and Retried are told apart"},
	{"ExclusiveClaims", testExclusiveClaims, "a task is under one lease at a time"},
	{"LeaseExpires", testLeaseExpires, "what isn't settled comes back, with its attempt counted"},
	{"StaleLease", testStaleLease, "a lease that has ended changes nothing"},
	{"ForeignLease", testForeignLease, "a lease is good for its own task only"},
	{"Extend", testExtend, "a lease lasts until d from the Extend"},
	{"ExtendWhileSettling", testExtendWhileSettling, "a lease can be extended while a settlement is on its way"},
	{"SettleDone", testSettleDone, "without Next, all recipients leave, whatever became of them"},
	{"SettlePartly", testSettlePartly, "with Next, those with a final outcome leave and the others stay"},
	{"SettleWithoutResults", testSettleWithoutResults, "where nothing was tried the last results stand"},
	{"SettleWrongResults", testSettleWrongResults, "a settlement that can't be understood changes nothing"},
	{"SettleUncounted", testSettleUncounted, "what wasn't tried isn't counted"},
	{"SettleOnce", testSettleOnce, "of many settlements under one lease, one is carried out"},
	{"SettleSlowly", testSettleSlowly, "a slow settlement is carried out, or another may claim the task, but not both"},
	{"NoticesAndDeadlines", testNoticesAndDeadlines, "a notice or a deadline that comes makes a task claimable"},
	{"Reports", testReports, "reports come with the settlement, as messages like all others"},
	{"ReportFails", testReportFails, "where a report can't be stored, nothing is settled"},
	{"BodyFails", testBodyFails, "a body that can't be read to its end leaves nothing"},
	{"ContextEnded", testContextEnded, "what is asked with a context that has ended isn't done"},
	{"ConcurrentEnqueues", testConcurrentEnqueues, "nothing is lost or mixed up where many come at a time"},
	{"Bodies", testBodies, "a body comes out as it went in, at any offset, however often"},
	{"BodyUntilSettled", testBodyUntilSettled, "the body is there until the last task is settled"},
	{"LargeBody", testLargeBody, "a large body never sits in memory whole"},
	{"CallersOwn", testCallersOwn, "the Queue keeps nothing that it is given, and gives nothing that it keeps"},
	{"Watch", testWatch, "whoever watches needs no polling"},
	{"List", testList, "List gives every task once, in the order of arrival, with its State"},
	{"ListFilters", testListFilters, "List gives all that its Filter lets through, and nothing else"},
	{"ListPages", testListPages, "page by page, List gives what it gives in one go"},
	{"Hold", testHold, "nothing of a held message is claimable, whatever falls due"},
	{"HoldLeased", testHoldLeased, "what is held while it is leased can be settled, and is held if it comes back"},
	{"Release", testRelease, "what is released is as it was, and what fell due meanwhile is due"},
	{"HoldKept", testHoldKept, "Hold and Release outlive the process"},
	{"Flush", testFlush, "what waits to be tried again can be brought forward"},
	{"FlushLeaves", testFlushLeaves, "what was never tried, is held or is leased keeps its time"},
	{"Remove", testRemove, "what is removed is gone, whatever its State, and nothing else"},
	{"RemoveLeased", testRemoveLeased, "Remove ends the leases on what it takes out"},
	{"RemoveWhileSettling", testRemoveWhileSettling, "a message is removed or its task settled, but not both"},
	{"RemoveReports", testRemoveReports, "reports come with Remove, as messages like all others"},
	{"RemoveReportFails", testRemoveReportFails, "where a report can't be stored, nothing is removed"},
	{"RemoveKept", testRemoveKept, "what was removed, and its reports, outlive the process"},
	{"Stats", testStats, "Stats counts what is there"},
	{"Reopen", testReopen, "what was accepted and what became of it outlive the process"},
	{"ReopenLeases", testReopenLeases, "a restart ends every lease, and no ID comes a second time"},
	{"ReopenMany", testReopenMany, "many messages are what they were after a restart"},
	{"Kill", testKill, "what was acknowledged outlives the death of the process"},
	{"StoreFails", testStoreFails, "what can't be stored is refused, and leaves nothing"},
	{"Random", testRandom, "the Queue does what a model of it does"},
}

// Run runs all tests.
func Run(t *testing.T, h Harness) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the rule is: %s. To see it again: go test -run '^%s$'", tt.rule, strings.ReplaceAll(t.Name(), "/", "$/^"))
				}
			})
			if h.Advance != nil {
				tt.run(&env{T: t, h: h, q: h.Open(t), ctx: t.Context()})
				return
			}
			var lacks string
			synctest.Test(t, func(t *testing.T) {
				tt.run(&env{T: t, h: h, q: h.Open(t), ctx: t.Context(), lacks: &lacks})
			})
			if lacks != "" {
				t.Skip(lacks) // a skip within the bubble isn't seen outside
			}
		})
	}
}
