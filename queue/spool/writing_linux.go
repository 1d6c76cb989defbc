//go:build !arm

package spool

import (
	"os"
	"syscall"
)

// startWriting has the system begin to write a part of the file to the disk, so that less is left for a sync. It
// promises nothing, so that an error is none.
func startWriting(f *os.File, off, n int64) {
	const writeOnly = 2 // SYNC_FILE_RANGE_WRITE
	control(f, "sync_file_range", func(fd int) error { return syscall.SyncFileRange(fd, off, n, writeOnly) })
}
