//go:build mutants

package queue

import (
	"slices"
	"strings"
	"testing"
)

// TestSimulationMutants builds in one fault after the other: for each there must be a seed that tells, in the words of the clause that it
// is a breach of, among the first 500, and it must tell the same again.
func TestSimulationMutants(t *testing.T) {
	quiet(t)
	const seeds = 500
	for _, test := range []struct{ name, clause string }{
		{mutantLosesOpen, "and reported: false"},
		{mutantDeliversTwice, "was delivered, and is again"},
		{mutantReportsOnReports, "a report on a report"},
		{mutantForgetsReports, "and reported: false"},
		{mutantDelaysTwice, "2 delay notices"},
		{mutantRetriesEarly, "is to be tried after"},
		{mutantWakesLate, "after its time"},
		{mutantExpiresEarly, "before its deadline"},
		{mutantExpiresUntried, "was never tried"},
		{mutantSendsHeld, "is held, and is claimed"},
		{mutantSendsSuspended, "is suspended"},
		{mutantAcknowledgesEarly, "was accepted, and is lost"},
		{mutantSettlesEarly, "was accepted, and is lost"},
	} {
		t.Run(test.name, func(t *testing.T) {
			mutant = test.name
			defer func() { mutant = "" }()
			for seed := range uint64(seeds) {
				s := simulate(t, seed)
				i := slices.IndexFunc(s.problems, func(p string) bool { return strings.Contains(p, test.clause) })
				if i < 0 {
					continue
				}
				t.Logf("%s: caught by seed %d: %s", test.name, seed, s.problems[i])
				again := simulate(t, seed)
				if !slices.Equal(s.problems, again.problems) || !slices.Equal(s.lines, again.lines) {
					t.Errorf("seed %d: got\n%s\nwant\n%s", seed, again, s)
				}
				return
			}
			t.Errorf("not caught within %d seeds", seeds)
		})
	}
}
