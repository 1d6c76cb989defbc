package server

import (
	"cmp"
	"math"
	"net"
	"net/netip"
)

// maxTurned bounds the connections that wait for a refusal to be sent. Further ones are closed without a reply.
const maxTurned = 64

// admit counts a session, until [Server.release]. If a bound is reached, ok is false. Then either the session is
// counted as turned away, and refusal is the text for the client; or it is not counted, refusal is empty, and the
// caller closes the connection.
func (s *Server) admit(sess *session) (ok bool, refusal string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false, ""
	}
	if s.sessions == nil {
		s.sessions = make(map[*session]struct{})
		s.sources = make(map[netip.Prefix]int)
	}
	if refusal = s.tooMany(sess); refusal == "" {
		s.memory.Add(sessionMemory)
		s.sessions[sess] = struct{}{}
		s.sources[sess.source]++
		for _, network := range wider(sess.source) {
			s.sources[network]++
		}
		return true, ""
	}
	if s.turned >= maxTurned {
		return false, ""
	}
	s.turned++
	s.memory.Add(sessionMemory)
	sess.turned = true
	s.sessions[sess] = struct{}{}
	return false, refusal
}

// tooMany returns the text of a refusal, or "" if there is a slot for the session. It may end another session for it.
// The caller holds s.mu.
func (s *Server) tooMany(sess *session) string {
	if sess.source.IsValid() {
		perIP := cmp.Or(s.MaxConnsPerIP, defaultMaxConnsPerIP)
		perNetwork := cmp.Or(s.MaxConnsPerNetwork, 2*min(perIP, math.MaxInt/2))
		if s.sources[sess.source] >= perIP {
			return "too many connections from your address"
		}
		for _, network := range wider(sess.source) {
			if network.IsValid() && s.sources[network] >= perNetwork {
				return "too many connections from your network"
			}
		}
	}
	if len(s.sessions)-s.turned >= cmp.Or(s.MaxConns, defaultMaxConns) && !s.makeRoom() {
		return "too many connections"
	}
	return ""
}

// uncount ends the count of a session by its networks. The caller holds s.mu.
func (s *Server) uncount(sess *session) {
	wide := wider(sess.source)
	for _, network := range [...]netip.Prefix{sess.source, wide[0], wide[1]} {
		if s.sources[network]--; s.sources[network] == 0 {
			delete(s.sources, network)
		}
	}
}

// release ends a session that admit counted.
func (s *Server) release(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
	s.memory.Add(-sessionMemory)
	if sess.secured {
		s.memory.Add(-tlsMemory)
	}
	if sess.turned {
		s.turned--
	} else {
		s.uncount(sess)
	}
	s.updateCrowded()
	if s.draining.Load() && len(s.sessions) == 0 {
		close(s.drained)
	}
}

// source returns the network by which connections are counted: an IPv4 address or an IPv6 /64, which one host may have
// for itself. For an address without an IP, of a Unix socket for example, the Prefix is invalid, and has no bound.
func source(addr net.Addr) netip.Prefix {
	ip := ipOf(addr)
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits)
	return p
}

// wider returns the networks around a source: an IPv4 /24, or an IPv6 /48 and a /56. Providers assign these to one
// customer. The widest is the first; those that don't exist are invalid.
func wider(source netip.Prefix) (networks [2]netip.Prefix) {
	switch {
	case !source.IsValid():
	case source.Addr().Is4():
		networks[0], _ = source.Addr().Prefix(24)
	default:
		networks[0], _ = source.Addr().Prefix(48)
		networks[1], _ = source.Addr().Prefix(56)
	}
	return networks
}
