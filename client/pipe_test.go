package client

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipeBuffer is what a direction of a pipe holds before a writer has to wait, as with sockets.
const pipeBuffer = 16 << 10

// pipe makes both ends of a connection in memory.
func pipe(addr string) (client, server *pipeConn) {
	a, b := newStream(), newStream()
	return &pipeConn{r: a, w: b, remote: pipeAddr(addr)}, &pipeConn{r: b, w: a, remote: pipeAddr("client")}
}

type pipeAddr string

func (pipeAddr) Network() string  { return "tcp" }
func (a pipeAddr) String() string { return string(a) }

type pipeConn struct {
	r, w   *stream
	remote pipeAddr

	writes []int // sizes of the client's writes; read it when they are done
}

func (c *pipeConn) Read(b []byte) (int, error) { return c.r.read(b) }
func (c *pipeConn) Write(b []byte) (int, error) {
	c.writes = append(c.writes, len(b))
	return c.w.write(b)
}
func (c *pipeConn) Close() error {
	c.r.close(io.ErrClosedPipe)
	c.w.close(io.EOF)
	return nil
}
func (c *pipeConn) LocalAddr() net.Addr           { return pipeAddr("local") }
func (c *pipeConn) RemoteAddr() net.Addr          { return c.remote }
func (c *pipeConn) SetDeadline(t time.Time) error { c.SetReadDeadline(t); return c.SetWriteDeadline(t) }
func (c *pipeConn) SetReadDeadline(t time.Time) error {
	c.r.deadline(&c.r.readBy, t)
	return nil
}
func (c *pipeConn) SetWriteDeadline(t time.Time) error {
	c.w.deadline(&c.w.writeBy, t)
	return nil
}

// stream is one direction.
type stream struct {
	mu              sync.Mutex
	cond            sync.Cond
	buf             []byte
	end             error // what a reader gets when buf is empty
	readBy, writeBy timeLimit
}

type timeLimit struct {
	at    time.Time
	timer *time.Timer
}

func (l *timeLimit) over() bool { return !l.at.IsZero() && !time.Now().Before(l.at) }

func newStream() *stream {
	s := new(stream)
	s.cond.L = &s.mu
	return s
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readBy.over():
			return 0, os.ErrDeadlineExceeded
		case len(s.buf) > 0 && s.end != io.ErrClosedPipe:
			n := copy(b, s.buf)
			s.buf = s.buf[n:]
			s.cond.Broadcast()
			return n, nil
		case s.end != nil:
			return 0, s.end
		}
		s.cond.Wait()
	}
}

func (s *stream) write(b []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.writeBy.over():
			return n, os.ErrDeadlineExceeded
		case s.end != nil:
			return n, io.ErrClosedPipe
		}
		room := min(pipeBuffer-len(s.buf), len(b))
		s.buf = append(s.buf, b[:room]...)
		n, b = n+room, b[room:]
		s.cond.Broadcast()
		if len(b) == 0 {
			return n, nil
		}
		s.cond.Wait()
	}
}

func (s *stream) close(end error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.end == nil || end == io.ErrClosedPipe {
		s.end = end
	}
	for _, l := range []*timeLimit{&s.readBy, &s.writeBy} {
		if l.timer != nil {
			l.timer.Stop()
		}
	}
	s.cond.Broadcast()
}

func (s *stream) deadline(l *timeLimit, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.timer != nil {
		l.timer.Stop()
	}
	l.at, l.timer = t, nil
	if !t.IsZero() {
		l.timer = time.AfterFunc(time.Until(t), s.cond.Broadcast)
	}
	s.cond.Broadcast()
}
