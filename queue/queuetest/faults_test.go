package queuetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/queuetest"
)

// harness returns a Harness for a base with a fault.
func harness(fault string, parts bool) queuetest.Harness {
	return queuetest.Harness{
		Open: func(*testing.T) queue.Queue {
			b := newBase(fault)
			b.parts = parts
			return b.handle()
		},
		Reopen: func(t *testing.T, q queue.Queue) queue.Queue {
			if err := q.(*shared).Close(); err != nil {
				t.Fatal(err)
			}
			return q.(*shared).base.restart()
		},
		Kill: func(_ *testing.T, q queue.Queue) queue.Queue {
			b := q.(*shared).base
			b.mu.Lock()
			q.(*shared).leave()
			b.mu.Unlock()
			return b.restart()
		},
		Fail: func(_ *testing.T, q queue.Queue) func() queue.Queue {
			set := func(err error) queue.Queue {
				b := q.(*shared).base
				b.mu.Lock()
				defer b.mu.Unlock()
				b.fails = err
				return q
			}
			set(errors.New("the connection is lost"))
			return func() queue.Queue { return set(nil) }
		},
		Handle: func(_ *testing.T, q queue.Queue) queue.Queue { return q.(*shared).base.handle() },
		Step: func(q queue.Queue, d time.Duration) {
			b := q.(*shared).base
			b.mu.Lock()
			defer b.mu.Unlock()
			b.ahead += d
		},
		LeasesSurvive: true,
		NoDeaths:      true,
		InMemory:      true,
		KeyTime:       sharedKeyTime,
		MaxKeys:       sharedMaxKeys,
	}
}

// TestShared runs the suite on a store whose Queues can all claim every task.
func TestShared(t *testing.T) { queuetest.Run(t, harness("", false)) }

// TestSharedParts runs the suite on a store of which each Queue has a part of the lanes.
func TestSharedParts(t *testing.T) { queuetest.Run(t, harness("", true)) }

// TestSharedBare runs the suite on a store without the optional abilities, whose short Claims nobody announces.
func TestSharedBare(t *testing.T) {
	h := harness("", true)
	hide := func(q queue.Queue) queue.Queue { return bare{q} }
	queuetest.Run(t, queuetest.Harness{
		Open:   func(t *testing.T) queue.Queue { return hide(h.Open(t)) },
		Reopen: func(t *testing.T, q queue.Queue) queue.Queue { return hide(h.Reopen(t, q.(bare).Queue)) },
		Kill:   func(t *testing.T, q queue.Queue) queue.Queue { return hide(h.Kill(t, q.(bare).Queue)) },
		Fail: func(t *testing.T, q queue.Queue) func() queue.Queue {
			heal := h.Fail(t, q.(bare).Queue)
			return func() queue.Queue { return hide(heal()) }
		},
		Handle:        func(t *testing.T, q queue.Queue) queue.Queue { return hide(h.Handle(t, q.(bare).Queue)) },
		Step:          func(q queue.Queue, d time.Duration) { h.Step(q.(bare).Queue, d) },
		LeasesSurvive: true,
		NoDeaths:      true,
		InMemory:      true,
	})
}

// bare is a Queue without its optional abilities.
type bare struct{ queue.Queue }

// Enqueue refuses what only a Holder or a Keyer can do.
func (q bare) Enqueue(ctx context.Context, m queue.Message) (queue.ID, error) {
	if m.Held || m.Key != "" {
		return "", errors.New("bare: the message is to be held or has a Key, and this Queue is no Holder and no Keyer")
	}
	return q.Queue.Enqueue(ctx, m)
}

