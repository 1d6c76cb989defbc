package spool

import (
	"os"
	"testing"
)

// TestCrashSeeds tries seeds of crashes that repeat exactly, and fails at the first that finds something. For the faults that
// queue/internal/faults plants by name, it tries many.
func TestCrashSeeds(t *testing.T) {
	quiet(t)
	seeds := uint64(2)
	if _, named := os.LookupEnv("POSTRIDER_NAMED"); named {
		seeds = 500
	}
	for seed := range seeds {
		if problems := crashLives(t, 2*seed); len(problems) > 0 {
			t.Fatalf("seed %d: %s", 2*seed, problems[0])
		}
	}
}
