package server

import (
	"cmp"
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
	switch {
	case len(s.sessions)-s.turned >= cmp.Or(s.MaxConns, defaultMaxConns):
		refusal = "too many connections"
	case sess.source.IsValid() && s.sources[sess.source] >= cmp.Or(s.MaxConnsPerIP, defaultMaxConnsPerIP):
		refusal = "too many connections from your address"
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
	return false, refusal
}

// release ends a session that admit counted.
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

// source returns the network by which connections are counted: an IPv4 address or an IPv6 /64, which one host may have
// for itself. For an address without an IP, of a Unix socket for example, the Prefix is invalid, and has no bound.
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
