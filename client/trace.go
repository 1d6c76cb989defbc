package client

import (
	"bytes"
	"crypto/tls"
	"net/netip"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// Trace is called with the commands and replies of each session, to find out how a host behaves. Any func may be nil.
// The goroutine that sends calls the funcs and waits for each of them. Funcs of different sessions run concurrently. A
// func must not use the session. A panic in it changes nothing, and is logged if the session is one of a Transport with
// a Logger.
//
// A Trace has no credentials: it has "***" in place of the responses and challenges of AUTH. It has no content of
// messages either.
type Trace struct {
	// Opened is called with each new connection, before the greeting and before TLS.
	Opened func(SessionInfo)

	// Secured is called after the TLS handshake.
	Secured func(SessionInfo, tls.ConnectionState)

	// Sent is called with each command, without its CRLF.
	Sent func(SessionInfo, string)

	// Content is called with the number of octets of each block of a message, as it goes out.
	Content func(SessionInfo, int)

	// Received is called with each reply, which it must not change.
	Received func(SessionInfo, *smtp.Reply)

	// Broken is called with the error that ended a session: a time-out, a lost connection, a line that is no reply.
	Broken func(SessionInfo, error)

	// Closed is called when this side closes the connection.
	Closed func(SessionInfo)
}

// SessionInfo identifies a session in a [Trace] and in a [Try].
type SessionInfo struct {
	// ID counts the sessions of one Transport from 1. It is zero for a [Conn] that the caller opened.
	ID uint64

	// Host is the name of the host.
	Host string

	// Addr is the host's address with its port, or the path of a Unix socket.
	Addr string

	// SourceAddr is the local address. It is the zero Addr if the system chose it.
	SourceAddr netip.Addr
}

func (c *Conn) session() SessionInfo {
	return SessionInfo{ID: c.id, Host: c.Host, Addr: c.Addr, SourceAddr: c.source}
}

const hidden = "***"

// traceSent reports commands that go out.
func (c *Conn) traceSent(b []byte) {
	if c.Trace == nil || c.Trace.Sent == nil {
		return
	}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte("\r\n")), []byte("\r\n")) {
		text := string(line)
		if c.secret && text != "*" {
			text = hideResponse(text)
		}
		c.look(func() { c.Trace.Sent(c.session(), text) })
	}
}

// hideResponse returns a line of an AUTH exchange without its secrets.
func hideResponse(line string) string {
	verb, rest, _ := strings.Cut(line, " ")
	if verb != "AUTH" {
		return hidden
	}
	mech, _, more := strings.Cut(rest, " ")
	if more {
		mech += " " + hidden
	}
	return "AUTH " + mech
}

// traces reports whether replies are traced.
func (c *Conn) traces() bool { return c.Trace != nil && c.Trace.Received != nil }

func (c *Conn) traceReceived(r *smtp.Reply) {
	if !c.traces() {
		return
	}
	if c.secret && goAhead(r.Code) {
		r = &smtp.Reply{Code: r.Code, Text: hidden}
	}
	c.look(func() { c.Trace.Received(c.session(), r) })
}

func (c *Conn) traceContent(n int) {
	if c.Trace != nil && c.Trace.Content != nil && n > 0 {
		c.look(func() { c.Trace.Content(c.session(), n) })
	}
}

func (c *Conn) traceBroken(err error) {
	if c.Trace != nil && c.Trace.Broken != nil {
		c.look(func() { c.Trace.Broken(c.session(), err) })
	}
}
