package queue

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"
)

// SpoolConfig opens Spools that differ from those of [OpenSpool]. The zero SpoolConfig doesn't.
type SpoolConfig struct {
	// Logger is told of damage, as an error, and of how far Open has come if that takes long, once a
	// second. If nil, that is slog.Default: mail that can't be read is nothing to keep quiet about.
	Logger *slog.Logger

	// Reserve is how many octets of the disk are left for settlements and reports: where less is free, no new
	// mail is taken. If zero, 32 MiB; if negative, none.
	Reserve int64

	// InlineSize is the length in octets up to which a body is written to the log, at most 64 MiB. Larger ones get a
	// file each. If zero, 256 KiB.
	InlineSize int

	// SegmentSize is where the log goes on in another file, in octets, from 1 KiB to 1 GiB. If zero, 64 MiB.
	SegmentSize int64

	// SyncDelay is how long a settlement without reports waits for others to be synced along with it. If zero, a second.
	SyncDelay time.Duration
}

// OpenSpool opens the spool in dir, which it makes if there is none. A *[LockedError] says that it is
// in use. What can't be read is left out, logged to the default logger, and told by [Spool.Damage].
func OpenSpool(dir string) (*Spool, error) { return new(SpoolConfig).Open(dir) }

// Open is [OpenSpool] with this configuration.
func (c *SpoolConfig) Open(dir string) (*Spool, error) {
	s, err := c.openLocked(dir)
	if _, ok := errors.AsType[*LockedError](err); ok || err == nil {
		return s, err
	}
	return nil, fmt.Errorf("queue: open spool %s: %w", dir, err)
}

func (c *SpoolConfig) openLocked(dir string) (*Spool, error) {
	config := *c
	config.Reserve = cmp.Or(c.Reserve, 32<<20)
	config.InlineSize = cmp.Or(c.InlineSize, 256<<10)
	config.SegmentSize = cmp.Or(c.SegmentSize, 64<<20)
	config.SyncDelay = cmp.Or(c.SyncDelay, time.Second)
	switch {
	case config.InlineSize < 0 || config.InlineSize > 64<<20:
		return nil, fmt.Errorf("InlineSize is %d, and must be from 0 to 64 MiB", c.InlineSize)
	case config.SegmentSize < 1<<10 || config.SegmentSize > 1<<30:
		return nil, fmt.Errorf("SegmentSize is %d, and must be from 1 KiB to 1 GiB", c.SegmentSize)
	case config.SyncDelay < 0:
		return nil, fmt.Errorf("SyncDelay is %v, and must not be negative", c.SyncDelay)
	}
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	handle, err := os.Open(dir)
	if err != nil {
		lock.Close()
		return nil, err
	}
	s, err := openSpool(dirFS{dir, handle}, dir, config)
	if err != nil {
		handle.Close()
		lock.Close()
		return nil, err
	}
	s.held = []io.Closer{handle, lock}
	return s, nil
}
