//go:build mutants

package mutant

// On is the fault that is built in now.
var On string
