package spool

import (
	"maps"
	"slices"
	"sync"

	"github.com/postrider/postrider/queue"
)

// gate is the FS of a Spool. Once it is shut, no operation is under way and none begins, as the directory may be
// another's: it is refused with queue.ErrClosed. Files that are open can be used.
//
// It knows the files that drafts have made, until the log takes their record.
type gate struct {
	FS
	mu     sync.Mutex
	inside int // operations under way
	closed bool
	left   sync.Cond // inside is 0
	drafts map[string]struct{}
}

func newGate(fs FS) *gate {
	g := &gate{FS: fs, drafts: map[string]struct{}{}}
	g.left.L = &g.mu
	return g
}

// shut returns when no operation is under way. It removes the files of drafts.
func (g *gate) shut() {
	g.mu.Lock()
	for g.closed = true; g.inside > 0; {
		g.left.Wait()
	}
	names := slices.Collect(maps.Keys(g.drafts))
	g.mu.Unlock()
	for _, name := range names {
		g.FS.Remove(name) // what stays is swept when the spool is opened
	}
}

// enter begins an operation.
func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return queue.ErrClosed
	}
	g.inside++
	return nil
}

// leave ends an operation.
func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside--; g.inside == 0 {
		g.left.Broadcast()
	}
}

// draft notes that a draft makes a file of that name, or renames one to it.
func (g *gate) draft(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drafts[name] = struct{}{}
}

// undraft notes that the file of that name is no draft's: it has another name, or the log gets its record.
func (g *gate) undraft(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.drafts, name)
}

// discard removes a draft's file. If the gate is shut, shut does it.
func (g *gate) discard(name string) {
	if g.Remove(name) != queue.ErrClosed {
		g.undraft(name)
	}
}

func (g *gate) Open(name string, create bool) (File, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	defer g.leave()
	return g.FS.Open(name, create)
}

func (g *gate) Rename(from, to string) error {
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	return g.FS.Rename(from, to)
}

func (g *gate) Remove(name string) error {
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	return g.FS.Remove(name)
}

func (g *gate) Sync() error {
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	return g.FS.Sync()
}

func (g *gate) Free() (int64, error) {
	if err := g.enter(); err != nil {
		return 0, err
	}
	defer g.leave()
	return g.FS.Free()
}
