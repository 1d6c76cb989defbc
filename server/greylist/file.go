package greylist

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/flock"
	"github.com/postrider/postrider/server/internal/recent"
)

// Options are the settings of a [File]. The zero Options are the defaults, which [Open] uses.
type Options struct {
	// MaxPending bounds the triplets that wait or have waited. If zero, 200,000, which take up to 10 MB of memory.
	MaxPending int

	// MaxAllowed bounds the networks that are allowed. If zero, 100,000, which take up to 6 MB. While the file is
	// written, entries take that twice, and 100 octets each.
	MaxAllowed int

	// SaveDelay is the time from a change until the file is written. A crash loses the changes of that time, and those
	// senders wait once more. If zero, 5 minutes.
	SaveDelay time.Duration

	// Logger gets a line at level Error if the file can't be written. It is tried again after SaveDelay. If nil,
	// nothing is logged, and only Close returns the error.
	Logger *slog.Logger
}

// File is a [Store] in memory that is kept in a file over restarts. The file is written anew as a whole and replaced,
// so after a crash it is an old one or a new one, and never a part. Only one File has a path open at a time.
//
// Its methods may be called concurrently.
type File struct {
	path    string // "" if there is none
	options Options

	maxPending, maxAllowed int

	saving sync.Mutex // held while the file is saved
	lock   io.Closer  // of the path; nil if there is none, and after Close; under saving

	mu      sync.Mutex
	pending recent.Map[key, span]
	allowed recent.Map[netip.Prefix, int64] // until when, in nanoseconds since 1970
	dirty   bool                            // the file doesn't have the last change
	closed  bool
	timer   *time.Timer // of the next save; nil if there is nothing to save
}

// key is the hash of a Triplet.
type key [16]byte

// span is a time, in nanoseconds since 1970.
type span struct{ since, until int64 }

// Open reads the file at path, with the default [Options]. A file that doesn't exist is created. Its directory must
// exist. The File must be closed.
//
// A file that isn't whole, or from a newer program, is an error, and isn't changed. So is one that is open already, in
// this process or in another one: the lock is that of a file with ".lock" at the end of its name, and ends with the
// process. It needs flock: on Windows, Open returns an error that wraps errors.ErrUnsupported.
func Open(path string) (*File, error) { return new(Options).Open(path) }

// Open opens a file like the function [Open], with these options.
func (o *Options) Open(path string) (*File, error) {
	switch {
	case path == "":
		return nil, errors.New("greylist: Open: the path is empty")
	case o.MaxPending < 0 || o.MaxAllowed < 0 || o.SaveDelay < 0:
		return nil, fmt.Errorf("greylist: Options are %d, %d and %v: none may be negative",
			o.MaxPending, o.MaxAllowed, o.SaveDelay)
	}
	lock, err := flock.Open(path + ".lock") // a file of its own, as that at path is replaced
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("create its directory: %w", err)
		}
		return nil, fmt.Errorf("greylist: open %s: %w", path, err)
	}
	f := newFile(o)
	f.path, f.lock = path, lock
	if err = f.read(); err == nil || errors.Is(err, fs.ErrNotExist) {
		f.dirty = true
		err = f.save() // shows now that the file can't be written, and not at the first mail; nobody else has f yet
	}
	if err != nil {
		return nil, fmt.Errorf("greylist: open %s: %w", path, errors.Join(err, lock.Close()))
	}
	return f, nil
}

func newFile(o *Options) *File {
	return &File{
		options: *o, maxPending: cmp.Or(o.MaxPending, 200_000), maxAllowed: cmp.Or(o.MaxAllowed, 100_000),
	}
}

// Close saves the last changes. Later ones are lost.
func (f *File) Close() error {
	f.mu.Lock()
	f.closed = true
	if f.timer != nil {
		f.timer.Stop()
	}
	f.mu.Unlock()
	f.saving.Lock()
	defer f.saving.Unlock()
	err := f.save()
	if f.lock != nil {
		err = errors.Join(err, f.lock.Close())
		f.lock = nil
	}
	if err != nil {
		return fmt.Errorf("greylist: close %s: %w", f.path, err)
	}
	return nil
}

// First implements [Store].
func (f *File) First(_ context.Context, t Triplet, now time.Time, keep time.Duration) (time.Time, error) {
	k := t.key()
	f.mu.Lock()
	defer f.mu.Unlock()
	at := now.UnixNano()
	// A time after now is of a clock that was wrong.
	if s, ok := f.pending.Get(k); ok && s.since <= at && at-s.since <= int64(keep) {
		return time.Unix(0, s.since), nil
	}
	f.pending.Put(k, span{at, at + int64(keep)}, f.maxPending, func(s span) bool { return s.until >= at })
	f.changed()
	return now, nil
}

// Allow implements [Store].
func (f *File) Allow(_ context.Context, network netip.Prefix, until time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now().UnixNano()
	f.allowed.Put(network, until.UnixNano(), f.maxAllowed, func(until int64) bool { return until > now })
	f.changed()
	return nil
}

// Allowed implements [Store].
func (f *File) Allowed(_ context.Context, network netip.Prefix) (time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if until, ok := f.allowed.Get(network); ok {
		return time.Unix(0, until), nil
	}
	return time.Time{}, nil
}

// key returns the hash of a triplet, so that all entries have one size.
func (t Triplet) key() key {
	h := sha256.Sum256(fmt.Appendf(nil, "%v\x00%s\x00%s", t.Network, t.From, t.To))
	return key(h[:16])
}

// changed has the file saved some time later. f.mu is held.
func (f *File) changed() {
	f.dirty = true
	if f.path != "" && f.timer == nil && !f.closed {
		f.timer = time.AfterFunc(cmp.Or(f.options.SaveDelay, 5*time.Minute), f.saveLater)
	}
}

// saveLater is called by the timer. Close waits for it.
func (f *File) saveLater() {
	f.saving.Lock()
	defer f.saving.Unlock()
	f.mu.Lock()
	f.timer = nil
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.mu.Unlock()
	err := f.save()
	f.mu.Lock()
	if f.dirty {
		f.changed()
	}
	f.mu.Unlock()
	if err != nil && f.options.Logger != nil {
		defer func() { _ = recover() }() // a Logger must not end the process
		f.options.Logger.Error("greylist: not saved", "path", f.path, "err", err)
	}
}
