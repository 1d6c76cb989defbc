package crashfs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// Kinds are the kinds of crashes that After knows, besides "random".
//
//	killed    everything that the process saw, though the disk may still lose it
//	lost      synced data under synced names
//	hollow    synced data under all names
//	torn      all names, and half of the unsynced data
//	disorder  everything, but of the removals only the last one
//	random    any mixture, by r
var Kinds = []string{"killed", "lost", "hollow", "torn", "disorder"}

// After returns the directory after a crash, without Before and Reading.
func (m *FS[F]) After(kind string, r *rand.Rand) *FS[F] {
	m.mu.Lock()
	defer m.mu.Unlock()
	if kind == "killed" {
		return m.clone()
	}
	names := m.Names
	switch kind {
	case "lost":
		names = m.kept
	case "disorder":
		names = m.namesAfter(func(i int) bool { return m.changes[i].file != nil || i == len(m.changes)-1 })
	case "random":
		upTo := r.IntN(len(m.changes) + 1)
		inOrder := r.IntN(2) == 0
		names = m.namesAfter(func(i int) bool { return inOrder && i < upTo || !inOrder && r.IntN(2) == 0 })
	}
	all := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		f := names[name]
		switch kind {
		case "lost", "hollow":
			all[name] = f.Synced
		case "torn":
			all[name] = f.torn(func(i int) bool { return i%2 == 1 })
		case "random":
			keep := r.IntN(4)
			all[name] = f.torn(func(int) bool {
				return keep == 0 || keep == 1 && r.IntN(2) == 0 || keep == 2 && r.IntN(20) > 0
			})
		default:
			all[name] = f.Data
		}
	}
	return New[F](all)
}

// clone returns a copy of m. m.mu is held.
func (m *FS[F]) clone() *FS[F] {
	copies := map[*inode]*inode{nil: nil}
	copied := func(f *inode) *inode {
		if copies[f] == nil && f != nil {
			copies[f] = &inode{bytes.Clone(f.Data), bytes.Clone(f.Synced), slices.Clone(f.writes), f.first}
		}
		return copies[f]
	}
	c := &FS[F]{Space: m.Space, Names: map[string]*inode{}, kept: map[string]*inode{}}
	for name, f := range m.Names {
		c.Names[name] = copied(f)
	}
	for name, f := range m.kept {
		c.kept[name] = copied(f)
	}
	for _, ch := range m.changes {
		c.changes = append(c.changes, change{ch.from, ch.to, copied(ch.file)})
	}
	return c
}

// Sum returns a hash of the state.
func (m *FS[F]) Sum() [32]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	h := sha256.New()
	for _, names := range []map[string]*inode{m.Names, m.kept} {
		for _, name := range slices.Sorted(maps.Keys(names)) {
			fmt.Fprintf(h, "%s %x %x ", name, sha256.Sum256(names[name].Data), sha256.Sum256(names[name].Synced))
		}
		fmt.Fprintln(h)
	}
	return [32]byte(h.Sum(nil))
}

// namesAfter returns the directory after some of the changes since its last sync.
func (m *FS[F]) namesAfter(some func(i int) bool) map[string]*inode {
	names := maps.Clone(m.kept)
	for i, c := range m.changes {
		if some(i) {
			c.apply(names)
		}
	}
	return names
}

// torn returns the file with some of its unsynced pieces of 64 octets. In place of the others, it has the former
// octets, or zeros.
func (f *inode) torn(some func(i int) bool) []byte {
	const piece = 64
	b := bytes.Clone(f.Synced)
	n := 0
	for _, e := range f.writes {
		if e.b == nil {
			if some(n) {
				b = e.apply(b)
			}
			n++
			continue
		}
		for i, part := 0, []byte(nil); i < len(e.b); i += len(part) {
			part = e.b[i:min(i+piece, len(e.b))]
			if some(n) {
				b = extent{e.off + int64(i), part}.apply(b)
			}
			n++
		}
	}
	return b
}
