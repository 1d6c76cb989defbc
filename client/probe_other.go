//go:build !unix

package client

import "net"

// probe can't look at a socket on this system. A session that died is noticed when it is used.
type probe struct{}

func (*probe) quiet(net.Conn) bool { return true }

// isMissing can't tell why a dial failed on this system.
func isMissing(error) bool { return false }
