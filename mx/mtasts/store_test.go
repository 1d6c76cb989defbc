package mtasts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRestart: a policy survives a restart, and applies although an attacker blocks the DNS and the policy host.
func TestRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	inBubble(t, func(t *testing.T, w *world) {
		w.Store = &Dir{Path: dir}
		if err := w.Check(); err != nil {
			t.Fatal(err)
		}
		w.want(t, "enforce id 1", 1)
		start := time.Now()
		restart := func() {
			w.Client = w.newClient()
			w.Store = &Dir{Path: dir}
		}
		restart()
		w.want(t, "enforce id 1", 0)
		w.inet.TXT("_mta-sts.example.com")
		w.answer(404, "text/plain", "")
		restart()
		w.want(t, "enforce id 1", 0)
		time.Sleep(time.Until(start.Add(7*24*time.Hour - time.Second)))
		restart()
		w.want(t, "enforce id 1", 0)
		time.Sleep(time.Second)
		restart()
		w.want(t, "", 0)
		if got := w.logged.take(); got != "" {
			t.Errorf("got log %s", got)
		}
	})
}

// failing is a Store that fails, or returns an entry.
type failing struct {
	entry      Entry
	load, save error
}

func (f *failing) Load(context.Context, string) (Entry, error) { return f.entry, f.load }
func (f *failing) Save(_ context.Context, _ string, e Entry) error {
	if f.save == nil {
		f.entry = e
	}
	return f.save
}

// TestStoreFails: a Store that fails, or returns nonsense, is logged, and loses no policy that can be had otherwise.
func TestStoreFails(t *testing.T) {
	broken := errors.New("broken disk")
	for _, tt := range []struct {
		name  string
		store failing
		log   string
	}{
		{"Load", failing{load: broken}, "broken disk"},
		{"Save", failing{save: broken}, "broken disk"},
		{"an invalid policy", failing{entry: Entry{ID: "1", Body: "mode: none", Fetched: time.Now()}}, "damaged: it has no version"},
		{"an invalid id", failing{entry: Entry{ID: "-", Body: enforce, Fetched: time.Now()}}, "damaged: the body has"},
		{"a large one", failing{entry: Entry{ID: "1", Body: enforce + strings.Repeat("x: y\n", 20_000), Fetched: time.Now()}}, "damaged: the body has"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.Store = &tt.store
				w.want(t, "enforce id 1", 1)
				w.want(t, "enforce id 1", 0)
				if got := w.logged.take(); strings.Count(got, "\n") != 1 || !strings.Contains(got, tt.log) || !strings.Contains(got, "level=ERROR") {
					t.Errorf("got log %q, want %q", got, tt.log)
				}
			})
		})
	}
}

// TestStoreRecovers: a Store that fails at first is asked again, but doesn't replace what was fetched.
func TestStoreRecovers(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		store := &failing{load: errors.New("broken disk")}
		w.Store = store
		w.inet.TXT("_mta-sts.example.com")
		w.want(t, "", 0)
		store.load = nil
		store.entry = Entry{ID: "5", Fetched: time.Now().Add(1000 * time.Hour), Body: enforce}
		time.Sleep(negative)
		w.want(t, "enforce id 5", 0)
		time.Sleep(7*24*time.Hour - time.Second) // not the hours of a clock that was wrong
		w.want(t, "enforce id 5", 0)
		time.Sleep(time.Second)
		w.want(t, "", 0)
	})
	inBubble(t, func(t *testing.T, w *world) {
		store := &failing{load: errors.New("broken disk"), save: errors.New("broken disk")}
		w.Store = store
		w.want(t, "enforce id 1", 1)
		store.load = nil
		store.entry = Entry{ID: "5", Fetched: time.Now(), Body: enforce}
		time.Sleep(recheck)
		w.want(t, "enforce id 1", 0)
	})
}

