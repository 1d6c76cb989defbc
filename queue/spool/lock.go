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

// LockedError says that another Spool, mostly of another process, has the directory.
type LockedError struct {
	Dir string
	PID int // of the process. If zero, it is not known.
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("queue: the spool %s is open in another process", e.Dir)
	}
	return fmt.Sprintf("queue: the spool %s is open in process %d", e.Dir, e.PID)
}

// lockDir takes the directory for this process. The lock ends when the file is closed, by the
// system if need be.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	locked, err := tryLock(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking: %w", err)
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
