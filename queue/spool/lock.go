package spool

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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

// lockDir locks the directory for this process. The lock ends when the file is closed, or when the process dies.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	locked, err := tryLock(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock: %w", err)
	}
	if !locked {
		defer f.Close()
		b, _ := io.ReadAll(io.LimitReader(f, 32))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return nil, &LockedError{Dir: dir, PID: pid}
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
