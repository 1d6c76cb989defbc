package smtptest

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// window is how much one direction of a connection holds before Write blocks. A pipelining client and a
// server that answers it must fit, or each waits for the other.
const window = 256 << 10

// pipe is one direction of a connection.
type pipe struct {
	mu       sync.Mutex
	changed  signal
	buf      bytes.Buffer
	forth    bool      // of the two of a connection, the one that the dialler writes to
	way      way       // when what is in buf can be read
	eof      bool      // nothing more will be written
	eofAt    time.Time // when the reader hears of that
	gone     bool      // nobody will read what is written
	writing  bool      // a Write is under way: writes don't mix
	readErr  error     // what reads give, whatever is buffered
	writeErr error     // what writes give
	readBy   time.Time // deadlines; zero: none
	writeBy  time.Time
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		there, next := p.way.arrived(p.buf.Len())
		switch {
		case p.readErr != nil:
			return 0, p.readErr
		case expired(p.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(b) == 0:
			return 0, nil
		case there > 0:
			n, err := p.buf.Read(b[:min(there, len(b))])
			p.way.take(n)
			p.changed.broadcast()
			return n, err
		case p.eof && p.buf.Len() == 0:
			if next = p.eofAt; next.IsZero() || expired(next) {
				return 0, io.EOF
			}
		}
		if next.IsZero() || !p.readBy.IsZero() && p.readBy.Before(next) {
			next = p.readBy
		}
		p.wait(next)
	}
}

func (p *pipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	mine := false
	for {
		room := window - p.buf.Len()
		switch {
		case mine && n == len(b):
			p.writing = false
			p.changed.broadcast()
			return n, nil
		case p.writeErr != nil, expired(p.writeBy):
			if mine {
				p.writing = false
				p.changed.broadcast()
			}
			if p.writeErr != nil {
				return n, p.writeErr
			}
			return n, os.ErrDeadlineExceeded
		case !mine && !p.writing:
			mine, p.writing = true, true
			if p.gone {
				n, p.writeErr = len(b), errBroken
			}
		case mine && room > 0:
			k := min(room, len(b)-n)
			p.buf.Write(b[n : n+k])
			p.way.send(k)
			n += k
			p.changed.broadcast()
		default:
			p.wait(p.writeBy)
		}
	}
}

// wait lets go of p.mu until something has changed or the deadline is there, zero for none. Only now is there a timer.
func (p *pipe) wait(deadline time.Time) {
	changed := p.changed.wait()
	p.mu.Unlock()
	defer p.mu.Lock()
	if deadline.IsZero() {
		<-changed
		return
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// set changes p by f and wakes all who wait.
func (p *pipe) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.changed.broadcast()
}

// finish ends the pipe at its writer's side: what is buffered can still be read.
func (p *pipe) finish(err error) {
	p.set(func() {
		if !p.eof {
			p.eof, p.eofAt = true, p.way.end()
		}
		fail(&p.writeErr, err)
	})
}

// abandon ends the pipe at its reader's side.
func (p *pipe) abandon() {
	p.set(func() {
		p.gone = true
		fail(&p.readErr, net.ErrClosed)
		if p.writing { // what it has written so far was refused
			fail(&p.writeErr, errBroken)
		}
	})
}

// cut ends both pipes of a connection, and loses what is buffered. It does so at once: who hears of it first closes, and the other side
// must not read that as the end.
func cut(p, q *pipe) {
	if q.forth { // they are locked in one order, whichever end does it
		p, q = q, p
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	q.set(func() {
		for _, pipe := range []*pipe{p, q} {
			fail(&pipe.readErr, errReset)
			fail(&pipe.writeErr, errReset)
		}
		p.changed.broadcast()
	})
}

// lost reports whether nobody will read what is written, or nothing can be; if not, the channel tells of the next change.
func (p *pipe) lost() (bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || p.writeErr != nil {
		return true, nil
	}
	return false, p.changed.wait()
}

// fail sets *dst to err. What its own side did lasts, and a reset is worse than a close.
func fail(dst *error, err error) {
	if *dst == net.ErrClosed || *dst == errReset && err == errBroken {
		return
	}
	*dst = err
}

func expired(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}

// signal wakes those who wait for a change. It is guarded by the mutex of what changes.
type signal struct{ ch chan struct{} }

// wait gives a channel that the next broadcast closes.
func (s *signal) wait() <-chan struct{} {
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) broadcast() {
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
