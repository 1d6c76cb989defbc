package index

import (
	"hash/maphash"
	"math"
	"math/bits"

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

// marksIn returns those of a Filter.
func (ix *Index[M, S]) marksIn(f *Filter) (m marks) {
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
