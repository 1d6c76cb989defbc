package queue

// byAt is the order of claims within a lane.
type byAt[M, S any] struct{ ix *index[M, S] }

// before prefers what came first where two are due at once.
func (o byAt[M, S]) before(a, b ref) bool {
	x, y := o.ix.tasks.at(a), o.ix.tasks.at(b)
	if x.at() != y.at() {
		return x.at() < y.at()
	}
	return o.ix.messages.at(x.message).id < o.ix.messages.at(y.message).id
}

func (o byAt[M, S]) moved(r ref, place int) { o.ix.tasks.at(r).place = int32(place) }

type byOverdue[M, S any] struct{ ix *index[M, S] }

func (o byOverdue[M, S]) before(a, b ref) bool {
	return o.ix.tasks.at(a).overdue < o.ix.tasks.at(b).overdue
}

func (o byOverdue[M, S]) moved(r ref, place int) { o.ix.tasks.at(r).oplace = int32(place) }

type byDue[M, S any] struct{ ix *index[M, S] }

func (o byDue[M, S]) before(a, b ref) bool { return o.ix.dests.at(a).at < o.ix.dests.at(b).at }

func (o byDue[M, S]) moved(r ref, place int) { o.ix.dests.at(r).place = int32(place) }

type byExpiry struct{}

func (byExpiry) before(a, b *lease) bool { return a.expires < b.expires }

func (byExpiry) moved(l *lease, place int) { l.place = place }
