package client

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"strings"
)

// codedHost is a host that takes everything, except that it says its own reply at one of the codedStages.
type codedHost struct {
	stage string
	reply string // of one line or more, without the last CRLF; a host without one takes everything
	cert  *tls.Config
}

// codedConn is one session of a codedHost.
type codedConn struct {
	h        *codedHost
	nc       net.Conn
	in       *bufio.Reader
	accepted []string // the replies to the message, one for each recipient
}

func (h *codedHost) serve(nc *pipeConn) {
	c := &codedConn{h: h, nc: nc, in: bufio.NewReader(nc)}
	c.say("220 hi", "greeting")
	for {
		line, err := c.hear()
		if err != nil {
			return
		}
		verb, arg, _ := strings.Cut(line, " ")
		switch verb {
		case "EHLO", "LHLO":
			c.hello(verb)
		case "HELO":
			c.say("250 host", "HELO")
		case "STARTTLS":
			if c.say("220 go", "STARTTLS", "STARTTLS, required") == '2' {
				tc := tls.Server(nc, h.cert)
				if tc.Handshake() != nil {
					return
				}
				c.nc, c.in = tc, bufio.NewReader(tc)
			}
		case "AUTH":
			c.auth(arg)
		case "MAIL":
			c.say("250 ok", "MAIL", "MAIL in turn")
		case "RCPT":
			c.rcpt(arg)
		case "DATA":
			c.data()
		case "BDAT":
			c.bdat(arg)
		case "RSET":
			c.accepted = nil
			c.say("250 ok", "RSET")
		case "QUIT":
			c.say("221 bye", "QUIT")
			return
		default:
			c.say("500 what is " + line + "?")
		}
	}
}

func (c *codedConn) hear() (string, error) {
	line, err := c.in.ReadString('\n')
	return strings.TrimSuffix(line, "\r\n"), err
}

// say gives a reply, which is that of the host at its stage, and returns the first digit of what it has said.
func (c *codedConn) say(reply string, stages ...string) byte {
	if reply = c.chosen(reply, stages...); reply == "" {
		reply = "\r\n"
	}
	io.WriteString(c.nc, reply+"\r\n")
	lines := strings.Split(strings.Trim(reply, "\r\n"), "\r\n")
	return (lines[len(lines)-1] + " ")[0]
}

func (c *codedConn) chosen(reply string, stages ...string) string {
	for _, stage := range stages {
		if stage == c.h.stage && (c.h.reply != "" || stage == "QUIT") {
			return c.h.reply
		}
	}
	return reply
}

func (c *codedConn) hello(verb string) {
	stage := c.h.stage
	if stage == "HELO" {
		c.say("502 what?")
		return
	}
	_, secure := c.nc.(*tls.Conn)
	offer := "250-host\r\n"
	if !strings.HasSuffix(stage, "in turn") {
		offer += "250-PIPELINING\r\n"
	}
	if c.h.cert != nil && !secure {
		offer += "250-STARTTLS\r\n"
	}
	if strings.HasPrefix(stage, "BDAT") {
		offer += "250-CHUNKING\r\n"
	}
	name := verb
	if secure {
		name += " in TLS"
	}
	c.say(offer+"250 AUTH PLAIN LOGIN", name)
}

// auth is AUTH with an initial response for PLAIN, and without one for LOGIN.
func (c *codedConn) auth(arg string) {
	last := "AUTH PLAIN"
	if arg == "LOGIN" {
		if c.say("334 VXNlcm5hbWU6", "AUTH LOGIN") != '3' {
			return
		}
		c.hear()
		c.say("334 UGFzc3dvcmQ6")
		c.hear()
		last = "LOGIN's end"
	}
	if c.say("235 ok", last) == '3' {
		c.hear()
		c.say("501 cancelled")
	}
}

func (c *codedConn) rcpt(arg string) {
	digit := byte('2')
	switch {
	case strings.Contains(arg, "nobody"):
		digit = c.say("550 who?")
	case strings.Contains(arg, "bob"):
		digit = c.say("250 ok", "RCPT", "RCPT in turn")
	default:
		c.say("250 ok")
	}
	if digit == '2' {
		reply := "250 taken"
		if strings.Contains(arg, "bob") {
			reply = c.chosen(reply, "LMTP")
		}
		c.accepted = append(c.accepted, reply)
	}
}

func (c *codedConn) data() {
	if len(c.accepted) == 0 {
		c.say("503 nobody to send it to")
		return
	}
	if c.say("354 go", "DATA", "DATA in turn") != '3' {
		return
	}
	for {
		line, err := c.hear()
		if err != nil {
			return
		}
		if line == "." {
			break
		}
	}
	c.taken("final")
}

func (c *codedConn) bdat(arg string) {
	size, _, last := strings.Cut(arg, " ")
	io.CopyN(io.Discard, c.in, int64(number(size)))
	if last {
		c.taken("BDAT LAST")
	} else {
		c.say("250 ok", "BDAT")
	}
}

func (c *codedConn) taken(stage string) {
	if c.h.stage == "LHLO" || c.h.stage == "LMTP" {
		for _, reply := range c.accepted {
			c.say(reply)
		}
	} else {
		c.say("250 taken", stage)
	}
	c.accepted = nil
}
