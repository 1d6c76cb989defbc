package index

import (
	"hash/maphash"

	"github.com/postrider/postrider/smtp"
)

// marks are hashes of fields that a Filter compares. Messages with other marks than a Filter aren't read for it. In the
// marks of a Filter, 0 matches all.
type marks struct {
	ref    uint32
	sender uint32 // of its local part, which is compared octet by octet
}

func (m marks) match(f *marks) bool {
	return (f.ref == 0 || f.ref == m.ref) && (f.sender == 0 || f.sender == m.sender)
}

// marksOf returns those of a message. It needs no lock.
func (ix *Index[M, S]) marksOf(s *Message) marks {
	local, _ := smtp.SplitAddress(s.Envelope.From)
	return marks{ix.mark(s.Ref), ix.mark(local)}
}

// marksIn returns those of a Filter.
func (ix *Index[M, S]) marksIn(f *Filter) (m marks) {
	if f.Ref != "" {
		m.ref = ix.mark(f.Ref)
	}
	if f.sender != nil {
		m.sender = ix.mark(f.sender.local)
	}
	return m
}

func (ix *Index[M, S]) mark(s string) uint32 { return max(1, uint32(maphash.String(ix.tenants, s))) }
