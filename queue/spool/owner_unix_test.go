//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/queue/internal/crashfs"
)

// openElsewhere opens the directory in another process, and gives what it says.
func openElsewhere(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestSpoolLocked$")
	cmd.Env = append(os.Environ(), "QUEUE_TEST_LOCKED="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// TestSpoolLockFileRemoved removes or replaces the lock file of a spool that is open: nobody else can open it.
func TestSpoolLockFileRemoved(t *testing.T) {
	tests := []struct {
		name   string
		change func(lock string) error
	}{
		{"removed", os.Remove},
		{"renamed", func(lock string) error { return os.Rename(lock, lock+".old") }},
		{"replaced", func(lock string) error {
			return errors.Join(os.Remove(lock), os.WriteFile(lock, []byte("1\n"), 0o600))
		}},
		{"emptied", func(lock string) error { return os.Truncate(lock, 0) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := mustOpenDir(t, dir)
			mustEnqueue(t, s, "body", "d.example")
			if err := tt.change(filepath.Join(dir, lockName)); err != nil {
				t.Fatal(err)
			}
			if out := openElsewhere(t, dir); !strings.Contains(out, "is open in") {
				t.Errorf("got %q from another process, want that it is open", out)
			}
			if _, err := Open(dir); err == nil {
				t.Error("got it open twice in this process")
			}
			mustEnqueue(t, s, "body", "d.example")
			mustClose(t, s)
			if out := openElsewhere(t, dir); !strings.Contains(out, "other process: <nil>") {
				t.Errorf("got %q from another process after Close, want no error", out)
			}
		})
	}
}

// TestSpoolEarlierLock has an earlier program, which locks the lock file alone, hold the directory.
func TestSpoolEarlierLock(t *testing.T) {
	dir := t.TempDir()
	lock, err := os.Create(filepath.Join(dir, lockName))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if _, err := lock.WriteString("4711\n"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir)
	if locked, ok := errors.AsType[*LockedError](err); !ok || locked.PID != 4711 {
		t.Errorf("got %v, want a *LockedError of process 4711", err)
	}
	lock.Close()
	mustClose(t, mustOpenDir(t, dir))
}

// TestSpoolChdir opens a spool by a relative path, and changes the working directory.
func TestSpoolChdir(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	t.Chdir(first)
	s, err := (&Options{SegmentSize: 8 << 10, InlineSize: 2 << 10}).Open("spool")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	enqueue := func() {
		for i := range 20 {
			body := strings.Repeat("x", 500*(1+i%6))
			want[string(mustEnqueue(t, s, body, "d.example"))+" d.example"] = body
		}
	}
	enqueue()
	t.Chdir(second)
	enqueue()
	mustClose(t, s)
	if entries, err := os.ReadDir(second); err != nil || len(entries) > 0 {
		t.Errorf("got %v and %v, want nothing in the other directory", entries, err)
	}
	t.Chdir(first)
	s = mustOpenDir(t, "spool")
	checkNoDamage(t, s)
	checkContents(t, s, want)
}

// TestSpoolDirectoryReplaced has another directory take the name of that of an open spool: it stays as it is.
func TestSpoolDirectoryReplaced(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	s := mustOpenDir(t, dir)
	if err := errors.Join(os.Rename(dir, dir+".old"), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	id := mustEnqueue(t, s, strings.Repeat("x", 1<<20), "d.example")
	if body, err := readBody(s, id); err != nil || len(body) != 1<<20 {
		t.Errorf("got %d octets and %v", len(body), err)
	}
	mustClose(t, s)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("got %v and %v, want nothing in the other directory", entries, err)
	}
	checkNoDamage(t, mustOpenDir(t, dir+".old"))
}

// TestSpoolNotRegular has symbolic links, directories and pipes under names of the spool's: none is followed, waited for, changed or
// removed.
func TestSpoolNotRegular(t *testing.T) {
	quiet(t)
	kinds := []struct {
		name string
		make func(target, name string) error
	}{
		{"link", os.Symlink},
		{"link within", func(_, name string) error { return os.Symlink("2.segment", name) }},
		{"dangling link", func(_, name string) error { return os.Symlink("/nowhere", name) }},
		{"directory", func(_, name string) error { return os.Mkdir(name, 0o700) }},
		{"pipe", func(_, name string) error { return syscall.Mkfifo(name, 0o600) }},
	}
	names := []string{
		segmentName(1), segmentName(7), hintName(1), "1.body", "7.body", "7.body.tmp", hintName(9), hintName(9) + tempSuffix,
		segmentName(7) + damagedSuffix, rosterName,
	}
	for _, kind := range kinds {
		for _, name := range names {
			t.Run(kind.name+" "+name, func(t *testing.T) {
				dir := t.TempDir()
				s := mustOpenDir(t, dir)
				large := mustEnqueue(t, s, strings.Repeat("x", 1<<20), "d.example")
				mustClose(t, s)
				s = mustOpenDir(t, dir)
				small := mustEnqueue(t, s, "body", "d.example")
				mustClose(t, s)
				target := filepath.Join(t.TempDir(), "target")
				for _, file := range []string{target, filepath.Join(dir, "2.segment")} {
					if err := os.WriteFile(file, []byte("not ours"), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				path := filepath.Join(dir, name)
				os.Remove(path)
				if err := kind.make(target, path); err != nil {
					t.Fatal(err)
				}
				before, err := os.Lstat(path)
				if err != nil {
					t.Fatal(err)
				}
				s = mustOpenDir(t, dir)
				if body, err := readBody(s, small); body != "body" {
					t.Errorf("got %q and %v, want the body of what isn't touched", body, err)
				}
				if _, err := readBody(s, large); (err == nil) != (name != segmentName(1) && name != "1.body") {
					t.Errorf("the large body: got %v", err)
				}
				if damaged := name == segmentName(1) || name == segmentName(7) || name == "1.body" || name == rosterName; damaged != (len(s.Damage()) > 0) {
					t.Errorf("got damage %+v, want some: %v", s.Damage(), damaged)
				}
				mustEnqueue(t, s, strings.Repeat("x", 1<<20), "d.example")
				mustClose(t, s)
				mustClose(t, mustOpenDir(t, dir))
				for _, file := range []string{target, filepath.Join(dir, "2.segment")} {
					if b, err := os.ReadFile(file); string(b) != "not ours" {
						t.Errorf("%s: got %q and %v", file, b, err)
					}
				}
				after, err := os.Lstat(path)
				if isSegment(name) && err != nil { // it was put aside
					after, err = os.Lstat(path + damagedSuffix)
				}
				again := name == rosterName || name == hintName(1) // which is made anew
				if !again && (err != nil || !os.SameFile(before, after)) {
					t.Errorf("%s is gone, or another one: %v", name, err)
				}
			})
		}
	}
}

// TestSpoolLockNotRegular doesn't write the process ID to what a link leads to.
func TestSpoolLockNotRegular(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "README")
	if err := errors.Join(os.WriteFile(target, []byte("not ours"), 0o600), os.Symlink("README", filepath.Join(dir, lockName))); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(dir); err == nil || !strings.Contains(err.Error(), lockName) {
		t.Errorf("got %v and %v, want an error that names the lock file", s, err)
	}
	if b, err := os.ReadFile(target); string(b) != "not ours" {
		t.Errorf("got %q and %v", b, err)
	}
}

// TestSpoolCloseDuringEnqueue closes a spool while bodies are being read, and opens it anew: nothing that those calls do after that
// touches the directory.
func TestSpoolCloseDuringEnqueue(t *testing.T) {
	dir := t.TempDir()
	s := mustOpenDir(t, dir)
	const calls = 5
	goOn := make(chan struct{})
	reading, errs := make(chan struct{}, calls), make(chan error, calls)
	for i := range calls {
		m := testMessage("", "d.example")
		m.Body = io.MultiReader(strings.NewReader(strings.Repeat("a", (1+i%2)<<20)), gate1{reading, goOn}, strings.NewReader("end"))
		go func() {
			_, err := s.Enqueue(context.Background(), m)
			errs <- err
		}()
	}
	for range calls {
		<-reading
	}
	mustClose(t, s)
	successor := mustOpenDir(t, dir)
	want := map[string]string{}
	enqueue := func() {
		body := strings.Repeat("b", 1<<20)
		want[string(mustEnqueue(t, successor, body, "d.example"))+" d.example"] = body
	}
	enqueue()
	close(goOn)
	for range calls {
		if err := <-errs; err != queue.ErrClosed {
			t.Errorf("Enqueue: got %v, want ErrClosed", err)
		}
	}
	enqueue()
	checkContents(t, successor, want)
	mustClose(t, successor)
	successor = mustOpenDir(t, dir)
	checkNoDamage(t, successor)
	checkContents(t, successor, want)
	names, err := os.ReadDir(dir)
	for _, e := range names {
		if strings.HasSuffix(e.Name(), tempSuffix) {
			t.Errorf("%s is there: %v", e.Name(), err)
		}
	}
}

// gate1 reports that it is read, and ends when the other channel is closed.
type gate1 struct {
	reading chan<- struct{}
	goOn    <-chan struct{}
}

func (g gate1) Read([]byte) (int, error) {
	g.reading <- struct{}{}
	<-g.goOn
	return 0, io.EOF
}

// TestSpoolCloseWaits has an Enqueue rename its body while Close is called: Close waits for that, and the file goes.
func TestSpoolCloseWaits(t *testing.T) {
	for _, held := range []string{"create", "rename", "syncdir"} {
		synctest.Test(t, func(t *testing.T) {
			goOn := make(chan struct{})
			var hold bool
			disk := crashfs.New[File](nil)
			s := mustOpen(t, disk, testConfig)
			synctest.Wait() // for the janitor
			disk.Before = func(op string, names ...string) error {
				if op == held && hold && (op == "syncdir" || strings.Contains(names[0], bodySuffix)) {
					hold = false
					<-goOn
				}
				return nil
			}
			hold = true
			enqueued := make(chan error)
			go func() {
				_, err := s.Enqueue(t.Context(), testMessage(strings.Repeat("x", 1<<20), "d.example"))
				enqueued <- err
			}()
			synctest.Wait()
			closed := make(chan error)
			go func() { closed <- s.Close() }()
			time.Sleep(time.Hour)
			select {
			case err := <-closed:
				t.Errorf("%s: Close returned %v during an operation", held, err)
			default:
			}
			close(goOn)
			if err := <-closed; err != nil {
				t.Errorf("%s: Close: got %v", held, err)
			}
			if err := <-enqueued; err != queue.ErrClosed {
				t.Errorf("%s: Enqueue: got %v, want ErrClosed", held, err)
			}
			if all := disk.Files(); len(all) != 2 {
				t.Errorf("%s: got %d files, want the segment and the roster alone", held, len(all))
			}
		})
	}
}

// TestSyncAncestors syncs all directories above a new spool, whoever made them.
func TestSyncAncestors(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	real := filepath.Join(base, "real", "a", "b")
	if err := errors.Join(os.MkdirAll(real, 0o700), os.Symlink(filepath.Join("real", "a"), filepath.Join(base, "link"))); err != nil {
		t.Fatal(err)
	}
	t.Chdir(base)
	for _, dir := range []string{real, filepath.Join("real", "a", "b"), filepath.Join("link", "b") + "/", filepath.Join(base, "link", "..", "link", "b")} {
		var synced []string
		err := syncAncestors(dir, func(dir string) error {
			synced = append(synced, dir)
			if dir == filepath.Dir(base) {
				return fmt.Errorf("sync: %w", syscall.EACCES) // another's
			}
			return nil
		})
		want := []string{filepath.Dir(real), filepath.Join(base, "real"), base}
		if err != nil || len(synced) < 4 || !slices.Equal(synced[:3], want) || synced[len(synced)-1] != "/" {
			t.Errorf("%s: got %v and %v, want %v, and all above", dir, synced, err, want)
		}
	}
	if err := syncAncestors(real, func(string) error { return syscall.EIO }); !errors.Is(err, syscall.EIO) {
		t.Errorf("got %v, want the disk's error", err)
	}
	if err := syncAncestors(real, syncDir); err != nil {
		t.Error(err)
	}
}
