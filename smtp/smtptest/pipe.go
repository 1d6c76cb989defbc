package smtptest

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// window is the number of octets that one direction of a connection buffers before Write blocks. It must hold a group
// of pipelined commands, or their replies; otherwise client and server wait for each other.
const window = 256 << 10

// pipe is one direction of a connection. mu guards all fields.
type pipe struct {
	mu       sync.Mutex
	changed  signal
	buf      bytes.Buffer
	forth    bool      // the dialler writes to this one
	way      way       // when the octets in buf can be read
	eof      bool      // nothing more will be written
	eofAt    time.Time // when the reader reads io.EOF
	gone     bool      // the reader has closed
	writing  bool      // a Write is in progress: writes don't mix
	readErr  error     // the error of reads, even if octets are buffered
	writeErr error     // the error of writes
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

// wait releases p.mu until something changes or the deadline is reached. A zero deadline is none. Only a wait has a
// timer.
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

// set calls f, which changes p, and wakes all waiters.
func (p *pipe) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	p.changed.broadcast()
}

// finish closes the writer's side. Buffered octets can still be read.
func (p *pipe) finish(err error) {
	p.set(func() {
		if !p.eof {
			p.eof, p.eofAt = true, p.way.end()
		}
		fail(&p.writeErr, err)
	})
}

// abandon closes the reader's side.
func (p *pipe) abandon() {
	p.set(func() {
		p.gone = true
		fail(&p.readErr, net.ErrClosed)
		if p.writing { // it hears of the close at once, as its octets aren't taken
			fail(&p.writeErr, errBroken)
		}
	})
}

// cut resets both pipes of a connection and discards buffered octets. It locks both pipes: otherwise one end could
// react with a close, which the other end would read as an orderly end.
func cut(p, q *pipe) {
	if q.forth { // one order of locking, whichever end calls
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

// lost reports whether written octets can't reach a reader. If they can, the next change closes the channel.
func (p *pipe) lost() (bool, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone || p.writeErr != nil {
		return true, nil
	}
	return false, p.changed.wait()
}

// fail sets *dst to err. It keeps net.ErrClosed, and keeps a reset instead of a broken pipe.
func fail(dst *error, err error) {
	if *dst == net.ErrClosed || *dst == errReset && err == errBroken {
		return
	}
	*dst = err
}

func expired(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}

// signal wakes goroutines that wait for a change. The mutex of the changing state guards it.
type signal struct{ ch chan struct{} }

// wait returns a channel that the next broadcast closes.
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
