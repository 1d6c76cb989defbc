package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/postrider/postrider/internal/flock"
)

const lockName = "lock"

// LockedError means that a Spool has the directory open already, in most cases in another process.
type LockedError struct {
	Dir string
	PID int // of that process. If zero, it is not known.
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("spool: %s is open in another process: close it there first", e.Dir)
	}
	return fmt.Sprintf("spool: %s is open in process %d: close it there first", e.Dir, e.PID)
}

// lockDir locks the directory for this process. The lock ends with d.Close, or when the process dies. It is a lock of
// the directory itself, which nobody can remove, and one of the lock file: earlier programs have only that, and some
// network file systems don't lock a directory.
func (d *dirFS) lockDir(dir string) error {
	locked, dirErr := flock.Try(d.handle)
	if dirErr == nil && !locked {
		return &LockedError{Dir: dir, PID: d.owner()}
	}
	err := d.regular(lockName)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		d.lock, err = d.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	}
	if err != nil {
		if dirErr == nil && passing(err) {
			return nil // with a full disk, say
		}
		return err
	}
	locked, err = flock.Try(d.lock)
	switch {
	case err != nil:
		return fmt.Errorf("lock: %w", err)
	case !locked:
		return &LockedError{Dir: dir, PID: d.owner()}
	}
	if err = d.lock.Truncate(0); err == nil {
		_, err = d.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil && !passing(err) {
		return err
	}
	return nil
}

// owner returns the process ID in the lock file, 0 if there is none.
func (d *dirFS) owner() int {
	if d.regular(lockName) != nil {
		return 0
	}
	f, err := d.root.Open(lockName)
	if err != nil {
		return 0
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, 32))
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}
