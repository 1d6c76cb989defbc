package queue

// A mutant is a fault that is built in on purpose, one at a time, to see that the tests notice it. Without the
// build tag "mutants" there is none, and what asks for one compiles to nothing.
const (
	mutantNoFileSync        = "no file sync"
	mutantNoDirectorySync   = "no directory sync"
	mutantAcknowledgesEarly = "acknowledges before the sync"
	mutantRenamesEarly      = "renames before the sync"
	mutantRemovesEarly      = "removes before the outcome is on the disk"
	mutantSettlesEarly      = "settles before its report is on the disk"
	mutantMovesEarly        = "removes a segment before what lived in it is on the disk"
	mutantWritesOn          = "writes on behind what the cache may have alone"
	mutantForgetsHolds      = "moves a held message without its hold"

	// Of the Runner's decisions; those above are of the Spool.
	mutantLosesOpen        = "loses a recipient that was deferred beside one that wasn't"
	mutantDeliversTwice    = "records as deferred what was delivered beside something open"
	mutantReportsOnReports = "reports on a report"
	mutantForgetsReports   = "settles without the report that is owed"
	mutantDelaysTwice      = "forgets that a delay notice went out"
	mutantRetriesEarly     = "retries after half the time"
	mutantWakesLate        = "forgets a sooner time for a later one"
	mutantExpiresEarly     = "expires an hour before the deadline"
	mutantExpiresUntried   = "expires what was never tried"
	mutantSendsHeld        = "sends what is held"
	mutantSendsSuspended   = "sends to what is suspended"
)
