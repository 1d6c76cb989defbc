package server

import (
	"cmp"
	"net"
	"net/netip"
)

// maxTurned bounds the connections that are told why they are turned away; others are just closed.
const maxTurned = 64

// admit takes a session into the server's books, which [Server.release] ends. It is false if there is no room: then
// why is what to tell the client, and the session is in the books for that; if why is empty, it isn't
// and the connection must be closed.
func (s *Server) admit(sess *session) (ok bool, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false, ""
	}
	if s.sessions == nil {
		s.sessions = make(map[*session]struct{})
		s.sources = make(map[netip.Prefix]int)
	}
	switch {
	case len(s.sessions)-s.turned >= cmp.Or(s.MaxConns, defaultMaxConns):
		why = "too many connections"
	case sess.source.IsValid() && s.sources[sess.source] >= cmp.Or(s.MaxConnsPerIP, defaultMaxConnsPerIP):
		why = "too many connections from your address"
	default:
		s.sessions[sess] = struct{}{}
		s.sources[sess.source]++
		return true, ""
	}
	if s.turned >= maxTurned {
		return false, ""
	}
	s.turned++
	sess.turned = true
	s.sessions[sess] = struct{}{}
	return false, why
}

// release is called at the end of every session that admit took into the books.
func (s *Server) release(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sess)
	if sess.turned {
		s.turned--
	} else if s.sources[sess.source]--; s.sources[sess.source] == 0 {
		delete(s.sources, sess.source)
	}
	if s.draining.Load() && len(s.sessions) == 0 {
		close(s.drained)
	}
}

// source is what connections are counted by: an IPv4 address, or the /64 that one IPv6 host has to
// itself. It is not valid for what has no address, as a Unix socket.
func source(addr net.Addr) netip.Prefix {
	var ip netip.Addr
	if tcp, ok := addr.(*net.TCPAddr); ok {
		ip, _ = netip.AddrFromSlice(tcp.IP)
	} else if addr != nil {
		ap, _ := netip.ParseAddrPort(addr.String())
		ip = ap.Addr()
	}
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits)
	return p
}
