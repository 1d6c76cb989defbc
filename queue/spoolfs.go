package queue

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// disk is all that a spool does to its directory but for reading.
type disk struct {
	dir string

	// fake, where a test sets it, is called before each operation and may take its place.
	fake func(op string, names ...string) (done bool, err error)
}

func (d *disk) faked(op string, names ...string) (done bool, err error) {
	if d.fake == nil {
		return false, nil
	}
	return d.fake(op, names...)
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

// create makes a file that isn't there yet, to be read and written.
func (d *disk) create(name string) (*os.File, error) {
	if done, err := d.faked("create", name); done {
		return nil, err
	}
	return os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// open opens a file to be read.
func (d *disk) open(name string) (*os.File, error) { return os.Open(d.path(name)) }

// write puts the buffers into the file, one behind the other.
func (d *disk) write(f *os.File, off int64, buffers ...[]byte) error {
	if done, err := d.faked("write", filepath.Base(f.Name())); done {
		return err
	}
	return writeBuffers(f, off, buffers)
}

// sync returns when all that was written to the file is on the disk, and its length.
func (d *disk) sync(f *os.File) error {
	done, err := d.faked("sync", filepath.Base(f.Name()))
	if !done {
		err = syncData(f)
	}
	if err != nil {
		return &syncError{err}
	}
	return nil
}

// truncate cuts a file to a length, durably.
func (d *disk) truncate(f *os.File, size int64) error {
	if done, err := d.faked("truncate", filepath.Base(f.Name())); done {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	return d.sync(f)
}

// rename gives a file its name, in place of what had it. It is durable when syncDir has returned.
func (d *disk) rename(from, to string) error {
	if done, err := d.faked("rename", from, to); done {
		return err
	}
	return os.Rename(d.path(from), d.path(to))
}

// remove removes a file, durably when syncDir has returned. That there is none is no error.
func (d *disk) remove(name string) error {
	if done, err := d.faked("remove", name); done {
		return err
	}
	if err := os.Remove(d.path(name)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// syncDir returns when the names in the directory are on the disk.
func (d *disk) syncDir() error {
	done, err := d.faked("syncdir")
	if !done {
		err = syncDir(d.dir)
	}
	if err != nil {
		return &syncError{err}
	}
	return nil
}

// syncError says that what was written may be lost. It is never tried again and then believed.
type syncError struct{ err error }

func (e *syncError) Error() string { return e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

// passing reports whether the error leaves no doubt of what the disk has and may not come again: the
// disk is full, or too many files are open.
func passing(err error) bool {
	if _, ok := errors.AsType[*syncError](err); ok {
		return false
	}
	for _, code := range [...]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, code) {
			return true
		}
	}
	return false
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// makeDir makes the spool's directory and sees to it that it stays.
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
	return syncDir(parent)
}

func (d *disk) list() ([]fs.DirEntry, error) { return os.ReadDir(d.dir) }
