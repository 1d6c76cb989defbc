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
)
