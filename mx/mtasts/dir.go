package mtasts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/files"
	"github.com/postrider/postrider/smtp"
)

// Dir is a [Store] in a directory, with one file for each domain. A file is written under another name and renamed, so
// that a crash leaves the old one or the new one. The directory belongs to the Dir alone: several processes may share
// it, but no other files may be in it. Its methods may be called concurrently.
type Dir struct {
	// Path is the directory. It is made if it doesn't exist; its parent must exist.
	Path string

	// MaxFiles bounds the domains. If there are more, Save deletes those that have expired, and is an error if that
	// isn't enough. A file takes up to 66 KiB, and usually less than 1. If zero, 100,000.
	MaxFiles int

	mu     sync.Mutex
	files  map[string]bool // their names; nil before the first Save
	purged time.Time       // when expired files were last deleted
}

// purgeInterval is long, because a purge reads all files.
const purgeInterval = time.Hour

const (
	fileExt     = ".json"
	maxFileSize = 8 * maxBody // a body in JSON has up to six octets for one
)

// Check returns an error if a file can't be written in the directory.
func (d *Dir) Check() error {
	switch {
	case d.Path == "":
		return errors.New("mtasts: Dir.Path is empty: set it to a directory for policies")
	case d.MaxFiles < 0:
		return fmt.Errorf("mtasts: Dir.MaxFiles is %d: set it to 0 or more", d.MaxFiles)
	}
	if err := files.Check(d.Path); err != nil {
		return fmt.Errorf("mtasts: %w", err)
	}
	return nil
}

// Load reads the file of a domain.
func (d *Dir) Load(_ context.Context, domain string) (Entry, error) {
	var e Entry
	name, err := d.name(domain)
	if err != nil {
		return e, err
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxFileSize)).Decode(&e); err != nil {
		return Entry{}, fmt.Errorf("%s: %w", name, err)
	}
	return e, nil
}

// Save replaces the file of a domain. A file that is reported as written is on the disk.
func (d *Dir) Save(_ context.Context, domain string, e Entry) error {
	name, err := d.name(domain)
	if err != nil {
		return err
	}
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := d.reserve(filepath.Base(name)); err != nil {
		return err
	}
	return files.Replace(d.Path, filepath.Base(name), b)
}

// name returns the path of the file of a domain.
func (d *Dir) name(domain string) (string, error) {
	ascii, err := smtp.ASCIIDomain(domain)
	if err != nil || ascii != domain || domain[0] == '[' || d.Path == "" {
		return "", fmt.Errorf("a file for %q in %q: want a domain as A-labels, and a Path", shorten(domain), d.Path)
	}
	return filepath.Join(d.Path, domain+fileExt), nil
}

// reserve makes sure that there is room for a file.
func (d *Dir) reserve(file string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.files == nil {
		if err := d.list(); err != nil {
			return err
		}
	}
	most := d.MaxFiles
	if most <= 0 {
		most = 100_000
	}
	if !d.files[file] && len(d.files) >= most {
		d.purge()
		if len(d.files) >= most {
			return fmt.Errorf("%s has %d files: set MaxFiles to more", d.Path, len(d.files))
		}
	}
	d.files[file] = true
	return nil
}

// list finds the files that are there, and deletes what a crash has left. d.mu is held.
func (d *Dir) list() error {
	if err := files.Make(d.Path); err != nil {
		return err
	}
	all, err := os.ReadDir(d.Path)
	if err != nil {
		return err
	}
	d.files = make(map[string]bool, len(all))
	for _, entry := range all {
		if filepath.Ext(entry.Name()) == fileExt {
			d.files[entry.Name()] = true
		} else if files.Stale(entry) {
			os.Remove(filepath.Join(d.Path, entry.Name()))
		}
	}
	return nil
}

// purge deletes the files that have expired, or that another process has deleted, once in purgeInterval. d.mu is held.
func (d *Dir) purge() {
	now := time.Now()
	if now.Sub(d.purged) < purgeInterval {
		return
	}
	d.purged = now
	for file := range d.files {
		e, err := d.Load(context.Background(), strings.TrimSuffix(file, fileExt))
		if err == nil && now.Before(e.Expires) {
			continue
		}
		if err := os.Remove(filepath.Join(d.Path, file)); err == nil || errors.Is(err, fs.ErrNotExist) {
			delete(d.files, file)
		}
	}
}
