package spool

import (
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// OpenFaultySpool opens a spool whose writes fail with what fault has, while it has something. A small one has
// segments and inline bodies so small that it rolls, compacts and makes files all the time.
func OpenFaultySpool(dir string, small bool, fault *atomic.Value) (*Spool, error) {
	config := testConfig
	if small {
		config = Options{SegmentSize: 8 << 10, InlineSize: 1 << 10, SyncDelay: time.Second}
	}
	config.Logger = slog.New(slog.DiscardHandler)
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	handle, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	s, err := openSpool(faultyFS{dirFS{dir, handle}, fault}, dir, config)
	if err == nil {
		s.held = []io.Closer{handle}
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
