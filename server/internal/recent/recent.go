// Package recent has the maps of the checks: bounded, and with what came last.
package recent

import "maps"

// Map is a map with a bound, in two halves: when the younger one is full, the older one is forgotten. So room is made
// without a search. The zero Map is empty. It isn't safe for concurrent use.
type Map[K comparable, V any] struct{ young, old map[K]V }

// Len returns the number of entries.
func (m *Map[K, V]) Len() int { return len(m.young) + len(m.old) }

// Get returns the value of k.
func (m *Map[K, V]) Get(k K) (V, bool) {
	v, ok := m.young[k]
	if !ok {
		v, ok = m.old[k]
	}
	return v, ok
}

// Put keeps a value. Both halves together have at most bound entries, which is at least 1. If there is no room, entries
// that aren't valid any more are forgotten first.
func (m *Map[K, V]) Put(k K, v V, bound int, valid func(V) bool) {
	delete(m.old, k)
	half := max(1, bound/2)
	if _, known := m.young[k]; !known && len(m.young) >= half {
		maps.DeleteFunc(m.young, func(_ K, v V) bool { return !valid(v) })
		if len(m.young) > half/2 { // else there is room for long enough that the search was worth it
			m.old, m.young = m.young, nil
		}
		if bound == 1 {
			m.old = nil
		}
	}
	if m.young == nil {
		m.young = make(map[K]V)
	}
	m.young[k] = v
}

// Delete forgets k.
func (m *Map[K, V]) Delete(k K) {
	delete(m.young, k)
	delete(m.old, k)
}

// Clone returns a copy.
func (m *Map[K, V]) Clone() Map[K, V] { return Map[K, V]{maps.Clone(m.young), maps.Clone(m.old)} }

// Each calls f with all entries, the older half first.
func (m *Map[K, V]) Each(f func(K, V)) {
	for k, v := range m.old {
		f(k, v)
	}
	for k, v := range m.young {
		f(k, v)
	}
}
