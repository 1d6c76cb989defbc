package index

// byAt orders the tasks of a lane by the time from which they can be claimed.
type byAt[M, S any] struct{ ix *Index[M, S] }

// Before prefers the older message if two tasks are due at the same time, or at once.
func (o byAt[M, S]) Before(a, b ref) bool {
	x, y := o.ix.Tasks.At(a), o.ix.Tasks.At(b)
	if x.at() != y.at() {
		return x.at() < y.at()
	}
	return o.ix.messages.At(x.message).id < o.ix.messages.At(y.message).id
}

func (o byAt[M, S]) Moved(r ref, place int) { o.ix.Tasks.At(r).place = int32(place) }

// byOverdue orders tasks by notice or deadline.
type byOverdue[M, S any] struct{ ix *Index[M, S] }

func (o byOverdue[M, S]) Before(a, b ref) bool {
	return o.ix.Tasks.At(a).overdue < o.ix.Tasks.At(b).overdue
}

func (o byOverdue[M, S]) Moved(r ref, place int) { o.ix.Tasks.At(r).oplace = int32(place) }

// byExpiry orders leases by their end.
type byExpiry struct{}

func (byExpiry) Before(a, b *Lease) bool { return a.expires < b.expires }

func (byExpiry) Moved(l *Lease, place int) { l.place = place }
