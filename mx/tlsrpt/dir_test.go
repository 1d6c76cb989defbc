package tlsrpt

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestDir: days are kept, replaced and deleted; what a crash has left half written is deleted after an hour.
func TestDir(t *testing.T) {
	d := &Dir{Path: filepath.Join(t.TempDir(), "reports")}
	ctx := t.Context()
	if days, err := d.Days(ctx); len(days) > 0 || err != nil {
		t.Fatalf("got %v, %v in a new directory", days, err)
	}
	for _, day := range []string{"2026-01-02", "2026-01-01", "2026-01-01"} {
		if err := d.Save(ctx, day, []byte(day)); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := d.Load(ctx, "2026-01-01"); string(b) != "2026-01-01" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
	old := filepath.Join(d.Path, "1.tmp")
	for _, name := range []string{old, filepath.Join(d.Path, "2.tmp"), filepath.Join(d.Path, "x.json")} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	days, err := d.Days(ctx)
	if slices.Sort(days); !slices.Equal(days, []string{"2026-01-01", "2026-01-02"}) || err != nil {
		t.Errorf("got %v, %v", days, err)
	}
	for range 2 {
		if err := d.Delete(ctx, "2026-01-01"); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(d.Path, "*")); len(left) != 3 {
		t.Errorf("got %q", left)
	}
	for _, day := range []string{"", "..", "../2026-01-01", "2026-1-1", "2026-02-30"} {
		_, err := d.Load(ctx, day)
		if err == nil || d.Save(ctx, day, nil) == nil || d.Delete(ctx, day) == nil {
			t.Errorf("%q: got no error", day)
		}
	}
	if _, err := d.Load(ctx, "2026-01-01"); err == nil {
		t.Error("got no error for a day that was deleted")
	}
}
