// Package heap is a binary heap whose items know their positions, so that any of them can be changed or taken out.
//
// It differs from container/heap in that: the items' places are kept by an Order, and nothing is boxed in an interface.
package heap

// Order is what a heap is ordered by. Its items know their positions, so that any of them can be
// taken out.
type Order[T any] interface {
	Before(a, b T) bool
	Moved(x T, place int) // x is now at h[place], or in no heap if place is negative
}

// Push adds x to h.
func Push[T any, O Order[T]](o O, h []T, x T) []T {
	h = append(h, x)
	up(o, h, len(h)-1)
	return h
}

// Put puts x where it belongs: anew if place i is negative, or else because its key has changed.
func Put[T any, O Order[T]](o O, h []T, x T, i int) []T {
	if i < 0 {
		return Push(o, h, x)
	}
	Fix(o, h, i)
	return h
}

// Remove takes out the item at place i.
func Remove[T any, O Order[T]](o O, h []T, i int) []T {
	last := len(h) - 1
	x := h[i]
	h[i] = h[last]
	var zero T
	h[last] = zero
	h = h[:last]
	o.Moved(x, -1)
	if i < last {
		Fix(o, h, i)
	}
	if last == 0 {
		return nil
	}
	return h
}

// Fix puts the item at place i where it belongs, after its key has changed.
func Fix[T any, O Order[T]](o O, h []T, i int) {
	if !down(o, h, i) {
		up(o, h, i)
	}
}

// Walk visits items from the given places on, the first of all being 0: below each for which visit returns true,
// the next two. It looks at so many places at most and returns where to go on, nowhere in the end, and how many
// it had left. A heap that changes meanwhile has some visited twice or never, but the walk ends.
func Walk[T any](h []T, places []int, most int, visit func(T) bool) (rest []int, left int) {
	for ; most > 0 && len(places) > 0; most-- {
		i := places[len(places)-1]
		places = places[:len(places)-1]
		if i < len(h) && visit(h[i]) {
			places = append(places, 2*i+2, 2*i+1)
		}
	}
	return places, most
}

func up[T any, O Order[T]](o O, h []T, i int) {
	x := h[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !o.Before(x, h[parent]) {
			break
		}
		h[i] = h[parent]
		o.Moved(h[i], i)
		i = parent
	}
	h[i] = x
	o.Moved(x, i)
}

func down[T any, O Order[T]](o O, h []T, i int) bool {
	x, start := h[i], i
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && o.Before(h[child+1], h[child]) {
			child++
		}
		if !o.Before(h[child], x) {
			break
		}
		h[i] = h[child]
		o.Moved(h[i], i)
		i = child
	}
	h[i] = x
	o.Moved(x, i)
	return i > start
}
