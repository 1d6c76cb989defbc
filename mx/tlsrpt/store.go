package tlsrpt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/files"
)

// Store keeps over restarts what was recorded and not reported yet. A [Dir] is a Store.
//
// A day is a date in UTC, such as "2026-12-31". Its data are up to about 32 MiB, and there are up to 8 days. A Reporter
// makes one call at a time, and no other Reporter may use the Store. Methods return soon after ctx has ended. An error
// is logged. Save and Delete are tried again after a minute.
type Store interface {
	// Days returns the days that have data, in any order.
	Days(ctx context.Context) ([]string, error)

	// Load returns the data of a day.
	Load(ctx context.Context, day string) ([]byte, error)

	// Save keeps the data of a day in place of those before. After a crash, the Store has the old ones or the new ones.
	// The Store must not keep the slice.
	Save(ctx context.Context, day string, data []byte) error

	// Delete deletes the data of a day. It isn't an error if there are none.
	Delete(ctx context.Context, day string) error
}

// Dir is a [Store] in a directory, with one file for each day. A file is written under another name and renamed, so
// that a crash leaves the old one or the new one. No other files may be in the directory.
type Dir struct {
	// Path is the directory. It is made if it doesn't exist; its parent must exist.
	Path string
}

const (
	fileExt     = ".json"
	maxFileSize = 128 << 20
)

// Check returns an error if a file can't be written in the directory.
func (d *Dir) Check() error {
	if d.Path == "" {
		return errors.New("tlsrpt: the Path of a Dir is empty: set it to a directory")
	}
	if err := files.Check(d.Path); err != nil {
		return fmt.Errorf("tlsrpt: %w", err)
	}
	return nil
}

// Days returns the days that have a file. It deletes files that a crash has left half written, after an hour.
func (d *Dir) Days(context.Context) (days []string, err error) {
	if err := files.Make(d.Path); err != nil {
		return nil, err
	}
	all, err := os.ReadDir(d.Path)
	if err != nil {
		return nil, err
	}
	for _, entry := range all {
		if day, ok := strings.CutSuffix(entry.Name(), fileExt); ok && isDay(day) {
			days = append(days, day)
		} else if files.Stale(entry) {
			os.Remove(filepath.Join(d.Path, entry.Name()))
		}
	}
	return days, nil
}

// Load reads the file of a day.
func (d *Dir) Load(_ context.Context, day string) ([]byte, error) {
	if !isDay(day) {
		return nil, notDay(day)
	}
	f, err := os.Open(filepath.Join(d.Path, day+fileExt))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileSize))
}

// Save replaces the file of a day. When it returns nil, the file is on the disk.
func (d *Dir) Save(_ context.Context, day string, data []byte) error {
	if !isDay(day) {
		return notDay(day)
	}
	if err := files.Make(d.Path); err != nil {
		return err
	}
	return files.Replace(d.Path, day+fileExt, data)
}

// Delete deletes the file of a day.
func (d *Dir) Delete(_ context.Context, day string) error {
	if !isDay(day) {
		return notDay(day)
	}
	if err := os.Remove(filepath.Join(d.Path, day+fileExt)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func isDay(s string) bool {
	_, err := time.Parse(dayForm, s)
	return err == nil
}

func notDay(s string) error { return fmt.Errorf("day %.40q: want a date such as 2026-12-31", s) }
