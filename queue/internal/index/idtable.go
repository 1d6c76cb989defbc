package index

import "math/bits"

// idTable finds messages by their IDs, and other things by other names. It stores only refs, in a quarter of the memory
// of a map, and reads the ID behind a ref by idOf. It has 256 parts that grow one at a time, so that no growth takes
// long.
type idTable[K comparable] struct {
	idOf  func(ref) K
	hash  func(K) uint64
	parts [256]idPart
	count int
}

// idPart is a hash table with open addressing. Its length is a power of two, and it is never full. A slot without a ref
// is 0.
type idPart struct {
	refs []ref
	used int
}

// hashID spreads IDs, which are consecutive.
func hashID(id uint64) uint64 { return id * 0x9e3779b97f4a7c15 }

// part returns the part of an ID, which the upper octet of the hash selects.
func (t *idTable[K]) part(id K) *idPart { return &t.parts[t.hash(id)>>56] }

// home returns the slot where an ID belongs.
func (t *idTable[K]) home(p *idPart, id K) int {
	return int(t.hash(id) << 8 >> (64 - bits.TrailingZeros(uint(len(p.refs)))))
}

// get returns the ref of an ID, 0 if there is none.
func (t *idTable[K]) get(id K) ref {
	p := t.part(id)
	if p.used == 0 {
		return 0
	}
	return p.refs[t.slot(p, id)]
}

// slot returns the slot of the ID, or the free slot where it would go.
func (t *idTable[K]) slot(p *idPart, id K) int {
	i := t.home(p, id)
	for p.refs[i] != 0 && t.idOf(p.refs[i]) != id {
		i = (i + 1) % len(p.refs)
	}
	return i
}

// add adds a ref with an ID that isn't in the table.
func (t *idTable[K]) add(id K, r ref) {
	p := t.part(id)
	if 4*(p.used+1) > 3*len(p.refs) {
		old := p.refs
		p.refs = make([]ref, max(4, 2*len(old)))
		for _, r := range old {
			if r != 0 {
				p.refs[t.slot(p, t.idOf(r))] = r
			}
		}
	}
	p.refs[t.slot(p, id)] = r
	p.used++
	t.count++
}

// remove removes an ID that is in the table. Its ref must still be valid.
func (t *idTable[K]) remove(id K) {
	p := t.part(id)
	hole := t.slot(p, id)
	// Refs after the hole, up to the next free slot, may belong before it.
	for i := (hole + 1) % len(p.refs); p.refs[i] != 0; i = (i + 1) % len(p.refs) {
		home := t.home(p, t.idOf(p.refs[i]))
		if (i-home+len(p.refs))%len(p.refs) >= (i-hole+len(p.refs))%len(p.refs) {
			p.refs[hole] = p.refs[i]
			hole = i
		}
	}
	p.refs[hole] = 0
	p.used--
	t.count--
	if p.used == 0 {
		p.refs = nil
	}
}
