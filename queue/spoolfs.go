package queue

import (
	"errors"
	"io"
	"syscall"
)

// fileSystem is all that a Spool asks of its directory. dirFS is the real one; the tests have one that
// counts, fails, and forgets or tears what wasn't synced.
type fileSystem interface {
	// open opens a file to be read or, to create it, makes one that isn't there yet, to be written as well.
	open(name string, create bool) (file, error)

	// rename gives a file its name, in place of what had it. It is durable when sync has returned.
	rename(from, to string) error

	// remove removes a file, durably when sync has returned. That there is none is no error.
	remove(name string) error

	// list gives the names and lengths of the files.
	list() (map[string]int64, error)

	// sync returns when the names in the directory are on the disk.
	sync() error

	// free gives the octets that may still be written.
	free() (int64, error)
}

// file is one of a fileSystem.
type file interface {
	io.ReaderAt
	io.Closer

	// write puts the buffers into the file, one behind the other.
	write(off int64, buffers ...[]byte) error

	// truncate cuts the file to a length.
	truncate(size int64) error

	// sync returns when all that was written to the file is on the disk, and its length.
	sync() error

	// size gives its length.
	size() (int64, error)
}

// syncFile is sync, and tells its error from all others.
func syncFile(f file) error {
	if mutant == mutantNoFileSync {
		return nil
	}
	if err := f.sync(); err != nil {
		return &syncError{err}
	}
	return nil
}

// syncNames is sync of the directory, and tells its error from all others.
func syncNames(fs fileSystem) error {
	if mutant == mutantNoDirectorySync {
		return nil
	}
	if err := fs.sync(); err != nil {
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
