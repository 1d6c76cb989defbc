package queue

// order is what a heap is ordered by. Its items know their places, so that any of them can be
// taken out.
type order[T any] interface {
	before(a, b T) bool
	moved(x T, place int) // x is now at h[place], or in no heap if place is negative
}

// heapPush adds x to h.
func heapPush[T any, O order[T]](o O, h []T, x T) []T {
	h = append(h, x)
	heapUp(o, h, len(h)-1)
	return h
}

// heapRemove takes out the item at place i.
func heapRemove[T any, O order[T]](o O, h []T, i int) []T {
	last := len(h) - 1
	x := h[i]
	h[i] = h[last]
	var zero T
	h[last] = zero
	h = h[:last]
	o.moved(x, -1)
	if i < last {
		heapFix(o, h, i)
	}
	if last == 0 {
		return nil
	}
	return h
}

// heapFix puts the item at place i where it belongs, after its key has changed.
func heapFix[T any, O order[T]](o O, h []T, i int) {
	if !heapDown(o, h, i) {
		heapUp(o, h, i)
	}
}

// heapWalk visits items from the given places on, the first of all being 0: below each for which visit says true,
// the next two. It looks at so many places at most and returns where to go on, nowhere in the end, and how many
// it had left. A heap that changes meanwhile has some visited twice or never, but the walk ends.
func heapWalk[T any](h []T, places []int, most int, visit func(T) bool) (rest []int, left int) {
	for ; most > 0 && len(places) > 0; most-- {
		i := places[len(places)-1]
		places = places[:len(places)-1]
		if i < len(h) && visit(h[i]) {
			places = append(places, 2*i+2, 2*i+1)
		}
	}
	return places, most
}

func heapUp[T any, O order[T]](o O, h []T, i int) {
	x := h[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !o.before(x, h[parent]) {
			break
		}
		h[i] = h[parent]
		o.moved(h[i], i)
		i = parent
	}
	h[i] = x
	o.moved(x, i)
}

func heapDown[T any, O order[T]](o O, h []T, i int) bool {
	x, start := h[i], i
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		if child+1 < len(h) && o.before(h[child+1], h[child]) {
			child++
		}
		if !o.before(h[child], x) {
			break
		}
		h[i] = h[child]
		o.moved(h[i], i)
		i = child
	}
	h[i] = x
	o.moved(x, i)
	return i > start
}
