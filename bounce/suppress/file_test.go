package suppress_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/bounce/suppress"
	"github.com/postrider/postrider/smtp"
)

func open(t testing.TB, path string) *suppress.File {
	t.Helper()
	list, err := suppress.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := list.Close(); err != nil {
			t.Error(err)
		}
	})
	return list
}

func contentOf(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// written makes a file by some of all calls, and returns its content after each of them, with the entries of then.
func written(t testing.TB) (path string, after map[int]string) {
	path = filepath.Join(t.TempDir(), "list")
	list := open(t, path)
	after = make(map[int]string)
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		after[len(contentOf(t, path))] = addresses(list.Entries())
	}
	must(nil)
	for i := range 6 {
		k := key(t, strings.Repeat("acme", i%2), fmt.Sprintf("a%d@example.net", i))
		must(list.Add(t.Context(), suppress.Entry{Key: k, Source: suppress.FromBounce, Reason: smtp.UserUnknown, Time: now, ID: "7",
			Text: "550 5.1.1 \"no\"\nsuch <user> \xff"}))
		_, err := list.Strike(t.Context(), k, suppress.Strike{Source: suppress.FromResult, Reason: smtp.MailboxFull, ID: "7", Time: now, Within: day})
		must(err)
		if i%3 == 1 {
			must(list.Forgive(t.Context(), k))
			must(list.Remove(t.Context(), k))
		}
	}
	if err := list.Close(); err != nil {
		t.Fatal(err)
	}
	return path, after
}

// TestFileReopens: a list that is opened again has the entries and the strikes.
func TestFileReopens(t *testing.T) {
	path, after := written(t)
	list := open(t, path)
	if got, want := addresses(list.Entries()), after[len(contentOf(t, path))]; got != want || want == "" {
		t.Errorf("got %s, want %s", got, want)
	}
	k := key(t, "", "a2@example.net")
	if e, ok, _ := list.Has(t.Context(), k); !ok || e.Text != `550 5.1.1 "no" such <user> ?` || e.Reason != smtp.UserUnknown || e.ID != "7" {
		t.Errorf("got %+v", e)
	}
	for id, want := range map[string]int{"7": 1, "8": 2} {
		s := suppress.Strike{Source: suppress.FromResult, Reason: smtp.MailboxFull, ID: id, Time: time.Date(2026, 11, 30, 13, 0, 0, 0, time.UTC), Within: day}
		if tally, err := list.Strike(t.Context(), k, s); err != nil || id == "8" && tally.Count != want || id == "7" && tally.Count > 2 {
			t.Errorf("strike %s: got %+v and %v, want %d", id, tally, err, want)
		}
	}
}

// TestFileCut: a crash may leave any beginning of what was written last, and zeros. What was whole is there.
func TestFileCut(t *testing.T) {
	path, after := written(t)
	whole := contentOf(t, path)
	want := ""
	for n := range len(whole) + 1 {
		if state, ok := after[n]; ok {
			want = state
		}
		near := false // at the end of a record, or one octet from it
		for end := n - 1; end <= n+1; end++ {
			_, ok := after[end]
			near = near || ok
		}
		if !near && n%401 > 0 {
			continue
		}
		for _, rest := range []string{"", strings.Repeat("\x00", 40_000), "0123abcd {}\n"} {
			cut := filepath.Join(t.TempDir(), "cut")
			data := append(bytes.Clone(whole[:n]), rest...)
			if n < len("postrider suppress 1\n") && rest != "" {
				continue // no crash of ours: the first line is synced before the file has its name
			}
			if err := os.WriteFile(cut, data, 0o600); err != nil {
				t.Fatal(err)
			}
			list, err := suppress.Open(cut)
			if err != nil {
				t.Fatalf("cut at %d, with %d octets behind: %v", n, len(rest), err)
			}
			if got := addresses(list.Entries()); got != want {
				t.Fatalf("cut at %d: got %s, want %s", n, got, want)
			}
			// What is added now must be there after the next start.
			if err := list.Add(t.Context(), suppress.Entry{Key: key(t, "", "z@example.net"), Time: time.Now()}); err != nil {
				t.Fatal(err)
			}
			if err := list.Close(); err != nil {
				t.Fatal(err)
			}
			again, err := suppress.Open(cut)
			if err != nil {
				t.Fatalf("cut at %d, opened again: %v", n, err)
			}
			if got := addresses(again.Entries()); got != strings.TrimSpace(want+" z@example.net") {
				t.Fatalf("cut at %d, opened again: got %s, want z@example.net besides", n, got)
			}
			again.Close()
		}
	}
}

