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
	inSize     = 32 << 10 // octets of the read buffer: more than the longest line, and few reads for a large message
	maxPending = 8 << 10  // octets of replies from which on they are written without waiting for the next read

	// A session that waits longer for a command gives its buffers away. A busy one would need one more system call.
	keepBuffers = time.Second

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
	errLineEnd  = errors.New("bare CR or LF: lines end in CR LF")
)

// Errors that end a session.
var (
	errChunkLine = errors.New("a BDAT that can't be read")

	errDraining = errors.New("the server is shutting down")
	errJunk     = errors.New("no CRLF within the bound")
	errHTTP     = errors.New("the client speaks HTTP")
	errQuiet    = errors.New("no command came within keepBuffers") // ends no session
	errTLS      = errors.New("the client speaks TLS without STARTTLS")
)

// conn is the connection of a session. It is also the reader that fills its own buffer: before a read waits for input,
// it sends the pending replies. So commands that came in one segment are answered in one segment (RFC 2920 §3.2).
type conn struct {
	srv *Server
	raw net.Conn // the accepted connection, below TLS: for deadlines, and for Server.Close
	nc  net.Conn // raw, or TLS on top of it
	*buffers
	activity

	// budget is the time for which the session may still wait for the client. It shrinks while the session waits, and
	// grows by 1/rate seconds for each octet that arrives, up to limit. If rate is 0, it only shrinks.
	budget, limit time.Duration
	rate          int

	// armed are the deadlines of raw that arm has set. If zero, others may be set.
	armed struct{ read, write time.Time }

	begun time.Time
	end   time.Time // of the session
	busy  bool      // in a transaction, which a shutdown doesn't interrupt
	brisk bool      // limit is shorter than usual, because the server is crowded
	early [1]byte   // the octet that await has read
	held  bool      // early is to be returned by the next Read
	quick bool      // the next Read waits for keepBuffers only
	mute  bool      // a reply was not written completely: no other reply may follow
}

// buffers is the memory of a session. It is reused by other sessions while the session waits for a command.
type buffers struct {
	in  *bufio.Reader
	out []byte // replies that aren't written yet
}

// none are the buffers of a session that waits for a command. It has no replies: they were sent before.
var none = new(buffers)

// takeBuffers gets memory from the pool, until giveBuffers.
func (c *conn) takeBuffers() {
	b, _ := c.srv.pool.Get().(*buffers)
	if b == nil {
		b = &buffers{in: bufio.NewReaderSize(nil, inSize), out: make([]byte, 0, 1024)}
	}
	b.in.Reset(c)
	c.buffers = b
	c.srv.memory.Add(bufferMemory)
}

func (c *conn) giveBuffers() {
	c.in.Reset(nil)
	c.out = c.out[:0]
	c.srv.pool.Put(c.buffers)
	c.buffers = none
	c.srv.memory.Add(-bufferMemory)
}

// await waits until a command begins in the buffer. After keepBuffers, the session waits on without its buffers, for a
// single octet.
func (c *conn) await() error {
	c.quick = true
	_, err := c.in.Peek(1)
	c.quick = false
	if err != errQuiet {
		return err
	}
	n, err := c.receiveLean()
	if c.held = n > 0; c.held {
		_, err = c.in.Peek(1)
	}
	return err
}

// wake interrupts a Read that waits. Any goroutine may call it.
func (c *conn) wake() {
	c.raw.SetReadDeadline(time.Unix(1, 0))
}

// receiveLean reads the first octet of a command.
func (c *conn) receiveLean() (int, error) {
	defer func() {
		if c.buffers == none {
			c.takeBuffers() // also if a net.Conn panics
		}
	}()
	return c.receive(c.early[:], true)
}

// Read fills the buffer. It waits as long as budget allows: see expectCommand and expectData.
func (c *conn) Read(p []byte) (int, error) {
	if c.held {
		c.held = false
		return copy(p, c.early[:]), nil
	}
	return c.receive(p, false)
}

// receive reads from the client, after the pending replies were sent. If lean, it gives the buffers away while it
// waits.
func (c *conn) receive(p []byte, lean bool) (int, error) {
	state := idle
	if c.busy {
		state = transferring
	}
	start := time.Now()
	c.activity.set(state, start)
	defer c.activity.set(working, time.Time{})
	for ; ; start = time.Now() {
		c.shorten()
		deadline := start.Add(c.budget)
		writes := deadline
		if deadline.After(c.end) {
			deadline = c.end // may have passed; the write deadline lets pending replies out all the same
		}
		quiet := c.quick && c.budget > keepBuffers
		reads := deadline
		if soon := start.Add(keepBuffers); quiet && soon.Before(deadline) {
			reads = soon
		}
		c.arm(start, reads, writes)
		// These checks come after the deadline is set: either they see what happened, or wake comes later than our
		// deadline and interrupts the Read.
		switch {
		case c.mustEnd():
			return 0, errCrowded
		case !c.busy && c.srv.draining.Load():
			return 0, errDraining
		case c.srv.crowded.Load() && c.rate == 0 && !c.brisk:
			continue
		}
		if err := c.flush(); err != nil {
			return 0, err
		}
		if lean && c.buffers != none {
			c.giveBuffers()
		}
		n, err := c.nc.Read(p)
		now := time.Now()
		c.budget -= now.Sub(start)
		if c.rate > 0 {
			spent := c.limit - c.budget - time.Duration(n)*time.Second/time.Duration(c.rate)
			c.budget = c.limit - max(spent, 0) // a sum may overflow, as limit may be the greatest Duration
		}
		if n > 0 || !timedOut(err) {
			return n, err
		}
		c.armed.read = time.Time{} // it has passed, or wake has set another one
		switch {
		case quiet && now.Sub(start) >= keepBuffers-keepBuffers/slack:
			return 0, errQuiet
		case now.Before(deadline):
			// The deadline was early, or the session was woken: by a shutdown, which an open transaction survives, or
			// because the server is crowded.
			continue
		}
		return 0, err
	}
}

