package spool

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"
)

// Options are the settings of a Spool. The zero Options are the defaults, which [Open] uses.
type Options struct {
	// Logger gets damage, at level Error, and the progress of an Open that takes long, once a second at level Info. If
	// nil, nothing is logged: call [Spool.Damage] after Open.
	Logger *slog.Logger

	// Reserve is the free space of the disk, in octets, below which new mail is refused with syscall.ENOSPC, so that
	// settlements and reports can still be stored. If zero, 32 MiB; if negative, none.
	Reserve int64

	// InlineSize is the largest body, in octets, that is written to the log, at most 64 MiB. A larger body gets a file
	// of its own. If zero, 256 KiB.
	InlineSize int

	// SegmentSize is the size in octets at which the log continues in a new file, from 1 KiB to 1 GiB. If zero, 64 MiB.
	SegmentSize int64

	// SyncDelay is the longest time that a settlement without reports waits to share a sync with others. A crash of the
	// machine may undo such a settlement. If zero, 1 second.
	SyncDelay time.Duration

	// KeyTime is how long the Key of a message is remembered: see [queue.Keyer]. If zero, 24 hours.
	KeyTime time.Duration

	// MaxKeys is the largest number of Keys that are remembered. Each takes about 90 octets of memory, and 68 of the
	// disk. If there are more when the spool is opened, all are remembered. If zero, 1,000,000.
	MaxKeys int

	// FS replaces the directory, for tests that crash it or make it fail. Then nothing is locked: the FS must belong to
	// this Spool alone. If nil, the directory is used.
	FS FS

	// Now replaces time.Now, for tests that step the wall clock. Its times must have the monotonic clock of time.Now.
	// If nil, time.Now is used.
	Now func() time.Time
}

// Open opens the spool in dir with the default [Options]. It creates the directory if it is missing. With a million
// messages, it takes a few seconds.
//
// The error is a *[LockedError] if the spool is open already. It is another error, and nothing is changed, if a newer
// program wrote something that this one must not ignore: see the package doc. Records that can't be read are skipped:
// see [Spool.Damage].
func Open(dir string) (*Spool, error) { return new(Options).Open(dir) }

// Open opens the spool in dir like the function [Open], with these options.
func (o *Options) Open(dir string) (*Spool, error) {
	s, err := o.open(dir)
	if _, ok := errors.AsType[*LockedError](err); ok || err == nil {
		return s, err
	}
	return nil, fmt.Errorf("spool: open %s: %w", dir, err)
}

func (o *Options) open(dir string) (*Spool, error) {
	config := *o
	config.Reserve = cmp.Or(o.Reserve, 32<<20)
	config.InlineSize = cmp.Or(o.InlineSize, 256<<10)
	config.SegmentSize = cmp.Or(o.SegmentSize, 64<<20)
	config.SyncDelay = cmp.Or(o.SyncDelay, time.Second)
	switch {
	case config.InlineSize < 0 || config.InlineSize > 64<<20:
		return nil, fmt.Errorf("Options.InlineSize is %d: it must be from 0 to 64 MiB", o.InlineSize)
	case config.SegmentSize < 1<<10 || config.SegmentSize > 1<<30:
		return nil, fmt.Errorf("Options.SegmentSize is %d: it must be from 1 KiB to 1 GiB", o.SegmentSize)
	case config.SyncDelay < 0:
		return nil, fmt.Errorf("Options.SyncDelay is %v: it must not be negative", o.SyncDelay)
	case config.KeyTime < 0:
		return nil, fmt.Errorf("Options.KeyTime is %v: it must not be negative", o.KeyTime)
	case config.MaxKeys < 0:
		return nil, fmt.Errorf("Options.MaxKeys is %d: it must not be negative", o.MaxKeys)
	case config.FS != nil:
		return openSpool(config.FS, dir, config)
	}
	fs, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	s, err := openLocked(fs, dir, config)
	if err != nil {
		fs.Close()
		return nil, err
	}
	s.held = fs
	return s, nil
}

// openLocked locks the directory and opens the spool in it.
func openLocked(fs *dirFS, dir string, config Options) (*Spool, error) {
	if err := fs.lockDir(dir); err != nil {
		return nil, err
	}
	names, err := fs.List()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(names)), isSegment) {
		// Nobody may have synced the names above it since the directory was made.
		if err := syncAncestors(dir, syncDir); err != nil {
			return nil, err
		}
	}
	return openSpool(fs, dir, config)
}
