package index

// byAt is the order of claims within a lane.
type byAt[M, S any] struct{ ix *Index[M, S] }

// Before prefers what came first where two are due at once.
func (o byAt[M, S]) Before(a, b ref) bool {
	x, y := o.ix.Tasks.At(a), o.ix.Tasks.At(b)
	if x.at() != y.at() {
		return x.at() < y.at()
	}
	return o.ix.messages.At(x.message).id < o.ix.messages.At(y.message).id
}

func (o byAt[M, S]) Moved(r ref, place int) { o.ix.Tasks.At(r).place = int32(place) }

type byOverdue[M, S any] struct{ ix *Index[M, S] }

func (o byOverdue[M, S]) Before(a, b ref) bool {
	return o.ix.Tasks.At(a).overdue < o.ix.Tasks.At(b).overdue
}

func (o byOverdue[M, S]) Moved(r ref, place int) { o.ix.Tasks.At(r).oplace = int32(place) }

type byDue[M, S any] struct{ ix *Index[M, S] }

func (o byDue[M, S]) Before(a, b ref) bool { return o.ix.dests.At(a).at < o.ix.dests.At(b).at }

func (o byDue[M, S]) Moved(r ref, place int) { o.ix.dests.At(r).place = int32(place) }

type byExpiry struct{}

func (byExpiry) Before(a, b *Lease) bool { return a.expires < b.expires }

func (byExpiry) Moved(l *Lease, place int) { l.place = place }