// silent waits for d, less in a crowd, and reports whether no input came. Input stays in the buffer.
func (c *conn) silent(d time.Duration) bool {
	c.expect(d, 0)
	_, err := c.in.Peek(1)
	return err != nil
}

// readLine returns the next line without its CRLF. The line is valid until the next read. After errLineLong and
// errLineEnd, the line was read to its end and the session can go on. Other errors end the session.
func (c *conn) readLine() ([]byte, error) {
	c.expectCommand()
	if err := c.await(); err != nil {
		return nil, err
	}
	return c.nextLine()
}

// nextLine is readLine with the budget that is set, and with the buffers that the session has.
func (c *conn) nextLine() ([]byte, error) {
	first, err := c.in.Peek(1)
	if err != nil {
		return nil, err
	}
	if first[0] == tlsRecord {
		// Someone may have put commands into the handshake, into its session ticket for example.
		return nil, errTLS
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil && err != bufio.ErrBufferFull {
		return nil, err
	}
	if isHTTP(line) {
		return nil, errHTTP
	}
	whole := err == nil && bytes.HasSuffix(line, []byte("\r\n"))
	if whole && len(line) <= maxLine && bytes.IndexByte(line[:len(line)-2], '\r') < 0 {
		return line[:len(line)-2], nil
	}
	j := junk{begins: true}
	if hidden := j.see(line); hidden != nil {
		return nil, hidden
	}
	switch {
	case !whole:
		return nil, c.skipLine(&j, line, err)
	case len(line) > maxLine:
		return nil, errLineLong
	}
	return nil, errLineEnd
}

// skipLine reads to the CRLF of a line that begins with part. If err is nil, part ends with a bare LF; otherwise part
// fills the buffer.
func (c *conn) skipLine(j *junk, part []byte, err error) error {
	fault := errLineLong
	if err == nil {
		fault = errLineEnd
	}
	for total := len(part); ; total += len(part) {
		if total > maxJunk {
			return errJunk
		}
		cr := part[len(part)-1] == '\r'
		if part, err = c.in.ReadSlice('\n'); err != nil && err != bufio.ErrBufferFull {
			return err
		}
		if hidden := j.see(part); hidden != nil {
			return hidden
		}
		if err == nil && (len(part) == 1 && cr || bytes.HasSuffix(part, []byte("\r\n"))) {
			return fault
		}
	}
}

// junk looks for what is hidden in a line that is refused. A client that ends its lines in a bare CR or LF has sent
// several, and may have gone on after one of them with octets that aren't commands.
type junk struct {
	begins bool   // the next octet begins a line of such a client
	end    []byte // of what was seen, as long as httpVersion
}

// see returns errChunkLine or errHTTP if BDAT or an HTTP request begins in this part of the line.
func (j *junk) see(part []byte) error {
	for rest := part; len(rest) > 0; {
		line := rest
		i := bytes.IndexAny(rest, "\r\n")
		if i >= 0 {
			line = rest[:i+1]
		}
		switch {
		case j.begins && isBDAT(line):
			return errChunkLine
		case j.begins && isHTTP(line):
			return errHTTP
		}
		j.begins = i >= 0
		rest = rest[len(line):]
	}
	j.end = append(j.end, part...)
	if bytes.Contains(j.end, []byte(httpVersion)) {
		return errHTTP // of a line that is longer than the buffer
	}
	j.end = append(j.end[:0], j.end[max(0, len(j.end)-len(httpVersion)):]...)
	return nil
}

// httpVersion is in the first line of an HTTP request, whatever its method is.
const httpVersion = " HTTP/"

// tlsRecord is the first octet of a TLS handshake (RFC 8446 §5.1).
const tlsRecord = 0x16

// isHTTP reports whether the line begins an HTTP request, which a web page can make a browser send, with commands in
// its header or body. No line of SMTP does, so a session has none anywhere: someone may have sent EHLO before the
// request.
func isHTTP(line []byte) bool {
	if i := bytes.LastIndexByte(line, ' '); i >= 0 && bytes.HasPrefix(line[i:], []byte(httpVersion)) {
		return true
	}
	method, _, found := bytes.Cut(line, []byte(" "))
	switch string(method) {
	case "GET", "POST", "CONNECT", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "TRACE":
		return found
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
	c.armed.write = time.Time{}
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
