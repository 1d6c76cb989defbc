package server

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// network is a listener in memory, with buffered connections that work in a synctest bubble.
type network struct {
	queue chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newNetwork() *network {
	return &network{queue: make(chan net.Conn), done: make(chan struct{})}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.queue:
		return c, nil
	case <-n.done:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	n.once.Do(func() { close(n.done) })
	return nil
}

func (n *network) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25} }

// dial returns the client's end of a new connection from ip, or false if the listener is closed.
func (n *network) dial(ip string) (*pipe, bool) {
	client, server := newPipe(ip)
	select {
	case n.queue <- server:
		return client, true
	case <-n.done:
		return nil, false
	}
}

// pipe is one end of a connection.
type pipe struct {
	in, out       *stream
	local, remote net.Addr

	hold bool // Write goes to held
	held []byte

	mu             sync.Mutex
	reads, writes  int // calls that moved octets
	largest        int // write
	deadlineOrders int // calls of SetDeadline and its like
}

func newPipe(ip string) (client, server *pipe) {
	up, down := newStream(), newStream()
	a := &net.TCPAddr{IP: net.ParseIP(ip), Port: 50000}
	b := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 25}
	return &pipe{in: down, out: up, local: a, remote: b}, &pipe{in: up, out: down, local: b, remote: a}
}

func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.in.read(b)
	if n > 0 {
		p.note(&p.reads)
	}
	return n, err
}

func (p *pipe) Write(b []byte) (int, error) {
	if p.hold {
		p.held = append(p.held, b...)
		return len(b), nil
	}
	p.note(&p.writes)
	p.largest = max(p.largest, len(b)) // one goroutine writes
	return p.out.write(b)
}

func (p *pipe) note(counter *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*counter++
}

func (p *pipe) counts() (reads, writes, deadlines int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reads, p.writes, p.deadlineOrders
}

func (p *pipe) CloseWrite() error {
	p.out.end(io.EOF, net.ErrClosed)
	return nil
}

func (p *pipe) Close() error {
	p.out.end(io.EOF, net.ErrClosed)
	p.in.end(net.ErrClosed, io.ErrClosedPipe)
	return nil
}

func (p *pipe) LocalAddr() net.Addr  { return p.local }
func (p *pipe) RemoteAddr() net.Addr { return p.remote }

func (p *pipe) SetDeadline(t time.Time) error {
	p.note(&p.deadlineOrders)
	p.in.setDeadline(&p.in.reader, t)
	p.out.setDeadline(&p.out.writer, t)
	return nil
}

func (p *pipe) SetReadDeadline(t time.Time) error {
	p.note(&p.deadlineOrders)
	p.in.setDeadline(&p.in.reader, t)
	return nil
}

func (p *pipe) SetWriteDeadline(t time.Time) error {
	p.note(&p.deadlineOrders)
	p.out.setDeadline(&p.out.writer, t)
	return nil
}

// stream is one direction of a connection.
type stream struct {
	mu      sync.Mutex
	changed *sync.Cond
	buf     []byte
	room    int   // octets that buf may hold
	readErr error // once buf is empty; nil: open
	sendErr error // nil: open
	reader  deadline
	writer  deadline
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func newStream() *stream {
	s := &stream{room: 4 << 20}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *stream) read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readErr == net.ErrClosed:
			return 0, s.readErr
		case s.reader.past():
			return 0, os.ErrDeadlineExceeded
		case len(s.buf) > 0:
			n := copy(b, s.buf)
			s.buf = s.buf[n:]
			s.changed.Broadcast()
			return n, nil
		case s.readErr != nil:
			return 0, s.readErr
		}
		s.changed.Wait()
	}
}

func (s *stream) write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.sendErr != nil:
			return 0, s.sendErr
		case s.writer.past():
			return 0, os.ErrDeadlineExceeded
		case len(s.buf)+len(b) <= s.room:
			s.buf = append(s.buf, b...)
			s.changed.Broadcast()
			return len(b), nil
		}
		s.changed.Wait()
	}
}

func (s *stream) setRoom(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room = n
	s.changed.Broadcast()
}

func (s *stream) end(readErr, sendErr error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readErr == nil || readErr == net.ErrClosed {
		s.readErr = readErr
	}
	if s.sendErr == nil {
		s.sendErr = sendErr
	}
	s.changed.Broadcast()
}

func (s *stream) setDeadline(d *deadline, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.changed.Broadcast()
		})
	}
	s.changed.Broadcast()
}

func (d deadline) past() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }
