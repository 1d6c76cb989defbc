//go:build !unix

package client

import "net"

// probe can't look at a socket on this system. A session that died is noticed when it is used.
type probe struct{}

func (*probe) quiet(net.Conn) bool { return true }
