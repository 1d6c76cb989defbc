package smtp

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Slot is one of the attempts that a queue's runner makes at a time. A runner that gives free slots to slow mail can
// take them back when other mail comes, as long as the attempt has sent no MAIL: no host has seen the message then, and
// nothing is lost.
//
//  1. The runner makes a Slot for each attempt, and calls the [Sender] with a context of [WithSlot].
//  2. A Sender that can be interrupted calls [Lend] when it begins, and goes on with the context that Lend returns.
//  3. From then on, the runner may call TakeBack, which ends that context.
//  4. The Sender calls [Keep] right before it sends MAIL. If Keep returns true, the slot can't be taken back any more.
//     If it returns false, the Sender sends nothing.
//
// A Sender that doesn't call Lend is never interrupted. A wrapper around a Sender passes its context on, and has
// nothing else to do. The zero value is a Slot in use. Its methods, Lend and Keep may be called by several goroutines.
type Slot struct {
	// Invariants, under mu: loans has the calls of Lend that haven't ended, and is empty once the slot is kept or
	// taken. A slot that is kept is never taken, and the reverse. The contexts of all loans have ended before taken is
	// seen.
	mu          sync.Mutex
	loans       []*loan
	kept, taken bool
}

// loan is a call of Lend.
type loan struct{ cancel context.CancelCauseFunc }

// ErrTakenBack is the cause ([context.Cause]) of the end of a context of [Lend] whose slot was taken back. It is in the
// error of a Sender that ended because of that.
var ErrTakenBack = errors.New("smtp: the slot was taken back")

type slotKey struct{}

// WithSlot returns a context for a call of a [Sender] in s. A wrapper that must not be interrupted calls its Sender
// with a nil s, or calls [Keep] first.
func WithSlot(ctx context.Context, s *Slot) context.Context {
	return context.WithValue(ctx, slotKey{}, s)
}

func slotOf(ctx context.Context) *Slot {
	s, _ := ctx.Value(slotKey{}).(*Slot)
	return s
}

// Lend lets the slot of ctx be taken back. It returns a context that ends with ctx, and earlier with the cause
// [ErrTakenBack] if the slot is taken back. It has ended already if the slot was taken back before. If ctx has no slot,
// or if the slot is kept, Lend returns ctx.
//
// The Sender calls end when it returns, after which the context isn't used any more. If it has called neither Keep nor
// end, the slot stays lent. A Sender that calls several others in turn, or at the same time, may have each of them call
// Lend: all of them are interrupted together, until one of them calls Keep.
func Lend(ctx context.Context) (lent context.Context, end func()) {
	s := slotOf(ctx)
	if s == nil {
		return ctx, func() {}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept {
		return ctx, func() {}
	}
	lent, cancel := context.WithCancelCause(ctx)
	if s.taken {
		cancel(ErrTakenBack)
		return lent, func() {}
	}
	l := &loan{cancel}
	s.loans = append(s.loans, l)
	return lent, func() { s.end(l) }
}

func (s *Slot) end(l *loan) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loans = slices.DeleteFunc(s.loans, func(other *loan) bool { return other == l })
	l.cancel(nil)
}

// Keep ends the time in which the slot of ctx may be taken back, for the rest of the attempt. It returns false if the
// slot was taken back already: the Sender then sends nothing, and defers its recipients. It returns true if ctx has no
// slot. A further call returns the same.
func Keep(ctx context.Context) bool {
	s := slotOf(ctx)
	if s == nil {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		return false
	}
	s.kept, s.loans = true, nil
	return true
}

// TakeBack takes the slot back if it is lent, and reports whether it did so: the contexts that Lend returned have ended
// then, and the Sender returns soon. Until it returns, the attempt goes on. If the slot isn't lent, is kept or was
// taken back before, TakeBack returns false and does nothing. It doesn't block.
func (s *Slot) TakeBack() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.loans) == 0 {
		return false
	}
	for _, l := range s.loans {
		l.cancel(ErrTakenBack)
	}
	s.taken, s.loans = true, nil
	return true
}

// TakenBack reports whether the slot was taken back. A Result of that attempt that is Deferred and Local says nothing
// about a host, a recipient or the message.
func (s *Slot) TakenBack() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken
}
