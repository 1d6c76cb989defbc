// Package mutant names faults that are built into the queue on purpose, one at a time, to check that the tests find
// them. Without the build tag "mutants", no fault is built in, and the code that checks for one is removed by the
// compiler.
package mutant

// These are the faults.
const (
	NoFileSync        = "no file sync"
	NoDirectorySync   = "no directory sync"
	AcknowledgesEarly = "acknowledges before the sync"
	RenamesEarly      = "renames before the sync"
	RemovesEarly      = "removes before the outcome is on the disk"
	SettlesEarly      = "settles before its report is on the disk"
	MovesEarly        = "removes a segment before what lived in it is on the disk"
	WritesOn          = "writes on behind what the cache may have alone"
	ForgetsHolds      = "moves a held message without its hold"

	// These are in the Runner's decisions; the ones above are in the Spool.
	LosesOpen        = "loses a recipient that was deferred beside one that wasn't"
	DeliversTwice    = "records as deferred what was delivered beside something open"
	ReportsOnReports = "reports on a report"
	ForgetsReports   = "settles without the report that is owed"
	DelaysTwice      = "forgets that a delay notice went out"
	RetriesEarly     = "retries after half the time"
	WakesLate        = "forgets a sooner time for a later one"
	ExpiresEarly     = "expires an hour before the deadline"
	ExpiresUntried   = "expires what was never tried"
	SendsHeld        = "sends what is held"
	SendsSuspended   = "sends to what is suspended"
)
