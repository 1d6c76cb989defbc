//go:build unix

package client

import (
	"net"
	"syscall"
)

// quiet reports whether an idle connection is open and the host has said nothing, without taking
// anything from it. What can't be looked at counts as quiet.
func quiet(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	nothing := false
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		// Sockets of package net don't block. Their end reads as n == 0 without an error.
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
		nothing = err == syscall.EAGAIN || err == syscall.EINTR
	})
	return err == nil && nothing
}
