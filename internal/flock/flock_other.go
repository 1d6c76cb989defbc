//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package flock

import (
	"errors"
	"os"
)

// Try refuses: without a lock that ends with the process, two of them could spoil each other's files.
func Try(*os.File) (bool, error) { return false, errors.ErrUnsupported }
