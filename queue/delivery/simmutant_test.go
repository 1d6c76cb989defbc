//go:build mutants

package delivery

import (
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/queue/internal/mutant"
)

// TestSimulationMutants builds in one fault after the other: for each there must be a seed that tells, in the words of the clause that it
// is a breach of, among the first 500, and it must tell the same again.
func TestSimulationMutants(t *testing.T) {
	const seeds = 500
	for _, test := range []struct{ name, clause string }{
		{mutant.LosesOpen, "and reported: false"},
		{mutant.DeliversTwice, "was delivered, and is again"},
		{mutant.ReportsOnReports, "a report on a report"},
		{mutant.ForgetsReports, "and reported: false"},
		{mutant.DelaysTwice, "2 delay notices"},
		{mutant.RetriesEarly, "is to be tried after"},
		{mutant.WakesLate, "after its time"},
		{mutant.ExpiresEarly, "before its deadline"},
		{mutant.ExpiresUntried, "was never tried"},
		{mutant.SendsHeld, "is held, and is claimed"},
		{mutant.SendsSuspended, "is suspended"},
		{mutant.AcknowledgesEarly, "was accepted, and is lost"},
		{mutant.SettlesEarly, "was accepted, and is lost"},
	} {
		t.Run(test.name, func(t *testing.T) {
			mutant.On = test.name
			defer func() { mutant.On = "" }()
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
