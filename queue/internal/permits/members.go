package permits

import (
	"encoding/json"
	"maps"
	"slices"
)

// Members is the record of all members. Each transaction of a member reads and writes it.
type Members struct {
	Members map[uint64]Member `json:"members,omitempty"`
	Learned uint64            `json:"learned,omitempty"` // how often the record of learned rates has changed
}

// Member is one member.
type Member struct {
	Beat  uint64   `json:"beat"`            // how often it has written
	Calls []string `json:"calls,omitempty"` // records in which it wants what others have
}

// MaxCalls bounds Member.Calls. Those beyond it are heard of later.
const MaxCalls = 100

// ReadMembers reads the record. None is an empty one.
func ReadMembers(data []byte) (*Members, error) {
	m := new(Members)
	if len(data) > 0 {
		if err := json.Unmarshal(data, m); err != nil {
			return nil, err
		}
	}
	if m.Members == nil {
		m.Members = make(map[uint64]Member)
	}
	return m, nil
}

// Write returns the record.
func (m *Members) Write() []byte {
	data, err := json.Marshal(m)
	if err != nil {
		panic(err) // of numbers and names alone
	}
	return data
}

// Has reports whether a member is there.
func (m *Members) Has(id uint64) bool {
	_, ok := m.Members[id]
	return ok
}

// Beat writes down that a member is alive, and what it calls for.
func (m *Members) Beat(me uint64, calls []string) {
	m.Members[me] = Member{Beat: m.Members[me].Beat + 1, Calls: calls[:min(len(calls), MaxCalls)]}
}

// Watch is what a member has seen of the others, by its own monotonic clock.
type Watch map[uint64]Sight

// Sight is when a Beat was first seen.
type Sight struct {
	Beat uint64
	At   int64
}

// Bury removes the members whose Beat is the same for Dead. now is the time before the record was read.
func (w Watch) Bury(m *Members, me uint64, now int64) {
	for id, member := range m.Members {
		if s, ok := w[id]; ok && id != me && s.Beat == member.Beat && now-s.At >= int64(Dead) {
			delete(m.Members, id)
		}
	}
}

// Note notes what was seen. now is the time after the record was read.
func (w Watch) Note(m *Members, now int64) {
	for id, member := range m.Members {
		if s, ok := w[id]; !ok || s.Beat != member.Beat {
			w[id] = Sight{member.Beat, now}
		}
	}
	maps.DeleteFunc(w, func(id uint64, _ Sight) bool { return !m.Has(id) })
}

// IsEager reports whether a member has written lately, so that its wants count.
func (w Watch) IsEager(m *Members, id uint64, now int64) bool {
	s, ok := w[id]
	return !ok || s.Beat != m.Members[id].Beat || now-s.At < int64(Eager)
}

// Called returns what the other members call for, sorted.
func (w Watch) Called(m *Members, me uint64, now int64) (names []string) {
	for id, member := range m.Members {
		if id != me && w.IsEager(m, id, now) {
			names = append(names, member.Calls...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
