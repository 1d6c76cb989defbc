//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package spool

import (
	"errors"
	"os"
)

// tryLock refuses: without a lock that ends with the process, two of them could spoil each other's mail.
func tryLock(*os.File) (bool, error) { return false, errors.ErrUnsupported }
