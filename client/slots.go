package client

import (
	"context"
	"slices"
)

// slots bounds the sessions of a pool: all of a Submission, or those of each site. pool.mu guards it. A Send first
// takes a turn, and then an idle session or a new one.
//
// Invariants, for each room: at most most Sends have a turn, each of them has one session at most, and open ≤ most. So
// where a Send with a turn finds no room and no idle session, a session is being closed: the Send never waits for the
// message of another one. Only while most becomes smaller, it may.
type slots struct {
	rooms map[string]*room // by the site of a key; those that aren't empty
}

// room is the sessions that are bounded together.
type room struct {
	turns   int             // Sends that have a turn
	waiting []chan struct{} // Sends that have none, in order of arrival; each channel is closed at its turn
	open    int             // connections, from before the dial until after the close
	changed chan struct{}   // closed once open fell; nil if nobody waits for that
}

// room returns the room of a site. p.mu is locked.
func (p *pool) room(site string) *room {
	r := p.rooms[site]
	if r == nil {
		if p.rooms == nil {
			p.rooms = make(map[string]*room)
		}
		r = new(room)
		p.rooms[site] = r
	}
	return r
}

// awaited reports whether Sends wait for a turn at a site. p.mu is locked.
func (p *pool) awaited(site string) bool {
	r := p.rooms[site]
	return r != nil && len(r.waiting) > 0
}

// takeTurn waits until fewer than most other Sends have a turn at a site, or ctx ends. A most of zero is no bound.
func (p *pool) takeTurn(ctx context.Context, site string, most int) error {
	if most == 0 {
		return nil
	}
	p.mu.Lock()
	r := p.room(site)
	if r.turns < most {
		r.turns++
		p.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	r.waiting = append(r.waiting, turn)
	p.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(r.waiting, turn); i >= 0 {
		r.waiting = slices.Delete(r.waiting, i, i+1)
	} else {
		p.passTurn(site) // it came at the same moment
	}
	return context.Cause(ctx)
}

// giveTurn ends a turn that takeTurn has taken with the same site and most.
func (p *pool) giveTurn(site string, most int) {
	if most == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passTurn(site)
}

// passTurn passes the turn to the Send that has waited longest. p.mu is locked.
func (p *pool) passTurn(site string) {
	r := p.rooms[site]
	if len(r.waiting) == 0 {
		r.turns--
		p.leaveRoom(site, r)
		return
	}
	close(r.waiting[0])
	r.waiting = slices.Delete(r.waiting, 0, 1)
}

// leaveRoom forgets a room that is empty. Then nobody waits there. p.mu is locked.
func (p *pool) leaveRoom(site string, r *room) {
	if r.turns == 0 && r.open == 0 {
		delete(p.rooms, site)
	}
}

// reserve waits until one more connection may be open at a site, or ctx ends. It closes idle sessions to make room. The
// Send has a turn there.
func (p *pool) reserve(ctx context.Context, site string, most int) error {
	for {
		p.mu.Lock()
		r := p.room(site)
		if r.open < most {
			r.open++
			p.mu.Unlock()
			return nil
		}
		old := p.oldest(func(k key) bool { return k.site == site })
		if old == nil && r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
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
func (p *pool) release(site string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.rooms[site]
	r.open--
	p.leaveRoom(site, r)
	if r.changed != nil { // every reserve looks again
		close(r.changed)
		r.changed = nil
	}
}
