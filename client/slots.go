package client

import (
	"context"
	"slices"
)

// slots bounds the sessions of a pool, for a Submission. pool.mu guards it. A Send first takes a turn, and then an idle
// session or a new one.
//
// Invariants: at most max Sends have a turn, each of them has one session at most, and open ≤ max. So where a Send
// with a turn finds no room and no idle session, a session is being closed: the Send never waits for the message of
// another one.
type slots struct {
	turns   int             // Sends that have a turn
	waiting []chan struct{} // Sends that have none, in order of arrival; each channel is closed at its turn
	open    int             // connections, from before the dial until after the close
	changed chan struct{}   // closed once open fell; nil if nobody waits for that
}

// takeTurn waits until fewer than most other Sends have a turn, or ctx ends. A most of zero is no bound.
func (p *pool) takeTurn(ctx context.Context, most int) error {
	if most == 0 {
		return nil
	}
	p.mu.Lock()
	if p.turns < most {
		p.turns++
		p.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	p.waiting = append(p.waiting, turn)
	p.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, turn); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else {
		p.passTurn() // it came at the same moment
	}
	return context.Cause(ctx)
}

// giveTurn ends a turn that takeTurn has taken with the same most.
func (p *pool) giveTurn(most int) {
	if most == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passTurn()
}

// passTurn passes the turn to the Send that has waited longest. p.mu is locked.
func (p *pool) passTurn() {
	if len(p.waiting) == 0 {
		p.turns--
		return
	}
	close(p.waiting[0])
	p.waiting = slices.Delete(p.waiting, 0, 1)
}

// reserve waits until one more connection may be open, or ctx ends. It closes idle sessions to make room.
func (p *pool) reserve(ctx context.Context, most int) error {
	if most == 0 {
		return nil
	}
	for {
		p.mu.Lock()
		if p.open < most {
			p.open++
			p.mu.Unlock()
			return nil
		}
		var old *session
		if p.n > 0 {
			old = p.oldest()
		} else if p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		if old != nil {
			old.Quit(ctx)
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// release ends a reservation: the connection is closed, or none came about.
func (p *pool) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open--
	if p.changed != nil { // every reserve looks again
		close(p.changed)
		p.changed = nil
	}
}
