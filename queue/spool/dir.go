package spool

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// dirFS is a directory of the system. All names are relative to its descriptor: neither a change of the working
// directory nor another directory of the same name leads elsewhere. A symbolic link is no file of a spool.
type dirFS struct {
	root   *os.Root
	handle *os.File // of the directory itself: a sync needs no other descriptor, of which there may be none left
	lock   *os.File // nil if the directory isn't locked, or its lock file can't be made
}

// openDir opens a directory, and makes it if it is missing.
func openDir(dir string) (*dirFS, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	handle, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	return &dirFS{root: root, handle: handle}, nil
}

// Close unlocks the directory, if it is locked.
func (d *dirFS) Close() error {
	var err error
	if d.lock != nil {
		err = d.lock.Close()
	}
	return cmp.Or(err, d.handle.Close(), d.root.Close())
}

func (d *dirFS) Open(name string, create bool) (File, error) {
	flags := os.O_RDONLY
	if create {
		flags = os.O_RDWR | os.O_CREATE | os.O_EXCL // which follows no symbolic link
	} else if err := d.regular(name); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(name, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

var errNotRegular = errors.New("it is not a regular file")

// regular returns an error that wraps errNotRegular for a symbolic link, a directory, or what a read may wait for.
func (d *dirFS) regular(name string) error {
	info, err := d.root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errNotRegular}
	}
	return err
}

func (d *dirFS) Rename(from, to string) error { return d.root.Rename(from, to) }

func (d *dirFS) Remove(name string) error {
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *dirFS) List() (map[string]int64, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	files := make(map[string]int64, len(names))
	for _, name := range names {
		info, err := d.root.Lstat(name)
		switch {
		case err != nil: // it has just gone
		case info.Mode().IsRegular():
			files[name] = info.Size()
		default:
			files[name] = -1
		}
	}
	return files, err
}

func (d *dirFS) Sync() error { return d.handle.Sync() }

func (d *dirFS) Free() (int64, error) { return freeSpace(d.handle) }

// syncAncestors syncs the directories above dir, so that a new dir stays, whoever made it. sync syncs one of them. A
// directory that this process may not open, or that can't be synced, is skipped.
func syncAncestors(dir string, sync func(dir string) error) error {
	path, err := filepath.Abs(dir)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	for err == nil && path != filepath.Dir(path) {
		path = filepath.Dir(path)
		if err = sync(path); errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) ||
			errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.EROFS) {
			err = nil
		}
	}
	if err != nil {
		return fmt.Errorf("syncing the directories above it: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

type osFile struct{ *os.File }

func (f osFile) Sync() error { return syncData(f.File) }

func (f osFile) Writev(off int64, buffers ...[]byte) error {
	const large = 128 << 10
	if err := writeBuffers(f.File, off, buffers); err != nil {
		return err
	}
	n := int64(0)
	for _, b := range buffers {
		n += int64(len(b))
	}
	if n >= large {
		startWriting(f.File, off, n)
	}
	return nil
}

func (f osFile) Truncate(size int64) error {
	err := f.File.Truncate(size)
	if p, ok := errors.AsType[*os.PathError](err); ok {
		return os.NewSyscallError("ftruncate", p.Err) // without the name, which may be an earlier one
	}
	return err
}

func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
