// Package files writes small files so that they survive a crash, for stores that have some.
package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// TempExt is how the names of files end that are being written. A crash leaves them.
const TempExt = ".tmp"

// Make makes a directory unless it exists. Its parent must exist.
func Make(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Check returns an error if a file can't be written in the directory, which it makes unless it exists.
func Check(dir string) error {
	if err := Make(dir); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "*"+TempExt)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// Replace writes a file under another name and renames it, so that a crash leaves the old one or the new one. When it
// returns nil, the new one is on the disk.
func Replace(dir, name string, data []byte) error {
	f, err := os.CreateTemp(dir, "*"+TempExt)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync() // before the rename: else the name could lead to an empty file after a crash
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	_ = SyncDir(dir) // not on every system
	return nil
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Stale reports whether a file ends in TempExt and is older than an hour: another process may be writing a young one.
func Stale(entry fs.DirEntry) bool {
	if filepath.Ext(entry.Name()) != TempExt {
		return false
	}
	info, err := entry.Info()
	return err == nil && time.Since(info.ModTime()) > time.Hour
}
