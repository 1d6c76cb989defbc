//go:build mutants

package spool

import (
	"testing"

	"github.com/postrider/postrider/queue/internal/mutant"
)

// TestMutants builds in one fault after the other: for each there must be a seed of crashes that tells, among the first 500 of
// those that repeat exactly.
func TestMutants(t *testing.T) {
	quiet(t)
	const seeds = 500
	for _, name := range []string{
		mutant.NoFileSync, mutant.NoDirectorySync, mutant.AcknowledgesEarly, mutant.RenamesEarly, mutant.RemovesEarly,
		mutant.SettlesEarly, mutant.MovesEarly, mutant.WritesOn, mutant.ForgetsHolds,
	} {
		t.Run(name, func(t *testing.T) {
			mutant.On = name
			defer func() { mutant.On = "" }()
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
