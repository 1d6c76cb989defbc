package client

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/mx"
)

// pool keeps idle sessions.
//
// Invariants: a session in idle is quiescent, belongs to nobody else, and is counted in n. A timer is armed only while
// there are idle sessions. After close has returned, there are no sessions and no Sends.
type pool struct {
	mu     sync.Mutex         // never held while anything waits
	idle   map[key][]*session // each list in the order in which its sessions became idle; lists may be empty
	n      int                // sessions in idle
	timer  *time.Timer        // nil if not armed
	closed bool
	users  sync.WaitGroup // Sends, and sessions being closed
	slots
}

// key is what sessions that can replace each other have in common, apart from the addresses at both ends.
type key struct {
	site     string // the sessions of which are bounded together, see Transport.MaxSessions; empty if they aren't
	host     mx.Host
	lmtp     bool
	tls      mx.TLSLevel
	start    mx.TLSStart
	mx       bool      // mx guarded the address
	without  keywords  // extensions that aren't used
	identity string    // the name of the route, if it authenticates
	policy   string    // the name of the requirement of a policy
	demand   tlsDemand // of that requirement
}

// session is a Conn that may be used again.
type session struct {
	*Conn
	key               key
	remote            netip.AddrPort
	probe             probe
	opened, idleSince time.Time
}

// limits are the bounds of the pool.
type limits struct {
	total, perHost int
	idle, age      time.Duration
}

// enter begins a Send. It returns false after close.
func (p *pool) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.users.Add(1)
	return true
}

func (p *pool) leave() { p.users.Done() }

// take takes out the session that was used last among those that fit and are alive. It returns nil if there is none.
func (p *pool) take(k key, l limits, fits func(*session) bool) *session {
	for {
		s := p.pop(k, fits)
		if s == nil {
			return nil
		}
		now := time.Now()
		fresh := now.Sub(s.idleSince) < l.idle && now.Sub(s.opened) < l.age
		if fresh && s.probe.quiet(s.nc) {
			return s
		}
		p.dismiss(s)
	}
}

func (p *pool) pop(k key, fits func(*session) bool) *session {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, s := range slices.Backward(p.idle[k]) {
		if fits(s) {
			return p.remove(k, i)
		}
	}
	return nil
}

// put takes a session back, to keep it or to close it. The Send that used the session calls it.
func (p *pool) put(s *session, l limits) {
	if !s.quiescent() {
		s.Close()
		return
	}
	if out := p.keep(s, l); out != nil {
		p.dismiss(out)
	}
}

// keep makes s idle. It returns the session that has to be closed instead, which may be s itself, or nil.
func (p *pool) keep(s *session, l limits) (out *session) {
	s.idleSince = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed && !p.awaited(s.key.site): // Sends that wait while the pool closes still share sessions
		return s
	case l.total < 1 || l.perHost < 1 || s.idleSince.Sub(s.opened) >= l.age || !s.Ready():
		return s
	case len(p.idle[s.key]) >= l.perHost:
		out = p.remove(s.key, 0)
	case p.n >= l.total:
		out = p.oldest(func(key) bool { return true })
	}
	if p.idle == nil {
		p.idle = make(map[key][]*session)
	}
	p.idle[s.key] = append(p.idle[s.key], s)
	p.n++
	if p.timer == nil && !p.closed {
		p.arm(l, l.idle)
	}
	return out
}

func (p *pool) remove(k key, i int) *session {
	list := p.idle[k]
	s := list[i]
	p.idle[k] = slices.Delete(list, i, i+1)
	p.n--
	return s
}

// oldest takes out the session that has been idle longest, of those whose key fits. It returns nil if there is none.
func (p *pool) oldest(fits func(key) bool) *session {
	var old *session
	for k, list := range p.idle {
		if len(list) > 0 && fits(k) && (old == nil || list[0].idleSince.Before(old.idleSince)) {
			old = list[0]
		}
	}
	if old == nil {
		return nil
	}
	return p.remove(old.key, 0)
}

// arm arms the timer. Its pending call is a user, so that close waits for it.
func (p *pool) arm(l limits, d time.Duration) {
	p.users.Add(1)
	p.timer = time.AfterFunc(d, func() {
		defer p.users.Done()
		p.quit(p.expire(l))
	})
}

// expire takes out the sessions that were idle for too long, and arms the timer for the others.
func (p *pool) expire(l limits) (out []*session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer = nil
	if p.closed {
		return nil
	}
	now, next := time.Now(), l.idle
	for k, list := range p.idle {
		for len(list) > 0 && now.Sub(list[0].idleSince) >= l.idle {
			out = append(out, p.remove(k, 0))
			list = p.idle[k]
		}
		if len(list) > 0 {
			next = min(next, l.idle-now.Sub(list[0].idleSince))
		} else {
			delete(p.idle, k)
		}
	}
	if p.n > 0 {
		p.arm(l, next)
	}
	return out
}

func (p *pool) takeAll() (out []*session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, list := range p.idle {
		out = append(out, list...)
	}
	clear(p.idle)
	p.n = 0
	return out
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	if p.timer != nil && p.timer.Stop() {
		p.users.Done()
	}
	p.timer = nil
	p.mu.Unlock()
	p.quit(p.takeAll())
	p.users.Wait()
	p.quit(p.takeAll()) // kept for Sends that waited
}

// dismiss closes a session in the background. The caller is a user.
func (p *pool) dismiss(s *session) {
	p.users.Go(func() { s.Quit(context.Background()) })
}

// quit closes sessions concurrently, and returns when all of them are closed.
func (p *pool) quit(list []*session) {
	var wg sync.WaitGroup
	for _, s := range list {
		wg.Go(func() { s.Quit(context.Background()) })
	}
	wg.Wait()
}
