package server

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// xclientOffered reports whether the connection is one of a proxy in [Server.XClient].
func (s *session) xclientOffered() bool { return s.srv.trustsXClient(s.nc.RemoteAddr()) }

func (s *Server) trustsXClient(addr net.Addr) bool {
	ip := ipOf(addr)
	return slices.ContainsFunc(s.XClient, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// xclient runs XCLIENT, by which a proxy says who its client is. The session begins again, with a greeting. A name or a
// user that a check refuses becomes unknown: the client has to say EHLO, or to authenticate.
func (s *session) xclient(ctx context.Context, args string) {
	switch {
	case !s.xclientOffered():
		s.refuse(ctx, "XCLIENT", "550 5.7.1 XCLIENT not allowed from your address")
		return
	case s.env != nil:
		s.refuse(ctx, "XCLIENT", "503 5.5.1 XCLIENT is not allowed in a transaction")
		return
	}
	peer, fault := s.peer.as(args)
	if fault != "" {
		s.refuse(ctx, "XCLIENT", "501 5.5.4 "+fault)
		return
	}
	s.tellClosed(ctx)
	s.peer = peer
	s.peer.Allowed = peer.Username != ""
	s.note(ctx, slog.LevelInfo, "client of a proxy", "client", s.peer.RemoteAddr, "username", s.peer.Username)
	if s.visit != nil { // the client is another one
		s.visit.lasting, s.visit.marks, s.visit.greeted, s.visit.hello = marks{}, marks{}, marks{}, [2]marks{}
	}
	s.greet(ctx)
	if s.refused {
		return
	}
	if s.peer.Username != "" && s.askAuth(ctx) != nil {
		s.peer.Username, s.peer.Allowed = "", false
	}
	if name, esmtp := s.peer.Hello, s.peer.ESMTP; name != "" {
		s.peer.Hello, s.peer.ESMTP = "", false
		s.askHello(ctx, name, esmtp) // a refusal leaves it unknown
	}
}

// unavailable are values of XCLIENT for what the proxy doesn't know.
var unavailable = []string{"[UNAVAILABLE]", "[TEMPUNAVAIL]"}

// as returns the peer that the attributes of XCLIENT describe. What they don't name stays, except that the client must
// say HELO and authenticate itself if they don't have it: a login of the proxy isn't one of its client. An unknown ADDR
// is 0.0.0.0: the proxy may have rights that its client hasn't. fault is what is wrong with them.
func (p *Peer) as(args string) (peer Peer, fault string) {
	peer = *p
	peer.Name, peer.Hello, peer.Username, peer.ESMTP = "", "", "", true
	remote, local := endpoint(p.RemoteAddr), endpoint(p.LocalAddr)
	fields := strings.Fields(args)
	if len(fields) == 0 {
		return peer, "XCLIENT needs an attribute, such as ADDR=192.0.2.1"
	}
	for _, field := range fields {
		name, value, ok := strings.Cut(field, "=")
		value, err := smtp.DecodeXtext(value)
		if !ok || err != nil {
			return peer, "attributes of XCLIENT are NAME=value in xtext"
		}
		known := !slices.Contains(unavailable, strings.ToUpper(value))
		switch strings.ToUpper(name) {
		case "NAME":
			name, err := smtp.ASCIIDomain(value)
			if ok = !known || err == nil; known {
				peer.Name = name
			}
		case "ADDR":
			if !known {
				value = "0.0.0.0"
			}
			ok = remote.setAddr(value)
		case "PORT":
			ok = !known || remote.setPort(value)
		case "DESTADDR":
			ok = !known || local.setAddr(value)
		case "DESTPORT":
			ok = !known || local.setPort(value)
		case "PROTO":
			peer.ESMTP = strings.EqualFold(value, "ESMTP")
			ok = !known || peer.ESMTP || strings.EqualFold(value, "SMTP")
		case "HELO":
			if known {
				peer.Hello = printable(value)
			}
		case "LOGIN":
			if ok = !known || value == printable(value); known { // cleaned, it could be another user's
				peer.Username = value
			}
		default:
			return peer, "no such attribute of XCLIENT: " + printable(name)
		}
		if !ok {
			return peer, "bad value of " + strings.ToUpper(name)
		}
	}
	peer.ESMTP = peer.ESMTP && peer.Hello != "" // else EHLO or HELO comes again
	peer.RemoteAddr, peer.LocalAddr = remote.addr(), local.addr()
	return peer, ""
}

// endpointAddr is an address that XCLIENT changes.
type endpointAddr struct {
	netip.AddrPort
	was    net.Addr // nil: changed
	ported bool     // the port is known
}

func endpoint(addr net.Addr) *endpointAddr {
	e := &endpointAddr{was: addr}
	if tcp, ok := addr.(*net.TCPAddr); ok {
		e.AddrPort = tcp.AddrPort()
	}
	return e
}

func (e *endpointAddr) setAddr(value string) bool {
	if len(value) > 5 && strings.EqualFold(value[:5], "IPV6:") {
		value = value[5:]
	}
	ip, err := netip.ParseAddr(value)
	if err == nil {
		port := e.Port()
		if !e.ported {
			port = 0 // it was the proxy's
		}
		e.AddrPort, e.was = netip.AddrPortFrom(ip.Unmap().WithZone(""), port), nil
	}
	return err == nil
}

func (e *endpointAddr) setPort(value string) bool {
	port, err := strconv.ParseUint(value, 10, 16)
	if err == nil && e.Addr().IsValid() {
		e.AddrPort, e.was, e.ported = netip.AddrPortFrom(e.Addr(), uint16(port)), nil, true
	}
	return err == nil
}

func (e *endpointAddr) addr() net.Addr {
	if e.was != nil {
		return e.was
	}
	return net.TCPAddrFromAddrPort(e.AddrPort)
}
