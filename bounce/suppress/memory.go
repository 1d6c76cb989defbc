package suppress

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Memory is a [List] in memory, for tests and for programs that load it themselves. The zero value is an empty one. It
// must not be copied.
type Memory struct {
	// Max bounds the entries. If zero, 1,000,000. The strikes of 100,000 addresses are kept besides: beyond that, those
	// that are the longest without a new one are forgotten.
	Max int

	mu    sync.RWMutex
	state state
}

const (
	defaultMax = 1_000_000
	maxStruck  = 100_000
	maxIDs     = 8 // IDs of a tally
)

// state is what a List knows. The caller locks.
//
// Invariants: the strikes of a Key are in one of young and old. A tally has a Count of at least 1.
type state struct {
	entries    map[Key]Entry
	young, old map[Key][]tally
}

// tally is the strikes of a Key for one Source and Reason.
type tally struct {
	Tally
	strike Strike // the last one
	ids    []string
}

func (s *state) add(e Entry) {
	if s.entries == nil {
		s.entries = make(map[Key]Entry)
	}
	s.entries[e.Key] = e
}

// hasRoom returns ErrFull if an entry can't be added.
func (s *state) hasRoom(k Key, bound int) error {
	if _, ok := s.entries[k]; !ok && len(s.entries) >= cmp.Or(bound, defaultMax) {
		return fmt.Errorf("%w: it has %d entries", ErrFull, len(s.entries))
	}
	return nil
}

func (s *state) remove(k Key) {
	delete(s.entries, k)
	delete(s.young, k)
	delete(s.old, k)
}

// tallies returns those of a Key.
func (s *state) tallies(k Key) []tally {
	if t, ok := s.young[k]; ok {
		return t
	}
	return s.old[k]
}

// counted reports whether a strike changes nothing, and the tally as it is.
func (s *state) counted(k Key, strike Strike) (Tally, bool) {
	for _, t := range s.tallies(k) {
		if t.is(strike) && !t.ended(strike) && strike.ID != "" && slices.Contains(t.ids, strike.ID) {
			return t.Tally, true
		}
	}
	return Tally{}, false
}

func (t *tally) is(s Strike) bool    { return t.strike.Source == s.Source && t.strike.Reason == s.Reason }
func (t *tally) ended(s Strike) bool { return s.Time.Sub(t.strike.Time) > s.Within }

// next returns the tally with one more strike. It changes nothing.
func (s *state) next(k Key, strike Strike) tally {
	t := tally{Tally: Tally{First: strike.Time}}
	for _, other := range s.tallies(k) {
		if other.is(strike) && !other.ended(strike) {
			t = other
		}
	}
	t.Count++
	t.strike = strike
	t.strike.ID = ""
	if strike.ID != "" {
		t.ids = append(slices.Clone(t.ids[max(0, len(t.ids)+1-maxIDs):]), strike.ID)
	}
	return t
}

// set stores a tally in place of the older one.
func (s *state) set(k Key, t tally) {
	var all []tally
	for _, other := range s.tallies(k) {
		if !other.is(t.strike) {
			all = append(all, other)
		}
	}
	s.put(k, append(all, t))
}

// put stores the tallies of a Key, as the youngest.
func (s *state) put(k Key, all []tally) {
	delete(s.old, k)
	if _, known := s.young[k]; !known && len(s.young) >= maxStruck/2 {
		s.old, s.young = s.young, nil
	}
	if s.young == nil {
		s.young = make(map[Key][]tally)
	}
	s.young[k] = all
}

// forgive forgets the tallies of FromResult. It reports whether there are any.
func (s *state) forgive(k Key) bool {
	all := s.tallies(k)
	kept := slices.DeleteFunc(slices.Clone(all), func(t tally) bool { return t.strike.Source == FromResult })
	switch {
	case len(kept) == len(all):
		return false
	case len(kept) == 0:
		delete(s.young, k)
		delete(s.old, k)
	default:
		s.put(k, kept)
	}
	return true
}

// forgives reports whether forgive would change anything.
func (s *state) forgives(k Key) bool {
	return slices.ContainsFunc(s.tallies(k), func(t tally) bool { return t.strike.Source == FromResult })
}

// Add implements [List].
func (m *Memory) Add(_ context.Context, e Entry) error {
	if err := checkChange(e.Key, e.Source, e.Reason); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.state.hasRoom(e.Key, m.Max); err != nil {
		return err
	}
	m.state.add(e)
	return nil
}

// Has implements [List].
func (m *Memory) Has(_ context.Context, k Key) (Entry, bool, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, ok := m.state.entries[k]
	return e, ok, nil
}

// Remove implements [List].
func (m *Memory) Remove(_ context.Context, k Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.remove(k)
	return nil
}

// Strike implements [List].
func (m *Memory) Strike(_ context.Context, k Key, s Strike) (Tally, error) {
	if err := checkChange(k, s.Source, s.Reason); err != nil {
		return Tally{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, counted := m.state.counted(k, s); counted {
		return t, nil
	}
	t := m.state.next(k, s)
	m.state.set(k, t)
	return t.Tally, nil
}

// Forgive implements [List].
func (m *Memory) Forgive(_ context.Context, k Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state.forgive(k)
	return nil
}

// Entries returns all entries in the order of their Time.
func (m *Memory) Entries() []Entry {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.sorted()
}

func (s *state) sorted() []Entry {
	all := make([]Entry, 0, len(s.entries))
	for _, e := range s.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Address, b.Address), cmp.Compare(a.Tenant, b.Tenant))
	})
	return all
}

// expire drops what has ended, before a file is written anew.
func (s *state) expire(now time.Time) {
	for k, e := range s.entries {
		if e.Over(now) {
			delete(s.entries, k)
		}
	}
}
