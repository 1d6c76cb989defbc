package suppress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/files"
	"github.com/postrider/postrider/internal/flock"
)

// Options are the settings of a [File]. The zero Options are the defaults, which [Open] uses.
type Options struct {
	// Max bounds the entries. If zero, 1,000,000. An entry takes about 300 octets of memory, and of the file.
	Max int
}

// File is a [List] in memory that is kept in a file. The file is a log: an entry is on the disk when Add returns, and
// callers that add at the same time share one sync. When over half of the lines are out of date, the file is written
// anew and replaced, so that a crash leaves the old one or the new one.
//
// Only one File has a path open at a time: Open of another one is an error, in any process. The lock is that of a file
// with ".lock" at the end of its name, and ends with the process. It needs flock: on Windows, Open returns an error
// that wraps errors.ErrUnsupported.
//
// If a write or a sync fails, Add, Remove and Strike return the error until the file is opened again; Has goes on. Its
// methods may be called concurrently. Those of a File that Open didn't return are errors.
type File struct {
	path string
	max  int
	lock io.Closer

	// Invariants, under mu: file has size octets, of which lines are records, and state is what they say. With broken,
	// what the disk has isn't known, and nothing more is written.
	mu     sync.RWMutex
	state  state
	file   file
	size   int64
	lines  int
	broken error

	syncing sync.Mutex // held while the file is synced or replaced; taken before mu
	synced  int64      // octets of file that are on the disk; under mu
	gen     int        // how many files there were before file; under mu
}

// file is what a File needs of an *os.File.
type file interface {
	io.WriteCloser
	Sync() error
	Truncate(size int64) error
}

// Open reads the file at path, with the default [Options]. A file that doesn't exist is created. Its directory must
// exist. The File must be closed.
//
// What a crash left of the last lines is dropped: no call has returned for it. A line that is damaged otherwise, and a
// file of a newer program, are errors, and the file isn't changed.
func Open(path string) (*File, error) { return new(Options).Open(path) }