// TestFileDamaged: damage to what was synced is an error, and the file stays as it is.
func TestFileDamaged(t *testing.T) {
	path, _ := written(t)
	whole := contentOf(t, path)
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for at := 0; at < len(whole)/2; at += 11 {
		data := bytes.Clone(whole)
		if data[at] == '\n' {
			continue
		}
		data[at] ^= 1
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := suppress.Open(path); err == nil {
			list.Close()
			t.Fatalf("octet %d of %d changed: got no error", at, len(whole))
		}
		if got := contentOf(t, path); !bytes.Equal(got, data) {
			t.Fatal("Open has changed a damaged file")
		}
	}
	for name, data := range map[string][]byte{
		"another file":   []byte("hello\n"),
		"a long line":    bytes.Repeat([]byte("x"), 1<<20),
		"a newer one":    []byte("postrider suppress 2\n"),
		"a missing line": bytes.Join(append([][]byte{lines[0]}, append([][]byte{[]byte("\n")}, lines[2:]...)...), nil),
	} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := suppress.Open(path); err == nil {
			list.Close()
			t.Errorf("%s: got no error", name)
		}
	}
	if _, err := suppress.Open(filepath.Join(path, "below", "it")); err == nil {
		t.Error("no directory: got no error")
	}
	if _, err := suppress.Open(""); err == nil {
		t.Error("no path: got no error")
	}
}

// TestFileCompacts: a file doesn't grow with the number of changes.
func TestFileCompacts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	list := open(t, path)
	k := key(t, "", "ann@example.net")
	list.Add(t.Context(), suppress.Entry{Key: key(t, "", "bob@example.net"), Time: time.Now()})
	largest := 0
	for i := range 5000 {
		s := suppress.Strike{Reason: smtp.MailboxFull, ID: fmt.Sprint(i), Time: time.Now(), Within: day}
		if tally, err := list.Strike(t.Context(), k, s); err != nil || tally.Count != i+1 {
			t.Fatalf("got %+v and %v, want %d", tally, err, i+1)
		}
		if info, err := os.Stat(path); err == nil {
			largest = max(largest, int(info.Size()))
		}
	}
	if largest > 1<<20 {
		t.Errorf("got a file of %d octets, want at most 1 MiB", largest)
	}
	if err := list.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path)
	s := suppress.Strike{Reason: smtp.MailboxFull, ID: "x", Time: time.Now(), Within: day}
	if tally, err := again.Strike(t.Context(), k, s); err != nil || tally.Count != 5001 {
		t.Errorf("got %+v and %v, want 5001", tally, err)
	}
	if got := addresses(again.Entries()); got != "bob@example.net" {
		t.Errorf("got %s", got)
	}
}

