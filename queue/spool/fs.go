package spool

import (
	"errors"
	"io"
	"syscall"

	"github.com/postrider/postrider/queue"
)

// FS is the directory of a Spool, as an interface for tests that crash it or make it fail. A name has no slash. Methods
// of an FS and its Files are called concurrently. After Close, the Spool calls no method of its FS.
type FS interface {
	// Open opens a file for reading. If create is set, it creates a file for reading and writing; if the file exists,
	// the error wraps fs.ErrExist. If a file to read doesn't exist, the error wraps fs.ErrNotExist.
	Open(name string, create bool) (File, error)

	// Rename renames a file. It replaces a file with the new name. It is durable after Sync.
	Rename(from, to string) error

	// Remove removes a file. It is durable after Sync. A missing file is no error.
	Remove(name string) error

	// List returns the names of all files, with their sizes in octets. The size is -1 for what isn't a regular file,
	// such as a symbolic link. Open returns an error for that.
	List() (map[string]int64, error)

	// Sync makes the names in the directory durable.
	Sync() error

	// Free returns the free space in octets. If it is not known, the error wraps errors.ErrUnsupported.
	Free() (int64, error)
}

// File is a file of an FS.
type File interface {
	io.ReaderAt
	io.Closer

	// Writev writes the buffers one after another, beginning at the offset.
	Writev(off int64, buffers ...[]byte) error

	// Truncate changes the size of the file.
	Truncate(size int64) error

	// Sync makes the data and the size of the file durable.
	Sync() error

	// Size returns the size in octets.
	Size() (int64, error)
}

// syncFile is sync, and tells its error from all others.
func syncFile(f File) error {
	if err := f.Sync(); err != nil {
		return &syncError{err}
	}
	return nil
}

// syncNames is sync of the directory, and tells its error from all others.
func syncNames(fs FS) error {
	if err := fs.Sync(); err == queue.ErrClosed { // it wasn't tried
		return err
	} else if err != nil {
		return &syncError{err}
	}
	return nil
}

// syncError is the error of a sync: what was written may be lost. It is never tried again and then believed.
type syncError struct{ err error }

func (e *syncError) Error() string { return e.err.Error() }
func (e *syncError) Unwrap() error { return e.err }

// passing reports whether the error leaves no doubt of what the disk has and may not come again: the disk is full, or
// too many files are open.
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
