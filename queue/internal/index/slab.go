package index

import "math/bits"

// ref names an entry of a slab. The zero ref names none.
type ref uint32

const chunkSize = 256

// slab keeps many small values in few allocations, named by refs of four bytes. What holds no
// pointers in it costs the garbage collector nothing. Chunks without an entry are given back.
type slab[T any] struct {
	chunks []*chunk[T]
	room   []uint32 // chunks that may have room; those given back are among them
}

type chunk[T any] struct {
	used  [chunkSize / 64]uint64
	count int
	items *[chunkSize]T // apart, so that the allocator rounds up little
}

// At gives the entry, which stays where it is until it is freed.
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

// each visits the entries of one chunk, and says whether others come behind it. As entries stay where
// they are, whoever goes through the chunks one after the other sees all that are there from first to last, once.
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

// free gives the entry back.
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
	if c.count--; c.count == 0 {
		s.chunks[n] = nil
	}
}
