//go:build !mutants

package mutant

// On is the name of the fault that is built in now, "" if there is none.
const On = ""
