package queue

import (
	"os"
	"syscall"
)

// syncData is fdatasync: what it leaves out, the times of the file, nobody needs.
func syncData(f *os.File) error {
	return control(f, "fdatasync", syscall.Fdatasync)
}

func control(f *os.File, op string, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	if err := raw.Control(func(fd uintptr) {
		for {
			if callErr = call(int(fd)); callErr != syscall.EINTR {
				return
			}
		}
	}); err != nil {
		return err
	}
	if callErr != nil {
		return &os.PathError{Op: op, Path: f.Name(), Err: callErr}
	}
	return nil
}
