package client

import (
	"testing"

	"github.com/postrider/postrider/mx"
)

// TestDecide has every cell of the matrix.
func TestDecide(t *testing.T) {
	demands := [...]tlsDemand{
		{}, {mx.DemandEncrypted, true}, {mx.DemandVerified, true}, {mx.DemandEncrypted, false}, {mx.DemandVerified, false},
	}
	tests := []struct {
		trouble trouble
		want    [len(demands)]decision // nothing, testing (encrypted, verified), encrypted, verified
	}{
		{noTrouble, [...]decision{nextHost, nextHost, nextHost, nextHost, nextHost}}, // the session failed otherwise
		{noSTARTTLS, [...]decision{proceed, proceed, proceed, nextHost, nextHost}},
		{refusesSTARTTLS, [...]decision{proceed, proceed, proceed, nextHost, nextHost}},
		{failsLargeHello, [...]decision{smallerHello, smallerHello, smallerHello, smallerHello, smallerHello}},
		{failsTLS, [...]decision{inClear, inClear, inClear, nextHost, nextHost}},
		{injects, [...]decision{nextHost, nextHost, nextHost, nextHost, nextHost}},
		{badCertificate, [...]decision{proceed, proceed, proceed, proceed, nextHost}},
		{excluded, [...]decision{proceed, proceed, proceed, nextHost, nextHost}},
		{excluded + 1, [...]decision{proceed, proceed, proceed, nextHost, nextHost}}, // unknown ones
	}
	for i, test := range tests {
		if int(test.trouble) != i {
			t.Errorf("row %d is for %d: a row is missing", i, test.trouble)
		}
		for n, d := range demands {
			if got := decide(d, test.trouble); got != test.want[n] {
				t.Errorf("%+v, trouble %d: got %d, want %d", d, test.trouble, got, test.want[n])
			}
		}
	}
}
