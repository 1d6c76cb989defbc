package server

import (
	"context"
	"strconv"
)

// hello runs EHLO and HELO (RFC 5321 §4.1.1.1).
func (s *session) hello(ctx context.Context, verb, name string) {
	if !validHello(name) {
		s.refuse(ctx, verb, "501 5.5.4 "+verb+" needs a host name or an address literal")
		return
	}
	s.reset() // RFC 5321 §4.1.4: EHLO resets as RSET does
	s.peer.Hello, s.peer.ESMTP = name, verb == "EHLO"
	if !s.peer.ESMTP {
		s.say("250 " + s.srv.hostname())
		return
	}
	// RFC 2034 §4: the reply to EHLO has no enhanced codes.
	s.say("250-" + s.srv.hostname())
	s.say("250-PIPELINING")
	s.out = strconv.AppendInt(append(s.out, "250-SIZE "...), s.srv.maxSize(), 10)
	s.say("")
	s.say("250-8BITMIME")
	s.say("250-DSN")
	s.say("250-ENHANCEDSTATUSCODES")
	if s.srv.TLSConfig != nil && s.peer.TLS == nil {
		s.say("250-STARTTLS")
	}
	if s.authOffered() && s.peer.Username == "" {
		s.say("250-AUTH PLAIN")
	}
	s.say("250 SMTPUTF8")
}

// validHello reports whether name could be a host name or an address literal, by its characters and its length. The
// name goes into Received fields and logs.
func validHello(name string) bool {
	if len(name) == 0 || len(name) > 255 {
		return false
	}
	literal := len(name) > 2 && name[0] == '[' && name[len(name)-1] == ']'
	if literal {
		name = name[1 : len(name)-1]
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.':
		case c == '_' && !literal, c == ':' && literal:
		default:
			return false
		}
	}
	return true
}
