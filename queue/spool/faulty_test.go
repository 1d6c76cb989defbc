package spool

import (
	"log/slog"
	"sync/atomic"
	"time"
)

// KeyHours and MaxKeys are the bounds of Keys of OpenFaultySpool.
const KeyHours, MaxKeys = 30, 300

// OpenFaultySpool opens a spool whose writes fail with what fault has, while it has something. A small one has
// segments and inline bodies so small that it rolls, compacts and makes files all the time. now is its clock.
func OpenFaultySpool(dir string, small bool, fault *atomic.Value, now func() time.Time) (*Spool, error) {
	config := testConfig
	if small {
		config = Options{SegmentSize: 8 << 10, InlineSize: 1 << 10, SyncDelay: time.Second}
	}
	config.Now, config.KeyTime, config.MaxKeys = now, time.Hour*KeyHours, MaxKeys
	config.Logger = slog.New(slog.DiscardHandler)
	disk, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	s, err := openSpool(faultyFS{disk, fault}, dir, config)
	if err == nil {
		s.held = disk
	}
	return s, err
}

// Fault is an error of the disk; the zero Fault is none.
type Fault struct{ Err error }

type faultyFS struct {
	FS
	fault *atomic.Value
}

func (fs faultyFS) Open(name string, create bool) (File, error) {
	f, err := fs.FS.Open(name, create)
	return faultyFile{f, fs.fault}, err
}

type faultyFile struct {
	File
	fault *atomic.Value
}

func (f faultyFile) Writev(off int64, buffers ...[]byte) error {
	if fault, _ := f.fault.Load().(Fault); fault.Err != nil {
		return fault.Err
	}
	return f.File.Writev(off, buffers...)
}
