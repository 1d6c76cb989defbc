// Package warmup keeps the counts of sources in warm-up in a file, so that a restart or a crash doesn't begin the day
// anew:
//
//	counts, err := warmup.Open("/var/lib/app/warmup")
//	if err != nil {
//		return err
//	}
//	defer counts.Close()
//	transport := &client.Transport{
//		WarmCounts: counts,
//		Sources: []client.Source{
//			{Addrs: knownAddrs, Weight: 9},
//			{Addrs: newAddrs, WarmUp: &client.WarmUp{Start: monday, Days: client.Grow(50, 1.3, 20_000)}},
//		},
//	}
package warmup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/postrider/postrider/internal/files"
	"github.com/postrider/postrider/internal/flock"
)

// File is a [client.WarmCounts] in a file. A count survives the end of the process at once. A crash of the machine may
// lose the last 1 % of a day's messages to a provider.
//
// One process has the file at a time: the lock is that of a file with ".lock" at the end of its name. It needs flock:
// on Windows, Open returns an error that wraps errors.ErrUnsupported. After an error of the disk, Add returns it until
// the file is opened again. The methods may be called concurrently. Those of a File that Open didn't return are errors.
type File struct {
	path string
	lock io.Closer

	// Invariants, under mu: the lines of file, in their order, make counts. With broken, nothing more is written.
	mu     sync.Mutex
	file   *os.File
	counts map[name]count
	lines  int
	broken error
	lazy   bool // Add doesn't sync: for tests
}

// name is a source and a provider.
type name struct{ source, provider string }

// count is the messages of the last day. Of them, lost may not be on the disk yet.
type count struct {
	day, sum, lost int
}

const (
	head = "postrider warmup 1\n"

	// maxSize bounds a file, in octets. It is written anew long before that.
	maxSize = 64 << 20

	// spare is how many lines a file may have that are out of date, besides as many as there are counts.
	spare = 10_000
)

// Open opens a file, or makes it. Its directory must exist. The last line is dropped if it isn't complete. Any other
// line that can't be read is an error. The File must be closed.
func Open(path string) (*File, error) {
	lock, err := flock.Open(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("warmup: open %s: %w", path, err)
	}
	f := &File{path: path, lock: lock, counts: make(map[name]count)}
	err = f.read()
	if err == nil {
		err = f.rewrite()
	}
	if err != nil {
		return nil, fmt.Errorf("warmup: open %s: %w", path, errors.Join(err, lock.Close()))
	}
	return f, nil
}

// read reads the lines of the file.
func (f *File) read() error {
	old, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer old.Close()
	data, err := io.ReadAll(io.LimitReader(old, maxSize+1))
	if err != nil {
		return err
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	if len(data) > maxSize || len(data) > 0 && !bytes.HasPrefix(data, []byte(head)) {
		return errors.New("it isn't a file of this package, or of a later version of it: use another path")
	}
	number := 1
	for line := range strings.Lines(strings.TrimPrefix(string(data), head)) {
		number++
		var n name
		var c count
		_, err := fmt.Sscanf(line, "%q %q %d %d\n", &n.source, &n.provider, &c.day, &c.sum)
		if err != nil || c.day < 0 {
			return fmt.Errorf("line %d is damaged: remove the line, or the file: %q", number, line)
		}
		f.counts[n] = c
	}
	return nil
}

// rewrite replaces the file by one that has each count once.
func (f *File) rewrite() (err error) {
	temp := f.path + ".tmp"
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	w := bufio.NewWriter(file)
	w.WriteString(head)
	for n, c := range f.counts {
		w.WriteString(line(n, c))
	}
	if err := errors.Join(w.Flush(), file.Sync()); err != nil {
		return err
	}
	if err := os.Rename(temp, f.path); err != nil {
		return err
	}
	if err := files.SyncDir(filepath.Dir(f.path)); err != nil {
		return err
	}
	if f.file != nil {
		f.file.Close()
	}
	f.file, f.lines = file, len(f.counts)
	for n, c := range f.counts {
		c.lost = 0
		f.counts[n] = c
	}
	return nil
}

func line(n name, c count) string {
	return fmt.Sprintf("%q %q %d %d\n", n.source, n.provider, c.day, c.sum)
}

var errNotOpen = errors.New("warmup: the File isn't open: use Open")

// Add implements client.WarmCounts. A sum isn't less than 0.
func (f *File) Add(source, provider string, day, n int) (sum int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return 0, errNotOpen
	}
	key := name{source, provider}
	c := f.counts[key]
	switch {
	case f.broken != nil:
		return 0, f.broken
	case day < c.day:
		return 0, nil // the day is over
	case day > c.day:
		c = count{day: day}
	}
	if n == 0 {
		return c.sum, nil
	}
	if n > 0 && c.sum > math.MaxInt-n {
		return 0, fmt.Errorf("warmup: %d messages and %d more can't be counted", c.sum, n)
	}
	c.sum = max(c.sum+n, 0)
	c.lost += max(n, -n)
	if err := f.write(key, c); err != nil {
		f.broken = fmt.Errorf("warmup: %w", err)
		return 0, f.broken
	}
	return c.sum, nil
}

// write adds a line. Before the lines that aren't on the disk are more than 1 % of the sum, the file is synced.
func (f *File) write(key name, c count) error {
	f.counts[key] = c
	if f.lines >= 2*len(f.counts)+spare {
		return f.rewrite()
	}
	if _, err := f.file.WriteString(line(key, c)); err != nil {
		return err
	}
	f.lines++
	if c.lost*100 < c.sum || f.lazy {
		return nil
	}
	c.lost = 0
	f.counts[key] = c
	return f.file.Sync()
}

// Close syncs and closes the file. A later Add is an error. A second Close does nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := errors.Join(f.file.Sync(), f.file.Close(), f.lock.Close())
	f.file = nil
	if err != nil {
		return fmt.Errorf("warmup: close %s: %w", f.path, err)
	}
	return nil
}
