//go:build !unix

package client

import "net"

// probe can't look at a socket here. A session that died is found out when it is used.
type probe struct{}

func (*probe) quiet(net.Conn) bool { return true }
