package index

import "math/bits"

// idTable finds messages by their ids. It keeps refs alone, in a quarter of the memory that a map of both takes, and
// asks for the id behind a ref. It is in parts, which grow one at a time, so that no growing takes long.
type idTable struct {
	idOf  func(ref) uint64
	parts [256]idPart
	count int
}

// idPart is a table with open addressing, a power of two long and never full. Slots are 0 where there is no ref.
type idPart struct {
	refs []ref
	used int
}

// hash spreads ids, which come one after the other. Its upper octet tells the part.
func hash(id uint64) uint64 { return id * 0x9e3779b97f4a7c15 }

func (t *idTable) part(id uint64) *idPart { return &t.parts[hash(id)>>56] }

// home is the slot that an id should be in.
func (p *idPart) home(id uint64) int {
	return int(hash(id) << 8 >> (64 - bits.TrailingZeros(uint(len(p.refs)))))
}

// get gives the ref of an id, 0 if there is none.
func (t *idTable) get(id uint64) ref {
	p := t.part(id)
	if p.used == 0 {
		return 0
	}
	return p.refs[t.slot(p, id)]
}

// slot finds where the id is, or where it would go.
func (t *idTable) slot(p *idPart, id uint64) int {
	i := p.home(id)
	for p.refs[i] != 0 && t.idOf(p.refs[i]) != id {
		i = (i + 1) % len(p.refs)
	}
	return i
}

// add adds a ref with an id that isn't there.
func (t *idTable) add(id uint64, r ref) {
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

// remove removes an id that is there. Its ref still has it.
func (t *idTable) remove(id uint64) {
	p := t.part(id)
	hole := t.slot(p, id)
	// What stands behind the hole, up to the next free slot, may belong before it.
	for i := (hole + 1) % len(p.refs); p.refs[i] != 0; i = (i + 1) % len(p.refs) {
		home := p.home(t.idOf(p.refs[i]))
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
