//go:build !linux

package spool

import (
	"errors"
	"os"
)

func syncData(f *os.File) error { return f.Sync() }

func writeBuffers(f *os.File, off int64, buffers [][]byte) error {
	for _, b := range buffers {
		if _, err := f.WriteAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

func startWriting(*os.File, int64, int64) {}

func freeSpace(*os.File) (int64, error) { return 0, errors.ErrUnsupported }
