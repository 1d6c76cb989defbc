//go:build unix

package client

import (
	"net"
	"syscall"
)

// probe looks at a connection, and keeps what that takes for the next time.
type probe struct {
	raw     syscall.RawConn
	look    func(fd uintptr)
	nothing bool
}

// quiet reports whether an idle connection is open and the host has said nothing, without taking
// anything from it. What can't be looked at counts as quiet.
func (p *probe) quiet(nc net.Conn) bool {
	if p.raw == nil {
		sc, ok := nc.(syscall.Conn)
		if !ok {
			return true
		}
		raw, err := sc.SyscallConn()
		if err != nil {
			return true
		}
		p.raw, p.look = raw, p.peek
	}
	p.nothing = false
	err := p.raw.Control(p.look)
	return err == nil && p.nothing
}

func (p *probe) peek(fd uintptr) {
	var b [1]byte
	// Sockets of package net don't block. Their end reads as n == 0 without an error.
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	p.nothing = err == syscall.EAGAIN || err == syscall.EINTR
}
