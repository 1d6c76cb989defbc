//go:build !mutants

package queue

const mutant = ""
