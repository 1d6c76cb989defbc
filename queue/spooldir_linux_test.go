package queue

import "testing"

func TestSkip(t *testing.T) {
	buffers := func() [][]byte { return [][]byte{[]byte("ab"), {}, []byte("cde"), []byte("f")} }
	for n := range 7 {
		got := ""
		for _, b := range skip(buffers(), n) {
			got += string(b)
		}
		if want := "abcdef"[n:]; got != want {
			t.Errorf("skip of %d: got %q, want %q", n, got, want)
		}
	}
}
