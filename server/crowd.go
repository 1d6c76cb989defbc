package server

import (
	"cmp"
	"errors"
	"sync"
	"time"
)

// errCrowded ends a session whose slot is needed.
var errCrowded = errors.New("too many connections")

const (
	// While a server is crowded, the waits for a client are 1/hurry of what they are otherwise.
	hurry = 10

	// A session may end for another one if it has waited this long for a command, or is this old: outside of a
	// transaction, or in one. One that is this old while the Handler or a check works for it ends after that.
	patience     = time.Second
	idleAge      = 10 * time.Second
	transferTime = time.Minute
	mailAge      = time.Minute // since its last message
	workTime     = time.Minute
)

// activity is what a session waits for. Other goroutines look at it, to choose a session that ends for another one.
type activity struct {
	mu      sync.Mutex
	state   activityState
	since   time.Time // of the wait
	trusted bool      // the client has authenticated
	mailed  time.Time // when it last sent a message; zero: never
	evicted bool      // the session must end at its next wait, or before its next command outside of a transaction
}

type activityState uint8

const (
	working      activityState = iota // it doesn't wait for the client
	idle                              // it waits for a command, outside of a transaction
	transferring                      // it waits for a command or for octets, in a transaction
	shaking                           // it is in a TLS handshake
)

func (a *activity) set(state activityState, since time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state, a.since = state, since
}

func (a *activity) trust() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.trusted = true
}

func (a *activity) hasMailed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mailed = time.Now()
}

func (a *activity) mustEnd() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.evicted
}

// hasten wakes a session that waits, except in a TLS handshake, which wouldn't survive it.
func (s *session) hasten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == idle || s.state == transferring {
		s.wake()
	}
}

// candidate is a session that may end for another one.
type candidate struct {
	*session
	mailed    bool      // it has sent a message
	crowding  int       // the sessions of its network
	transfers bool      // it is in a transaction
	rank      time.Time // since when it waits, or has been there
}

// before reports whether c goes before d.
func (c *candidate) before(d *candidate) bool {
	switch {
	case c.mailed != d.mailed:
		return d.mailed
	case c.crowding != d.crowding:
		return c.crowding > d.crowding
	case c.transfers != d.transfers:
		return d.transfers
	}
	return c.rank.Before(d.rank)
}

// yields reports whether the session may end for another one.
func (s *session) yields(now time.Time) (c candidate, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c = candidate{session: s, rank: s.since}
	switch {
	case s.trusted || s.evicted || s.state == working:
		return c, false
	case !s.mailed.IsZero():
		c.mailed, c.rank = true, s.mailed
		return c, s.state == idle && now.Sub(s.mailed) >= mailAge
	case s.state == idle || s.state == shaking:
		return c, now.Sub(s.since) >= patience || now.Sub(s.begun) >= idleAge
	}
	// Its since is that of the last octet.
	c.transfers, c.rank = true, s.begun
	return c, now.Sub(s.begun) >= transferTime
}

// isSlow reports whether the Handler or a check works for the session, which is old.
func (s *session) isSlow(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == working && !s.trusted && s.mailed.IsZero() && !s.evicted && now.Sub(s.begun) >= workTime
}

// evictLater ends the session when it has done what it does.
func (s *session) evictLater() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.evicted = true
	s.wake() // if it waits by now
}

// evict ends the session at its wait. It reports whether the session still waits.
func (s *session) evict() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == working {
		return false
	}
	s.evicted = true
	s.wake()
	return true
}

// makeRoom ends a session whose client has neither sent a message nor authenticated: one of the network with the most
// sessions, and of those the one that has waited longest for a command. If there is none, a session goes that has sent
// its last message a minute ago. If none waits, makeRoom returns false, but has a slow one end soon, so that there is
// room for a later client: the checks of a client can be made slow, by names whose servers don't answer. The caller
// holds s.mu.
func (s *Server) makeRoom() bool {
	var (
		chosen   candidate
		slow     *session
		mostSlow int
	)
	now := time.Now()
	for sess := range s.sessions {
		if sess.turned {
			continue
		}
		c, ok := sess.yields(now)
		c.crowding = s.crowding(sess)
		if c.crowding > mostSlow && sess.isSlow(now) {
			slow, mostSlow = sess, c.crowding
		}
		if ok && (chosen.session == nil || c.before(&chosen)) {
			chosen = c
		}
	}
	if chosen.session == nil && slow != nil {
		slow.evictLater()
	}
	if chosen.session == nil || !chosen.evict() {
		return false
	}
	s.uncount(chosen.session)
	chosen.turned = true
	if s.turned++; s.turned > maxTurned {
		chosen.raw.Close() // without a reply
	}
	return true
}

// crowding returns how many sessions the widest network of a session has. The caller holds s.mu.
func (s *Server) crowding(sess *session) int {
	widest := wider(sess.source)[0]
	if !widest.IsValid() {
		return 1
	}
	return s.sources[widest]
}

// updateCrowded updates crowded: true above 80 % of MaxConns, false again below 70 %. The caller holds s.mu.
func (s *Server) updateCrowded() (began bool) {
	n, most := len(s.sessions)-s.turned, cmp.Or(s.MaxConns, defaultMaxConns)
	switch crowded := s.crowded.Load(); {
	case !crowded && n > most-most/5:
		s.crowded.Store(true)
		return true
	case crowded && n < most-3*(most/10):
		s.crowded.Store(false)
	}
	return false
}
