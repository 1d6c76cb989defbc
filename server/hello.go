package server

import (
	"context"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// hello runs EHLO and HELO (RFC 5321 §4.1.1.1), and LHLO over LMTP.
func (s *session) hello(ctx context.Context, verb, arg string) {
	if s.srv.LMTP != (verb == "LHLO") { // RFC 2033 §4.1: LMTP has LHLO alone
		s.refuse(ctx, verb, "500 5.5.1 no such command")
		return
	}
	name := s.helloName(arg)
	if name == "" {
		s.refuse(ctx, verb, "501 5.5.4 "+verb+" needs a host name or an address literal")
		return
	}
	if err := s.askHello(ctx, name, verb != "HELO"); err != nil {
		s.reject(ctx, verb, err)
		return
	}
	b, ok := s.srv.Handler.(SevenBitter)
	s.sevenBit = ok && s.peer.ESMTP && b.SevenBit(ctx, &s.peer)
	if !s.peer.ESMTP {
		s.say("250 " + s.srv.hostname())
		return
	}
	// RFC 2034 §4: the reply to EHLO has no enhanced codes.
	s.say("250-" + s.srv.hostname())
	s.say("250-PIPELINING")
	s.out = strconv.AppendInt(append(s.out, "250-SIZE "...), s.srv.maxSize(), 10)
	s.say("")
	if !s.sevenBit {
		s.say("250-8BITMIME")
	}
	s.say("250-CHUNKING")
	s.announce()
	if !s.srv.NoDSN {
		s.say("250-DSN")
	}
	if !s.sevenBit {
		s.say("250-ENHANCEDSTATUSCODES")
	}
	if s.xclientOffered() {
		s.say("250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT")
	}
	if s.srv.TLSConfig != nil && s.peer.TLS == nil {
		s.say("250-STARTTLS")
	}
	if list := s.mechanisms(); list != nil && s.peer.Username == "" {
		s.say("250-AUTH " + strings.Join(list, " "))
	}
	if s.sevenBit {
		s.say("250 ENHANCEDSTATUSCODES")
		return
	}
	s.say("250 SMTPUTF8")
}

// helloName returns the name that the client gives itself, or "" if it gives none.
func (s *session) helloName(arg string) string {
	name := printable(strings.TrimLeft(arg, " "))
	if name == "" && s.srv.Lenient {
		return "unknown"
	}
	return name
}

// printable returns s in UTF-8 and without what can't be printed. Each octet or character of that kind becomes "?".
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}
