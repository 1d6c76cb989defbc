package index

import (
	"hash/maphash"
	"iter"
	"math"
	"math/bits"

	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
)

// marks are hashes of fields that a Filter compares. Messages with other marks than a Filter aren't read for it. In the
// marks of a Filter, 0 matches all.
type marks struct {
	to     uint32 // of the local parts of all recipients: four bits for each
	ref    uint16
	sender uint16 // of its local part, which is compared octet by octet
}

func (m marks) match(f *marks) bool {
	return (f.ref == 0 || f.ref == m.ref) && (f.sender == 0 || f.sender == m.sender) && f.to&^m.to == 0
}

// marksOf returns those of a message. It needs no lock.
func (ix *Index[M, S]) marksOf(s *Message) marks {
	local, _ := smtp.SplitAddress(s.Envelope.From)
	m := marks{ref: ix.mark(s.Ref), sender: ix.mark(local)}
	m.to = math.MaxUint32 // a store that has been opened again may not know the recipients
	if known := s.Envelope.Recipients; len(known) > 0 && known[0].Address != "" {
		m.to = 0
		for i := range known {
			local, _ := smtp.SplitAddress(known[i].Address)
			m.to |= ix.fourBits(local)
		}
	}
	return m
}

// soughtBy returns what a Filter looks for.
func (ix *Index[M, S]) soughtBy(f *Filter) (m sought) {
	if f.Destination != "" {
		m.dest = ix.destMark(f.Destination)
	}
	if f.Tenant != "" && ix.Owner == nil {
		m.owner = ix.tenant(f.Tenant)
	}
	if f.Ref != "" {
		m.ref = ix.mark(f.Ref)
	}
	if f.sender != nil {
		m.sender = ix.mark(f.sender.local)
	}
	if f.recipient != nil {
		m.to = ix.fourBits(f.recipient.local)
	}
	return m
}

func (ix *Index[M, S]) mark(s string) uint16 { return max(1, uint16(maphash.String(ix.tenants, s))) }

// fourBits returns four bits, or fewer in rare cases. One in some 30,000 other addresses has the same, and one in 50
// messages to three others.
func (ix *Index[M, S]) fourBits(s string) (b uint32) {
	for h := maphash.String(ix.senders, s); h != 0 && bits.OnesCount32(b) < 4; h >>= 5 {
		b |= 1 << (h & 31)
	}
	return b
}

// sought is what a Filter looks for in the chunks of messages. A field that is zero matches all.
type sought struct {
	marks
	dest  uint64 // of the name of the destination
	owner queue.Owner
}

// summary is a Bloom filter of the marks, the owners and the destinations of a chunk of messages. A search for one of
// these passes over chunks that have none of it. It has two octets a message. Of the chunks without it, one in 5 to 20
// is searched in vain.
type summary [chunkSize * 16 / 64]uint64

// isWide is the bit of a summary that is set if a message may have several recipients, or ones that aren't known, and
// isSpread if one may have more than fewDests destinations. The bits before them are for marks.
const (
	isWide   = chunkSize*16 - 1
	isSpread = isWide - 1
)

const fewDests = 4

// These are added to marks, so that those of different fields don't meet.
const (
	ofRef = (iota + 1) << 32
	ofSender
	ofRecipient
	ofDest
)

// places returns the two bits of a mark.
func places(mark uint64) (a, b uint64) {
	h := mark * 0x9e3779b97f4a7c15
	return h >> 48 % isSpread, h >> 32 % isSpread
}

func (s *summary) set(bit uint64) { s[bit/64] |= 1 << (bit % 64) }

func (s *summary) has(bit uint64) bool { return s[bit/64]>>(bit%64)&1 != 0 }

func (s *summary) add(mark uint64) {
	a, b := places(mark)
	s.set(a)
	s.set(b)
}

func (s *summary) includes(mark uint64) bool {
	a, b := places(mark)
	return s.has(a) && s.has(b)
}

// note adds the marks of a message.
func (s *summary) note(m *marks) {
	s.add(ofRef | uint64(m.ref))
	s.add(ofSender | uint64(m.sender))
	if bits.OnesCount32(m.to) <= 4 {
		s.add(ofRecipient | uint64(m.to))
	} else {
		s.set(isWide)
	}
}

// noteOwner adds the Owner of a message. It may have all bits, as none of the other marks has.
func (s *summary) noteOwner(o queue.Owner) { s.add(uint64(o)) }

// noteDests adds the destinations of the tasks of a message, which may have left.
func (s *summary) noteDests(marks iter.Seq[uint64]) {
	n := 0
	for mark := range marks {
		if n++; n > fewDests {
			s.set(isSpread)
			return
		}
		s.add(mark)
	}
}

// noteTasks adds the Owner and the destinations of a message to the summary of its chunk.
func (ix *Index[M, S]) noteTasks(s *summary, m *message[M]) {
	s.noteDests(func(yield func(uint64) bool) {
		for r := m.first; r != 0; {
			t := ix.Tasks.At(r)
			l := ix.lanes.At(t.lane)
			if s.noteOwner(l.owner); !yield(ix.destMark(ix.dests.At(l.dest).name)) {
				return
			}
			r = t.next
		}
	})
}

// destMark returns the mark of a destination.
func (ix *Index[M, S]) destMark(name string) uint64 {
	return ofDest | maphash.String(ix.tenants, name)&math.MaxUint32
}

// may reports whether a message that a Filter looks for may be among those that were noted. All four bits of the
// Filter's recipient are among those of such a message: if it has no others, they are the same.
func (s *summary) may(f *sought) bool {
	return (f.owner == 0 || s.includes(uint64(f.owner))) && (f.dest == 0 || s.has(isSpread) || s.includes(f.dest)) &&
		(f.ref == 0 || s.includes(ofRef|uint64(f.ref))) &&
		(f.sender == 0 || s.includes(ofSender|uint64(f.sender))) &&
		(s.has(isWide) || bits.OnesCount32(f.to) < 4 || s.includes(ofRecipient|uint64(f.to)))
}

// again empties the summary of a chunk if many of the messages in it have left, and returns it: those that are there
// are to be noted. Otherwise it returns nil.
func (c *chunk[T]) again() *summary {
	if c.left < chunkSize/4 {
		return nil
	}
	*c.sum, c.left = summary{}, 0
	return c.sum
}
