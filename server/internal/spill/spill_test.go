package spill

import (
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestStore: 64 KiB are kept in memory, more in a file.
func TestStore(t *testing.T) {
	for _, size := range []int{0, MaxInMemory, MaxInMemory + 1, 3 * MaxInMemory} {
		dir := t.TempDir()
		s := &Store{Dir: dir}
		want := strings.Repeat("x", size)
		for part := range slices.Chunk([]byte(want), 1000) {
			if _, err := s.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		got := make([]byte, size)
		if n, err := s.Content().ReadAt(got, 0); n != size || err != nil && err != io.EOF || string(got) != want || s.Content().Size() != int64(size) {
			t.Errorf("%d octets: got %d and %v", size, n, err)
		}
		if inFile := s.file != nil; inFile != (size > MaxInMemory) {
			t.Errorf("%d octets: got them in a file: %t", size, inFile)
		}
		for range 2 {
			if err := s.Discard(); err != nil {
				t.Error(err)
			}
		}
		if files, _ := os.ReadDir(dir); len(files) > 0 {
			t.Errorf("%d octets: got the files %v after Discard", size, files)
		}
	}
}

// TestNoDir: without its directory, what has to go to a file is an error, and what is in memory is none.
func TestNoDir(t *testing.T) {
	s := &Store{Dir: t.TempDir() + "/missing"}
	if _, err := s.Write(make([]byte, MaxInMemory)); err != nil {
		t.Errorf("got %v in memory, want none", err)
	}
	if _, err := s.Write(make([]byte, 1)); err == nil {
		t.Error("got no error without the directory")
	}
}
