package delivery

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestSimulationSeeds tries seeds of the simulation, and fails at the first that finds a breach of a clause, which must find the
// same again. For the faults that queue/internal/faults plants by name, it tries many, and POSTRIDER_NAMED is a part of what the
// clause says.
func TestSimulationSeeds(t *testing.T) {
	seeds := uint64(2)
	clause, named := os.LookupEnv("POSTRIDER_NAMED")
	if named {
		seeds = 500
	}
	for seed := range seeds {
		s := simulate(t, seed)
		i := slices.IndexFunc(s.problems, func(p string) bool { return strings.Contains(p, clause) })
		if i < 0 {
			continue
		}
		again := simulate(t, seed)
		if !slices.Equal(s.problems, again.problems) || !slices.Equal(s.lines, again.lines) {
			t.Fatalf("it doesn't repeat: got\n%s\nwant\n%s", again, s)
		}
		t.Fatalf("seed %d: %s", seed, s.problems[i])
	}
}
