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
	inSize     = 16 << 10 // of the read buffer: holds the longest line, and a mail of common size
	maxPending = 8 << 10  // replies are written early when there are more octets of them

	// maxLine is the longest line, CRLF included: that of AUTH (RFC 4954 §4).
	maxLine = 12288

	// maxJunk bounds the line that is read and thrown away because it is too long or has a bare LF.
	maxJunk = 256 << 10

	// Once the last reply is written, the client has this much time to read it, and may send this many octets, which
	// are discarded.
	linger     = time.Second
	lingerSize = 1 << 20
)

// Faults of a line that has been read up to its CRLF: the session can go on.
var (
	errLineLong = errors.New("line too long")
	errLineEnd  = errors.New("bare CR or LF")
)

// Ends of a session.
var (
	errDraining = errors.New("server is shutting down")
	errJunk     = errors.New("too much without CRLF")
	errHTTP     = errors.New("client speaks HTTP")
)

// conn is a connection as its session uses it. It is the reader below its own buffer, so that whatever
// makes the session wait for more input first sends the replies that are pending: commands that came in one
// segment are answered in one (RFC 2920 §3.2).
type conn struct {
	srv *Server
	raw net.Conn // what was accepted, below any TLS: for deadlines, and to close in a hurry
	nc  net.Conn // raw, or TLS on top of it
	*buffers

	// budget is how long the session may still wait for the client. It shrinks while it does and
	// grows with what comes, by rate octets a second (0: not at all), up to limit.
	budget, limit time.Duration
	rate          int

	end   time.Time // of the session; commands only
	busy  bool      // in a transaction, which a shutdown lets finish
	spoke bool      // the client's first line has come
	mute  bool      // a reply could not be written, or in part: nothing can follow it
}

// buffers is the memory that a session needs as long as it lasts.
type buffers struct {
	in  *bufio.Reader
	out []byte // replies that aren't written yet
}

// wake makes a Read that waits return. It may be called from any goroutine.
func (c *conn) wake() {
	c.raw.SetReadDeadline(time.Unix(1, 0))
}

// Read is for the buffer. See expect for how long it waits.
func (c *conn) Read(p []byte) (int, error) {
	for {
		start := time.Now()
		deadline := start.Add(c.budget)
		c.raw.SetDeadline(deadline)
		if c.rate == 0 && deadline.After(c.end) {
			deadline = c.end // perhaps past: what is pending must go out all the same
			c.raw.SetReadDeadline(deadline)
		}
		// After the deadline is set: either this sees the shutdown, or the shutdown's wake comes later
		// than our deadline and ends the Read.
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
			continue // woken by a shutdown, which may not concern us yet
		}
		return n, err
	}
}

// expectCommand lets the session wait for one line.
func (c *conn) expectCommand() {
	c.limit = cmp.Or(c.srv.CommandTimeout, defaultCommandTimeout)
	c.budget, c.rate = c.limit, 0
}

// expectData lets the session wait for a message.
func (c *conn) expectData() {
	c.limit = cmp.Or(c.srv.DataTimeout, defaultDataTimeout)
	c.budget, c.rate = c.limit, cmp.Or(c.srv.MinDataRate, defaultMinDataRate)
}

// readLine reads up to CRLF, which it cuts off; the line is valid until the next read. errLineLong and
// errLineEnd refuse a line that was read all the same; other errors end the session.
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

// skipLine reads on to the CRLF of a line that began with part, which has none: there is a bare LF at
// its end (err is nil), or it fills the buffer.
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

// isHTTP reports whether the line is the first of an HTTP request: a web page makes a browser send one.
func isHTTP(line []byte) bool {
	for _, method := range [...]string{"GET ", "POST ", "CONNECT ", "PUT ", "HEAD ", "OPTIONS ", "DELETE ", "PATCH ", "TRACE "} {
		if len(line) >= len(method) && string(line[:len(method)]) == method {
			return true
		}
	}
	return false
}

// flush writes the pending replies, by the deadline that is set.
func (c *conn) flush() error {
	if len(c.out) == 0 || c.mute {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	c.mute = err != nil
	return err
}

// flushWithin flushes with a deadline of its own.
func (c *conn) flushWithin(d time.Duration) error {
	if len(c.out) == 0 || c.mute {
		return nil
	}
	c.raw.SetWriteDeadline(time.Now().Add(d))
	return c.flush()
}

// hangUp says what is pending and closes. If the client may still be sending, wait keeps what arrives from
// destroying the last reply: a TCP connection that is closed with unread input is reset.
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
