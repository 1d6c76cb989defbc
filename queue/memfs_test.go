package queue

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
)

// memFS is a fileSystem in memory. It fails on demand, and knows what a crash may leave of it.
type memFS struct {
	// before, if set, is called before each operation that changes something: "create", "write", "truncate", "sync", "rename",
	// "remove" and "syncdir". An error of it is that of the operation, which doesn't happen; but see tornWrite.
	before func(op string, names ...string) error

	// reading, if set, is called before each read of a file. An error of it is that of the read.
	reading func(name string, off int64, n int) error

	space int64 // octets in all; if zero, any number

	mu      sync.Mutex
	names   map[string]*inode
	kept    map[string]*inode // as of the last sync of the directory
	changes []change          // since then
}

type inode struct {
	data   []byte
	synced []byte
	writes []extent // since the last sync
}

// extent is a part of a file that was written. Without octets, it is where the file was cut.
type extent struct {
	off int64
	b   []byte
}

// change is one of a directory: to gets the file, and from, or to without a file, is gone.
type change struct {
	from, to string
	file     *inode
}

// tornWrite is an error of memFS.before that has the first octets of a write come true.
type tornWrite struct {
	n   int
	err error
}

func (e *tornWrite) Error() string { return e.err.Error() }
func (e *tornWrite) Unwrap() error { return e.err }

// newMemFS makes a memFS with these files, all of them synced.
func newMemFS(files map[string][]byte) *memFS {
	m := &memFS{names: map[string]*inode{}}
	for name, b := range files {
		m.names[name] = &inode{data: bytes.Clone(b), synced: bytes.Clone(b)}
	}
	m.kept = maps.Clone(m.names)
	return m
}

func (m *memFS) begin(op string, names ...string) error {
	if m.before == nil {
		return nil
	}
	return m.before(op, names...)
}

func (m *memFS) change(c change) {
	m.changes = append(m.changes, c)
	c.apply(m.names)
}

func (c change) apply(names map[string]*inode) {
	delete(names, c.from)
	if c.file != nil {
		names[c.to] = c.file
	} else {
		delete(names, c.to)
	}
}

func (m *memFS) open(name string, create bool) (file, error) {
	if create {
		if err := m.begin("create", name); err != nil {
			return nil, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.names[name]
	switch {
	case create && f != nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case create:
		f = &inode{}
		m.change(change{to: name, file: f})
	case f == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &memFile{fs: m, inode: f}, nil
}

func (m *memFS) rename(from, to string) error {
	if err := m.begin("rename", from, to); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.names[from]
	if f == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	m.change(change{from, to, f})
	return nil
}

func (m *memFS) remove(name string) error {
	if err := m.begin("remove", name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] != nil {
		m.change(change{to: name})
	}
	return nil
}

func (m *memFS) list() (map[string]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sizes := map[string]int64{}
	for name, f := range m.names {
		sizes[name] = int64(len(f.data))
	}
	return sizes, nil
}

func (m *memFS) sync() error {
	if err := m.begin("syncdir"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept, m.changes = maps.Clone(m.names), nil
	return nil
}

func (m *memFS) free() (int64, error) {
	if m.space == 0 {
		return 1 << 50, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	free := m.space
	for _, f := range m.names {
		free -= int64(len(f.data))
	}
	return free, nil
}

// files gives what the process sees.
func (m *memFS) files() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string][]byte{}
	for name, f := range m.names {
		all[name] = bytes.Clone(f.data)
	}
	return all
}

type memFile struct {
	fs     *memFS
	inode  *inode
	closed bool
}

// name is the present one, or the last.
func (f *memFile) name() string {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	for name, inode := range f.fs.names {
		if inode == f.inode {
			return name
		}
	}
	return "removed"
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	if f.fs.reading != nil {
		if err := f.fs.reading(f.name(), off, len(b)); err != nil {
			return 0, err
		}
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.inode.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.inode.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) write(off int64, buffers ...[]byte) error {
	all := slices.Concat(buffers...)
	err := f.fs.begin("write", f.name())
	if err != nil {
		torn, ok := errors.AsType[*tornWrite](err)
		if !ok {
			return err
		}
		all = all[:min(torn.n, len(all))]
	}
	free, _ := f.fs.free()
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off+int64(len(all))-int64(len(f.inode.data)) > free {
		return syscall.ENOSPC
	}
	f.inode.change(extent{off, all})
	return err
}

func (f *memFile) truncate(size int64) error {
	if err := f.fs.begin("truncate", f.name()); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.inode.change(extent{off: size})
	return nil
}

func (f *memFile) sync() error {
	if err := f.fs.begin("sync", f.name()); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	for _, e := range f.inode.writes {
		f.inode.synced = e.apply(f.inode.synced)
	}
	f.inode.writes = nil
	return nil
}

func (f *memFile) size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.inode.data)), nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	return nil
}

func (f *inode) change(e extent) {
	f.data = e.apply(f.data)
	f.writes = append(f.writes, e)
}

func (e extent) apply(data []byte) []byte {
	if e.b == nil {
		return data[:min(int64(len(data)), e.off)]
	}
	if end := e.off + int64(len(e.b)); end > int64(len(data)) {
		data = append(data, make([]byte, end-int64(len(data)))...)
	}
	copy(data[e.off:], e.b)
	return data
}

// crashKinds are what may be left. "killed": all that the process saw, though the disk may still lose it. "lost": what was synced
// and no more. "hollow": names of which the directory wasn't synced, too. "torn": some of what was put into
// files, too. "disorder": of what was removed, only the last is gone. "random" is any mixture, by a seed.
var crashKinds = []string{"killed", "lost", "hollow", "torn", "disorder"}

// after gives what is left after a crash, without what tests have set.
func (m *memFS) after(kind string, r *rand.Rand) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	if kind == "killed" {
		return m.clone()
	}
	names := m.names
	switch kind {
	case "lost":
		names = m.kept
	case "disorder":
		names = m.namesAfter(func(i int) bool { return m.changes[i].file != nil || i == len(m.changes)-1 })
	case "random":
		upTo := r.IntN(len(m.changes) + 1)
		inOrder := r.IntN(2) == 0
		names = m.namesAfter(func(i int) bool { return inOrder && i < upTo || !inOrder && r.IntN(2) == 0 })
	}
	all := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		f := names[name]
		switch kind {
		case "lost", "hollow":
			all[name] = f.synced
		case "torn":
			all[name] = f.torn(func(i int) bool { return i%2 == 1 })
		case "random":
			keep := r.IntN(4)
			all[name] = f.torn(func(int) bool { return keep == 0 || keep == 1 && r.IntN(2) == 0 || keep == 2 && r.IntN(20) > 0 })
		default:
			all[name] = f.data
		}
	}
	return newMemFS(all)
}