// Open opens a file like the function [Open], with these options. Nil Options are the default ones.
func (o *Options) Open(path string) (*File, error) {
	most := 0
	if o != nil {
		most = o.Max
	}
	if path == "" || most < 0 {
		return nil, fmt.Errorf("suppress: open: the path is %q and Max is %d: set a path, and Max to 0 or more",
			path, most)
	}
	l := &File{path: path, max: most}
	lock, err := flock.Open(path + ".lock") // a file of its own, as the list itself is replaced
	if err == nil {
		l.lock = lock
		if err = l.open(); err != nil {
			err = errors.Join(err, lock.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("suppress: open %s: %w", path, err)
	}
	return l, nil
}

func (l *File) open() error {
	old, err := os.Open(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return l.replace()
	}
	if err != nil {
		return err
	}
	defer old.Close()
	f, err := read(old)
	if err != nil {
		return err
	}
	l.state, l.lines = f.state, f.records
	if f.torn || l.stale() {
		return l.replace()
	}
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil {
		err = file.Sync() // an earlier process may have ended before it did so
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	l.file, l.size, l.synced = file, info.Size(), info.Size()
	return nil
}

// stale reports whether the file is worth being written anew.
func (l *File) stale() bool {
	return l.lines > 1000+2*(len(l.state.entries)+len(l.state.young)+len(l.state.old))
}

// replace writes the file anew, and begins to append to that. mu and syncing are held, or nobody else has l yet.
func (l *File) replace() error {
	temp := l.path + ".new"
	next, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	l.state.expire(time.Now())
	size, lines, err := l.state.write(next)
	if err == nil {
		err = next.Sync() // before the rename: else the name could lead to an empty file after a crash
	}
	if err == nil {
		err = os.Rename(temp, l.path)
	}
	if err != nil {
		return errors.Join(err, next.Close(), os.Remove(temp))
	}
	// A crash must not undo the rename: what is appended from now on is in the new file alone.
	if err := syncDir(filepath.Dir(l.path)); err != nil {
		return errors.Join(err, next.Close())
	}
	if l.file != nil {
		l.file.Close()
	}
	l.file, l.size, l.synced, l.lines = next, size, size, lines
	l.gen++
	return nil
}

// write writes all that s knows.
func (s *state) write(w io.Writer) (size int64, lines int, err error) {
	out := bufio.NewWriterSize(w, 1<<16)
	n, err := out.WriteString(firstLine)
	size = int64(n)
	var b []byte
	put := func(r record) {
		if err != nil {
			return
		}
		if b, err = appendLine(b[:0], &r); err == nil {
			_, err = out.Write(b)
			size, lines = size+int64(len(b)), lines+1
		}
	}
	for _, e := range s.sorted() {
		put(record{Op: opAdd, Entry: e})
	}
	for _, part := range []map[Key][]tally{s.old, s.young} { // the order in which they are forgotten
		for k, all := range part {
			for _, t := range all {
				put(tallyRecord(k, t))
			}
		}
	}
	return size, lines, errors.Join(err, out.Flush())
}

// syncDir is a variable for tests.
var syncDir = files.SyncDir

var errClosed = errors.New("the file is closed")

// check returns an error unless l was opened.
func (l *File) check() error {
	if l == nil || l.path == "" {
		return errors.New("suppress: the File isn't open: make it by Open, and look at its error")
	}
	return nil
}

// Close syncs and closes the file. Every later call but Has is an error.
func (l *File) Close() error {
	if err := l.check(); err != nil {
		return err
	}
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == errClosed {
		return nil
	}
	err := l.broken
	if err == nil {
		err = l.file.Sync()
	}
	err = errors.Join(err, l.file.Close(), l.lock.Close())
	l.broken = errClosed
	if err != nil {
		return fmt.Errorf("suppress: close %s: %w", l.path, err)
	}
	return nil
}

// append writes a record and applies it. It returns the file and the size up to which it must be synced to be durable.
// mu is held.
func (l *File) append(r *record) (gen int, upTo int64, err error) {
	if l.broken != nil {
		return 0, 0, l.broken
	}
	r.Synced = l.synced
	b, err := appendLine(nil, r)
	if err != nil {
		return 0, 0, err
	}
	if _, err := l.file.Write(b); err != nil {
		// A part of the line may be there. What follows it would look as if the file were damaged.
		if fault := l.file.Truncate(l.size); fault != nil {
			l.broken = errors.Join(err, fault)
		}
		return 0, 0, err
	}
	l.size += int64(len(b))
	l.lines++
	r.apply(&l.state)
	return l.gen, l.size, nil
}

// change appends a record that change makes, unless it makes none, and syncs it.
func (l *File) change(what string, make func() (*record, error), durable bool) error {
	if err := l.check(); err != nil {
		return err
	}
	l.mu.Lock()
	r, err := make()
	if err != nil || r == nil {
		l.mu.Unlock()
		return l.fault(what, err)
	}
	gen, upTo, err := l.append(r)
	stale := err == nil && l.stale()
	l.mu.Unlock()
	if err == nil && durable {
		err = l.sync(gen, upTo)
	}
	if err == nil && stale {
		err = l.compact()
	}
	return l.fault(what, err)
}

func (l *File) fault(what string, err error) error {
	if err != nil && !errors.Is(err, ErrFull) {
		return fmt.Errorf("suppress: %s in %s: %w", what, l.path, err)
	}
	return err
}

// sync returns when the file is on the disk up to an octet. Callers that wait here meanwhile find that it is.
func (l *File) sync(gen int, upTo int64) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.RLock()
	file, size, synced, broken, now := l.file, l.size, l.synced, l.broken, l.gen
	l.mu.RUnlock()
	switch {
	case now > gen || synced >= upTo: // a later file has all of the one before
		return nil
	case broken != nil:
		return broken
	}
	err := file.Sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil { // the kernel may have dropped what it couldn't write: a further sync would say nothing
		l.broken = err
		return err
	}
	l.synced = size
	return nil
}

// compact writes the file anew, if that is still worth it.
func (l *File) compact() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil || !l.stale() {
		return l.broken
	}
	if err := l.replace(); err != nil {
		l.broken = err
		return err
	}
	return nil
}

// Add implements [List].
func (l *File) Add(_ context.Context, e Entry) error {
	if err := checkChange(e.Key, e.Source, e.Reason); err != nil {
		return err
	}
	return l.change("add", func() (*record, error) {
		if err := l.state.hasRoom(e.Key, l.max); err != nil {
			return nil, err
		}
		e.Text, e.ID = cut(e.Text), cut(e.ID)
		return &record{Op: opAdd, Entry: e}, nil
	}, true)
}

// Has implements [List].
func (l *File) Has(_ context.Context, k Key) (Entry, bool, error) {
	if err := l.check(); err != nil {
		return Entry{}, false, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	e, ok := l.state.entries[k]
	return e, ok, nil
}

// Remove implements [List].
func (l *File) Remove(_ context.Context, k Key) error {
	return l.change("remove", func() (*record, error) {
		if _, ok := l.state.entries[k]; !ok && len(l.state.tallies(k)) == 0 {
			return nil, l.broken
		}
		return &record{Op: opRemove, Entry: Entry{Key: k}}, nil
	}, true)
}

// Strike implements [List]. It isn't synced: the sync of a later Add, or Close, does that.
func (l *File) Strike(_ context.Context, k Key, s Strike) (t Tally, err error) {
	if err := checkChange(k, s.Source, s.Reason); err != nil {
		return Tally{}, err
	}
	s.ID = cut(s.ID)
	err = l.change("strike", func() (*record, error) {
		var counted bool
		if t, counted = l.state.counted(k, s); counted {
			return nil, l.broken
		}
		next := l.state.next(k, s)
		t = next.Tally
		r := tallyRecord(k, next)
		return &r, nil
	}, false)
	return t, err
}

// Forgive implements [List]. It isn't synced.
func (l *File) Forgive(_ context.Context, k Key) error {
	if err := l.check(); err != nil {
		return err
	}
	l.mu.RLock()
	none := !l.state.forgives(k)
	l.mu.RUnlock()
	if none {
		return nil
	}
	return l.change("forgive", func() (*record, error) {
		return &record{Op: opForgive, Entry: Entry{Key: k}}, nil
	}, false)
}

// Entries returns all entries in the order of their Time.
func (l *File) Entries() []Entry {
	if l.check() != nil {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.sorted()
}
