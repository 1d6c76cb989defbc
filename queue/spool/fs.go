package spool

import (
	"errors"
	"io"
	"syscall"

	"github.com/postrider/postrider/queue/internal/mutant"
)

// FS is everything that a Spool asks of its directory: the seam at which tests fail or crash it. Names have no slash. Its
// methods, and those of its Files, are called concurrently.
type FS interface {
	// Open opens a file for reading. With create, it makes a file for reading and writing; fs.ErrExist if there is one.
	Open(name string, create bool) (File, error)

	// Rename gives a file a new name and replaces the file that had it. It is durable when Sync has returned.
	Rename(from, to string) error

	// Remove removes a file, durably when Sync has returned. A missing file is no error.
	Remove(name string) error

	// List returns the names and sizes in octets of all files.
	List() (map[string]int64, error)

	// Sync returns when the names in the directory are on the disk.
	Sync() error

	// Free returns the free space in octets. errors.ErrUnsupported: it isn't known.
	Free() (int64, error)
}

// File is a file of an FS.
type File interface {
	io.ReaderAt
	io.Closer

	// Writev writes the buffers one after another, from the offset on.
	Writev(off int64, buffers ...[]byte) error

	// Truncate cuts the file to a size.
	Truncate(size int64) error

	// Sync returns when everything written to the file, and its size, is on the disk.
	Sync() error

	// Size returns the size in octets.
	Size() (int64, error)
}

// syncFile is sync, and tells its error from all others.
func syncFile(f File) error {
	if mutant.On == mutant.NoFileSync {
		return nil
	}
	if err := f.Sync(); err != nil {
		return &syncError{err}
	}
	return nil
}

// syncNames is sync of the directory, and tells its error from all others.
func syncNames(fs FS) error {
	if mutant.On == mutant.NoDirectorySync {
		return nil
	}
	if err := fs.Sync(); err != nil {
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