func TestDir(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Dir{Path: filepath.Join(t.TempDir(), "a"), MaxFiles: 3}
		ctx := t.Context()
		entry := func(id string, life time.Duration) Entry {
			now := time.Now().UTC().Round(0)
			return Entry{ID: id, Fetched: now, Expires: now.Add(life), Body: "b\r\n\"ü\""}
		}
		load := func(domain string) Entry {
			t.Helper()
			e, err := d.Load(ctx, domain)
			if err != nil {
				t.Error(err)
			}
			return e
		}
		save := func(domain string, e Entry, want string) {
			t.Helper()
			if err := d.Save(ctx, domain, e); (err != nil) != (want != "") || want != "" && !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", domain, err, want)
			}
		}
		if got := load("a.example"); got != (Entry{}) {
			t.Errorf("got %+v, want nothing", got)
		}
		first := entry("1", time.Hour)
		save("a.example", first, "")
		save("b.example", entry("2", 3*time.Hour), "")
		if got := load("a.example"); got != first {
			t.Errorf("got %+v, want %+v", got, first)
		}
		second := entry("3", time.Hour)
		save("a.example", second, "")
		if got := load("a.example"); got != second {
			t.Errorf("got %+v, want %+v", got, second)
		}

		save("c.example", entry("4", 3*time.Hour), "")
		save("d.example", entry("5", time.Hour), "has 3 files: set MaxFiles to more")
		time.Sleep(time.Hour)
		save("d.example", entry("5", time.Hour), "") // a.example has expired
		if got := load("a.example"); got != (Entry{}) {
			t.Errorf("got %+v, want nothing", got)
		}
		again := &Dir{Path: d.Path, MaxFiles: 3}
		if err := again.Save(ctx, "e.example", entry("6", time.Hour)); err == nil {
			t.Error("a new Dir doesn't count the files that are there")
		}
		files, err := os.ReadDir(d.Path)
		var names []string
		for _, f := range files {
			names = append(names, f.Name())
		}
		if want := []string{"b.example.json", "c.example.json", "d.example.json"}; err != nil || !slices.Equal(names, want) {
			t.Errorf("got %q, %v, want %q", names, err, want)
		}

		for _, domain := range []string{"", "..", "../x", "a/b", "A.example", "ü.example", "[192.0.2.1]", "a.example."} {
			_, err := d.Load(ctx, domain)
			if err2 := d.Save(ctx, domain, first); err == nil || err2 == nil {
				t.Errorf("%q: got %v, %v", domain, err, err2)
			}
		}
	})
}

// TestDirDamaged: a file that a program or a disk has damaged is an error, and is replaced.
func TestDirDamaged(t *testing.T) {
	d := &Dir{Path: t.TempDir()}
	old := filepath.Join(d.Path, "1"+".tmp")
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-2*purgeInterval)); err != nil {
		t.Fatal(err)
	}
	for _, content := range []string{"", "{", "[]", `{"ID": 1}`, strings.Repeat(" ", 1<<20)} {
		if err := os.WriteFile(filepath.Join(d.Path, "a.example.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if e, err := d.Load(t.Context(), "a.example"); err == nil || e != (Entry{}) {
			t.Errorf("%.10q: got %+v, %v", content, e, err)
		}
		if err := d.Save(t.Context(), "a.example", Entry{ID: "2"}); err != nil {
			t.Error(err)
		}
		if e, err := d.Load(t.Context(), "a.example"); err != nil || e.ID != "2" {
			t.Errorf("%.10q: got %+v, %v", content, e, err)
		}
	}
	if _, err := os.Stat(old); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v for what a crash has left, want it gone", err)
	}
}

func TestCheck(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	roots := selfSignedPool(t)
	for _, tt := range []struct {
		client *Client
		want   string
	}{
		{&Client{RootCAs: roots}, "<nil>"},
		{&Client{RootCAs: roots, Store: &Dir{Path: t.TempDir()}}, "<nil>"},
		{&Client{RootCAs: roots, Timeout: -1}, "mtasts: Timeout is -1ns: set it to 0 or more"},
		{&Client{RootCAs: roots, MaxFetches: -1}, "mtasts: MaxFetches is -1: set it to 0 or more"},
		{&Client{RootCAs: roots, Store: &Dir{}}, "mtasts: Dir.Path is empty: set"},
		{&Client{RootCAs: roots, Store: &Dir{Path: file, MaxFiles: -1}}, "mtasts: Dir.MaxFiles is -1: set"},
		{&Client{RootCAs: roots, Store: &Dir{Path: file}}, "not a directory"},
		{&Client{RootCAs: roots, Store: &Dir{Path: filepath.Join(file, "a", "b")}}, "not a directory"},
	} {
		if got := fmt.Sprint(tt.client.Check()); got != tt.want && (tt.want == "<nil>" || !strings.Contains(got, tt.want)) {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}
