package greylist_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/server/greylist"
)

var (
	net1 = netip.MustParsePrefix("198.51.100.0/24")
	net6 = netip.MustParsePrefix("2001:db8::/64")
)

func triplet(n int) greylist.Triplet {
	return greylist.Triplet{Network: net1, From: fmt.Sprintf("a%d@x.test", n), To: "b@y.test"}
}

func open(t *testing.T, o *greylist.Options, path string) *greylist.File {
	t.Helper()
	f, err := o.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// first returns how long ago a triplet was seen first.
func first(t *testing.T, f *greylist.File, n int) time.Duration {
	t.Helper()
	at, err := f.First(t.Context(), triplet(n), time.Now(), day)
	if err != nil {
		t.Fatal(err)
	}
	return time.Since(at)
}

func allowed(t *testing.T, f *greylist.File, network netip.Prefix) time.Duration {
	t.Helper()
	until, err := f.Allowed(t.Context(), network)
	if err != nil {
		t.Fatal(err)
	}
	return time.Until(until)
}

// TestFile: what is known after a restart, with and without Close.
func TestFile(t *testing.T) {
	for _, tt := range []struct {
		name  string
		wait  time.Duration // after the changes
		close bool
		kept  bool
	}{
		{"closed", 0, true, true},
		{"crashed at once", 0, false, false},
		{"crashed before it was saved", 5*minute - 1, false, false},
		{"crashed after it was saved", 5 * minute, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "greylist")
				f := open(t, &greylist.Options{}, path)
				first(t, f, 1)
				f.Allow(t.Context(), net1, time.Now().Add(day))
				f.Allow(t.Context(), net6, time.Now().Add(minute))
				time.Sleep(tt.wait)
				synctest.Wait()
				if tt.close {
					if err := f.Close(); err != nil {
						t.Fatal(err)
					}
				}
				data, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				f.Close()
				os.WriteFile(path, data, 0o600) // as the crash left it

				time.Sleep(hour)
				f = open(t, &greylist.Options{}, path)
				defer f.Close()
				want := time.Duration(0)
				if tt.kept {
					want = hour + tt.wait
				}
				if got := first(t, f, 1); got != want {
					t.Errorf("got a triplet first seen %v ago, want %v", got, want)
				}
				if got, kept := allowed(t, f, net1), tt.kept; (got == day-want) != kept {
					t.Errorf("got the network allowed for %v, kept is %t", got, kept)
				}
				if got := allowed(t, f, net6); got > 0 {
					t.Errorf("got the other network allowed for %v, want it over", got)
				}
			})
		})
	}
}

// TestFileAfterFailure: if the file can't be written, that is logged, and tried again.
func TestFileAfterFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "d")
		os.Mkdir(dir, 0o700)
		var log bytes.Buffer
		path := filepath.Join(dir, "greylist")
		f := open(t, &greylist.Options{SaveDelay: hour, Logger: slog.New(slog.NewTextHandler(&log, nil))}, path)
		first(t, f, 1)
		os.RemoveAll(dir)
		time.Sleep(hour)
		synctest.Wait()
		if got := log.String(); strings.Count(got, "greylist: not saved") != 1 {
			t.Errorf("got log %q, want the failure", got)
		}
		os.Mkdir(dir, 0o700)
		time.Sleep(hour)
		synctest.Wait()
		if _, err := os.Stat(path); err != nil {
			t.Errorf("got %v, want a file", err)
		}
		first(t, f, 2)
		os.RemoveAll(dir)
		if err := f.Close(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v from Close, want an error about the file", err)
		}
		time.Sleep(day)
		if n := strings.Count(log.String(), "\n"); n != 1 {
			t.Errorf("got %d lines logged, want none after Close", n)
		}
	})
}

// TestFileIdle: without changes nothing is written.
func TestFileIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "greylist")
		f := open(t, &greylist.Options{}, path)
		first(t, f, 1)
		time.Sleep(hour)
		os.Remove(path)
		first(t, f, 1)
		allowed(t, f, net1)
		time.Sleep(day - 2*hour)
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("got a file written, want none")
		}
		first(t, f, 2)
		time.Sleep(day)
		if _, err := os.Stat(path); err == nil {
			t.Error("got a file written after Close, want none")
		}
	})
}

// TestFileClock: a time that lies ahead, of a clock that was wrong, doesn't make a sender wait until then.
func TestFileClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := open(t, &greylist.Options{}, filepath.Join(t.TempDir(), "greylist"))
		defer f.Close()
		f.First(t.Context(), triplet(1), time.Now().Add(1000*day), day)
		if got := first(t, f, 1); got != 0 {
			t.Errorf("got a triplet first seen %v ago, want now", got)
		}
		time.Sleep(hour)
		if got := first(t, f, 1); got != hour {
			t.Errorf("got a triplet first seen %v ago, want 1 h", got)
		}
	})
}

