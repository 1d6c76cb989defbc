package spool

import (
	"errors"
	"os"
	"path/filepath"
)

// dirFS is a directory of the system.
type dirFS struct {
	dir    string
	handle *os.File // so that a sync of it needs no descriptor, of which there may be none left
}

func (d dirFS) path(name string) string { return filepath.Join(d.dir, name) }

func (d dirFS) Open(name string, create bool) (File, error) {
	flags := os.O_RDONLY
	if create {
		flags = os.O_RDWR | os.O_CREATE | os.O_EXCL
	}
	f, err := os.OpenFile(d.path(name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d dirFS) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d dirFS) Remove(name string) error {
	if err := os.Remove(d.path(name)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func (d dirFS) List() (map[string]int64, error) {
	entries, err := os.ReadDir(d.dir)
	files := make(map[string]int64, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files[e.Name()] = info.Size()
		}
	}
	return files, err
}

func (d dirFS) Sync() error { return d.handle.Sync() }

func (d dirFS) Free() (int64, error) { return freeSpace(d.dir) }

// makeDir makes a spool's directory and sees to it that it stays.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil || !os.IsNotExist(err) {
		return err
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	f, err := os.Open(parent)
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
