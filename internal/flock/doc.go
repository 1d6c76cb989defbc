// Package flock locks files for a process, so that no other one writes to what belongs to them.
package flock

import (
	"errors"
	"os"
)

// Open makes the file if it isn't there, and locks it. The lock ends with its Close, or with the process.
func Open(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	locked, err := Try(f)
	if err == nil && !locked {
		err = errors.New("it is open already: close the other File first")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