// TestFileBounds: beyond the bounds the oldest are forgotten, and never the newest half.
func TestFileBounds(t *testing.T) {
	for _, bound := range []int{1, 2, 5, 100} {
		t.Run(fmt.Sprint(bound), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "greylist")
				f := open(t, &greylist.Options{MaxPending: bound, MaxAllowed: bound}, path)
				network := func(i int) netip.Prefix {
					return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
				}
				for i := range 5 * bound {
					first(t, f, i)
					f.Allow(t.Context(), network(i), time.Now().Add(day))
					if pending, allowed := f.Len(); pending > bound || allowed > bound || min(pending, allowed) < min(i+1, bound/2) {
						t.Fatalf("got %d pending and %d allowed after %d, want %d to %d", pending, allowed, i+1, bound/2, bound)
					}
				}
				time.Sleep(minute)
				half := max(1, bound/2)
				for i := 5*bound - half; i < 5*bound; i++ {
					if got := allowed(t, f, network(i)); got != day-minute {
						t.Errorf("got network %d allowed for %v, want %v", i, got, day-minute)
					}
				}
				if got := allowed(t, f, network(0)); got > 0 {
					t.Errorf("got the oldest network allowed for %v, want it forgotten", got)
				}
				f.Close()
				if size := fileSize(t, path); size > int64(40+bound*(80+60)) {
					t.Errorf("got a file of %d octets", size)
				}
			})
		})
	}
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestFileExpired: what has expired makes room before anything else is forgotten.
func TestFileExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "greylist")
		f := open(t, &greylist.Options{MaxPending: 100}, path)
		for i := range 40 {
			first(t, f, i)
		}
		time.Sleep(day + 1)
		for i := 100; i < 140; i++ { // the 11th finds 50 in the younger half, 40 of which have expired
			first(t, f, i)
		}
		if pending, _ := f.Len(); pending != 40 {
			t.Errorf("got %d kept, want 40", pending)
		}
		time.Sleep(day + 1)
		first(t, f, 200)
		f.Close()
		if data, _ := os.ReadFile(path); strings.Count(string(data), "pending ") != 1 {
			t.Errorf("got\n%s, want only what hasn't expired", data)
		}
	})
}

// TestOpenTwice opens a file that is open already.
func TestOpenTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "greylist")
	for range 2 { // Close ends the lock
		f, err := greylist.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := greylist.Open(path); err == nil || !strings.Contains(err.Error(), "it is open already") {
			t.Errorf("got %v, want that it is open already", err)
		}
		for range 2 { // a second Close changes nothing
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestOpen: files that can't be used, and are left as they are.
func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		whole := filepath.Join(t.TempDir(), "whole")
		f := open(t, &greylist.Options{}, whole)
		first(t, f, 1)
		first(t, f, 2)
		f.Allow(t.Context(), net1, time.Now().Add(day))
		f.Close()
		data, err := os.ReadFile(whole)
		if err != nil {
			t.Fatal(err)
		}
		good := string(data)
		type test struct{ name, data, want string }
		tests := []test{
			{"empty", "", "first line"},
			{"another file", "hello\n", "first line"},
			{"a newer format", strings.Replace(good, "greylist 1", "greylist 2", 1), "first line"},
			{"an entry that is none", strings.Replace(good, "pending ", "pondering ", 1), "line 2 isn't an entry"},
			{"a short hash", good[:len("postrider greylist 1\npending ")] + good[len("postrider greylist 1\npending 00"):], "line 2 isn't an entry"},
			{"a time that is none", strings.Replace(good, " 9466", " x9466", 1), "isn't an entry"},
			{"a network that is none", strings.Replace(good, "/24", "/33", 1), "line 4 isn't an entry"},
			{"an entry too few", good[:strings.Index(good, "allowed")] + "end 3\n", "isn't whole"},
			{"more after the end", good + "more\n", "isn't whole"},
		}
		for i := range strings.Split(strings.TrimSuffix(good, "\n"), "\n")[1:] {
			lines := strings.SplitAfter(good, "\n")
			tests = append(tests, test{fmt.Sprintf("cut after line %d", i+1), strings.Join(lines[:i+1], ""), "isn't whole"})
		}
		for _, tt := range tests {
			path := filepath.Join(t.TempDir(), "greylist")
			os.WriteFile(path, []byte(tt.data), 0o600)
			_, err := greylist.Open(path)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
			}
			if got, _ := os.ReadFile(path); string(got) != tt.data {
				t.Errorf("%s: the file was changed", tt.name)
			}
		}
		if _, err := greylist.Open(""); err == nil {
			t.Error("got no error for an empty path, want one")
		}
		_, err = greylist.Open(filepath.Join(t.TempDir(), "none", "greylist"))
		if err == nil || !strings.Contains(err.Error(), "create its directory") {
			t.Errorf("got %v for a directory that doesn't exist, want what to do", err)
		}
		if _, err := (&greylist.Options{MaxPending: -1}).Open(whole); err == nil {
			t.Error("got no error for a negative bound, want one")
		}
	})
}

// FuzzOpen: no file makes Open panic, and one that is read is read again as it is written.
func FuzzOpen(f *testing.F) {
	f.Add("postrider greylist 1\nend 0\n")
	f.Add("postrider greylist 1\npending 00112233445566778899aabbccddeeff 1 9000000000000000000\nallowed 10.0.0.0/24 9000000000000000000\nend 2\n")
	f.Add("postrider greylist 1\nallowed ::/0 -1\nend 1\n")
	f.Fuzz(func(t *testing.T, data string) {
		path := filepath.Join(t.TempDir(), "greylist")
		os.WriteFile(path, []byte(data), 0o600)
		for range 2 {
			file, err := greylist.Open(path)
			if err != nil {
				if got, _ := os.ReadFile(path); string(got) != data {
					t.Fatalf("got %v for a file that Open wrote: %q", err, got)
				}
				return
			}
			if err := file.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
