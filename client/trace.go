package client

import (
	"bytes"
	"crypto/tls"
	"net/netip"
	"strings"

	"github.com/postrider/postrider/smtp"
)

// Trace is told what goes over the wire, to find out what a host does. Any func may be nil. They are called by the goroutine that
// sends, which waits for them, and concurrently where sessions are. They must not use the session.
//
// Credentials are never in it: what AUTH exchanges reads "***". Nor is the content of messages.
type Trace struct {
	Opened   func(Session)                      // the connection is there
	Secured  func(Session, tls.ConnectionState) // TLS is done
	Sent     func(Session, string)              // a command, without its CRLF
	Content  func(Session, int)                 // so many octets of a message, as they went out
	Received func(Session, *smtp.Reply)         // not to be changed
	Broken   func(Session, error)               // nothing was heard, or nothing that makes sense
	Closed   func(Session)                      // on our side
}

// Session names a session in a [Trace] and in a [Try].
type Session struct {
	ID     uint64     // from 1, for the sessions of one Transport; zero for a Conn of the caller's
	Host   string     // name
	Addr   string     // address with its port, or path
	Source netip.Addr // of ours; the zero Addr where the system chose
}

func (c *Conn) session() Session {
	return Session{ID: c.id, Host: c.Host, Addr: c.Addr, Source: c.source}
}

const hidden = "***"

// traceSent tells of commands that go out.
func (c *Conn) traceSent(b []byte) {
	if c.Trace == nil || c.Trace.Sent == nil {
		return
	}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte("\r\n")), []byte("\r\n")) {
		text := string(line)
		if c.secret && text != "*" {
			text = hideResponse(text)
		}
		c.Trace.Sent(c.session(), text)
	}
}

// hideResponse leaves of a line of an AUTH exchange what is no secret.
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

// traces reports whether replies are told.
func (c *Conn) traces() bool { return c.Trace != nil && c.Trace.Received != nil }

func (c *Conn) traceReceived(r *smtp.Reply) {
	if !c.traces() {
		return
	}
	if c.secret && r.Code == 334 {
		r = &smtp.Reply{Code: 334, Text: hidden}
	}
	c.Trace.Received(c.session(), r)
}

func (c *Conn) traceContent(n int) {
	if c.Trace != nil && c.Trace.Content != nil && n > 0 {
		c.Trace.Content(c.session(), n)
	}
}

func (c *Conn) traceBroken(err error) {
	if c.Trace != nil && c.Trace.Broken != nil {
		c.Trace.Broken(c.session(), err)
	}
}
