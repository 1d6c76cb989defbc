package index

import "math/bits"

// ref names an entry of a slab. The zero ref names none.
type ref uint32

const chunkSize = 256

// slab stores many small values in few allocations, named by refs of four octets. Values without pointers cost the
// garbage collector nothing. A chunk without entries is freed.
type slab[T any] struct {
	chunks []*chunk[T]
	room   []uint32 // chunks with free entries, freed chunks included
}

type chunk[T any] struct {
	used  [chunkSize / 64]uint64
	count int
	least uint64        // no entry is of a message with a lower ID: see slab.belongs
	sum   *summary      // of the marks of messages; nil if the entries aren't messages
	left  uint32        // entries that were freed since sum was made
	items *[chunkSize]T // a separate allocation, so that its size is rounded up little
}

// At returns the entry. It doesn't move until it is freed.
func (s *slab[T]) At(r ref) *T {
	i := uint32(r - 1)
	return &s.chunks[i/chunkSize].items[i%chunkSize]
}

// add stores v in a free entry.
func (s *slab[T]) add(v T) ref {
	if len(s.room) == 0 {
		s.room = append(s.room, uint32(len(s.chunks)))
		s.chunks = append(s.chunks, nil)
	}
	n := s.room[len(s.room)-1]
	c := s.chunks[n]
	if c == nil {
		c = &chunk[T]{items: new([chunkSize]T)}
		s.chunks[n] = c
	}
	var i int
	for w, word := range c.used {
		if free := bits.TrailingZeros64(^word); free < 64 {
			i = w*64 + free
			break
		}
	}
	c.used[i/64] |= 1 << (i % 64)
	c.items[i] = v
	if c.count++; c.count == chunkSize {
		s.room = s.room[:len(s.room)-1]
	}
	return ref(n*chunkSize+uint32(i)) + 1
}

// belongs notes the ID and the marks of the message that a new entry is. It returns the summary of its chunk, which is
// to have more of the message.
func (s *slab[T]) belongs(r ref, id uint64, m *marks) *summary {
	c := s.chunks[uint32(r-1)/chunkSize]
	if c.count == 1 {
		c.least, c.sum, c.left = id, new(summary), 0
	}
	c.least = min(c.least, id)
	c.sum.note(m)
	return c.sum
}

// upTo calls visit for chunks from n on that may have a message with an ID up to last() that f looks for, until
// some have been visited or many skipped. visit returns the lowest ID in the chunk. next is the chunk to go on with,
// and more reports whether there is one.
func (s *slab[T]) upTo(n int, last func() uint64, f *sought, visit func(n int) (least uint64)) (next int, more bool) {
	const most, skipped = 4096 / chunkSize, 1024
	visited := 0
	for end := n + skipped; n < len(s.chunks) && n < end && visited < most; n++ {
		if c := s.chunks[n]; c != nil && c.least <= last() && c.sum.may(f) {
			c.least = visit(n)
			visited++
		}
	}
	return n, n < len(s.chunks)
}

// each visits the entries of chunk n. more reports whether there are further chunks. Entries don't move, so a walk
// through all chunks visits each entry that exists during the whole walk once.
func (s *slab[T]) each(n int, visit func(ref, *T)) (more bool) {
	if n >= len(s.chunks) {
		return false
	}
	if c := s.chunks[n]; c != nil {
		for w, word := range c.used {
			for ; word != 0; word &= word - 1 {
				i := w*64 + bits.TrailingZeros64(word)
				visit(ref(n*chunkSize+i)+1, &c.items[i])
			}
		}
	}
	return n+1 < len(s.chunks)
}

// free frees the entry.
func (s *slab[T]) free(r ref) {
	i := uint32(r - 1)
	n := i / chunkSize
	c := s.chunks[n]
	i %= chunkSize
	c.used[i/64] &^= 1 << (i % 64)
	var zero T
	c.items[i] = zero
	if c.count == chunkSize {
		s.room = append(s.room, n)
	}
	c.left++
	if c.count--; c.count == 0 {
		s.chunks[n] = nil
	}
}