// clone copies m. m.mu is held.
func (m *memFS) clone() *memFS {
	copies := map[*inode]*inode{nil: nil}
	copied := func(f *inode) *inode {
		if copies[f] == nil && f != nil {
			copies[f] = &inode{bytes.Clone(f.data), bytes.Clone(f.synced), slices.Clone(f.writes)}
		}
		return copies[f]
	}
	c := &memFS{space: m.space, names: map[string]*inode{}, kept: map[string]*inode{}}
	for name, f := range m.names {
		c.names[name] = copied(f)
	}
	for name, f := range m.kept {
		c.kept[name] = copied(f)
	}
	for _, ch := range m.changes {
		c.changes = append(c.changes, change{ch.from, ch.to, copied(ch.file)})
	}
	return c
}

// sum tells states apart.
func (m *memFS) sum() [32]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := sha256.New()
	for _, names := range []map[string]*inode{m.names, m.kept} {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			fmt.Fprintf(h, "%s %x %x ", name, sha256.Sum256(names[name].data), sha256.Sum256(names[name].synced))
		}
		fmt.Fprintln(h)
	}
	return [32]byte(h.Sum(nil))
}

// namesAfter gives the directory after some of the changes since its last sync.
func (m *memFS) namesAfter(some func(i int) bool) map[string]*inode {
	names := maps.Clone(m.kept)
	for i, c := range m.changes {
		if some(i) {
			c.apply(names)
		}
	}
	return names
}

// torn gives the file with some of the pieces, of 64 octets each, that weren't synced. The others come out as they
// were, or as zeros.
func (f *inode) torn(some func(i int) bool) []byte {
	const piece = 64
	b := bytes.Clone(f.synced)
	n := 0
	for _, e := range f.writes {
		if e.b == nil {
			if some(n) {
				b = e.apply(b)
			}
			n++
			continue
		}
		for i, part := 0, []byte(nil); i < len(e.b); i += len(part) {
			part = e.b[i:min(i+piece, len(e.b))]
			if some(n) {
				b = extent{e.off + int64(i), part}.apply(b)
			}
			n++
		}
	}
	return b
}
