// Package mutant lists faults that are built into the queue on purpose, one at a time, to see that its tests notice
// them. Without the build tag "mutants" there is none, and what asks for one compiles to nothing.
package mutant

// The faults.
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

	// Of the Runner's decisions; those above are of the Spool.
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
