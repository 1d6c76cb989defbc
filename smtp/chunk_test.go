package smtp

import (
	"bytes"
	"strings"
	"testing"
)

// firstBad is badOctet, octet by octet.
func firstBad(b []byte) int {
	for i, c := range b {
		after := i > 0 && b[i-1] == '\r'
		before := i+1 < len(b) && b[i+1] == '\n'
		if c == 0 || c == '\r' && !before || c == '\n' && !after {
			return i
		}
	}
	return -1
}

// TestBadOctet compares badOctet with firstBad: for all texts of up to 8 octets, and for lines of equal and of other
// lengths with one octet put in the place of another.
func TestBadOctet(t *testing.T) {
	octets := []byte("\r\n\x00a")
	check := func(b []byte) {
		t.Helper()
		if got, want := badOctet(b), firstBad(b); got != want {
			t.Errorf("%q: got %d, want %d", b, got, want)
		}
	}
	var all func(b []byte)
	all = func(b []byte) {
		check(b)
		for i := 0; i < len(octets) && len(b) < 8; i++ {
			all(append(b, octets[i]))
		}
	}
	all(make([]byte, 0, 8))
	for _, text := range []string{
		strings.Repeat("abcd\r\n", 5), "\r\n\r\n\r\n\r\n", "abcd\r\nab\r\ncd\r\nabcd\r\nabcd\r\nefg",
	} {
		for i := range text {
			for _, c := range octets {
				b := bytes.Clone([]byte(text))
				b[i] = c
				check(b)
			}
		}
	}
}
