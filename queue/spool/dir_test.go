package spool

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestWriteBuffers writes more buffers than one call takes, empty ones among them.
func TestWriteBuffers(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var buffers [][]byte
	want := []byte("head")
	for i := range 2500 {
		b := bytes.Repeat([]byte{byte(i)}, i%7)
		buffers = append(buffers, b)
		want = append(want, b...)
	}
	if _, err := f.Write([]byte("head")); err != nil {
		t.Fatal(err)
	}
	if err := writeBuffers(f, 4, buffers); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d octets and %v, want %d, or they differ", len(got), err, len(want))
	}
	if err := writeBuffers(f, 0, nil); err != nil {
		t.Errorf("nothing to write: got %v", err)
	}
}
