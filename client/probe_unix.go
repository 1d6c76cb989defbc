//go:build unix

package client

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// probe looks at an idle connection. It keeps its func for the next time, to save allocations.
type probe struct {
	raw     syscall.RawConn
	look    func(fd uintptr)
	nothing bool
}

// quiet reports whether an idle connection is open and the host has sent nothing. It reads nothing from the connection.
// A connection that isn't a socket counts as quiet.
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
	// Sockets of package net don't block. At the end of the stream, n is 0 and err is nil.
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
	p.nothing = err == syscall.EAGAIN || err == syscall.EINTR
}

// isMissing reports whether a dial failed since its source address isn't on this machine. A connect fails with the same
// errno if there is no port left.
func isMissing(err error) bool {
	sys, ok := errors.AsType[*os.SyscallError](err)
	return ok && sys.Syscall == "bind" && errors.Is(sys.Err, syscall.EADDRNOTAVAIL)
}
