package client

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/mx"
)

// pool keeps idle sessions. It arms a timer only while there are some.
type pool struct {
	mu     sync.Mutex         // never held while anything waits
	idle   map[key][]*session // in the order in which they became idle; lists may be empty
	n      int                // sessions in idle
	timer  *time.Timer        // nil: not armed
	closed bool
	users  sync.WaitGroup // Sends, and sessions being closed
}

// key says which sessions are alike, but for the addresses at both ends: to one host, secured alike, as the same user.
type key struct {
	host     mx.Host
	lmtp     bool
	tls      mx.TLSLevel
	start    mx.TLSStart
	mx       bool   // the address was guarded
	identity string // name of the route, if it authenticates
}

// session is a Conn that may be used again.
type session struct {
	*Conn
	key               key
	remote            netip.AddrPort
	probe             probe
	opened, idleSince time.Time
}

// limits is what the pool is held to.
type limits struct {
	total, perHost int
	idle, age      time.Duration
}

// enter begins a Send. It is false after close.
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

// take gives the session that was used last of those that fit, if there is one alive.
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

// put takes a session back, to keep it or to end it. Only its Send, which is a user, calls it.
func (p *pool) put(s *session, l limits) {
	if !s.quiescent() {
		s.Close()
		return
	}
	if out := p.keep(s, l); out != nil {
		p.dismiss(out)
	}
}

// keep gives the session that must go for s, which may be s itself.
func (p *pool) keep(s *session, l limits) (out *session) {
	s.idleSince = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed || l.total < 1 || l.perHost < 1 || s.idleSince.Sub(s.opened) >= l.age || !s.Ready():
		return s
	case len(p.idle[s.key]) >= l.perHost:
		out = p.remove(s.key, 0)
	case p.n >= l.total:
		out = p.oldest()
	}
	if p.idle == nil {
		p.idle = make(map[key][]*session)
	}
	p.idle[s.key] = append(p.idle[s.key], s)
	p.n++
	if p.timer == nil {
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

// oldest takes out the session that has been idle longest. There is one.
func (p *pool) oldest() *session {
	var old *session
	for _, list := range p.idle {
		if len(list) > 0 && (old == nil || list[0].idleSince.Before(old.idleSince)) {
			old = list[0]
		}
	}
	return p.remove(old.key, 0)
}

// arm has expire called. The pending call is a user, so that close waits for it.
func (p *pool) arm(l limits, d time.Duration) {
	p.users.Add(1)
	p.timer = time.AfterFunc(d, func() {
		defer p.users.Done()
		p.quit(p.expire(l))
	})
}

// expire takes out what has been idle too long, and arms the timer for the rest.
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
}

// dismiss ends a session while the caller, who is a user, goes on.
func (p *pool) dismiss(s *session) {
	p.users.Go(func() { s.Quit(context.Background()) })
}

// quit ends sessions all at once, and waits for it.
func (p *pool) quit(list []*session) {
	var wg sync.WaitGroup
	for _, s := range list {
		wg.Go(func() { s.Quit(context.Background()) })
	}
	wg.Wait()
}
