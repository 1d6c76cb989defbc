package spool

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
)

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

// TestSpoolFewDescriptors runs out of file descriptors: large mail is refused, nothing is called damaged or broken, and it passes.
func TestSpoolFewDescriptors(t *testing.T) {
	s := mustOpenDir(t, t.TempDir())
	large := strings.Repeat("x", 1<<20)
	id := mustEnqueue(t, s, large, "d.example")
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	none := limit
	none.Cur = 3
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	_, openErr := s.Open(context.Background(), id)
	_, enqueueErr := s.Enqueue(context.Background(), testMessage(large, "d.example"))
	syncErr := syncNames(s.fs)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(openErr, syscall.EMFILE) || !errors.Is(enqueueErr, syscall.EMFILE) || syncErr != nil {
		t.Errorf("got %v, %v and %v, want EMFILE from Open and Enqueue, and the directory synced", openErr, enqueueErr, syncErr)
	}
	checkNoDamage(t, s)
	mustEnqueue(t, s, large, "d.example")
	if body, err := readBody(s, id); err != nil || body != large {
		t.Errorf("got %d octets and %v", len(body), err)
	}
}