// faults are small faults of a base, each with a rule that finds it.
var faults = []struct {
	fault, rule string
}{
	{"Extend adds to the end", "Extend"},
	{"Flush has no bound", "Flush"},
	{"Flush hurries what was never attempted", "FlushLeaves"},
	{"Hasten finds no message missing", "Hasten"},
	{"Hasten hurries what was never attempted", "Hasten"},
	{"Hasten stops at one task", "Hasten"},
	{"Release forgets attempts", "HoldLeased"},
	{"Release keeps the reason", "HoldReason"},
	{"Remove leaves leased tasks", "RemoveLeased"},
	{"a Close closes the others", "HandlesClose"},
	{"a Hold ends the reason", "HoldReason"},
	{"a Key for all Tenants", "Key"},
	{"a lease lasts until the next one", "StaleLease"},
	{"a lease never ends", "LeaseExpires"},
	{"a part has no owner", "HandlesLeases"},
	{"a restart ends leases", "ReopenLeases"},
	{"a restart forgets Hold", "HoldKept"},
	{"a restart forgets Keys", "KeyKept"},
	{"a restart forgets reasons", "HoldReason"},
	{"a restart forgets records", "ShareKept"},
	{"a restart forgets what is owed", "OwedKept"},
	{"a restart reuses IDs", "ReopenLeases"},
	{"an owner for each message", "Owners"},
	{"announces late at other handles", "HandlesWatch"},
	{"arrives by the clock", "ClockBack"},
	{"changes a body", "Bodies"},
	{"claims across owners", "Owners"},
	{"claims across priorities", "Priority"},
	{"claims held tasks", "Hold"},
	{"claims leased tasks", "LeaseExpires"},
	{"claims more than Max", "Order"},
	{"claims the latest due first", "Order"},
	{"claims what arrived last first", "AtOnce"},
	{"compares no recipients", "KeyRefused"},
	{"compares no reverse-path", "KeyRefused"},
	{"compares the order of recipients", "Key"},
	{"counts lanes as destinations", "Stats"},
	{"counts once an hour", "Stats"},
	{"counts the attempts of what was reported", "OwedLeased"},
	{"counts what is Uncounted", "SettleUncounted"},
	{"deletes no record", "Share"},
	{"doesn't announce Enqueue", "Watch"},
	{"doesn't announce Flush", "Flush"},
	{"doesn't announce Hasten", "Hasten"},
	{"doesn't announce Next", "Watch"},
	{"doesn't announce Release", "Release"},
	{"doesn't announce a lease's end", "Watch"},
	{"doesn't announce at other handles", "HandlesWatch"},
	{"doesn't announce reports of Remove", "RemoveReports"},
	{"doesn't announce reports", "Watch"},
	{"doesn't announce the end of an extended lease", "Watch"},
	{"doesn't announce the end of an old lease", "ReopenLeases"},
	{"doesn't announce the last report", "OwedLast"},
	{"doesn't announce the next task after a Claim", "Watch"},
	{"doesn't announce what a short Claim left", "Classes"},
	{"doesn't announce what is owed", "OwedLast"},
	{"doesn't announce what was added", "OwedLeased"},
	{"doesn't count an attempt", "Keeps"},
	{"doesn't hurry the last report", "OwedLast"},
	{"doesn't shorten a lease", "Extend"},
	{"drops the body early", "BodyUntilSettled"},
	{"fences nothing", "StaleLease"},
	{"flushes by the clock", "ClockBack"},
	{"forgets Held", "HeldFromStart"},
	{"forgets Keys by the clock", "KeyTime"},
	{"forgets Keys early", "KeyTime"},
	{"forgets that it noticed", "NoticesAndDeadlines"},
	{"forgets the Key with its message", "Key"},
	{"forgets what it settled", "SettleAgain"},
	{"gives notice before NotBefore", "NotBefore"},
	{"goes on announcing after stop", "Watch"},
	{"has one lease a task", "StaleLease"},
	{"holds at one Queue", "HandlesOperate"},
	{"ignores Next", "DueTimes"},
	{"ignores NotBefore", "DueTimes"},
	{"ignores OverdueFrom", "OverdueFrom"},
	{"ignores ReportAt", "Owed"},
	{"ignores its context", "ContextEnded"},
	{"ignores the Sender of a Filter", "ListFilters"},
	{"keeps OverdueFrom", "OverdueFrom"},
	{"keeps final recipients", "SettlePartly"},
	{"keeps milliseconds", "Precision"},
	{"keeps the Key of what it doesn't store", "KeyRefused"},
	{"keeps the caller's results", "CallersOwn"},
	{"keeps the deferred without Next", "SettleDone"},
	{"keeps the last body", "BodyUntilSettled"},
	{"keeps what was reported", "Owed"},
	{"knows its own Keys alone", "HandlesKeys"},
	{"keeps the first reason", "HoldReason"},
	{"leases of a closed Queue never end", "HandlesClose"},
	{"lists lanes that wait for nothing", "DueTimes"},
	{"lists no priorities", "Priority"},
	{"lists the last due", "Order"},
	{"lists the newest first", "List"},
	{"loses Delayed", "Owed"},
	{"loses NotBefore", "NotBefore"},
	{"loses a field", "Keeps"},
	{"loses reports", "Reports"},
	{"loses the last results", "SettleWithoutResults"},
	{"loses what is owed while it reports", "OwedLeased"},
	{"never forgets Keys", "KeyTime"},
	{"never lends the last task", "DueTimes"},
	{"never says that it repeats", "Key"},
	{"numbers leases per Queue", "HandlesLeases"},
	{"owes though a report fails", "OwedRefused"},
	{"owner 0 for a tenant", "Owners"},
	{"owner by sender alone", "Owners"},
	{"puts Tenant and Key together", "Key"},
	{"reports again beside what is added", "OwedLeased"},
	{"reports at the latest ReportAt", "Owed"},
	{"retries by the clock", "ClockBack"},
	{"says Only of all tasks", "Owed"},
	{"says Only of no task", "Owed"},
	{"settles without its reports", "ReportFails"},
	{"shares after an error", "Share"},
	{"shares any name", "Share"},
	{"shares its results", "CallersOwn"},
	{"shares the time of its start", "ShareTime"},
	{"shares what was read before", "HandlesShare"},
	{"stores each report as it is read", "ReportFails"},
	{"stores half a body", "BodyFails"},
	{"stores reports of a Remove of nothing", "Remove"},
	{"stores what repeats", "Key"},
	{"takes HeldFor without Held", "HeldFromStart"},
	{"takes a NotBefore after the Deadline", "NotBeforeDeadline"},
	{"takes a long Key", "KeyRefused"},
	{"takes any Owed", "OwedRefused"},
	{"takes any number of Keys", "KeysFull"},
	{"takes any reason", "HoldReason"},
	{"takes mail for the destination of reports", "OwedRefused"},
	{"takes no Key for one", "Key"},
	{"takes reports with a Key", "KeyRefused"},
	{"takes too few results", "SettleWrongResults"},
	{"works after Close", "HandlesClose"},
}

// TestFaults tests that the suite finds each fault.
func TestFaults(t *testing.T) {
	for _, tt := range faults {
		t.Run(tt.fault, func(t *testing.T) {
			for _, parts := range []bool{false, true} {
				if failures := queuetest.Failures(t, harness(tt.fault, parts), tt.rule); len(failures) > 0 {
					t.Logf("%s: %s", tt.rule, failures[0])
					return
				}
			}
			t.Errorf("a store that %s passes the rule %s", tt.fault, tt.rule)
		})
	}
}
