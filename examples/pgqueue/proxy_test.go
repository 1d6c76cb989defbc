package pgqueue

import (
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/postrider/postrider/examples/pgqueue/pgtest"
)

// proxy is a network between a node and the server. While it is cut, nothing arrives and no connection ends. What was
// on its way then arrives when it works again.
type proxy struct {
	net.Listener
	to string // the server's socket

	mu    sync.Mutex
	moved sync.Cond
	cut   map[direction]bool
	conns map[net.Conn]bool
}

type direction int

const (
	requests direction = iota
	replies
)

func newProxy(t *testing.T, s *pgtest.Server) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		Listener: l, to: filepath.Join(s.Dir(), ".s.PGSQL.5432"), cut: map[direction]bool{}, conns: map[net.Conn]bool{},
	}
	p.moved.L = &p.mu
	go p.serve()
	t.Cleanup(func() {
		l.Close()
		p.set(false, requests, replies)
		p.reset()
	})
	return p
}

// dsn is that of the server through the proxy.
func (p *proxy) dsn() string {
	addr := p.Addr().(*net.TCPAddr)
	return fmt.Sprintf("host=%s port=%d user=postgres dbname=postgres sslmode=disable", addr.IP, addr.Port)
}

// set cuts directions, or lets them work again.
func (p *proxy) set(cut bool, directions ...direction) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range directions {
		p.cut[d] = cut
	}
	p.moved.Broadcast()
}

// reset ends all connections.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

func (p *proxy) serve() {
	for {
		c, err := p.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("unix", p.to)
		if err != nil {
			c.Close()
			continue
		}
		p.mu.Lock()
		p.conns[c], p.conns[server] = true, true
		p.mu.Unlock()
		go p.copy(server, c, requests)
		go p.copy(c, server, replies)
	}
}

func (p *proxy) copy(to, from net.Conn, d direction) {
	defer to.Close()
	defer from.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		for p.cut[d] {
			p.moved.Wait()
		}
		p.mu.Unlock()
		if _, failed := to.Write(b[:n]); err != nil || failed != nil {
			return
		}
	}
}
