package server

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

const (
	inSize     = 16 << 10 // octets of the read buffer: more than the longest line, and enough for a common message
	maxPending = 8 << 10  // octets of replies from which on they are written without waiting for the next read

	// maxLine is the longest line of any command in octets, CRLF included: that of AUTH (RFC 4954 §4).
	maxLine = 12288

	// maxJunk bounds the octets of a line that is discarded because it is too long or has a bare LF.
	maxJunk = 256 << 10

	// Once the last reply is written, the client has this much time to read it, and may send this many octets, which
	// are discarded.
	linger     = time.Second
	lingerSize = 1 << 20
)

// Faults of a line that was read up to its CRLF: the session goes on.
var (
	errLineLong = errors.New("line too long")
	errLineEnd  = errors.New("bare CR or LF")
)

// Errors that end a session.
var (
	errDraining = errors.New("the server is shutting down")
	errJunk     = errors.New("no CRLF within the bound")
	errHTTP     = errors.New("the client speaks HTTP")
)

// conn is the connection of a session. It is also the reader that fills its own buffer: before a read waits for input,
// it sends the pending replies. So commands that came in one segment are answered in one segment (RFC 2920 §3.2).
type conn struct {
	srv *Server
	raw net.Conn // the accepted connection, below TLS: for deadlines, and for Server.Close
	nc  net.Conn // raw, or TLS on top of it
	*buffers

	// budget is the time for which the session may still wait for the client. It shrinks while the session waits, and
	// grows by 1/rate seconds for each octet that arrives, up to limit. If rate is 0, it only shrinks.
	budget, limit time.Duration
	rate          int

	end   time.Time // of the session; it bounds the wait for a command only
	busy  bool      // in a transaction, which a shutdown doesn't interrupt
	spoke bool      // the client's first line has come
	mute  bool      // a reply was not written completely: no other reply may follow
}

// buffers is the memory of a session. It is reused by later sessions.
type buffers struct {
	in  *bufio.Reader
	out []byte // replies that aren't written yet
}

// wake interrupts a Read that waits. Any goroutine may call it.
func (c *conn) wake() {
	c.raw.SetReadDeadline(time.Unix(1, 0))
}

// Read fills the buffer. It waits as long as budget allows: see expectCommand and expectData.
func (c *conn) Read(p []byte) (int, error) {
	for {
		start := time.Now()
		deadline := start.Add(c.budget)
		c.raw.SetDeadline(deadline)
		if c.rate == 0 && deadline.After(c.end) {
			deadline = c.end // may have passed; the write deadline above lets pending replies out all the same
			c.raw.SetReadDeadline(deadline)
		}
		// This check comes after the deadline is set: either it sees the shutdown, or wake comes later than our
		// deadline and interrupts the Read.
		if !c.busy && c.srv.draining.Load() {
			return 0, errDraining
		}
		if err := c.flush(); err != nil {
			return 0, err
		}
		n, err := c.nc.Read(p)
		now := time.Now()
		c.budget -= now.Sub(start)
		if c.rate > 0 {
			c.budget = min(c.budget+time.Duration(n)*time.Second/time.Duration(c.rate), c.limit)
		}
		if n == 0 && timedOut(err) && now.Before(deadline) && c.srv.draining.Load() {
			continue // woken by a shutdown: wait on if a transaction is open
		}
		return n, err
	}
}

// expectCommand sets the budget for the wait for one line.
func (c *conn) expectCommand() {
	c.limit = cmp.Or(c.srv.CommandTimeout, defaultCommandTimeout)
	c.budget, c.rate = c.limit, 0
}

// expectData sets the budget for the wait for a message.
func (c *conn) expectData() {
	c.limit = cmp.Or(c.srv.DataTimeout, defaultDataTimeout)
	c.budget, c.rate = c.limit, cmp.Or(c.srv.MinDataRate, defaultMinDataRate)
}

// readLine returns the next line without its CRLF. The line is valid until the next read. After errLineLong and
// errLineEnd, the line was read to its end and the session can go on. Other errors end the session.
func (c *conn) readLine() ([]byte, error) {
	c.expectCommand()
	line, err := c.in.ReadSlice('\n')
	if err != nil && err != bufio.ErrBufferFull {
		return nil, err
	}
	if !c.spoke {
		c.spoke = true
		if isHTTP(line) {
			return nil, errHTTP
		}
	}
	if err != nil || !bytes.HasSuffix(line, []byte("\r\n")) {
		return nil, c.skipLine(line, err)
	}
	if len(line) > maxLine {
		return nil, errLineLong
	}
	line = line[:len(line)-2]
	if bytes.IndexByte(line, '\r') >= 0 {
		return nil, errLineEnd
	}
	return line, nil
}

// skipLine reads to the CRLF of a line that begins with part. If err is nil, part ends with a bare LF; otherwise part
// fills the buffer.
func (c *conn) skipLine(part []byte, err error) error {
	fault := errLineLong
	if err == nil {
		fault = errLineEnd
	}
	for total := len(part); ; total += len(part) {
		if total > maxJunk {
			return errJunk
		}
		cr := part[len(part)-1] == '\r'
		part, err = c.in.ReadSlice('\n')
		switch {
		case err == bufio.ErrBufferFull:
		case err != nil:
			return err
		case len(part) == 1 && cr, bytes.HasSuffix(part, []byte("\r\n")):
			return fault
		}
	}
}

// isHTTP reports whether the line is the first one of an HTTP request, which a web page can make a browser send.
func isHTTP(line []byte) bool {
	for _, method := range [...]string{
		"GET ", "POST ", "CONNECT ", "PUT ", "HEAD ", "OPTIONS ", "DELETE ", "PATCH ", "TRACE ",
	} {
		if len(line) >= len(method) && string(line[:len(method)]) == method {
			return true
		}
	}
	return false
}

// flush writes the pending replies, with the deadline that is set.
func (c *conn) flush() error {
	if len(c.out) == 0 || c.mute {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	c.mute = err != nil
	return err
}

// flushWithin writes the pending replies within d.
func (c *conn) flushWithin(d time.Duration) error {
	if len(c.out) == 0 || c.mute {
		return nil
	}
	c.raw.SetWriteDeadline(time.Now().Add(d))
	return c.flush()
}

// hangUp sends the pending replies and closes the connection. With wait, it first reads and discards input for a while:
// closing a TCP connection with unread input resets it, and the client could lose the last reply.
func (c *conn) hangUp(wait bool) {
	defer c.nc.Close()
	if c.flushWithin(cmp.Or(c.srv.CloseTimeout, defaultCloseTimeout)) != nil || !wait {
		return
	}
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	c.raw.SetReadDeadline(time.Now().Add(linger))
	io.CopyN(io.Discard, c.raw, lingerSize)
}

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
