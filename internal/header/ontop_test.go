package header

import (
	"strings"
	"testing"
)

// TestOnTop reads at every offset and length.
func TestOnTop(t *testing.T) {
	const want = "prefix and the rest of it"
	c := OnTop("prefix", strings.NewReader(want[len("prefix"):]))
	if c.Size() != int64(len(want)) {
		t.Fatalf("got size %d, want %d", c.Size(), len(want))
	}
	for off := range len(want) + 1 {
		for n := range len(want) + 2 - off {
			b := make([]byte, n)
			got, err := c.ReadAt(b, int64(off))
			if avail := min(n, len(want)-off); got != avail || string(b[:got]) != want[off:off+avail] || (err != nil) != (n > avail) && n > 0 {
				t.Errorf("at %d, %d octets: got %q, %v", off, n, b[:got], err)
			}
		}
	}
}
