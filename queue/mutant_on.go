//go:build mutants

package queue

// mutant is the fault that is built in now.
var mutant string
