package index

import "slices"

// A suspect is a task that was leased when the process died. It may be the cause, and kill the process again. So
// suspects are claimed apart from each other: few at a time of those with one death, and those with more deaths alone.
// A task that is leased at three deaths is then the cause of the third one, unless the cause is a task without deaths.
//
// All suspects are in Index.suspects. One that comes up in a Claim and has to wait is set aside: it is in no heap until
// the lease of a suspect ends.
type suspect struct {
	deaths int
	leased bool
	aside  bool // it is in Index.aside
}

// fewSuspects is how many suspects with one death can be leased at a time.
const fewSuspects = 8

// SetDeaths sets how often in a row the process died while it had the task. The task doesn't wait.
func (ix *Index[M, S]) SetDeaths(r ref, deaths int) {
	ix.suspectReturned(r)
	delete(ix.suspects, r)
	if deaths <= 0 {
		return
	}
	ix.suspects[r] = &suspect{deaths: deaths}
	if ix.Leased(r) {
		ix.suspectLeased(r)
	}
}

// deaths returns what SetDeaths has set.
func (ix *Index[M, S]) deaths(r ref) int {
	if s := ix.suspects[r]; s != nil {
		return s.deaths
	}
	return 0
}

// leasedLike returns the count of the leased suspects that are claimed by the same rule as s.
func (ix *Index[M, S]) leasedLike(s *suspect) *int {
	if s.deaths == 1 {
		return &ix.few
	}
	return &ix.alone
}

// mustWait reports whether the task is a suspect that can't be claimed now.
func (ix *Index[M, S]) mustWait(r ref) bool {
	s := ix.suspects[r]
	switch {
	case s == nil:
		return false
	case s.deaths == 1:
		return ix.alone > 0 || ix.few >= fewSuspects
	}
	return ix.alone+ix.few > 0
}

// setAside has a suspect wait outside the heaps.
func (ix *Index[M, S]) setAside(r ref) {
	ix.suspects[r].aside = true
	ix.aside = append(ix.aside, r)
}

// takeAside undoes setAside. It reports whether the task was set aside.
func (ix *Index[M, S]) takeAside(r ref) bool {
	s := ix.suspects[r]
	if s == nil || !s.aside {
		return false
	}
	s.aside = false
	ix.aside = slices.DeleteFunc(ix.aside, func(other ref) bool { return other == r })
	return true
}

// suspectLeased notes the lease of a task, if it is a suspect.
func (ix *Index[M, S]) suspectLeased(r ref) {
	if s := ix.suspects[r]; s != nil {
		s.leased = true
		*ix.leasedLike(s)++
	}
}

// suspectReturned notes the end of that lease.
func (ix *Index[M, S]) suspectReturned(r ref) {
	if s := ix.suspects[r]; s != nil && s.leased {
		s.leased = false
		*ix.leasedLike(s)--
		ix.recall()
	}
}

// recall puts what was set aside back into the heaps, as the lease of a suspect has ended.
func (ix *Index[M, S]) recall() {
	back := ix.aside
	ix.aside = nil
	for _, r := range back {
		ix.suspects[r].aside = false
		ix.Put(r)
		t := ix.Tasks.At(r)
		ix.recalled = append(ix.recalled, Coming{ix.nameOf(t.lane), fromDue(t.at())})
	}
}

// Recalled returns the tasks that waited for others of which the process may die, and can be claimed now. The store
// calls it after Claim, Done, Retry and Remove, and announces them.
func (ix *Index[M, S]) Recalled() []Coming {
	recalled := ix.recalled
	ix.recalled = nil
	return recalled
}
