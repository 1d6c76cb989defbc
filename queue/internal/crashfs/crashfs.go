// Package crashfs is the directory of a spool in memory, for tests. Its operations fail on demand, and it computes what
// a crash may leave of it.
//
//	crashfs.go  FS, which fails on demand
//	crash.go    what a crash may leave
package crashfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// FS is a spool.FS in memory. F is spool.File: spool's own tests import this package, so it can't import spool.
type FS[F any] struct {
	// Before, if set, is called before each operation that changes something: "create", "write", "truncate", "sync",
	// "rename", "remove", "syncdir". If it returns an error, the operation fails with it and changes nothing, except
	// for a [TornWrite].
	Before func(op string, names ...string) error

	// Reading, if set, is called before each read of a file. If it returns an error, the read fails with it.
	Reading func(name string, off int64, n int) error

	Space int64 // octets in all; if zero, there is no limit

	mu      sync.Mutex
	Names   map[string]*inode
	kept    map[string]*inode // the names at the last sync of the directory
	changes []change          // of names since then
	writes  int               // to all files
	opened  int               // files that aren't closed
}

// inode is a file.
type inode struct {
	Data   []byte
	Synced []byte
	writes []extent // since the last sync
	first  int      // the number of the first of these
}

// extent is a part of a file that was written. If b is nil, the file was cut at off.
type extent struct {
	off int64
	b   []byte
}

// change is a change of the directory. The file gets the name to, and from is removed. Without a file, to is removed.
type change struct {
	from, to string
	file     *inode
}

// TornWrite is an error of FS.Before that writes the first N octets of a write.
type TornWrite struct {
	N   int
	Err error
}

func (e *TornWrite) Error() string { return e.Err.Error() }
func (e *TornWrite) Unwrap() error { return e.Err }

// New returns an FS with these files, which are synced.
func New[F any](files map[string][]byte) *FS[F] {
	m := &FS[F]{Names: map[string]*inode{}}
	for name, b := range files {
		m.Names[name] = &inode{Data: bytes.Clone(b), Synced: bytes.Clone(b)}
	}
	m.kept = maps.Clone(m.Names)
	return m
}

func (m *FS[F]) begin(op string, names ...string) error {
	if m.Before == nil {
		return nil
	}
	return m.Before(op, names...)
}

func (m *FS[F]) change(c change) {
	m.changes = append(m.changes, c)
	c.apply(m.Names)
}

func (c change) apply(names map[string]*inode) {
	delete(names, c.from)
	if c.file != nil {
		names[c.to] = c.file
	} else {
		delete(names, c.to)
	}
}

func (m *FS[F]) Open(name string, create bool) (opened F, err error) {
	if create {
		if err := m.begin("create", name); err != nil {
			return opened, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.Names[name]
	switch {
	case create && f != nil:
		return opened, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case create:
		f = &inode{}
		m.change(change{to: name, file: f})
	case f == nil:
		return opened, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	m.opened++
	return any(&file[F]{fs: m, inode: f}).(F), nil
}

func (m *FS[F]) Rename(from, to string) error {
	if err := m.begin("rename", from, to); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.Names[from]
	if f == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	m.change(change{from, to, f})
	return nil
}

func (m *FS[F]) Remove(name string) error {
	if err := m.begin("remove", name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Names[name] != nil {
		m.change(change{to: name})
	}
	return nil
}

func (m *FS[F]) List() (map[string]int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sizes := map[string]int64{}
	for name, f := range m.Names {
		sizes[name] = int64(len(f.Data))
	}
	return sizes, nil
}

func (m *FS[F]) Sync() error {
	if err := m.begin("syncdir"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept, m.changes = maps.Clone(m.Names), nil
	return nil
}

func (m *FS[F]) Free() (int64, error) {
	if m.Space == 0 {
		return 1 << 50, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	free := m.Space
	for _, f := range m.Names {
		free -= int64(len(f.Data))
	}
	return free, nil
}

// Opened returns how often files were opened and not closed.
func (m *FS[F]) Opened() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.opened
}

// Written returns the number of writes.
func (m *FS[F]) Written() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

// Kept returns the number of the last write such that this write and all before it, to files with this suffix, are
// synced.
func (m *FS[F]) Kept(suffix string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.writes
	for name, f := range m.Names {
		if strings.HasSuffix(name, suffix) && len(f.writes) > 0 {
			kept = min(kept, f.first-1)
		}
	}
	return kept
}

// Files returns the files as the process sees them.
func (m *FS[F]) Files() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := map[string][]byte{}
	for name, f := range m.Names {
		all[name] = bytes.Clone(f.Data)
	}
	return all
}

type file[F any] struct {
	fs     *FS[F]
	inode  *inode
	closed bool
}

// name returns the present name of the file, or "removed".
func (f *file[F]) name() string {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	for name, inode := range f.fs.Names {
		if inode == f.inode {
			return name
		}
	}
	return "removed"
}

func (f *file[F]) ReadAt(b []byte, off int64) (int, error) {
	if f.fs.Reading != nil {
		if err := f.fs.Reading(f.name(), off, len(b)); err != nil {
			return 0, err
		}
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off >= int64(len(f.inode.Data)) {
		return 0, io.EOF
	}
	n := copy(b, f.inode.Data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file[F]) Writev(off int64, buffers ...[]byte) error {
	all := slices.Concat(buffers...)
	err := f.fs.begin("write", f.name())
	if err != nil {
		torn, ok := errors.AsType[*TornWrite](err)
		if !ok {
			return err
		}
		all = all[:min(torn.N, len(all))]
	}
	free, _ := f.fs.Free()
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if off+int64(len(all))-int64(len(f.inode.Data)) > free {
		return syscall.ENOSPC
	}
	f.fs.writes++
	if len(f.inode.writes) == 0 {
		f.inode.first = f.fs.writes
	}
	f.inode.change(extent{off, all})
	return err
}

func (f *file[F]) Truncate(size int64) error {
	if err := f.fs.begin("truncate", f.name()); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.inode.change(extent{off: size})
	return nil
}

func (f *file[F]) Sync() error {
	if err := f.fs.begin("sync", f.name()); err != nil {
		return err
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	for _, e := range f.inode.writes {
		f.inode.Synced = e.apply(f.inode.Synced)
	}
	f.inode.writes = nil
	return nil
}

func (f *file[F]) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	return int64(len(f.inode.Data)), nil
}

func (f *file[F]) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return fs.ErrClosed
	}
	f.closed = true
	f.fs.opened--
	return nil
}

func (f *inode) change(e extent) {
	f.Data = e.apply(f.Data)
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
