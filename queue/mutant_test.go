//go:build mutants

package queue

import "testing"

// TestMutants builds in one fault after the other: for each there must be a seed of crashes that tells, among the first 500 of
// those that repeat exactly.
func TestMutants(t *testing.T) {
	quiet(t)
	const seeds = 500
	for _, name := range []string{
		mutantNoFileSync, mutantNoDirectorySync, mutantAcknowledgesEarly, mutantRenamesEarly, mutantRemovesEarly,
		mutantSettlesEarly, mutantMovesEarly, mutantWritesOn, mutantForgetsHolds,
	} {
		t.Run(name, func(t *testing.T) {
			mutant = name
			defer func() { mutant = "" }()
			for seed := range uint64(seeds) {
				if problems := crashLives(t, 2*seed); len(problems) > 0 {
					t.Logf("%s: caught by seed %d: %s", name, 2*seed, problems[0])
					return
				}
			}
			t.Errorf("not caught within %d seeds", seeds)
		})
	}
}