// TestFileConcurrent has many add at a time, while the file is compacted.
func TestFileConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	list := open(t, path)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 40 {
				k := key(t, "", fmt.Sprintf("a%d.%d@example.net", g, i))
				if err := list.Add(t.Context(), suppress.Entry{Key: k, Time: time.Now()}); err != nil {
					t.Error(err)
				}
				for n := range 10 {
					list.Strike(t.Context(), k, suppress.Strike{ID: fmt.Sprint(n), Time: time.Now(), Within: day})
				}
				if i%2 == 0 {
					if err := list.Remove(t.Context(), k); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	before := addresses(list.Entries())
	if err := list.Close(); err != nil {
		t.Fatal(err)
	}
	if got := addresses(open(t, path).Entries()); got != before || strings.Count(got, "@") != 160 {
		t.Errorf("got %d entries, want the 160 of before", strings.Count(got, "@"))
	}
}

// TestFileClosed: after Close nothing is changed.
func TestFileClosed(t *testing.T) {
	list := open(t, filepath.Join(t.TempDir(), "list"))
	k := key(t, "", "ann@example.net")
	list.Add(t.Context(), suppress.Entry{Key: k, Time: time.Now()})
	if err := list.Close(); err != nil {
		t.Fatal(err)
	}
	if err := list.Add(t.Context(), suppress.Entry{Key: k}); err == nil {
		t.Error("Add: got no error")
	}
	if err := list.Remove(t.Context(), k); err == nil {
		t.Error("Remove: got no error")
	}
	if _, err := list.Strike(t.Context(), k, suppress.Strike{}); err == nil {
		t.Error("Strike: got no error")
	}
	if _, ok, err := list.Has(t.Context(), k); !ok || err != nil {
		t.Errorf("Has: got %t and %v", ok, err)
	}
}

// FuzzFile has any octets read as a file. What can be opened is the same when it is opened again.
func FuzzFile(f *testing.F) {
	path, _ := written(f)
	whole := contentOf(f, path)
	f.Add(whole)
	f.Add(whole[:len(whole)-10])
	f.Add(append(bytes.Clone(whole), 0, 0, 0))
	f.Add([]byte("postrider suppress 1\n"))
	f.Add([]byte("postrider suppress 1\n00000000 {}\n"))
	f.Add([]byte("postrider"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := suppress.Open(path)
		if err != nil {
			if got := contentOf(t, path); !bytes.Equal(got, data) {
				t.Error("a file that can't be opened was changed")
			}
			return
		}
		before := addresses(list.Entries())
		if err := list.Close(); err != nil {
			t.Fatal(err)
		}
		if got := addresses(open(t, path).Entries()); got != before {
			t.Errorf("got %s, and %s before", got, before)
		}
	})
}

func BenchmarkFile(b *testing.B) {
	ctx, now := b.Context(), time.Now()
	fill := func(b *testing.B, path string, n int) *suppress.File {
		b.Helper()
		list := open(b, path)
		var wg sync.WaitGroup
		for g := range 100 {
			wg.Go(func() {
				for i := g; i < n; i += 100 {
					k := key(b, "", fmt.Sprintf("someone.%d@example%d.net", i, i%1000))
					list.Add(ctx, suppress.Entry{Key: k, Source: suppress.FromBounce, Reason: smtp.UserUnknown, Time: now, ID: "1k7", Text: "550 5.1.1 no such user"})
				}
			})
		}
		wg.Wait()
		return list
	}
	b.Run("Has", func(b *testing.B) {
		list := fill(b, filepath.Join(b.TempDir(), "list"), 1000)
		k := key(b, "", "someone.7@example7.net")
		b.ReportAllocs()
		for b.Loop() {
			list.Has(ctx, k)
		}
	})
	b.Run("Add", func(b *testing.B) { // 100 at a time
		b.SetParallelism(50)
		list := open(b, filepath.Join(b.TempDir(), "list"))
		var n atomic.Int64
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				k := key(b, "", fmt.Sprintf("someone.%d@example.net", n.Add(1)))
				if err := list.Add(ctx, suppress.Entry{Key: k, Reason: smtp.UserUnknown, Time: now}); err != nil {
					b.Error(err)
				}
			}
		})
	})
	b.Run("Open", func(b *testing.B) { // 20,000 entries
		path := filepath.Join(b.TempDir(), "list")
		fill(b, path, 20_000).Close()
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(info.Size())
		b.ReportAllocs()
		for b.Loop() {
			list, err := suppress.Open(path)
			if err != nil {
				b.Fatal(err)
			}
			list.Close()
		}
	})
}

// TestFileOpenTwice: a list that is open is refused, in this process and in another one, until it is closed.
func TestFileOpenTwice(t *testing.T) {
	if path := os.Getenv("SUPPRESS_TEST_PATH"); path != "" { // the other process
		_, err := suppress.Open(path)
		fmt.Printf("other process: %v\n", err)
		return
	}
	path := filepath.Join(t.TempDir(), "list")
	elsewhere := func() string {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFileOpenTwice$")
		cmd.Env = append(os.Environ(), "SUPPRESS_TEST_PATH="+path)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for range 2 { // Close ends the lock
		list, err := suppress.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := suppress.Open(path); err == nil || !strings.Contains(err.Error(), "it is open already") {
			t.Errorf("got %v, want that it is open already", err)
		}
		if got := elsewhere(); !strings.Contains(got, "it is open already") {
			t.Errorf("got %q from another process, want that it is open already", got)
		}
		if err := list.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := elsewhere(); !strings.Contains(got, "other process: <nil>") {
		t.Errorf("got %q from another process after Close, want no error", got)
	}
	// What can't be opened isn't locked after that.
	if err := os.WriteFile(path, []byte("something else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := suppress.Open(path); err == nil || strings.Contains(err.Error(), "open already") {
			t.Errorf("got %v, want an error about the content", err)
		}
	}
}
